//! References in program text and in addresses: their values are inserted as data, never as code.
//!
//! The text before a reference is parsed to find out where the reference stands. In Python a value is escaped for the
//! surrounding string literal, or becomes a literal of its own. In shell it becomes an environment variable of the
//! command. A reference is refused if its position cannot be determined for certain. How a program uses its data
//! (`eval`, `sh -c`) is the program's own business.

mod literal;
mod python;
mod shell;
mod url;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::budget::Budget;
use super::parse::{Piece, Reference, parse};
use super::resolve::{Scope, TemplateError, lookup};

/// The language of a code parameter: its rules say how a value is written into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// Python 3 source text.
    Python,
    /// Shell source text, for a POSIX shell or bash. The values of its references are passed in [`ENVIRONMENT`](crate::spec::ENVIRONMENT).
    Shell,
    /// The address of a request: a URL of http or https, or a path.
    Url,
}

/// Program text whose references have been replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// The program.
    pub text: String,
    /// Environment variables that the program expects, by name. Only shell programs have any.
    pub variables: Vec<(String, String)>,
}

/// Replaces the references in program text. `taken` returns whether the name of an environment variable is in use. Each
/// value is charged to the budget with its size as JSON; as a literal it can be a few times as long.
///
/// # Errors
/// If a reference is malformed or names nothing, if a value cannot be inserted as data where the reference stands, if
/// no environment variable can hold the value, or if the budget is exceeded.
pub fn resolve_code(
    text: &str,
    language: Language,
    place: &str,
    scope: &dyn Scope,
    budget: &mut Budget,
    taken: &dyn Fn(&str) -> bool,
) -> Result<Filled, TemplateError> {
    let mut value = |reference: &Reference| {
        let found = lookup(reference, scope)?;
        found.take_text_from(budget).map_err(|over| format!("{reference} {over}"))?;
        Ok(found.into_value())
    };
    let filled = match language {
        Language::Shell => pieces(text).and_then(|pieces| shell::fill(&pieces, &mut value, taken)),
        Language::Python | Language::Url => {
            insert_all(text, language, &mut |reference| value(reference).map(Some), &mut Err)
                .map(|text| Filled { text, variables: Vec::new() })
        }
    };
    filled.map_err(|(_, message)| TemplateError { place: place.to_owned(), message })
}

fn pieces(text: &str) -> Result<Vec<Piece>, Problem> {
    parse(text).map_err(|error| (error.offset, error.message))
}

/// Checks, before anything runs, whether data can be inserted where each reference in program text stands. If that
/// depends on the value, [`resolve_code`] decides it.
///
/// # Errors
/// For a malformed template its byte offset, else the byte offset of each refused reference; each with the reason.
pub fn check_code(text: &str, language: Language) -> Result<(), Vec<(usize, String)>> {
    if language == Language::Shell {
        let problems = pieces(text).map_or_else(|problem| vec![problem], |pieces| shell::check(&pieces));
        return if problems.is_empty() { Ok(()) } else { Err(problems) };
    }
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

/// Program text with an example value in the place of each reference. Its lines, and whether it can be parsed, do not
/// depend on the values.
///
/// # Errors
/// As [`check_code`].
pub fn outline(text: &str, language: Language) -> Result<String, (usize, String)> {
    let example = Value::String("x".to_owned());
    match language {
        Language::Shell => {
            let pieces = pieces(text)?;
            shell::fill(&pieces, &mut |_| Ok(Cow::Borrowed(&example)), &|_| false).map(|filled| filled.text)
        }
        Language::Python | Language::Url => {
            insert_all(text, language, &mut |_| Ok(Some(Cow::Borrowed(&example))), &mut Err)
        }
    }
}

/// Looks up the value of a reference; `None` if it is not known yet.
type Find<'a, 's> = &'a mut dyn FnMut(&Reference) -> Result<Option<Cow<'s, Value>>, String>;

/// A program under construction.
trait Program {
    /// Adds program text.
    fn text(&mut self, text: &str);

    /// Adds a value; `None` stands for one that is not known yet, and is accepted if any value would be.
    fn insert(&mut self, value: Option<&Value>) -> Result<(), Refused>;

    /// Returns the program. An error is about the last value.
    fn finish(self: Box<Self>) -> Result<String, Refused>;
}

/// A reference that is refused: its byte offset, and why.
type Problem = (usize, String);

/// Inserts all values. `on_refused` is called with each refused reference; if it returns `Ok`, the rest is checked too.
fn insert_all(
    text: &str,
    language: Language,
    find: Find<'_, '_>,
    on_refused: &mut dyn FnMut(Problem) -> Result<(), Problem>,
) -> Result<String, Problem> {
    if language == Language::Url {
        // Which value fits depends on the text that follows it.
        return url::fill(&pieces(text)?, find, on_refused);
    }
    let mut program: Box<dyn Program> = Box::<python::Python>::default();
    let mut last = None;
    let refused = |reference: &Reference, why: Refused| {
        let message = format!("{reference} stands {why}; pass the value as data in another parameter instead");
        (reference.offset, message)
    };
    for piece in pieces(text)? {
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

/// Why a value cannot be inserted, written to follow the word "stands".
type Refused = &'static str;

const UNCERTAIN: Refused = "where it could be either code or text";
const ESCAPED: Refused = "after a backslash or in the middle of an escape";

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
        let mut budget = Budget::new(10_000);
        match resolve_code(text, language, "code", &Fixed(json!({ "v": value })), &mut budget, &|_| false) {
            Ok(filled) => filled.text,
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
    fn doubled_dollars_are_halved_and_keys_may_be_quoted() {
        let scope = Fixed(json!({"odd key": 7}));
        for (code, language, expected) in [
            ("x = '$${a} $$${a['odd key']} $$'", Language::Python, "x = '${a} $7 $$'"),
            ("x = ${a['odd key']}", Language::Python, "x = (7)"),
            ("echo \"$${HOME} $$\" ${a['odd key']}", Language::Shell, "echo \"${HOME} $$\" \"${GLEITZEIT_VALUE_1}\""),
        ] {
            let filled = resolve_code(code, language, "code", &scope, &mut Budget::new(1_000), &|_| false);
            assert_eq!(filled.map(|filled| filled.text).as_deref(), Ok(expected), "{code}");
        }
    }

    #[test]
    fn an_outline_keeps_lines_without_values() {
        for (code, language, expected) in [
            ("a = ${a.v}\nb = '${a.w[0]}'", Language::Python, "a = (\"x\")\nb = 'x'"),
            ("cat ${a.v}\necho '${b}'", Language::Shell, "cat \"${V_1}\"\necho ''\"${V_2}\"''"),
            ("https://${a.host}/$${b}", Language::Url, "https://x/${b}"),
        ] {
            let outline = outline(code, language).expect("it can be filled in");
            assert_eq!(outline.replace("GLEITZEIT_VALUE", "V"), expected);
        }
        assert!(outline("x = f${a.v}", Language::Python).is_err());
    }

    #[test]
    fn a_program_stays_within_its_budget() {
        let scope = Fixed(json!("x".repeat(100)));
        // In shell a reference becomes one variable, however often it occurs in the text.
        for (language, bytes) in [(Language::Python, 1_000), (Language::Shell, 99)] {
            let code = "print ".to_owned() + &"'${a}' ".repeat(50);
            let filled = resolve_code(&code, language, "code", &scope, &mut Budget::new(bytes), &|_| false);
            let error = filled.expect_err("too much");
            assert!(error.message.starts_with("${a} does not fit: "), "{error}");
        }
    }

    #[test]
    fn in_python_an_ambiguous_place_is_refused() {
        for code in ["'\\${a.v}'", "x = f${a.v}", "x = f'{y:${a.v}}'", "x = 'open\n${a.v}"] {
            let shown = resolved(code, Language::Python, &json!("x"));
            assert!(shown.starts_with("refused: ${a.v} stands "), "{code}: {shown}");
        }
    }

    #[test]
    fn in_shell_a_value_is_a_variable_and_its_place_a_quoted_expansion() {
        let evil = json!("'; rm -rf \"$HOME\" `id` \\");
        for (code, expected) in [
            ("echo ${a.v}", r#"echo "${V}""#),
            ("echo 'a ${a.v}'", r#"echo 'a '"${V}"''"#),
            ("echo \"a ${a.v}\" # ${a.v}", r#"echo "a ${V}" # ${a.v}"#),
            ("x=\"$(cat ${a.v})\"", r#"x="$(cat "${V}")""#),
            ("x=`cat '${a.v}'`", r#"x=`cat ''"${V}"''`"#),
            ("cat <<E\n${a.v}\nE", "cat <<E\n${V}\nE"),
        ] {
            assert_eq!(resolved(code, Language::Shell, &evil), expected.replace("V}", "GLEITZEIT_VALUE_1}"), "{code}");
        }
        for code in ["echo \\${a.v}", "${a.v} x", "let ${a.v}", "echo $((${a.v} + 1))", "echo \"$${x:${a.v}}\""] {
            let shown = resolved(code, Language::Shell, &evil);
            assert!(shown.starts_with("refused: ${a.v} stands "), "{code}: {shown}");
        }
    }
}
