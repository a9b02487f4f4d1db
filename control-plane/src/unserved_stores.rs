//! Read-only access to the runs in stores that no control plane is serving: those that `gleitzeit run` leaves behind,
//! one folder each, and the one of a control plane that is not running. The stores are inspected and never changed;
//! only [`prune`] removes folders.

mod answers;
mod places;
mod prune;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gleitzeit_proto::v1::workflow_service_server::WorkflowServiceServer;
use gleitzeit_run::{RunId, RunStatus};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::DuplexStream;
use tower::Service as _;

use crate::api::{InspectedStore, State};
use crate::config::Config;
use crate::journal::{Holder, Look, RunFilter, RunRow, StoreError};

pub use crate::api::Kind;
pub use places::{STORE, folder_name};
pub use prune::{Effort, Keep, Removed, prune};

use places::{Place, places};

/// The buffer of the in-process connection in bytes, in each direction.
const STREAM_BYTES: usize = 64 * 1024;
/// How many stores are kept open for runs that were read.
const MAX_OPEN_STORES: usize = 4;
/// For how many runs the location is remembered.
const MAX_REMEMBERED_RUNS: usize = 10_000;

/// The stores and the runs in them. Cheap to clone. What the API answers from them stands in `answers`.
#[derive(Clone)]
pub struct Kept(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    control_plane: Option<PathBuf>,
    open: Mutex<Vec<(RunId, State)>>,
    whereabouts: Mutex<BTreeMap<RunId, Whereabouts>>,
    trouble: Mutex<Vec<Trouble>>,
}

/// Where a run was found.
#[derive(Clone, Debug)]
pub struct Whereabouts {
    /// The path of its store.
    pub store: PathBuf,
    /// What kind of store it is.
    pub kind: Kind,
    /// Whether a process was writing the store when the run was found.
    pub is_held: bool,
}

/// A store that could not be read.
#[derive(Debug)]
pub struct Trouble {
    /// The path of the store.
    pub store: PathBuf,
    /// What kind of store it is.
    pub kind: Kind,
    /// Why it could not be read.
    pub why: StoreError,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Kept").field(&self.0.folder).finish()
    }
}

impl Kept {
    /// The runs in the folders below `folder`, and in the store of a control plane that is not running.
    pub fn new(folder: PathBuf, control_plane: Option<PathBuf>) -> Self {
        Self(Arc::new(Inner {
            folder,
            control_plane,
            open: Mutex::default(),
            whereabouts: Mutex::default(),
            trouble: Mutex::default(),
        }))
    }

    /// An in-process gRPC connection that answers reads as a control plane does. It ends when the returned stream is
    /// dropped.
    pub fn connect(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(STREAM_BYTES);
        let service = WorkflowServiceServer::new(self.clone());
        let serve = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            service.clone().call(request)
        });
        let connection =
            hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(far), serve);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection within the process ended with an error");
            }
        });
        near
    }

    /// Where a run is that was listed or read before.
    pub fn whereabouts(&self, run_id: RunId) -> Option<Whereabouts> {
        locked(&self.0.whereabouts).get(&run_id).cloned()
    }

    /// The stores that could not be read since the last call.
    pub fn take_trouble(&self) -> Vec<Trouble> {
        std::mem::take(&mut *locked(&self.0.trouble))
    }

    /// The first `limit` runs after the run `after` that pass the filter, newest first. May block.
    pub(crate) fn list(&self, filter: &RunFilter, after: Option<RunId>, limit: usize) -> Vec<RunRow> {
        let Some((first, last)) = filter.id_range() else { return Vec::new() };
        let last = after.map_or(last, |after| last.min(after));
        let (near, far): (Vec<Place>, Vec<Place>) =
            self.places().into_iter().partition(|place| place.may_hold(first, last));
        let mut rows = self.list_in(&near, filter, after, limit);
        // The times may mislead if a clock was set back, so all stores are searched before a run counts as unknown.
        if rows.is_empty() && !filter.id_prefix.is_empty() {
            rows = self.list_in(&far, filter, after, limit);
        }
        rows
    }

    /// The same for some stores; those that may contain the newest runs must come first.
    fn list_in(&self, places: &[Place], filter: &RunFilter, after: Option<RunId>, limit: usize) -> Vec<RunRow> {
        let mut rows: Vec<RunRow> = Vec::new();
        for place in places {
            if rows.len() == limit && rows.last().is_none_or(|last| !place.may_hold_newer(last.run_id)) {
                break;
            }
            let Some(look) = self.look_at(place) else { continue };
            match look.reader().list_runs(filter, after, limit) {
                Ok(found) => rows.extend(found.into_iter().map(|row| self.noted(row, place, look.holder()))),
                Err(why) => self.note_trouble(place, why),
            }
            rows.sort_by_key(|row| std::cmp::Reverse(row.run_id));
            rows.dedup_by_key(|row| row.run_id);
            rows.truncate(limit);
        }
        rows
    }

    /// Remembers where a run is, and marks it as interrupted if no process works on it.
    fn noted(&self, mut row: RunRow, place: &Place, holder: &Holder) -> RunRow {
        let is_held = holder.is_there();
        if row.status == RunStatus::Running && !is_held {
            row.error = Some(place.inspected().interrupted());
        }
        let mut whereabouts = locked(&self.0.whereabouts);
        if whereabouts.len() >= MAX_REMEMBERED_RUNS {
            whereabouts.clear();
        }
        whereabouts.insert(row.run_id, Whereabouts { store: place.store.clone(), kind: place.kind, is_held });
        row
    }

    /// The API state that answers for a run; `None` if the run is in no store. May block.
    pub(crate) fn state_of(&self, run_id: RunId) -> Option<State> {
        let is_it = |(of, _): &&(RunId, State)| *of == run_id;
        if let Some((_, state)) = locked(&self.0.open).iter().find(is_it) {
            return Some(state.clone());
        }
        let known = self.whereabouts(run_id).or_else(|| {
            let filter = RunFilter { id_prefix: run_id.to_string(), ..RunFilter::default() };
            self.list(&filter, None, 1);
            self.whereabouts(run_id)
        })?;
        let place = Place { store: known.store, kind: known.kind, from_ms: 0, upto_ms: u64::MAX };
        let look = self.look_at(&place)?;
        let state = State::read_only(&Config::default(), look, place.inspected());
        let mut open = locked(&self.0.open);
        if open.len() >= MAX_OPEN_STORES {
            open.remove(0);
        }
        open.push((run_id, state.clone()));
        Some(state)
    }

    /// All stores, including the one of the control plane.
    fn places(&self) -> Vec<Place> {
        let control_plane = self.0.control_plane.as_deref().and_then(Place::of_control_plane);
        let mut places: Vec<Place> = places(&self.0.folder).into_iter().chain(control_plane).collect();
        places.sort_by_key(|place| std::cmp::Reverse(place.upto_ms));
        places
    }

    /// Opens a store for inspection; `None` if nothing was ever stored there, or if it cannot be read, which is noted.
    fn look_at(&self, place: &Place) -> Option<Look> {
        match Look::open(&place.store) {
            Ok(look) => look,
            // It was removed in the meantime.
            Err(_) if matches!(place.store.try_exists(), Ok(false)) => None,
            Err(why) => {
                self.note_trouble(place, why);
                None
            }
        }
    }

    fn note_trouble(&self, place: &Place, why: StoreError) {
        let mut trouble = locked(&self.0.trouble);
        if !trouble.iter().any(|known| known.store == place.store) {
            trouble.push(Trouble { store: place.store.clone(), kind: place.kind, why });
        }
    }
}

impl Place {
    fn inspected(&self) -> InspectedStore {
        InspectedStore { store: self.store.clone(), kind: self.kind }
    }
}

/// Locks a mutex, even if a thread panicked while holding it: no change is left half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
