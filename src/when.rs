//! Times for people: on a terminal as an age; elsewhere, and with `--utc`, in ISO 8601. Documents for programs do not
//! use this.

use std::time::{SystemTime, UNIX_EPOCH};

use gleitzeit_sdk::Timestamp;

use crate::output_settings;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
/// A time further away is shown as a date: `31 h ago` would have to be counted back.
const DAY: u64 = 24 * HOUR;

/// The time by this machine's clock. A control plane's may differ.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A time as it is shown on stdout.
pub(crate) fn shown(at: Timestamp) -> String {
    if output_settings::relative_times() { relative(at, now()) } else { at.to_string() }
}

/// `now`, `5 s ago`, `in 3 min`, `2 h ago`, `2026-11-28 10:03 UTC`.
pub(crate) fn relative(at: Timestamp, now: Timestamp) -> String {
    let seconds = at.ms_since(now).max(now.ms_since(at)) / 1_000;
    let distance = match seconds {
        0 => return "now".to_owned(),
        1..MINUTE => format!("{seconds} s"),
        MINUTE..HOUR => format!("{} min", seconds / MINUTE),
        HOUR..DAY => format!("{} h", seconds / HOUR),
        _ => return to_the_minute(at),
    };
    if at > now { format!("in {distance}") } else { format!("{distance} ago") }
}

fn to_the_minute(at: Timestamp) -> String {
    let iso = at.to_string();
    match iso.split_once('T') {
        Some((date, time)) => format!("{date} {} UTC", time.get(..5).unwrap_or(time)),
        None => iso,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_times_are_relative_and_others_are_dates() {
        let now = Timestamp::parse("2026-11-28T10:03:04.500Z").expect("a time");
        for (at, expected) in [
            ("2026-11-28T10:03:04.100Z", "now"),
            ("2026-11-28T10:03:05.400Z", "now"),
            ("2026-11-28T10:03:00.000Z", "4 s ago"),
            ("2026-11-28T10:03:10.000Z", "in 5 s"),
            ("2026-11-28T10:00:04.000Z", "3 min ago"),
            ("2026-11-28T11:03:03.000Z", "in 59 min"),
            ("2026-11-28T08:00:00.000Z", "2 h ago"),
            ("2026-11-27T10:03:05.000Z", "23 h ago"),
            ("2026-11-27T10:03:04.500Z", "2026-11-27 10:03 UTC"),
            ("2027-01-02T00:00:00.000Z", "2027-01-02 00:00 UTC"),
        ] {
            assert_eq!(relative(Timestamp::parse(at).expect("a time"), now), expected, "{at}");
        }
        assert_eq!(relative(Timestamp(i64::MAX), now), "1970-01-01 00:00 UTC", "a time that no calendar has");
    }

    #[test]
    fn elsewhere_than_on_a_terminal_times_are_exact() {
        assert_eq!(shown(Timestamp(0)), "1970-01-01T00:00:00.000Z");
    }
}
