//! The simulation finds bugs: each planted bug breaks a rule in some world. They can be planted because this package's
//! tests enable the feature `planted` of `gleitzeit-run`.

use gleitzeit_run::planted_bugs::{Bug, plant};

use crate::world::{Mistake, simulate};

/// Each bug must show in one of this many worlds.
const WORLDS: u64 = 2_000;

/// Finds a world in which the bug breaks this rule, beginning at seed `from`; in other worlds it may break other rules
/// first.
fn is_found(bug: Bug, from: u64, rule: &str) -> bool {
    plant(Some(bug));
    let broken = (from..from + WORLDS)
        .any(|seed| simulate(seed, Mistake::None, false).is_err_and(|violation| violation.to_string().contains(rule)));
    plant(None);
    broken
}

macro_rules! planted {
    ($($name:ident $bug:ident $from:literal $rule:literal)*) => {
        $(
            #[test]
            fn $name() {
                assert!(is_found(Bug::$bug, $from, $rule), "{:?} was not found", Bug::$bug);
            }
        )*
    };
}

// Each bug with a seed near one where it shows, and a part of the rule that it breaks.
planted! {
    owners_without_a_fence_are_found NoFence 24 "was heard with epoch"
    reports_without_a_lease_are_found NoLease 21 "leased to"
    reports_that_count_twice_are_found NoDuplicateCheck 6 "cannot be recorded"
    engines_without_limits_are_found NoSlotCheck 11 "slots"
    forgotten_leases_are_found ForgottenLeases 6 "open attempts differ"
    tasks_that_start_too_early_are_found EarlyReady 2 "never end"
    runs_that_do_not_end_are_found NoEnd 1 "is None with tasks"
    cancels_that_stop_nothing_are_found NoCancel 784 "to be stopped: true"
    submissions_that_count_twice_are_found NoRequestId 73 "made two runs"
    attempts_that_are_not_requeued_are_found NoRequeue 16 "never end"
    retries_without_end_are_found NoMaxAttempts 6 "retried after"
    proposals_that_are_not_repeated_are_found NoResend 16 "still holds an unanswered report"
    owners_that_miss_entries_are_found NoResync 88 "still holds"
    engines_that_are_never_lost_are_found NoLoss 18 "stays open"
    engines_that_take_nothing_are_found NoAcceptTimer 618 "stays open"
    calls_that_are_lost_are_found LostCalls 78 "never end"
    providers_that_never_stop_are_found NeverAlone 5184 "whose attempt ended long ago"
    calls_to_the_wrong_name_are_found AnyName 1 "was given to a provider named"
    components_of_a_lost_history_are_found LostSeen 0 "from a history that is lost"
    watchers_of_a_lost_history_are_found LostRead 0 "a watcher at"
    answers_of_a_lost_history_are_found LostCallNames 14215 "has the result of dispatch"
    protocols_that_are_missed_are_found NeededProtocols 0 "needs it"
    time_that_counts_in_line_is_found TimeInLine 15 "a provider worked on it for"
}
