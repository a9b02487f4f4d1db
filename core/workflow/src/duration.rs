//! Durations as people write them: a number of seconds, or text with a unit. Each place has its own bounds; the reading
//! is the same everywhere.

/// Which durations a place accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Whether 0 is accepted. If not, anything above 0 is at least 1 ms.
    pub allows_zero: bool,
    /// Whether text needs a unit; otherwise text without one is in seconds.
    pub needs_unit: bool,
    /// The longest duration, in milliseconds.
    pub max_ms: u64,
}

/// Why something is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not a number with a known unit.
    Unreadable,
    /// It is shorter or longer than accepted.
    OutOfBounds,
}

/// The milliseconds of text such as `500ms`, `1.5 s`, `2m`, `1h` or `3d`, without spaces around it; rounded.
///
/// # Errors
/// If it is not a duration within the bounds.
pub fn parse(text: &str, bounds: &Bounds) -> Result<u64, Fault> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms = match &text[digits.len()..] {
        "" if bounds.needs_unit => return Err(Fault::Unreadable),
        "" | "s" => 1_000.0,
        "ms" => 1.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        _ => return Err(Fault::Unreadable),
    };
    let number = digits.trim_end();
    if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(Fault::Unreadable);
    }
    within(number.parse::<f64>().map_err(|_| Fault::Unreadable)? * unit_ms, bounds)
}

/// The milliseconds of a number of seconds; rounded.
///
/// # Errors
/// If it is not within the bounds.
pub fn from_seconds(seconds: f64, bounds: &Bounds) -> Result<u64, Fault> {
    within(seconds * 1_000.0, bounds)
}

fn within(exact_ms: f64, bounds: &Bounds) -> Result<u64, Fault> {
    let ms = exact_ms.round();
    let is_long_enough = if bounds.allows_zero { ms >= 0.0 } else { exact_ms > 0.0 };
    // Exact up to 2^53, and bounds are far below that.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked just here"
    )]
    let whole = (is_long_enough && ms <= bounds.max_ms as f64).then_some(ms as u64);
    whole.map(|ms| ms.max(u64::from(!bounds.allows_zero))).ok_or(Fault::OutOfBounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOSE: Bounds = Bounds { allows_zero: true, needs_unit: false, max_ms: 3_600_000 };
    const STRICT: Bounds = Bounds { allows_zero: false, needs_unit: true, max_ms: 3_600_000 };

    #[test]
    fn text_is_read_alike_everywhere_within_the_bounds_of_each_place() {
        use Fault::{OutOfBounds, Unreadable};
        for (text, loose, strict) in [
            ("500ms", Ok(500), Ok(500)),
            ("1.5 s", Ok(1_500), Ok(1_500)),
            ("2m", Ok(120_000), Ok(120_000)),
            ("1h", Ok(3_600_000), Ok(3_600_000)),
            ("0.05d", Err(OutOfBounds), Err(OutOfBounds)),
            ("90", Ok(90_000), Err(Unreadable)),
            ("0s", Ok(0), Err(OutOfBounds)),
            // Rounded, not cut off.
            ("1.6ms", Ok(2), Ok(2)),
            ("0.0156s", Ok(16), Ok(16)),
            ("0.2ms", Ok(0), Ok(1)),
            ("", Err(Unreadable), Err(Unreadable)),
            (".s", Err(Unreadable), Err(Unreadable)),
            ("-1s", Err(Unreadable), Err(Unreadable)),
            ("1e3s", Err(Unreadable), Err(Unreadable)),
            ("inf", Err(Unreadable), Err(Unreadable)),
            ("2 weeks", Err(Unreadable), Err(Unreadable)),
        ] {
            assert_eq!((parse(text, &LOOSE), parse(text, &STRICT)), (loose, strict), "{text:?}");
        }
    }

    #[test]
    fn a_number_is_in_seconds() {
        for (seconds, loose, strict) in [
            (1.5, Some(1_500), Some(1_500)),
            (0.0016, Some(2), Some(2)),
            (0.0, Some(0), None),
            (-1.0, None, None),
            (3_601.0, None, None),
            (f64::NAN, None, None),
            (f64::INFINITY, None, None),
        ] {
            let read = |bounds| from_seconds(seconds, bounds).ok();
            assert_eq!((read(&LOOSE), read(&STRICT)), (loose, strict), "{seconds}");
        }
    }
}
