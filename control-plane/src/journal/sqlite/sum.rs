//! Checksums that detect damage: of an entry as it is stored, and of a row in a list. They protect against faulty disks
//! and stray writes, not against people.

use std::fmt;

/// An odd number with well spread bits: the fraction of the golden ratio.
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

/// A checksum being computed. Each step can be inverted, so values that differ in one word never have the same
/// checksum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sum(u64);

impl Sum {
    pub(super) fn new() -> Self {
        Self(FACTOR)
    }

    fn word(self, word: u64) -> Self {
        let mixed = (self.0 ^ word).wrapping_mul(FACTOR);
        Self(mixed ^ (mixed >> 32))
    }

    pub(super) fn number(self, number: i64) -> Self {
        self.word(u64::from_le_bytes(number.to_le_bytes()))
    }

    /// Hashes the length first, so that neighbouring values cannot exchange bytes.
    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut sum = self.word(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        for word in words {
            sum = sum.word(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        sum.word(u64::from_le_bytes(last))
    }

    /// Distinguishes a missing value from an empty one.
    pub(super) fn maybe(self, bytes: Option<&[u8]>) -> Self {
        match bytes {
            Some(bytes) => self.word(1).bytes(bytes),
            None => self.word(0),
        }
    }

    pub(super) fn value(self) -> Checksum {
        Checksum(self.0)
    }
}

/// A finished checksum, or the total of several, which does not depend on their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Checksum(u64);

impl Checksum {
    pub(super) fn plus(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self(self.0.wrapping_sub(other.0))
    }

    /// Another checksum, so that a total that contains it does not match.
    pub(super) fn altered(self) -> Self {
        self.plus(Self(1))
    }
}

impl fmt::LowerHex for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

/// The signed form that SQLite stores.
pub(super) fn stored(sum: Checksum) -> i64 {
    i64::from_le_bytes(sum.0.to_le_bytes())
}

/// The inverse of [`stored`].
pub(super) fn loaded(sum: i64) -> Checksum {
    Checksum(u64::from_le_bytes(sum.to_le_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_moved_byte_changes_the_sum() {
        let text: Vec<u8> = (0..61).collect();
        let sum = |bytes: &[u8]| Sum::new().bytes(bytes).value();
        let whole = sum(&text);
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(sum(&flipped), whole, "bit {bit}");
            // Flipping the same bit twice, a word apart, does not cancel out.
            if let Some(byte) = flipped.get_mut(bit / 8 + 8) {
                *byte ^= 1 << (bit % 8);
                assert_ne!(sum(&flipped), whole, "bit {bit} and the one a word on");
            }
        }
        assert_ne!(Sum::new().bytes(b"ab").bytes(b"c").value(), Sum::new().bytes(b"a").bytes(b"bc").value());
        assert_ne!(Sum::new().maybe(None).value(), Sum::new().maybe(Some(b"")).value());
        assert_ne!(sum(&[0; 8]), sum(&[0; 9]));
    }
}
