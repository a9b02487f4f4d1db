//! Ids of runs in lists on a terminal: shortened to what names them, so that a line has room for the rest and the short
//! form can be given to any command.
//!
//! A run's id begins with the millisecond of its submission (12 digits), by the clock of the journal that never goes back.
//! So a beginning with the whole millisecond cannot become ambiguous by runs that come later, while a shorter one could
//! within the minute. What is left are runs of the same millisecond: those in the same list are compared, and where others
//! may stand between or beyond those listed, the control plane is asked.

use std::collections::HashMap;

use crate::looks;

/// An id's digits up to its millisecond, with the hyphen between them: `01a20df0-52a2`.
pub(crate) const TO_THE_MILLISECOND: usize = 13;
/// So many are asked about; of a list with more of them the others stay whole.
const ASKED: usize = 50;

/// The shortest beginning of each id that is no other's of the list. `sorted` is in the order of the ids, either way.
pub(crate) fn shortest<'a>(sorted: &[&'a str]) -> Vec<&'a str> {
    let in_common = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let shortest = |(at, id): (usize, &&'a str)| {
        let beside = [at.checked_sub(1), Some(at + 1)].into_iter().flatten().filter_map(|at| sorted.get(at));
        let shared = beside.map(|other| in_common(id, other)).max().unwrap_or(0);
        let end = (shared + 1).max(TO_THE_MILLISECOND);
        id.get(..end).unwrap_or(id)
    };
    sorted.iter().enumerate().map(shortest).collect()
}

/// How ids of listed runs are shown; without any of them, each as it is.
#[derive(Default)]
pub(crate) struct Shown(HashMap<String, String>);

impl Shown {
    /// Shortens the ids of a page, if stdout is for people. `is_gapless` says that every run between the first and the last
    /// of them is among them, `goes_on` that there are others behind the last, and `names_one` whether one run alone begins so.
    pub(crate) async fn of_page(
        names_one: impl AsyncFn(&str) -> bool,
        ids: Vec<&str>,
        is_gapless: bool,
        goes_on: bool,
    ) -> Self {
        if !looks::short_ids() {
            return Self::default();
        }
        let mut sorted = ids;
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        sorted.dedup();
        let last = sorted.len().saturating_sub(1);
        let (mut shown, mut asked) = (HashMap::new(), 0);
        for (at, (id, short)) in sorted.iter().zip(shortest(&sorted)).enumerate() {
            let is_known = is_gapless && !(goes_on && at == last);
            asked += usize::from(!is_known);
            if is_known || (asked <= ASKED && names_one(short).await) {
                shown.insert((*id).to_owned(), short.to_owned());
            }
        }
        Self(shown)
    }

    /// What to show of an id: the whole of one that is not known here.
    pub(crate) fn of<'a>(&'a self, id: &'a str) -> &'a str {
        self.0.get(id).map_or(id, String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_millisecond_and_what_tells_it_from_the_others() {
        let ids = [
            "01a20df0-52a3-7538-8952-f202349466ba",
            "01a20df0-52a2-7538-8952-f202349466bb",
            "01a20df0-52a2-7538-8952-f202349466ba",
            "01a20df0-51b9-7538-8952-f202349466ba",
            "01a20df0-51b9-7138-8952-f202349466ba",
        ];
        let expected = ["01a20df0-52a3", ids[1], ids[2], "01a20df0-51b9-75", "01a20df0-51b9-71"];
        assert_eq!(shortest(&ids), expected);
        let backwards: Vec<&str> = ids.into_iter().rev().collect();
        assert_eq!(shortest(&backwards), expected.into_iter().rev().collect::<Vec<_>>());
        for (short, id) in shortest(&ids).iter().zip(ids) {
            assert_eq!(ids.iter().filter(|other| other.starts_with(short)).count(), 1, "{short}");
            assert!(id.starts_with(short));
        }
        assert_eq!(shortest(&["01a2"]), ["01a2"], "an id of another kind stays whole");
        assert_eq!(shortest(&[]), [""; 0]);
    }
}
