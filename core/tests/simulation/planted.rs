//! The simulation finds mistakes: each of those planted in the rules breaks one of them in some world. Compiled into the
//! crate's own tests, because only there mistakes can be planted.

mod world;

use self::world::{Mistake, simulate};
use crate::planted::{Bug, plant};

/// In one of so many worlds each mistake must show.
const WORLDS: u64 = 2_000;

/// A world in which a mistake breaks a rule, looking from some world on; elsewhere it may break others first.
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

// Each with a world near one where it shows, and a part of the rule that it breaks.
planted! {
    owners_without_a_fence_are_found NoFence 12 "was heard with epoch"
    reports_without_a_lease_are_found NoLease 9 "leased to"
    reports_that_count_twice_are_found NoDuplicateCheck 4 "cannot be recorded"
    engines_without_limits_are_found NoSlotCheck 12 "slots"
    forgotten_leases_are_found ForgottenLeases 6 "open attempts differ"
    tasks_that_start_too_early_are_found EarlyReady 1 "never end"
    runs_that_do_not_end_are_found NoEnd 1 "is None with tasks"
    cancels_that_stop_nothing_are_found NoCancel 73 "to be stopped: true"
    submissions_that_count_twice_are_found NoRequestId 65 "made two runs"
    attempts_that_are_not_requeued_are_found NoRequeue 10 "never end"
    retries_without_end_are_found NoMaxAttempts 1 "retried after"
    proposals_that_are_not_repeated_are_found NoResend 0 "still holds an unanswered report"
    owners_that_miss_entries_are_found NoResync 5 "still holds"
    engines_that_are_never_lost_are_found NoLoss 9 "stays open"
    engines_that_take_nothing_are_found NoAcceptTimer 534 "stays open"
    calls_that_are_lost_are_found LostCalls 71 "never end"
    providers_that_never_stop_are_found NeverAlone 8760 "whose attempt ended long ago"
}
