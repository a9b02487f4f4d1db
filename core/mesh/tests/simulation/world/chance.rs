//! The only source of randomness in a simulation: the same seed gives the same run.

use std::ops::Range;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A seeded random number generator.
#[derive(Debug)]
pub(crate) struct Chance(StdRng);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// Returns true with the given probability, in thousandths.
    pub(crate) fn permille(&mut self, permille: u32) -> bool {
        self.0.random_range(0..1_000) < permille
    }

    pub(crate) fn within(&mut self, range: Range<u64>) -> u64 {
        self.0.random_range(range)
    }

    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.0.random_range(0..len)
    }

    pub(crate) fn pick<T: Clone>(&mut self, items: &[T]) -> Option<T> {
        if items.is_empty() { None } else { Some(items[self.index(items.len())].clone()) }
    }

    /// A network delay in milliseconds: mostly none, sometimes some, rarely long.
    pub(crate) fn latency(&mut self) -> u64 {
        match self.within(0..100) {
            0..60 => 0,
            60..90 => self.within(1..5),
            90..99 => self.within(5..60),
            _ => self.within(60..800),
        }
    }
}
