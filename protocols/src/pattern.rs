//! Estimates the cost of compiling and matching a pattern of a schema, from its text alone.

use serde_json::Value;

/// The cost of a wildcard for one character.
const ANY: u64 = 8;
/// The cost of a character class that covers all of Unicode.
const UNICODE_CLASS: u64 = 500;

/// The cost of everything in a schema that may be a pattern.
pub(crate) fn of_schema(schema: &Value) -> u64 {
    match schema {
        Value::Array(items) => items.iter().map(of_schema).fold(0, u64::saturating_add),
        Value::Object(fields) => fields.iter().fold(0, |sum: u64, (word, inner)| {
            let own = match (word.as_str(), inner) {
                ("pattern", Value::String(pattern)) => cost(pattern),
                ("patternProperties", Value::Object(named)) => {
                    named.keys().map(|pattern| cost(pattern)).fold(0, u64::saturating_add)
                }
                _ => 0,
            };
            sum.saturating_add(own).saturating_add(of_schema(inner))
        }),
        _ => 0,
    }
}

/// The approximate size of a compiled pattern, in the characters that it distinguishes: repetitions multiply what they
/// repeat, and Unicode classes are large.
pub(crate) fn cost(pattern: &str) -> u64 {
    // For each open group: the cost of what is before it, and where the last part in it begins.
    let mut groups: Vec<u64> = Vec::new();
    let (mut sum, mut last): (u64, u64) = (0, 0);
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        let part = match character {
            '(' => {
                groups.push(sum.saturating_add(last));
                (sum, last) = (0, 0);
                continue;
            }
            ')' => {
                let group = sum.saturating_add(last).saturating_add(1);
                sum = groups.pop().unwrap_or_default();
                last = group;
                continue;
            }
            '{' => {
                let inside: String = characters.clone().take_while(|next| *next != '}').take(24).collect();
                let most = inside.split(',').filter_map(|number| number.trim().parse::<u64>().ok()).max();
                match most {
                    Some(most) => {
                        last = last.saturating_mul(most.max(1));
                        characters.by_ref().take(inside.chars().count() + 1).for_each(drop);
                        continue;
                    }
                    None => 1,
                }
            }
            '*' | '+' | '?' => {
                last = last.saturating_add(1);
                continue;
            }
            '[' => {
                let mut inside: u64 = 0;
                let negated = characters.peek() == Some(&'^');
                while let Some(next) = characters.next() {
                    inside = inside.saturating_add(match next {
                        ']' if inside > 0 => break,
                        '\\' => escape(&mut characters).max(2),
                        _ => 1,
                    });
                }
                if negated { inside.saturating_add(ANY) } else { inside }
            }
            '\\' => escape(&mut characters),
            '.' => ANY,
            _ => 1,
        };
        sum = sum.saturating_add(last);
        last = part;
    }
    groups.into_iter().fold(sum.saturating_add(last), u64::saturating_add)
}

/// The cost of an escape; consumes what follows the backslash, including braces.
fn escape(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> u64 {
    let Some(letter) = characters.next() else { return 1 };
    if matches!(letter, 'p' | 'P' | 'u' | 'x') && characters.peek() == Some(&'{') {
        characters.by_ref().take_while(|inside| *inside != '}').for_each(drop);
    }
    match letter {
        'p' | 'P' => UNICODE_CLASS,
        'w' | 'W' | 'd' | 'D' | 's' | 'S' => ANY,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_multiply_and_classes_count_as_large_as_they_are() {
        for (pattern, expected) in [
            ("", 0),
            ("abc", 3),
            ("a{30}", 30),
            ("a{2,30}b", 31),
            ("(ab){10}", 30),
            ("((a{10}){10}){10}", 1_110),
            ("[abc]{2}", 6),
            ("[^\"]", 10),
            ("[]a]", 2),
            (".{100}", 800),
            ("\\p{Lu}", 500),
            ("\\d+", 9),
            ("\\u{1F600}", 1),
            ("a|b", 3),
            ("{x}", 3),
            ("(", 0),
            ("[", 0),
            ("\\", 1),
            (")){", 3),
        ] {
            assert_eq!(cost(pattern), expected, "{pattern}");
        }
        assert_eq!(cost(&"(".repeat(10_000)), 0);
        assert_eq!(cost(&format!("{}a{}", "(".repeat(30), "{1000}){1000}".repeat(30))), u64::MAX);
    }
}
