//! Times for narrow columns: how long something took, how long ago it was, and the time of day.

use gleitzeit_sdk::Timestamp;

/// A duration in at most seven characters: `340ms`, `1.2s`, `2m05s`, `3h12m`, `12d`.
pub(super) fn short(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0 => format!("{ms}ms"),
        1..10 => format!("{seconds}.{}s", ms % 1_000 / 100),
        10..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// From `from` to `to`, or up to `now` while there is no end; empty if it has not begun.
pub(super) fn took(from: Option<Timestamp>, to: Option<Timestamp>, now: Timestamp) -> String {
    match (from, to) {
        (Some(from), Some(to)) => short(to.ms_since(from)),
        // Of what goes on, whole seconds are enough: tenths would only flicker.
        (Some(from), None) => match now.ms_since(from) {
            ms @ 0..60_000 => format!("{}s", ms / 1_000),
            ms => short(ms),
        },
        (None, _) => String::new(),
    }
}

/// How long ago something was, in whole seconds or more: `now`, `12s`, `5m`, `3h`, `12d`.
pub(super) fn age(at: Option<Timestamp>, now: Timestamp) -> String {
    let Some(at) = at else { return String::new() };
    let seconds = now.ms_since(at) / 1_000;
    match seconds {
        0 => "now".to_owned(),
        1..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The time of day in UTC, such as `14:23:03.329`.
pub(super) fn clock(at: Option<Timestamp>) -> String {
    let text = at.map(|at| at.to_string()).unwrap_or_default();
    text.get(11..23).unwrap_or_default().to_owned()
}

/// An instant in full, and how long ago it was.
pub(super) fn full(at: Timestamp, now: Timestamp) -> String {
    if at > now.plus_ms(1_000) {
        return format!("{at} (in {})", age(Some(now), at));
    }
    match age(Some(at), now).as_str() {
        "now" => format!("{at} (now)"),
        age => format!("{at} ({age} ago)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_ages_stay_short() {
        let shown = [0, 340, 1_250, 12_000, 125_000, 11_520_000, 1_036_800_000].map(short);
        assert_eq!(shown, ["0ms", "340ms", "1.2s", "12s", "2m05s", "3h12m", "12d"]);
        let at = |ms| Some(Timestamp(ms));
        assert_eq!(took(at(1_000), at(1_340), Timestamp(9_000)), "340ms");
        assert_eq!(took(at(1_000), None, Timestamp(4_900)), "3s", "what goes on is counted in seconds");
        assert_eq!(took(at(5_000), None, Timestamp(4_900)), "0s", "clocks may differ");
        assert_eq!(took(None, None, Timestamp(4_900)), "");
        let ages = [200, 5_000, 320_000, 7_300_000, 180_000_000].map(|ago| age(at(0), Timestamp(ago)));
        assert_eq!(ages, ["now", "5s", "5m", "2h", "2d"]);
        assert_eq!(clock(at(1_000)), "00:00:01.000");
        assert_eq!(full(Timestamp(0), Timestamp(61_000)), "1970-01-01T00:00:00.000Z (1m ago)");
    }
}
