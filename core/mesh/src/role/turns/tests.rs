use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

/// Several lanes in one round; some items wait for one thing and some for another.
#[derive(Default)]
struct Line {
    round: Round,
    lanes: [Lanes<u64>; 2],
    last: u64,
}

/// An item that was served.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Served {
    run: u128,
    priority: i32,
    since_ms: i64,
    item: u64,
}

impl Line {
    fn add(&mut self, run: u128, priority: i32, since_ms: i64) -> u64 {
        self.add_to(0, run, priority, since_ms)
    }

    fn add_to(&mut self, of: usize, run: u128, priority: i32, since_ms: i64) -> u64 {
        self.last += 1;
        self.lanes[of].insert(&mut self.round, id(run), Priority(priority), since_ms, self.last);
        self.last
    }

    fn serve(&mut self, now_ms: i64) -> Option<Served> {
        let (round, lanes) = (&self.round, self.lanes.iter_mut().enumerate());
        let heads = lanes.flat_map(|(of, lanes)| lanes.heads(round).map(move |head| (head, of)));
        let (head, of) = choose(now_ms, heads)?;
        let (run_id, priority, since_ms, item) = (head.run_id, head.priority, head.since_ms, *head.item);
        self.round.served(run_id);
        self.lanes[of].remove(&mut self.round, run_id, priority, since_ms, item);
        Some(Served { run: run_id.0.as_u128(), priority: priority.0, since_ms, item })
    }

    fn is_empty(&self) -> bool {
        self.lanes.iter().all(Lanes::is_empty)
    }
}

fn id(run: u128) -> RunId {
    RunId(Uuid::from_u128(run))
}

fn minutes(count: i64) -> i64 {
    count * AGE_STEP_MS
}

#[test]
fn a_run_of_one_item_waits_for_one_item_of_a_long_one() {
    let mut line = Line::default();
    for _ in 0..1_000 {
        line.add(1, 2, 0);
    }
    (0..10).for_each(|_| assert_eq!(line.serve(1).map(|it| it.run), Some(1)));
    line.add(2, 2, 1);
    let order: Vec<u128> = (0..4).filter_map(|_| line.serve(1)).map(|it| it.run).collect();
    assert_eq!(order, [1, 2, 1, 1]);
}

#[test]
fn a_run_has_one_place_in_the_round_for_any_number_of_items() {
    let mut line = Line::default();
    for _ in 0..3 {
        line.add_to(0, 1, 2, 0);
        line.add_to(1, 1, 2, 0);
        line.add_to(1, 2, 2, 0);
    }
    let order: Vec<u128> = std::iter::from_fn(|| line.serve(1)).map(|it| it.run).collect();
    assert_eq!(order, [1, 2, 1, 2, 1, 2, 1, 1, 1]);
}

#[test]
fn few_priorities_are_scanned_however_many_there_are() {
    let mut line = Line::default();
    for priority in 0..10_000 {
        line.add(1, priority, 0);
    }
    assert!(line.lanes[0].heads(&line.round).count() <= 2 * LEVELS_CONSIDERED);
    assert_eq!(line.serve(1).map(|it| it.priority), Some(9_999));
    // From here on everything new has a worse rank than the lowest, which is therefore considered in the end.
    let mut left = 0;
    while line.serve(minutes(10_000)).expect("it is still there").item != 1 {
        left += 1;
        line.add(2, 9_999, minutes(10_000));
        assert!(left < 100_000, "it is never served");
    }
}

#[test]
fn removed_items_leave_nothing_behind() {
    let mut line = Line::default();
    for run in 0..10 {
        for priority in 0..5 {
            line.add(run, priority, 0);
        }
    }
    line.lanes[0].forget(&mut line.round, id(3));
    line.lanes[0].retain(&mut line.round, |run_id| run_id.0.as_u128() < 5);
    let mut runs: Vec<u128> = std::iter::from_fn(|| line.serve(0)).map(|it| it.run).collect();
    runs.sort_unstable();
    runs.dedup();
    assert_eq!(runs, [0, 1, 2, 4]);
    assert!(line.is_empty() && line.round.places.is_empty() && line.lanes[0].ranks.is_empty());
}

proptest! {
    /// Runs of any length come at any time. Between two services of a run that has more to do, every other run is
    /// served at most once.
    #[test]
    fn runs_of_equal_priority_take_turns(runs in vec((1..60_usize, 0..100_usize, 0..2_usize), 1..12)) {
        let mut line = Line::default();
        let mut served: Vec<u128> = Vec::new();
        let mut step = 0;
        while step < 100 || !line.is_empty() {
            for (run, (items, _, of)) in runs.iter().enumerate().filter(|(_, (_, at, _))| *at == step) {
                for item in 0..*items {
                    // Some runs have all their items wait for one thing, some for both.
                    line.add_to(if *of == 0 { 0 } else { item % 2 }, run as u128, 2, 0);
                }
            }
            if let Some(it) = line.serve(0) {
                if let Some(before) = served.iter().rposition(|before| *before == it.run) {
                    let between = &served[before + 1..];
                    for other in 0..runs.len() as u128 {
                        prop_assert!(between.iter().filter(|it| **it == other).count() <= 1, "{between:?}");
                    }
                }
                served.push(it.run);
            }
            step += 1;
        }
        prop_assert_eq!(served.len(), runs.iter().map(|(items, _, _)| items).sum::<usize>());
    }

    /// A lower priority goes before a higher one only once its level has waited a minute for each level of difference.
    #[test]
    fn a_higher_priority_goes_first(steps in vec((0..6_u128, 1..5_i32, 0..40_000_i64, any::<bool>()), 1..200)) {
        let mut line = Line::default();
        let mut waiting: Vec<Served> = Vec::new();
        let mut now_ms = 0;
        for (run, priority, pass_ms, serves) in steps {
            now_ms += pass_ms;
            let item = line.add(run, priority, now_ms);
            waiting.push(Served { run, priority, since_ms: now_ms, item });
            if !serves {
                continue;
            }
            let it = line.serve(now_ms).expect("something waits");
            let top = waiting.iter().map(|it| it.priority).max().expect("something waits");
            let of_level = waiting.iter().filter(|other| other.priority == it.priority);
            let oldest_ms = of_level.clone().map(|other| other.since_ms).min().expect("it is one of them");
            prop_assert!(
                it.priority == top || now_ms - oldest_ms >= minutes(i64::from(top - it.priority)),
                "{it:?} before priority {top}"
            );
            let first_of_run = of_level.filter(|other| other.run == it.run).map(|other| other.item).min();
            prop_assert_eq!(first_of_run, Some(it.item), "a run's items go in their order");
            waiting.retain(|other| other.item != it.item);
        }
    }

    /// New runs of higher priorities come all the time. An item is overtaken by them without bound only for a minute for
    /// each level of difference, then by at most one item of every other run for each of its own run before it.
    #[test]
    fn nothing_starves(
        priority in 1..4_i32,
        before in 0..20_usize,
        others in 1..6_usize,
        pass_ms in 1..3_000_i64,
    ) {
        const RUN: u128 = u128::MAX;
        let mut line = Line::default();
        for _ in 0..before {
            line.add(RUN, priority, 0);
        }
        let item = line.add(RUN, priority, 0);
        let (mut now_ms, mut run, mut after) = (0, 0, 0);
        loop {
            // There are always this many other items waiting, all of the highest priority.
            while line.lanes[0].levels.get(&4).map_or(0, |level| level.lanes.len()) < others {
                run += 1;
                line.add(run, 4, now_ms);
            }
            let served = line.serve(now_ms).expect("something waits");
            if now_ms >= minutes(i64::from(4 - priority)) {
                after += 1;
            }
            if served.item == item {
                break;
            }
            prop_assert!(after <= (before + 1) * (others + 1), "{after} services with {before} before it");
            now_ms += pass_ms;
        }
    }
}
