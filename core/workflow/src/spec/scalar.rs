//! Single values of a workflow: durations, priorities, ids.

use super::workflow::Priority;
use crate::yaml::Kind;

/// Ten years; a longer duration is surely a mistake.
const LONGEST_MS: u64 = 10 * 366 * 24 * 3_600_000;

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
    match kind {
        Kind::Number(number) => scaled(&number.to_string(), 1_000.0).ok_or_else(|| out_of_range(&number.to_string())),
        Kind::Text(text) => {
            let text = text.trim();
            let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let factor = match &text[digits.len()..] {
                "" | "s" => 1_000.0,
                "ms" => 1.0,
                "m" => 60_000.0,
                "h" => 3_600_000.0,
                "d" => 86_400_000.0,
                _ => return Err(format!("`{}` is not a duration", crate::yaml::shorten(text))),
            };
            let number = digits.trim_end();
            if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
                return Err(format!("`{}` is not a duration", crate::yaml::shorten(text)));
            }
            scaled(number, factor).ok_or_else(|| out_of_range(text))
        }
        _ => Err("a duration must be a number of seconds or text".to_owned()),
    }
}

fn out_of_range(text: &str) -> String {
    format!("`{}` is not a duration from 0 to 10 years", crate::yaml::shorten(text))
}

fn scaled(number: &str, factor: f64) -> Option<u64> {
    let ms = (number.parse::<f64>().ok()? * factor).round();
    // Exact up to 2^53, and the bound is far below that.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked just here"
    )]
    (ms >= 0.0 && ms <= LONGEST_MS as f64).then_some(ms as u64)
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
