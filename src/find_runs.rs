//! Where commands find runs: on the control plane, and in the stores of runs that no control plane serves. This never
//! starts a control plane.
//!
//! A named control plane is the only source. If none is named, the sources are the control plane at the default
//! address, if one answers there, and the stores that `gleitzeit run` keeps; if none answers, also the store that
//! `gleitzeit start` would open.

mod pages;
mod refuse;

use std::path::PathBuf;
use std::time::Duration;

use gleitzeit_control_plane::unserved_stores::{Kept, Kind, Whereabouts};
use gleitzeit_run::RunId;
use gleitzeit_sdk::{Client, ClientConfig, DEFAULT_URL, Page, RunFilter, RunStatus, RunSummary};
use gleitzeit_workflow::ErrorCode;
use pages::{Cursor, Shown, Source};

use crate::cli::ClientArgs;
use crate::error::{CommandError, Exit, chain};
use crate::{client, hub_url, output, run_stores};
pub(crate) use refuse::{refuse_cancel, refuse_retry};

/// For how many unreadable stores the reason is shown.
const MOST_NAMED: usize = 5;

/// A run that was found.
pub(crate) struct Found {
    /// The client to query about the run.
    pub(crate) client: Client,
    pub(crate) run_id: String,
    /// Its store, if none of the control planes that were asked serves it.
    pub(crate) kept: Option<Whereabouts>,
    /// Whether a control plane answers at the default address, so that no other one can be started there.
    is_plane_there: bool,
}

/// Finds the run that the user means: by its id, a prefix of one, or `last`, which means the newest of all sources.
///
/// # Errors
/// If there is none, or the prefix is ambiguous.
pub(crate) async fn find(args: &ClientArgs, wanted: &str) -> Result<Found, CommandError> {
    Sources::open(args).await?.find(wanted).await
}

impl Found {
    /// Prints a note if the run is being executed by another process, since only that process knows its tasks' output.
    ///
    /// # Errors
    /// If the run cannot be read.
    pub(crate) async fn note_if_elsewhere(&self) -> Result<(), CommandError> {
        if self.kept.is_none() {
            return Ok(());
        }
        let run = self.client.wait_without_results(&self.run_id, Some(Duration::ZERO)).await?;
        if let Some(error) = run.error.as_ref().filter(|_| run.is_interrupted()) {
            output::note(&format!("this run is interrupted: {}", error.message));
        } else if run.status == RunStatus::Running {
            output::note(
                "another process works on this run: the output of a task is shown there, and here once the task has ended",
            );
        }
        Ok(())
    }
}

/// All sources of runs.
pub(crate) struct Sources {
    plane: Option<Client>,
    stores: Option<Stores>,
    /// Why the control plane is not among the sources.
    away: Option<CommandError>,
}

/// Runs in stores that no control plane serves.
struct Stores {
    kept: Kept,
    client: Client,
}

impl Stores {
    fn new(control_plane: Option<PathBuf>) -> Result<Self, CommandError> {
        let kept = Kept::new(run_stores::folder().unwrap_or_default(), control_plane);
        let streams = kept.clone();
        let config = ClientConfig::new("the stores of `gleitzeit run`");
        Ok(Self { client: Client::within(config, move || streams.connect())?, kept })
    }

    /// Names the stores that are skipped because they cannot be read; for many, only their number.
    fn warn_unreadable(&self) {
        let troubles = self.kept.take_trouble();
        let more = troubles.len().saturating_sub(MOST_NAMED);
        for trouble in troubles.into_iter().take(MOST_NAMED) {
            let (store, why) = (trouble.store.display().to_string(), chain(&trouble.why));
            let why = if why.contains(&store) { why } else { format!("the store `{store}`: {why}") };
            let remedy = match trouble.kind {
                Kind::Run => "remove its folder if it is not needed",
                Kind::ControlPlane => "`gleitzeit store check` shows more",
            };
            output::note(&format!("left out: {why}; {remedy}"));
        }
        if more > 0 {
            output::note(&format!("left out: {more} more stores that cannot be read"));
        }
    }

    /// The next runs of the stores, for a page of [`Sources::list`].
    async fn list(&self, cursor: &Cursor, filter: &RunFilter, also_interrupted: bool) -> gleitzeit_sdk::Result<Shown> {
        if !also_interrupted || filter.statuses.contains(&RunStatus::Running) {
            return pages::fetch(&self.client, cursor, Source::Stores, filter, |_| true).await;
        }
        let statuses = filter.statuses.iter().copied().chain([RunStatus::Running]).collect();
        let with_running = RunFilter { statuses, ..filter.clone() };
        let is_wanted = |run: &RunSummary| filter.statuses.contains(&run.status) || run.is_interrupted();
        pages::fetch(&self.client, cursor, Source::Stores, &with_running, is_wanted).await
    }

    fn whereabouts(&self, run_id: &str) -> Option<Whereabouts> {
        self.kept.whereabouts(run_id.parse::<RunId>().ok()?)
    }
}

impl Sources {
    /// Connects to the control plane, without starting one.
    ///
    /// # Errors
    /// If one was named and cannot be reached.
    pub(crate) async fn open(args: &ClientArgs) -> Result<Self, CommandError> {
        if hub_url::named(args.hub_url.as_deref()).is_some() {
            return Ok(Self { plane: Some(client::connect(args).await?), stores: None, away: None });
        }
        match Client::connect(client::config(args)).await {
            Ok(plane) => Ok(Self { plane: Some(plane), stores: Some(Stores::new(None)?), away: None }),
            Err(error) => {
                // In a root file system without `/etc/hosts`, `localhost` does not resolve; then nothing listens there
                // either.
                let is_nameless = error.known() == Some(ErrorCode::NetworkUnreachable);
                let is_silent = !client::nobody_listens(&error) && !is_nameless;
                let away = client::unreached(error, args);
                if is_silent {
                    warn_away(&away);
                }
                Ok(Self {
                    plane: None,
                    stores: Some(Stores::new(run_stores::control_plane_store())?),
                    away: Some(away),
                })
            }
        }
    }

    /// Continues without a control plane if none answers. A mistake of the user is an error with every source.
    fn without_plane(&mut self, error: gleitzeit_sdk::Error) -> Result<(), CommandError> {
        let error = CommandError::from(error);
        if self.stores.is_none() || error.exit == Exit::Usage {
            return Err(error);
        }
        warn_away(&error);
        self.plane = None;
        self.away = Some(error);
        Ok(())
    }

    async fn find(mut self, wanted: &str) -> Result<Found, CommandError> {
        let Some(stores) = &self.stores else {
            let client = self.plane.ok_or_else(|| CommandError::internal("no control plane was named"))?;
            let run_id = client::find_run(&client, wanted).await?;
            return Ok(Found { client, run_id, kept: None, is_plane_there: true });
        };
        let filter = client::filter_of(wanted)?;
        let in_stores = stores.client.list_runs(&filter).await?.items;
        stores.warn_unreadable();
        let on_plane = self.on_plane(&filter).await?;
        let found = pages::merge(on_plane, in_stores);
        match self.plane {
            // For a removed run, the control plane's error says more than its absence from all lists.
            Some(client) if found.is_empty() && client::is_full_id(wanted) => {
                return Ok(Found { client, run_id: wanted.to_owned(), kept: None, is_plane_there: true });
            }
            plane => self.plane = plane,
        }
        let runs: Vec<RunSummary> = found.iter().map(|(run, _)| run.clone()).collect();
        let run_id = client::the_one(&runs, wanted).map_err(|error| self.not_found(error, wanted, runs.is_empty()))?;
        let source = found.iter().find(|(run, _)| run.run_id == run_id).map(|(_, source)| *source);
        let is_plane_there = self.plane.is_some();
        match (source, self.plane, self.stores) {
            (Some(Source::Plane), Some(client), _) => Ok(Found { client, run_id, kept: None, is_plane_there }),
            (_, _, Some(stores)) => {
                Ok(Found { kept: stores.whereabouts(&run_id), client: stores.client, run_id, is_plane_there })
            }
            _ => Err(CommandError::internal(format!("run {run_id} was not found"))),
        }
    }

    /// The first page of the control plane's runs.
    async fn on_plane(&mut self, filter: &RunFilter) -> Result<Vec<RunSummary>, CommandError> {
        let Some(plane) = &self.plane else { return Ok(Vec::new()) };
        match plane.list_runs(filter).await {
            Ok(page) => Ok(page.items),
            Err(error) => self.without_plane(error).map(|()| Vec::new()),
        }
    }

    /// The error for a missing run. The wanted run may be on a control plane that does not answer.
    fn not_found(&self, error: CommandError, wanted: &str, is_unknown: bool) -> CommandError {
        match &self.away {
            Some(away) if is_unknown && wanted != "last" => {
                let message = format!("no run stored here begins with `{wanted}`, and {}", away.message);
                let told = CommandError::new(away.exit, away.code, message);
                told.hint(away.hint.clone().unwrap_or_else(|| "`gleitzeit list` shows all runs".to_owned()))
            }
            _ => error,
        }
    }

    /// A page of runs, the newest first, with the place of each if there are several places. With `also_interrupted` it
    /// lists interrupted runs besides those of the filter's statuses, and only them if the filter names no status; a
    /// named control plane has none.
    ///
    /// # Errors
    /// If the filter or its page token is invalid, or a named control plane does not answer.
    pub(crate) async fn list(
        &mut self,
        filter: &RunFilter,
        also_interrupted: bool,
    ) -> Result<(Page<RunSummary>, Vec<Option<String>>), CommandError> {
        // Only stores have interrupted runs: a control plane works on all of its runs.
        let is_for_plane = !(also_interrupted && filter.statuses.is_empty());
        let Some(stores) = &self.stores else {
            let plane = self.plane.as_ref().ok_or_else(|| CommandError::internal("no control plane was named"))?;
            let page = if is_for_plane {
                plane.list_runs(filter).await?
            } else {
                Page { items: Vec::new(), next_page_token: None }
            };
            let places = vec![None; page.items.len()];
            return Ok((page, places));
        };
        let cursor = Cursor::read(filter.page_token.as_deref(), self.plane.is_some())?;
        let in_stores = stores.list(&cursor, filter, also_interrupted).await?;
        stores.warn_unreadable();
        let on_plane = match &self.plane {
            Some(plane) if is_for_plane => pages::fetch(plane, &cursor, Source::Plane, filter, |_| true).await,
            _ => Ok(Shown::default()),
        };
        let on_plane = match on_plane {
            Ok(shown) => shown,
            Err(error) => {
                self.without_plane(error)?;
                Shown::default()
            }
        };
        let (page, sources) = pages::page(on_plane, in_stores, filter.page_size);
        let places = page.items.iter().zip(sources).map(|(run, source)| self.place(run, source)).collect();
        Ok((page, if_several(places)))
    }

    /// Whether only one run has an id with this prefix, in any source; false if a source cannot tell.
    pub(crate) async fn names_one(&self, prefix: &str) -> bool {
        let mut count = 0;
        for client in self.plane.iter().chain(self.stores.as_ref().map(|stores| &stores.client)) {
            match client::count_of(client, prefix).await {
                Some(some) => count += some,
                None => return false,
            }
        }
        count == 1
    }

    /// The place of a run, as the list shows it.
    fn place(&self, run: &RunSummary, source: Source) -> String {
        let kept = || self.stores.as_ref()?.whereabouts(&run.run_id);
        match (source, kept()) {
            (Source::Plane, _) => self.plane.as_ref().map_or(DEFAULT_URL, |plane| &plane.config().url).to_owned(),
            (Source::Stores, Some(Whereabouts { kind: Kind::ControlPlane, store, .. })) => {
                format!("sqlite:{}", store.display())
            }
            (Source::Stores, _) => "run".to_owned(),
        }
    }
}

fn warn_away(why: &CommandError) {
    output::note(&format!("the control plane at {DEFAULT_URL} is left out: {}", why.message));
}

/// The places, if there is more than one.
fn if_several(places: Vec<String>) -> Vec<Option<String>> {
    let is_one = places.iter().all(|place| Some(place) == places.first());
    places.into_iter().map(|place| Some(place).filter(|_| !is_one)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_shown_only_if_they_differ() {
        let places = |names: &[&str]| if_several(names.iter().map(|name| (*name).to_owned()).collect());
        assert!(places(&[]).is_empty());
        assert_eq!(places(&["run", "run"]), [None, None]);
        assert_eq!(places(&["run", "u"]), [Some("run".to_owned()), Some("u".to_owned())]);
    }
}
