//! Runs many seeds in parallel, on all processors.

use std::fmt;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::world::{Mistake, Report, Violation, simulate};

/// Totals over many simulations.
#[derive(Debug, Default)]
pub(crate) struct Total {
    pub(crate) seeds: u64,
    pub(crate) sum: Report,
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} seeds: {}", self.seeds, self.sum)
    }
}

/// Runs all seeds. On failure returns the first violation that was found, with what led to it.
pub(crate) fn run_seeds(seeds: Range<u64>) -> Result<Total, Box<Violation>> {
    let next = AtomicU64::new(seeds.start);
    let broken = Mutex::new(None::<u64>);
    let total = Mutex::new(Total::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let live = || {
        let mut own = Total::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || broken.lock().expect("no thread panicked").is_some() {
                break;
            }
            match simulate(seed, Mistake::None, false) {
                Ok(report) => own.add(&report),
                Err(_) => *broken.lock().expect("no thread panicked") = Some(seed),
            }
        }
        total.lock().expect("no thread panicked").merge(&own);
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(live);
        }
    });
    match broken.into_inner().expect("no thread panicked") {
        None => Ok(total.into_inner().expect("no thread panicked")),
        Some(seed) => match simulate(seed, Mistake::None, true) {
            Err(violation) => Err(Box::new(violation)),
            Ok(_) => panic!("seed {seed} gave two different lives"),
        },
    }
}

impl Total {
    fn add(&mut self, report: &Report) {
        self.merge(&Total { seeds: 1, sum: report.clone() });
    }

    fn merge(&mut self, other: &Total) {
        self.seeds += other.seeds;
        let (sum, more) = (&mut self.sum, &other.sum);
        sum.steps += more.steps;
        sum.virtual_ms += more.virtual_ms;
        sum.entries += more.entries;
        sum.runs += more.runs;
        sum.completed += more.completed;
        for (name, count) in &more.faults {
            *sum.faults.entry(name).or_default() += count;
        }
    }
}
