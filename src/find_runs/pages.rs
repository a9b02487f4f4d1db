//! Merges the runs of the control plane and those in stores into one list, page by page. Both lists are in the order of
//! the ids, so a page takes the newest from each; its token says how far it got.

use gleitzeit_sdk::{Client, Page, Result as Answer, RunFilter, RunSummary};

use crate::error::CommandError;

/// The list that a run comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Plane,
    Stores,
}

/// Where one of the two lists continues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Next {
    /// At its beginning.
    #[default]
    First,
    /// At the page with this token.
    Token(String),
    /// Nowhere: all of it was shown.
    Ended,
}

/// Where the merged list continues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// After the run with this id.
    after: Option<String>,
    plane: Next,
    stores: Next,
}

/// The next part of one list: each run with the page that it is on, and where the list continues after them.
#[derive(Debug)]
pub(super) struct Shown {
    runs: Vec<(RunSummary, Next)>,
    rest: Next,
}

impl Default for Shown {
    /// The value for a list that does not exist.
    fn default() -> Self {
        Self { runs: Vec::new(), rest: Next::Ended }
    }
}

impl Next {
    /// The form in tokens, which contain neither of the two separators.
    fn text(&self) -> &str {
        match self {
            Self::First => "",
            Self::Token(token) => token,
            Self::Ended => "=",
        }
    }

    fn read(text: &str) -> Self {
        match text {
            "" => Self::First,
            "=" => Self::Ended,
            token => Self::Token(token.to_owned()),
        }
    }
}

impl Cursor {
    /// Parses the token of a page; `None` means the beginning.
    ///
    /// # Errors
    /// If it is not a token of such a list, or the control plane that it continues with is not there.
    pub(super) fn read(token: Option<&str>, has_plane: bool) -> Result<Self, CommandError> {
        let Some(token) = token.filter(|token| !token.is_empty()) else { return Ok(Self::default()) };
        let hint = "give the `next_page_token` of the previous page, with the same filters";
        let [after, plane, stores] = token.split('.').collect::<Vec<_>>()[..] else {
            return Err(CommandError::usage(format!("`{token}` is not a page token of this list")).hint(hint));
        };
        let cursor = Self {
            after: Some(after.to_owned()).filter(|after| !after.is_empty()),
            plane: Next::read(plane),
            stores: Next::read(stores),
        };
        if cursor.plane != Next::Ended && !has_plane {
            let message = "the control plane of this list no longer answers";
            return Err(CommandError::usage(message).hint("list again from the beginning, without --page-token"));
        }
        Ok(cursor)
    }

    fn token(&self) -> Option<String> {
        let Self { after, plane, stores } = self;
        if (plane, stores) == (&Next::Ended, &Next::Ended) {
            return None;
        }
        Some(format!("{}.{}.{}", after.as_deref().unwrap_or_default(), plane.text(), stores.text()))
    }

    fn of(&self, source: Source) -> &Next {
        match source {
            Source::Plane => &self.plane,
            Source::Stores => &self.stores,
        }
    }
}

/// Reads the next part of one list: a page's worth of the wanted runs, fewer only at its end.
pub(super) async fn fetch(
    client: &Client,
    cursor: &Cursor,
    source: Source,
    filter: &RunFilter,
    is_wanted: impl Fn(&RunSummary) -> bool,
) -> Answer<Shown> {
    let mut shown = Shown { runs: Vec::new(), rest: cursor.of(source).clone() };
    while shown.runs.len() < usize::try_from(filter.page_size).unwrap_or(usize::MAX) && shown.rest != Next::Ended {
        let page_token = match &shown.rest {
            Next::Token(token) => Some(token.clone()),
            Next::First | Next::Ended => None,
        };
        let page = client.list_runs(&RunFilter { page_token, ..filter.clone() }).await?;
        let at = std::mem::replace(&mut shown.rest, page.next_page_token.map_or(Next::Ended, Next::Token));
        let is_new = |run: &RunSummary| cursor.after.as_ref().is_none_or(|after| run.run_id < *after);
        let shows = |run: &RunSummary| is_new(run) && is_wanted(run);
        shown.runs.extend(page.items.into_iter().filter(shows).map(|run| (run, at.clone())));
    }
    Ok(shown)
}

/// A page of both lists, with the source of each run. A run that is in both counts as the control plane's.
pub(super) fn page(plane: Shown, stores: Shown, size: u32) -> (Page<RunSummary>, Vec<Source>) {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let list = |shown: &Shown| shown.runs.iter().map(|(run, _)| run.clone()).collect::<Vec<_>>();
    let mut merged = merge(list(&plane), list(&stores));
    merged.truncate(size);
    let after = merged.last().map(|(run, _)| run.run_id.clone());
    let rest = |shown: Shown| {
        let is_left = |run: &RunSummary| after.as_ref().is_none_or(|after| run.run_id < *after);
        shown.runs.into_iter().find(|(run, _)| is_left(run)).map_or(shown.rest, |(_, at)| at)
    };
    let next = Cursor { plane: rest(plane), stores: rest(stores), after: after.clone() };
    let (items, sources) = merged.into_iter().unzip();
    (Page { items, next_page_token: next.token() }, sources)
}

/// Merges both lists, the newest first. A run that is in both counts as the control plane's.
pub(super) fn merge(plane: Vec<RunSummary>, stores: Vec<RunSummary>) -> Vec<(RunSummary, Source)> {
    let plane = plane.into_iter().map(|run| (run, Source::Plane));
    let mut merged: Vec<_> = plane.chain(stores.into_iter().map(|run| (run, Source::Stores))).collect();
    // The sort is stable: of two equal runs, the control plane's stays first.
    merged.sort_by(|(a, _), (b, _)| b.run_id.cmp(&a.run_id));
    merged.dedup_by(|(later, _), (first, _)| later.run_id == first.run_id);
    merged
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gleitzeit_sdk::RunStatus;

    use super::*;

    fn run(id: &str) -> RunSummary {
        RunSummary {
            run_id: id.to_owned(),
            correlation_id: String::new(),
            name: String::new(),
            status: RunStatus::Completed,
            submitted_at: None,
            finished_at: None,
            error: None,
            task_count: 0,
            labels: BTreeMap::new(),
            retry_of: None,
        }
    }

    /// Serves a list in pages of two, as `fetch` would read it.
    fn read(list: &[&str], cursor: &Cursor, source: Source, size: usize) -> Shown {
        let mut shown = Shown { runs: Vec::new(), rest: cursor.of(source).clone() };
        while shown.runs.len() < size && shown.rest != Next::Ended {
            let from = match &shown.rest {
                Next::Token(from) => from.parse().expect("a number"),
                Next::First | Next::Ended => 0,
            };
            let rest = if from + 2 < list.len() { Next::Token((from + 2).to_string()) } else { Next::Ended };
            let at = std::mem::replace(&mut shown.rest, rest);
            let page = list.iter().skip(from).take(2).map(|id| run(id));
            let new = page.filter(|run| cursor.after.as_ref().is_none_or(|after| run.run_id < *after));
            shown.runs.extend(new.map(|run| (run, at.clone())));
        }
        shown
    }

    #[test]
    fn the_pages_hold_every_run_of_both_lists_once_and_in_order() {
        let (plane, stores) = (["9", "8", "5", "4", "1"], ["7", "6", "5", "3", "2", "0"]);
        for size in 1..=12 {
            let (mut token, mut seen) = (None::<String>, Vec::new());
            for _ in 0..20 {
                let cursor = Cursor::read(token.as_deref(), true).expect("a token of ours");
                let lists = [(&plane[..], Source::Plane), (&stores[..], Source::Stores)];
                let [plane, stores] = lists.map(|(list, source)| read(list, &cursor, source, size));
                let (page, sources) = page(plane, stores, u32::try_from(size).expect("small"));
                assert!(page.items.len() <= size && page.items.len() == sources.len());
                seen.extend(page.items.into_iter().map(|run| run.run_id).zip(sources));
                token = page.next_page_token;
                if token.is_none() {
                    break;
                }
            }
            let ids: String = seen.iter().map(|(id, _)| id.as_str()).collect();
            assert_eq!(ids, "9876543210", "pages of {size}");
            assert_eq!(seen[4], ("5".to_owned(), Source::Plane), "it is in both");
        }
    }

    #[test]
    fn new_runs_do_not_shift_the_pages() {
        let first = read(&["5", "4", "3", "2"], &Cursor::default(), Source::Plane, 3);
        let (page_one, _) = page(first, Shown::default(), 3);
        let cursor = Cursor::read(page_one.next_page_token.as_deref(), true).expect("a token of ours");
        let later = read(&["8", "7", "6", "5", "4", "3", "2"], &cursor, Source::Plane, 3);
        let (page_two, _) = page(later, Shown::default(), 3);
        let ids: Vec<String> = page_two.items.into_iter().map(|run| run.run_id).collect();
        assert_eq!((ids, page_two.next_page_token), (vec!["2".to_owned()], None));
    }

    #[test]
    fn a_token_of_another_list_is_refused() {
        assert!(Cursor::read(Some("abc"), true).is_err());
        assert!(Cursor::read(Some("a.b.c.d"), true).is_err());
        let gone = Cursor::read(Some("7.token.="), false).expect_err("no control plane");
        assert!(gone.message.contains("no longer answers"), "{gone}");
        assert_eq!(Cursor::read(None, false).ok(), Some(Cursor::default()));
    }
}
