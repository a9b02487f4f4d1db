//! Single values of a workflow: durations, priorities, ids.

use super::workflow::Priority;
use crate::duration::{self, Bounds, Fault};
use crate::yaml::{Kind, shorten};

/// Ten years; a longer duration is surely a mistake.
const DURATIONS: Bounds = Bounds { allows_zero: true, needs_unit: false, max_ms: 10 * 366 * 24 * 3_600_000 };

/// `[A-Za-z_][A-Za-z0-9_-]*`, at most 200 bytes.
pub(super) fn is_id(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        && text.len() <= 200
}

/// Makes an id from any text: a character that an id cannot contain becomes `_`.
pub(super) fn id_from(text: &str) -> String {
    let mut id: String =
        text.trim().chars().map(|c| if c.is_ascii_alphanumeric() || "_-".contains(c) { c } else { '_' }).collect();
    if !id.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        id.insert(0, '_');
    }
    // Each character is one byte now.
    id.truncate(200);
    id
}

/// A queue's name: one to 200 letters, digits, `_`, `-`, `.`.
pub(super) fn is_queue(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 200
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// Seconds as a number, or text with a unit; rounded to milliseconds.
pub(super) fn duration_ms(kind: &Kind) -> Result<u64, String> {
    let (text, read) = match kind {
        Kind::Number(number) => {
            (number.to_string(), duration::from_seconds(number.as_f64().unwrap_or(f64::NAN), &DURATIONS))
        }
        Kind::Text(text) => (text.trim().to_owned(), duration::parse(text.trim(), &DURATIONS)),
        _ => return Err("a duration must be a number of seconds or text".to_owned()),
    };
    read.map_err(|fault| match fault {
        Fault::Unreadable => format!("`{}` is not a duration", shorten(&text)),
        Fault::OutOfBounds => format!("`{}` is not a duration from 0 to 10 years", shorten(&text)),
    })
}

/// An integer, or one of four words.
pub(super) fn priority(kind: &Kind) -> Option<Priority> {
    match kind {
        Kind::Number(number) => number.as_i64().and_then(|number| i32::try_from(number).ok()).map(Priority),
        Kind::Text(text) => match text.as_str() {
            "low" => Some(Priority(1)),
            "normal" => Some(Priority(2)),
            "high" => Some(Priority(3)),
            "urgent" => Some(Priority(4)),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::yaml::Node;

    #[test]
    fn durations_are_seconds_or_text_with_a_unit() {
        for (value, expected) in [
            (json!(90), Some(90_000)),
            (json!(1.5), Some(1_500)),
            (json!("500ms"), Some(500)),
            (json!("2m"), Some(120_000)),
            (json!("1h"), Some(3_600_000)),
            (json!("1.5 s"), Some(1_500)),
            (json!("30"), Some(30_000)),
            (json!(0), Some(0)),
            (json!(-1), None),
            (json!(1e300), None),
            (json!("inf"), None),
            (json!("NaN"), None),
            (json!("1e3"), None),
            (json!("2 weeks"), None),
            (json!(""), None),
            (json!("."), None),
            (json!(true), None),
        ] {
            let node = Node::from_value(&value, 1).expect("flat");
            assert_eq!(duration_ms(&node.kind).ok(), expected, "{value}");
        }
    }
}
