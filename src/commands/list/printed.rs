//! Remembers what has been printed about runs, so that each change is printed once. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use gleitzeit_sdk::{RunStatus, RunSummary};

/// How many unfinished runs are remembered after they have left the page; changes of older ones are not printed.
const MOST: usize = 1_000;
/// How many of them are queried each time.
const ASKED: usize = 20;

/// What the last line about a run said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    status: RunStatus,
    is_set_aside: bool,
}

impl Said {
    fn of(run: &RunSummary) -> Self {
        Self { status: run.status, is_set_aside: run.is_set_aside() }
    }
}

/// The runs that were printed, by id: those of the page, and older ones that have not ended.
#[derive(Debug, Default)]
pub(super) struct Printed {
    said: BTreeMap<String, Said>,
    page: BTreeSet<String>,
    /// The last run that was queried; the next round continues after it.
    asked: String,
}

impl Printed {
    /// Takes a page of runs, the newest first; returns the new and changed ones, the oldest first.
    pub(super) fn page(&mut self, runs: Vec<RunSummary>) -> Vec<RunSummary> {
        self.page = runs.iter().map(|run| run.run_id.clone()).collect();
        let mut changed: Vec<RunSummary> = runs.into_iter().filter(|run| self.is_news(run)).collect();
        changed.reverse();
        let page = &self.page;
        self.said.retain(|id, said| page.contains(id) || !said.status.is_final());
        let surplus = self.said.len().saturating_sub(page.len() + MOST);
        let oldest: Vec<String> = self.said.keys().filter(|id| !page.contains(*id)).take(surplus).cloned().collect();
        for id in oldest {
            self.said.remove(&id);
        }
        changed
    }

    /// The next few unfinished runs, as far as is known, that are no longer on the page. Rotates through all of them.
    pub(super) fn beyond(&mut self) -> Vec<String> {
        let is_beyond = |id: &&String| !self.page.contains(*id);
        let after = self.said.keys().filter(is_beyond).filter(|id| **id > self.asked);
        let mut asked: Vec<String> = after.take(ASKED).cloned().collect();
        if asked.len() < ASKED {
            let first = self.said.keys().filter(is_beyond).filter(|id| **id <= self.asked);
            asked.extend(first.take(ASKED - asked.len()).cloned());
        }
        self.asked = asked.last().cloned().unwrap_or_default();
        asked
    }

    /// Takes one of these runs as it is now, `None` if it was removed; returns whether it should be printed.
    pub(super) fn one(&mut self, id: &str, run: Option<&RunSummary>) -> bool {
        let is_news = run.is_some_and(|run| self.is_news(run));
        if run.is_none_or(|run| run.status.is_final()) {
            self.said.remove(id);
        }
        is_news
    }

    fn is_news(&mut self, run: &RunSummary) -> bool {
        let now = Said::of(run);
        self.said.insert(run.run_id.clone(), now) != Some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(n: usize, status: RunStatus) -> RunSummary {
        RunSummary {
            run_id: format!("{n:04}"),
            correlation_id: String::new(),
            name: "N".to_owned(),
            status,
            submitted_at: None,
            finished_at: None,
            error: None,
            task_count: 1,
            labels: BTreeMap::new(),
            retry_of: None,
        }
    }

    fn ids(runs: &[RunSummary]) -> Vec<&str> {
        runs.iter().map(|run| run.run_id.as_str()).collect()
    }

    #[test]
    fn new_and_changed_runs_are_printed_once_the_oldest_first() {
        use RunStatus::{Completed, Running};
        let mut printed = Printed::default();
        assert_eq!(ids(&printed.page(vec![run(2, Running), run(1, Completed)])), ["0001", "0002"]);
        assert_eq!(ids(&printed.page(vec![run(2, Running), run(1, Completed)])), [""; 0]);
        assert_eq!(ids(&printed.page(vec![run(3, Running), run(2, Completed)])), ["0002", "0003"]);
        assert_eq!(printed.beyond(), [""; 0]);
    }

    #[test]
    fn a_run_that_left_the_page_is_followed_to_its_end() {
        use RunStatus::{Completed, Failed, Running};
        let mut printed = Printed::default();
        printed.page(vec![run(2, Running), run(1, Running)]);
        printed.page(vec![run(4, Running), run(3, Completed)]);
        assert_eq!(printed.beyond(), ["0001", "0002"]);
        assert!(!printed.one("0001", Some(&run(1, Running))), "nothing has changed");
        assert!(printed.one("0002", Some(&run(2, Failed))));
        assert_eq!(printed.beyond(), ["0001"]);
        assert!(!printed.one("0001", None), "it was removed");
        assert_eq!(printed.beyond(), [""; 0]);
    }

    #[test]
    fn runs_beyond_the_page_are_read_in_turn_and_their_number_is_bounded() {
        let mut printed = Printed::default();
        for n in 0..2 * MOST {
            printed.page(vec![run(n, RunStatus::Running)]);
        }
        let mut seen = BTreeSet::new();
        for _ in 0..MOST / ASKED {
            let asked = printed.beyond();
            assert_eq!(asked.len(), ASKED);
            seen.extend(asked);
        }
        assert_eq!(seen.len(), MOST);
    }
}
