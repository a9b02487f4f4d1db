//! The current values of the gauges, such as connected components and backlogs. They are polled, because most of them
//! change far more often than anyone reads them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use gleitzeit_mesh::hub::ComponentView;
use gleitzeit_mesh::wire::{PresenceStatus, Role};
use gleitzeit_run::ledger::Backlog;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

type Labels = Vec<KeyValue>;
/// Labels that can be compared.
type Words = Vec<(&'static str, String)>;

/// The latest values of all gauges.
#[derive(Debug, Default)]
pub(crate) struct Now(Mutex<BTreeMap<&'static str, Vec<(Labels, f64)>>>);

const GAUGES: [(&str, &str, &str); 9] = [
    ("gleitzeit.runs.running", "", "Runs that have not ended"),
    ("gleitzeit.queue.depth", "", "Tasks that are ready and wait for an engine, by queue"),
    ("gleitzeit.queue.age", "s", "For how long the task waits that has waited longest, by queue"),
    ("gleitzeit.components", "", "Components, by role and status"),
    ("gleitzeit.engine.slots", "", "Attempts that engines can hold, by name"),
    ("gleitzeit.engine.slots.used", "", "Attempts that engines hold, by name"),
    ("gleitzeit.provider.healthy", "", "Instances of a provider that can do their work, by name"),
    ("gleitzeit.provider.unhealthy", "", "Instances of a provider that cannot do their work, by name"),
    ("gleitzeit.provider.in_flight", "", "Calls that providers work on, by name"),
];

impl Now {
    /// Makes the gauges report the latest values, without those of components that are gone.
    pub(super) fn observe(self: &Arc<Self>, meter: &Meter) {
        for (name, unit, what) in GAUGES {
            let now = self.clone();
            let gauge = meter.f64_observable_gauge(name).with_unit(unit).with_description(what);
            let gauge = gauge.with_callback(move |observer| {
                let found = now.0.lock().unwrap_or_else(PoisonError::into_inner);
                for (labels, value) in found.get(name).into_iter().flatten() {
                    observer.observe(*value, labels);
                }
            });
            gauge.build();
        }
    }

    /// What was found: runs that have not ended, queues, and who is connected.
    pub(crate) fn set(&self, running: u64, backlog: &[Backlog], components: &[ComponentView]) {
        let mut found: BTreeMap<&'static str, BTreeMap<Words, f64>> = BTreeMap::new();
        let mut add = |gauge: &'static str, labels: Words, value: f64| {
            *found.entry(gauge).or_default().entry(labels).or_default() += value;
        };
        add("gleitzeit.runs.running", Vec::new(), running as f64);
        for queue in backlog {
            let labels = vec![("queue", queue.queue.to_string())];
            add("gleitzeit.queue.depth", labels.clone(), queue.ready as f64);
            add("gleitzeit.queue.age", labels, queue.age_ms as f64 / 1_000.0);
        }
        for component in components {
            let status = match component.status {
                PresenceStatus::Connected => "connected",
                PresenceStatus::Silent => "silent",
                PresenceStatus::Lost => "lost",
            };
            let role = ("role", component.role.to_string());
            add("gleitzeit.components", vec![role, ("status", status.to_owned())], 1.0);
            let name = |label| vec![(label, component.name.clone())];
            match component.role {
                Role::Engine => {
                    add("gleitzeit.engine.slots", name("engine"), component.capacity.into());
                    add("gleitzeit.engine.slots.used", name("engine"), component.in_use as f64);
                }
                Role::Provider => {
                    let is_healthy = component.health.state.works();
                    add("gleitzeit.provider.healthy", name("provider"), f64::from(u8::from(is_healthy)));
                    add("gleitzeit.provider.unhealthy", name("provider"), f64::from(u8::from(!is_healthy)));
                    add("gleitzeit.provider.in_flight", name("provider"), component.in_use as f64);
                }
                Role::Queue | Role::Resolver => {}
            }
        }
        let shown = found.into_iter().map(|(gauge, values)| {
            let of = |(labels, value): (Words, f64)| {
                (labels.into_iter().map(|(name, text)| KeyValue::new(name, text)).collect::<Labels>(), value)
            };
            (gauge, values.into_iter().map(of).collect::<Vec<_>>())
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = shown.collect();
    }
}
