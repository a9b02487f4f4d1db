//! References in program text and in addresses: what they name is inserted as data, never as code.
//!
//! The text before a reference is followed to know where the reference stands. In a string literal the value is escaped
//! for it; in a bare position it becomes a literal of its own; where the position cannot be told for certain, the
//! reference is refused. What a program does with data (`eval`, `sh -c`) is the program's own business.

mod literal;
mod python;
mod shell;
mod url;

use std::borrow::Cow;

use serde_json::Value;

use super::budget::Budget;
use super::parse::{Piece, Reference, parse};
use super::resolve::{Scope, TemplateError, lookup};
use crate::spec::Language;

/// Replaces the references in program text. Each value takes of the budget what it has as JSON; as a literal it can be a
/// few times as long.
///
/// # Errors
/// If a reference is malformed or names nothing, if it stands where a value cannot be inserted as data, or if more would
/// be built than the budget has.
pub fn resolve_code(
    text: &str,
    language: Language,
    place: &str,
    scope: &dyn Scope,
    budget: &mut Budget,
) -> Result<String, TemplateError> {
    let at = |message: String| TemplateError { place: place.to_owned(), message };
    let mut value = |reference: &Reference| {
        let found = lookup(reference, scope)?;
        found.take_text_from(budget).map_err(|over| format!("{reference} {over}"))?;
        Ok(Some(found.into_value()))
    };
    insert_all(text, language, &mut value, &mut Err).map_err(|(_, message)| at(message))
}

/// Tells before anything runs whether each reference in program text stands where data can be inserted. Where that
/// depends on the value it is left to [`resolve_code`].
///
/// # Errors
/// The byte offset of the template, or of each reference that is refused, and why.
pub fn check_code(text: &str, language: Language) -> Result<(), Vec<(usize, String)>> {
    let mut problems = Vec::new();
    let mut note = |problem| {
        problems.push(problem);
        Ok(())
    };
    if let Err(problem) = insert_all(text, language, &mut |_| Ok(None), &mut note) {
        problems.push(problem);
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Finds the value of a reference; `None` if it is not known yet.
type Find<'a, 's> = &'a mut dyn FnMut(&Reference) -> Result<Option<Cow<'s, Value>>, String>;

/// A program that is being written.
trait Program {
    /// Adds program text.
    fn text(&mut self, text: &str);

    /// Adds a value; `None` is one that is not known yet and fits if any would.
    fn insert(&mut self, value: Option<&Value>) -> Result<(), Refused>;

    /// The program. An error is about the last value.
    fn finish(self: Box<Self>) -> Result<String, Refused>;
}

/// A reference that is refused: its byte offset, and why.
type Problem = (usize, String);

/// `on_refused` hears of each reference that is refused, and may let the rest be looked at.
fn insert_all(
    text: &str,
    language: Language,
    find: Find<'_, '_>,
    on_refused: &mut dyn FnMut(Problem) -> Result<(), Problem>,
) -> Result<String, Problem> {
    let mut program: Box<dyn Program> = match language {
        Language::Python => Box::<python::Python>::default(),
        Language::Shell => Box::<shell::Shell>::default(),
        // What a value may be there depends on what follows it.
        Language::Url => {
            let pieces = parse(text).map_err(|error| (error.offset, error.message))?;
            return url::fill(&pieces, find, on_refused);
        }
    };
    let mut last = None;
    let refused = |reference: &Reference, why: Refused| {
        let message = format!("{reference} stands {why}; pass the value as data in another parameter instead");
        (reference.offset, message)
    };
    for piece in parse(text).map_err(|error| (error.offset, error.message))? {
        match piece {
            Piece::Text(text) => program.text(&text),
            Piece::Reference(reference) => {
                let value = find(&reference).map_err(|why| (reference.offset, why))?;
                match program.insert(value.as_deref()) {
                    Ok(()) => last = Some(reference),
                    Err(why) => on_refused(refused(&reference, why))?,
                }
            }
        }
    }
    match (program.finish(), last) {
        (Ok(program), _) => Ok(program),
        (Err(why), Some(reference)) => Err(refused(&reference, why)),
        (Err(why), None) => Err((0, why.to_owned())),
    }
}

/// Why a value cannot be inserted, as it follows on "stands".
type Refused = &'static str;

const UNCERTAIN: Refused = "where it cannot be told whether it is code or text";
const ESCAPED: Refused = "behind a backslash or in the middle of an escape";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::template::Root;

    struct Fixed(Value);

    impl Scope for Fixed {
        fn root(&self, _: &Root) -> Option<Cow<'_, Value>> {
            Some(Cow::Borrowed(&self.0))
        }
    }

    fn resolved(text: &str, language: Language, value: &Value) -> String {
        match resolve_code(text, language, "code", &Fixed(json!({ "v": value })), &mut Budget::new(10_000)) {
            Ok(code) => code,
            Err(error) => format!("refused: {}", error.message),
        }
    }

    #[test]
    fn in_python_a_value_is_escaped_for_its_literal_or_becomes_one() {
        let evil = json!("'\"\\\n{); import os #");
        let inside = r#"\'\"\\\n{); import os #"#;
        let formatted = inside.replace('{', "\\x7b");
        for (code, expected) in [
            ("x = '${a.v}'.split()", format!("x = '{inside}'.split()")),
            ("x = ${a.v}", format!("x = (\"{inside}\")")),
            ("# it's\nx = '\\'${a.v}'", format!("# it's\nx = '\\'{inside}'")),
            ("# ${a.v}\n", format!("# \"{inside}\"\n")),
            ("x = r'\\d\\${a.v}$'", format!("x = r'\\d' \"\\\\{inside}\" r'$'")),
            ("x = b'${a.v}'", format!("x = b'{inside}'")),
            ("x = f'{y}${a.v}'", format!("x = f'{{y}}{formatted}'")),
            ("x = f'{${a.v}}'", r#"x = f'{(f"{39:c}{34:c}{92:c}{10:c}{123:c}); import os {35:c}")}'"#.to_owned()),
            ("x = '${a.v}''y'", format!("x = '{inside}' 'y'")),
        ] {
            assert_eq!(resolved(code, Language::Python, &evil), expected, "{code}");
        }
        let value = json!({"a": [null, true, -1.5], "b'": "é"});
        assert_eq!(
            resolved("x = ${a.v}", Language::Python, &value),
            r#"x = ({"a": [None, True, -1.5, ], "b\'": "é", })"#
        );
    }

    #[test]
    fn dollars_are_halved_before_a_brace_and_keys_may_be_quoted() {
        let scope = Fixed(json!({"odd key": 7}));
        for (code, language, expected) in [
            ("x = '$${a} $$${a['odd key']} $$'", Language::Python, "x = '${a} $7 $$'"),
            ("x = ${a['odd key']}", Language::Python, "x = (7)"),
            ("echo \"$${HOME} $$\" ${a['odd key']}", Language::Shell, "echo \"${HOME} $$\" '7'"),
        ] {
            let resolved = resolve_code(code, language, "code", &scope, &mut Budget::new(1_000));
            assert_eq!(resolved.as_deref(), Ok(expected), "{code}");
        }
    }

    #[test]
    fn a_program_is_not_written_past_its_budget() {
        let scope = Fixed(json!("x".repeat(100)));
        for language in [Language::Python, Language::Shell] {
            let code = "print ".to_owned() + &"'${a}' ".repeat(50);
            let error = resolve_code(&code, language, "code", &scope, &mut Budget::new(1_000)).expect_err("too much");
            assert!(error.message.starts_with("${a} does not fit: "), "{error}");
        }
    }

    #[test]
    fn in_python_a_place_that_cannot_be_told_is_refused() {
        for code in ["'\\${a.v}'", "x = f${a.v}", "x = f'{y:${a.v}}'", "x = 'open\n${a.v}"] {
            let shown = resolved(code, Language::Python, &json!("x"));
            assert!(shown.starts_with("refused: ${a.v} stands "), "{code}: {shown}");
        }
    }

    #[test]
    fn in_shell_a_value_stays_one_word_of_data() {
        let evil = json!("'; rm -rf \"$HOME\" `id` \\");
        let single = r#"'\''; rm -rf "$HOME" `id` \"#;
        let double = r#"'; rm -rf \"\$HOME\" \`id\` \\"#;
        for (code, expected) in [
            ("echo ${a.v}", format!("echo '{single}'")),
            ("echo 'a ${a.v}'", format!("echo 'a {single}'")),
            ("echo \"a ${a.v}\" # c", format!("echo \"a {double}\" # c")),
            ("x=$(cat ${a.v})", format!("x=$(cat '{single}')")),
            ("x=\"$(cat ${a.v})\"", format!("x=\"$(cat '{single}')\"")),
            ("x=`cat ${a.v}`", format!("_gleitzeit_1='{single}'; x=`cat \"$${{_gleitzeit_1}}\"`").replace("$$", "$")),
            ("id # ${a.v}", "id # __ rm -rf __HOME_ _id_ _".to_owned()),
        ] {
            assert_eq!(resolved(code, Language::Shell, &evil), expected, "{code}");
        }
        for code in ["echo \\${a.v}", "${a.v} x", "eval ${a.v}", "echo $((${a.v} + 1))", "echo \"$${x:${a.v}}\""] {
            let shown = resolved(code, Language::Shell, &evil);
            assert!(shown.starts_with("refused: ${a.v} stands "), "{code}: {shown}");
        }
    }
}
