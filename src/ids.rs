//! Run ids in lists on a terminal: shortened to a unique prefix, so that a line has room for the rest and any command
//! accepts the short form.
//!
//! A run id begins with the millisecond of its submission (12 digits), by the clock of the journal, which never goes
//! back. So a prefix that includes the whole millisecond cannot become ambiguous by later runs, while a shorter one
//! could within the minute. That leaves runs of the same millisecond: those on the same list are compared, and if other
//! runs may lie between or beyond those listed, the control plane is asked.

use std::collections::HashMap;

use crate::output_settings;

/// The length of a prefix up to and including the millisecond, with the hyphen inside: `01a20df0-52a2`.
pub(crate) const TO_THE_MILLISECOND: usize = 13;
/// How many ids the control plane is asked about; further ones on the list stay whole.
const ASKED: usize = 50;

/// The shortest unique prefix of each id on the list. `sorted` is in the order of the ids, ascending or descending.
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

/// The displayed form of listed run ids; an id without an entry is shown whole.
#[derive(Default)]
pub(crate) struct Shown(HashMap<String, String>);

impl Shown {
    /// Shortens the ids of a page, if stdout is for people. `is_gapless` says that the page contains every run between
    /// its first and its last, `goes_on` that there are more after the last. `names_one` returns whether only one run has
    /// a prefix.
    pub(crate) async fn of_page(
        names_one: impl AsyncFn(&str) -> bool,
        ids: Vec<&str>,
        is_gapless: bool,
        goes_on: bool,
    ) -> Self {
        if !output_settings::short_ids() {
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

    /// The displayed form of an id; the whole id if it is not known here.
    pub(crate) fn of<'a>(&'a self, id: &'a str) -> &'a str {
        self.0.get(id).map_or(id, String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_id_keeps_its_millisecond_and_enough_digits_to_be_unique() {
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
