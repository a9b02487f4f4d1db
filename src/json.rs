//! JSON text for people: indented, with every literal unchanged. Parsing the values would round large numbers.

use gleitzeit_workflow::json::MAX_DEPTH;

/// How many levels are put on separate lines: more than any accepted value has together with the document around it.
/// Values stored before there was a limit may be far deeper, and indenting them would exhaust memory.
const INDENTED_LEVELS: usize = MAX_DEPTH + 16;

/// Indents valid JSON text by two spaces a level. Empty lists and objects, and very deeply nested values, stay on one
/// line.
pub(crate) fn indented(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '"' => {
                in_string = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                while characters.peek().is_some_and(|next| next.is_ascii_whitespace()) {
                    characters.next();
                }
                if characters.peek().is_some_and(|next| matches!(next, '}' | ']')) {
                    out.extend(characters.next());
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                if depth <= INDENTED_LEVELS {
                    line(&mut out, depth.saturating_sub(1));
                }
                depth = depth.saturating_sub(1);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

fn line(out: &mut String, depth: usize) {
    if depth > INDENTED_LEVELS {
        return;
    }
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_like_pretty_json_and_changes_no_literal() {
        let text = r#"{"a":[1,{"b":"x:, {}\"\\"}],"empty":[ ],"none":{},"big":1267650600228229401496703205376}"#;
        let pretty = indented(text);
        assert_eq!(
            pretty,
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"x:, {}\\\"\\\\\"\n    }\n  ],\n  \"empty\": [],\n  \"none\": {},\n  \
             \"big\": 1267650600228229401496703205376\n}"
        );
        let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&pretty).expect("JSON"), value);
        assert_eq!(indented(&indented(text)), pretty, "whatever blanks there were");
    }

    #[test]
    fn deep_nesting_is_not_indented() {
        let levels = 100_000;
        let text = format!("{}[1,2]{}", "[".repeat(levels), "]".repeat(levels));
        let pretty = indented(&text);
        assert!(pretty.len() < 3 * text.len(), "{}", pretty.len());
        assert!(pretty.contains("[1,2]"));
        assert_eq!(pretty.replace(['\n', ' '], ""), text);
        assert!(pretty.starts_with("[\n  [\n    [") && pretty.ends_with("]\n  ]\n]"));
    }
}
