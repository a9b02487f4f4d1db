//! Which provider is given a call.

use gleitzeit_run::id::ComponentId;
use gleitzeit_run::planted_bugs::{self, Bug};
use gleitzeit_run::route::Route;

use super::Calls;
use crate::hub::presence::Presence;
use crate::wire::{HealthState, Role};

impl Calls {
    /// The provider with room and the fewest calls: one of those that are named, if any has room.
    pub(super) fn roomiest(&self, presence: &Presence, route: &Route, named: &[ComponentId]) -> Option<ComponentId> {
        let may_take = |id: &&ComponentId| serves(presence, id, route) && self.has_room(presence, id);
        let named = named.iter().filter(may_take).min_by_key(|id| self.count(id));
        let any = || presence.iter().map(|(id, _)| id).filter(may_take).min_by_key(|id| self.count(id));
        named.or_else(any).cloned()
    }

    pub(super) fn has_room(&self, presence: &Presence, provider: &ComponentId) -> bool {
        presence.get(provider).is_some_and(|component| {
            let capacity = usize::try_from(component.capacity).unwrap_or(usize::MAX);
            let well = component.health.state.works();
            component.is_connected() && well && self.count(provider) < capacity
        })
    }
}

/// Whether a provider may serve a route, now or soon.
pub(super) fn is_served(presence: &Presence, route: &Route) -> bool {
    let is_fit = |id: &ComponentId| {
        presence.get(id).is_some_and(|it| it.capacity > 0 && it.health.state != HealthState::Unhealthy)
    };
    presence.iter().map(|(id, _)| id).any(|id| serves(presence, id, route) && is_fit(id))
}

pub(super) fn serves(presence: &Presence, component: &ComponentId, route: &Route) -> bool {
    let component = presence.get(component).filter(|component| component.role == Role::Provider);
    component.is_some_and(|component| {
        let is_admitted = route.admits(&component.name) || planted_bugs::is(Bug::AnyName);
        is_admitted && component.methods.binary_search(&route.method).is_ok()
    })
}
