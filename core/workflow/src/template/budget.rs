//! Limits how much is built from templates. References multiply the values they name, so the size of each value is
//! determined before it is copied. Measuring a value never costs more than the budget that is left.

use std::io;

use serde::Serialize;

/// The number of bytes of JSON text that may still be built.
#[derive(Clone, Debug)]
pub struct Budget {
    left: usize,
    limit: usize,
}

/// A template would have built more than the limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverBudget {
    /// The limit, in bytes of JSON.
    pub limit: usize,
    /// What had already been built, in bytes of JSON.
    pub used: usize,
}

impl std::fmt::Display for OverBudget {
    /// Written to follow the name of the value that was to be inserted.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { limit, used } = self;
        write!(f, "does not fit: of the limit of {limit} bytes of JSON, {used} stand before it")
    }
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { left: limit, limit }
    }

    /// Takes `bytes` from the budget.
    ///
    /// # Errors
    /// If fewer are left; then nothing is taken.
    pub fn take(&mut self, bytes: usize) -> Result<(), OverBudget> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(OverBudget { limit: self.limit, used: self.limit - self.left }),
        }
    }

    /// Takes the size of a value as compact JSON, without writing it. Counting stops once the budget is exceeded.
    ///
    /// # Errors
    /// If it does not fit; then nothing is taken.
    pub fn take_json<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), OverBudget> {
        let mut counter = Counter { left: self.left };
        match serde_json::to_writer(&mut counter, value) {
            Ok(()) => self.take(self.left - counter.left),
            // A value always serializes, so the error came from the counter.
            Err(_) => Err(OverBudget { limit: self.limit, used: self.limit - self.left }),
        }
    }

    /// Takes the size of a text inside a JSON string: with its escapes, without the quotes.
    ///
    /// # Errors
    /// If it does not fit; then nothing is taken.
    pub fn take_text(&mut self, text: &str) -> Result<(), OverBudget> {
        let quotes = 2;
        let mut room = Self { left: self.left.saturating_add(quotes), limit: usize::MAX };
        room.take_json(text).map_err(|_| OverBudget { limit: self.limit, used: self.limit - self.left })?;
        self.left = room.left;
        Ok(())
    }
}

struct Counter {
    left: usize,
}

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len()).ok_or(io::ErrorKind::WriteZero)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_charged_its_json_size_or_nothing() {
        let value = json!({"a": [1, "\"\n"], "é": null});
        let size = value.to_string().len();
        for limit in 0..2 * size {
            let mut budget = Budget::new(limit);
            let taken = budget.take_json(&value);
            assert_eq!(taken.is_ok(), limit >= size, "{limit}");
            assert_eq!(budget.left, if limit >= size { limit - size } else { limit });
        }
        let text = "a\"é\n";
        for limit in 0..10 {
            assert_eq!(Budget::new(limit).take_text(text).is_ok(), limit >= 7, "{limit}");
        }
        let over = Budget { left: 10, limit: 30 }.take(11).expect_err("more than is left");
        assert_eq!(over, OverBudget { limit: 30, used: 20 });
    }
}
