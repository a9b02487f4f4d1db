//! How much may be built from templates. References multiply what they name, so each value's size is known before it is
//! copied, and to learn it never costs more than what is left.

use std::io;

use serde::Serialize;

/// Bytes of JSON text that may still be built.
#[derive(Clone, Debug)]
pub struct Budget {
    left: usize,
    limit: usize,
}

/// More would have been built than the limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverBudget {
    /// In bytes of JSON.
    pub limit: usize,
    /// What was built before.
    pub used: usize,
}

impl std::fmt::Display for OverBudget {
    /// Follows on the name of what was to be inserted.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { limit, used } = self;
        write!(f, "does not fit: of the limit of {limit} bytes of JSON, {used} stand before it")
    }
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(limit: usize) -> Self {
        Self { left: limit, limit }
    }

    /// Takes so many bytes.
    ///
    /// # Errors
    /// If they are not left; then nothing is taken.
    pub fn take(&mut self, bytes: usize) -> Result<(), OverBudget> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(OverBudget { limit: self.limit, used: self.limit - self.left }),
        }
    }

    /// Takes the bytes of a value as compact JSON, without writing it; stops to count where too little is left.
    ///
    /// # Errors
    /// If they are not left; then nothing is taken.
    pub fn take_json<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), OverBudget> {
        let mut counter = Counter { left: self.left };
        match serde_json::to_writer(&mut counter, value) {
            Ok(()) => self.take(self.left - counter.left),
            // A value always serializes, so it was the counter that stopped.
            Err(_) => Err(OverBudget { limit: self.limit, used: self.limit - self.left }),
        }
    }

    /// Takes the bytes of a text inside a JSON string: with its escapes, without quotes.
    ///
    /// # Errors
    /// If they are not left; then nothing is taken.
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
    fn a_value_takes_what_its_json_has_or_nothing() {
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
