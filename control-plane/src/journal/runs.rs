//! Runs as lists show them: one row each, a cache of their entries. A row holds nothing that the entries do not.

use gleitzeit_run::{Entry, Event, RunId, RunStatus};
use gleitzeit_workflow::{Failure, Timestamp};
use indexmap::IndexMap;
use uuid::Uuid;

/// The row of a run in lists.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRow {
    /// The run to end.
    pub run_id: RunId,
    /// The name of its workflow.
    pub name: String,
    /// Its status.
    pub status: RunStatus,
    /// The trace id of everything that belongs to the run.
    pub correlation_id: String,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// When it became final; `None` while it is unfinished.
    pub finished_at: Option<Timestamp>,
    /// The labels by which lists can be filtered.
    pub labels: IndexMap<String, String>,
    /// Why it failed or was cancelled.
    pub error: Option<Failure>,
    /// The number of its tasks.
    pub task_count: u32,
    /// The run that it retries, if any.
    pub retry_of: Option<RunId>,
}

impl RunRow {
    /// The row for a submission entry; `None` for any other entry.
    pub fn submitted(entry: &Entry) -> Option<Self> {
        let Event::WorkflowSubmitted(submitted) = &entry.event else { return None };
        Some(Self {
            run_id: entry.run_id?,
            name: submitted.workflow.name.clone(),
            status: RunStatus::Running,
            correlation_id: submitted.correlation_id.clone(),
            submitted_at: entry.recorded_at,
            finished_at: None,
            labels: submitted.labels.clone(),
            error: None,
            task_count: u32::try_from(submitted.workflow.tasks.len()).unwrap_or(u32::MAX),
            retry_of: submitted.retry_of,
        })
    }

    /// Whether a list with this filter shows the run.
    pub fn passes(&self, filter: &RunFilter) -> bool {
        (filter.statuses.is_empty() || filter.statuses.contains(&self.status))
            && filter.name.as_ref().is_none_or(|name| *name == self.name)
            && filter.labels.iter().all(|(label, value)| self.labels.get(label) == Some(value))
            && filter.submitted_after.is_none_or(|after| self.submitted_at >= after)
            && filter.submitted_before.is_none_or(|before| self.submitted_at < before)
            && filter.id_range().is_some_and(|(first, last)| first <= self.run_id && self.run_id <= last)
    }
}

/// How a run ended and, if it did not complete, why; `None` if the event does not end a run.
pub(super) fn ending(event: &Event) -> Option<(RunStatus, Option<Failure>)> {
    event.meaning().ends.map(|end| (end.status(), end.error()))
}

/// Selects runs: a run must pass every criterion that is set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunFilter {
    /// Any of these statuses; empty means all.
    pub statuses: Vec<RunStatus>,
    /// The exact name of the workflow.
    pub name: Option<String>,
    /// All of these labels, with these values.
    pub labels: IndexMap<String, String>,
    /// Runs submitted at this time or later.
    pub submitted_after: Option<Timestamp>,
    /// Runs submitted before this time.
    pub submitted_before: Option<Timestamp>,
    /// The id begins with this: hexadecimal digits in either case, hyphens anywhere. Any other text matches no run.
    pub id_prefix: String,
}

/// A run is recorded within this time after its id was created. An id contains the time of the journal's clock, which
/// never goes back, so the runs of a period are adjacent in the order of ids.
const RECORDED_WITHIN_MS: u64 = 600_000;
/// The bits of a UUIDv7 below the milliseconds.
const REST_BITS: u32 = 80;

impl RunFilter {
    /// The first and the last id that a matching run can have, by prefix and submission time; `None` if no id can
    /// match.
    pub fn id_range(&self) -> Option<(RunId, RunId)> {
        let (mut first, mut last) = self.prefix_range()?;
        let at = |time: Timestamp| u128::try_from(time.0.clamp(0, (1 << 48) - 1)).unwrap_or(0) << REST_BITS;
        if let Some(after) = self.submitted_after {
            first = first.max(at(after.minus_ms(RECORDED_WITHIN_MS)));
        }
        if let Some(before) = self.submitted_before {
            // When one millisecond has too many ids, the further ones get the next milliseconds.
            last = last.min(at(before.plus_ms(RECORDED_WITHIN_MS)) | !(u128::MAX << REST_BITS));
        }
        Some((RunId(Uuid::from_u128(first)), RunId(Uuid::from_u128(last))))
    }

    fn prefix_range(&self) -> Option<(u128, u128)> {
        let (mut first, mut last) = (0_u128, u128::MAX);
        let mut shift = u128::BITS;
        for character in self.id_prefix.chars().filter(|character| *character != '-') {
            let digit = u128::from(character.to_digit(16)?);
            shift = shift.checked_sub(4)?;
            first |= digit << shift;
            last = first | !(u128::MAX << shift);
        }
        Some((first, last))
    }
}

/// The number of runs by status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct RunCounts {
    pub running: u64,
    pub completed: u64,
    pub failed: u64,
    pub cancelled: u64,
}

impl RunCounts {
    /// The number of runs in a status.
    pub fn of(&mut self, status: RunStatus) -> &mut u64 {
        match status {
            RunStatus::Running => &mut self.running,
            RunStatus::Completed => &mut self.completed,
            RunStatus::Failed => &mut self.failed,
            RunStatus::Cancelled => &mut self.cancelled,
        }
    }

    /// Counts the change that an entry makes.
    pub fn count(&mut self, event: &Event) {
        if matches!(event, Event::WorkflowSubmitted(_)) {
            self.running += 1;
        } else if let Some((status, _)) = ending(event) {
            self.running = self.running.saturating_sub(1);
            *self.of(status) += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(prefix: &str) -> Option<(String, String)> {
        let filter = RunFilter { id_prefix: prefix.to_owned(), ..RunFilter::default() };
        filter.id_range().map(|(first, last)| (first.to_string(), last.to_string()))
    }

    #[test]
    fn a_prefix_is_a_range_of_ids_regardless_of_case_and_hyphens() {
        let id = "0192f0c1-2345-7abc-8def-0123456789ab";
        assert_eq!(range(id), Some((id.to_owned(), id.to_owned())));
        let expected = ("0192f0c1-0000-0000-0000-000000000000", "0192f0c1-ffff-ffff-ffff-ffffffffffff");
        assert_eq!(range("0192-F0C1"), Some((expected.0.to_owned(), expected.1.to_owned())));
        assert_eq!(range("").map(|(first, _)| first), Some(Uuid::nil().to_string()));
        assert_eq!(range("last"), None);
        assert_eq!(range(&"0".repeat(33)), None);
    }

    #[test]
    fn runs_of_a_time_are_searched_among_the_ids_of_that_time() {
        let at = |ms: u64| {
            let time = uuid::Timestamp::from_unix(
                uuid::NoContext,
                ms / 1_000,
                u32::try_from(ms % 1_000).expect("small") * 1_000_000,
            );
            RunId(Uuid::new_v7(time))
        };
        let now = 1_764_000_000_000;
        let time = |ms: u64| Some(Timestamp(i64::try_from(ms).expect("a time")));
        let filter =
            RunFilter { submitted_after: time(now), submitted_before: time(now + 5_000), ..Default::default() };
        let (first, last) = filter.id_range().expect("some ids");
        // Its id was created a minute before it was recorded.
        for (ms, expected) in [(now, true), (now - 60_000, true), (now - 3_600_000, false), (now + 3_600_000, false)] {
            assert_eq!(first <= at(ms) && at(ms) <= last, expected, "{ms}");
        }
        let none = RunFilter { submitted_after: time(now), id_prefix: "0".to_owned(), ..RunFilter::default() };
        assert!(none.id_range().is_some_and(|(first, last)| first <= last), "a prefix of that time");
        let none = RunFilter { submitted_after: time(now), id_prefix: "00".to_owned(), ..RunFilter::default() };
        assert!(none.id_range().is_some_and(|(first, last)| first > last), "a prefix of another time");
    }
}
