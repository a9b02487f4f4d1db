//! Scalars: which texts are numbers, booleans and null.

use std::borrow::Cow;

use serde_json::Number;

use super::tree::Kind;

/// The beginning of a text, for messages.
pub(crate) fn shorten(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(60) {
        Some((at, _)) => Cow::Owned(format!("{}…", &text[..at])),
        None => Cow::Borrowed(text),
    }
}

pub(super) enum Scalar {
    /// Null or a boolean.
    Word(Kind),
    Number(Number),
    Text,
    /// A number that cannot be passed on, and why.
    Unfit(&'static str),
}

/// The value of a plain text in the core schema of YAML 1.2: `yes` and `on` are text.
pub(super) fn core(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Word(Kind::Null),
        "true" | "True" | "TRUE" => Scalar::Word(Kind::Bool(true)),
        "false" | "False" | "FALSE" => Scalar::Word(Kind::Bool(false)),
        _ => number(text),
    }
}

/// The value of a plain text if the spellings of YAML 1.1 are also accepted: `yes`, `1_000`, `0b11`.
pub(super) fn older(text: &str) -> Scalar {
    const WORDS: [(&str, bool); 8] = [
        ("true", true),
        ("yes", true),
        ("y", true),
        ("on", true),
        ("false", false),
        ("no", false),
        ("n", false),
        ("off", false),
    ];
    if let Some((_, value)) = WORDS.iter().find(|(word, _)| text.eq_ignore_ascii_case(word)) {
        return Scalar::Word(Kind::Bool(*value));
    }
    if let Some(bits) = text.strip_prefix("0b").filter(|bits| bits.bytes().all(|bit| matches!(bit, b'0' | b'1')))
        && let Ok(number) = u64::from_str_radix(bits, 2)
    {
        return Scalar::Number(number.into());
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_group = |group: &str| !group.is_empty() && group.bytes().all(|digit| digit.is_ascii_digit());
    if digits.contains('_') && digits.split('_').all(is_group) {
        return number(&text.replace('_', ""));
    }
    core(text)
}

/// Whether a number is other than zero.
fn has_value(digits: &str) -> bool {
    digits.bytes().take_while(|byte| !matches!(byte, b'e' | b'E')).any(|byte| matches!(byte, b'1'..=b'9'))
}

fn number(text: &str) -> Scalar {
    const RANGE: &str = "is outside the whole numbers that JSON readers agree on (-2^63 to 2^64-1)";
    let (negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if [".inf", ".Inf", ".INF"].contains(&digits) || [".nan", ".NaN", ".NAN"].contains(&text) {
        return Scalar::Unfit("is not a JSON number: infinity and not-a-number cannot be passed on");
    }
    if !digits.bytes().next().is_some_and(|first| first.is_ascii_digit() || first == b'.') {
        return Scalar::Text;
    }
    if digits.bytes().all(|digit| digit.is_ascii_digit()) {
        let whole =
            if negative { text.parse::<i64>().map(Number::from) } else { digits.parse::<u64>().map(Number::from) };
        return whole.map_or(Scalar::Unfit(RANGE), Scalar::Number);
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        // YAML has no signs before these; digits are checked because Rust would take a further sign.
        if let Some(rest) = text.strip_prefix(prefix)
            && !rest.is_empty()
            && rest.chars().all(|digit| digit.is_digit(radix))
        {
            return u64::from_str_radix(rest, radix).map_or(Scalar::Unfit(RANGE), |n| Scalar::Number(n.into()));
        }
    }
    if !digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte))
        || !digits.bytes().any(|b| b.is_ascii_digit())
    {
        return Scalar::Text;
    }
    match text.parse::<f64>() {
        Ok(0.0) if has_value(digits) => Scalar::Unfit("is closer to zero than any number that can be passed on"),
        Ok(value) => Number::from_f64(value).map_or(Scalar::Unfit("is too large for a number"), Scalar::Number),
        Err(_) => Scalar::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(scalar: Scalar) -> String {
        match scalar {
            Scalar::Word(Kind::Bool(yes)) => yes.to_string(),
            Scalar::Word(_) => "null".to_owned(),
            Scalar::Number(number) => number.to_string(),
            Scalar::Text => "text".to_owned(),
            Scalar::Unfit(_) => "unfit".to_owned(),
        }
    }

    #[test]
    fn older_spellings_are_text_in_the_core_schema() {
        for (text, value) in [("yes", "true"), ("Off", "false"), ("1_000", "1000"), ("-1_0", "-10"), ("0b11", "3")] {
            assert_eq!(shown(older(text)), value, "{text}");
            assert_eq!(shown(core(text)), "text", "{text}");
        }
        for (text, value) in [("1__0", "text"), ("_1", "text"), ("0b", "text"), ("0b2", "text"), ("yesterday", "text")]
        {
            assert_eq!(shown(older(text)), value, "{text}");
        }
        for (text, value) in
            [("", "null"), ("~", "null"), ("TRUE", "true"), ("-7", "-7"), ("0x1f", "31"), (".inf", "unfit")]
        {
            assert_eq!((shown(older(text)), shown(core(text))), (value.to_owned(), value.to_owned()), "{text}");
        }
    }
}
