//! Parses text into pieces.

use std::fmt;

use thiserror::Error;

/// The root of a reference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Root {
    /// The result of a task.
    Task(String),
    /// `inputs.NAME`
    Input(String),
    /// `files.NAME`
    File(String),
    /// `env.NAME`
    Env(String),
    /// `run.id`
    RunId,
}

/// One step into a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// `.name`: an object's key; if it is a number and the value a list, an index.
    Name(String),
    /// `['any key']`: an object's key, whatever its characters.
    Key(String),
    /// `[0]`: a list's index.
    Index(usize),
}

impl fmt::Display for Step {
    /// Written as it appears after the value that it steps into.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, ".{name}"),
            Self::Key(key) => f.write_str(&quoted(key)),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// The text between `${` and `}`, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The value it starts from.
    pub root: Root,
    /// The steps from there.
    pub path: Vec<Step>,
    /// As written, without `${` and `}`.
    pub text: String,
    /// Byte offset of `${` in the text.
    pub offset: usize,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${{{}}}", self.text)
    }
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Literal text, with its dollar signs before `{` already halved.
    Text(String),
    /// A reference.
    Reference(Reference),
}

/// A template that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// Byte offset in the text.
    pub offset: usize,
    /// What is wrong and what was expected.
    pub message: String,
}

/// Splits a text into its pieces. Adjacent texts are joined, and empty ones left out.
///
/// In a row of dollar signs before a `{`, each pair stands for one literal dollar sign; a remaining odd one begins a
/// reference.
///
/// # Errors
/// If a `${` has no `}`, or the text between them is not a reference.
pub fn parse(text: &str) -> Result<Vec<Piece>, SyntaxError> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut at = 0;
    while let Some(found) = text[at..].find("${").map(|found| at + found) {
        let before = text[at..=found].trim_end_matches('$');
        let dollars = found + 1 - at - before.len();
        plain.push_str(before);
        plain.extend(std::iter::repeat_n('$', dollars / 2));
        let inside = found + 2;
        if dollars.is_multiple_of(2) {
            plain.push('{');
            at = inside;
            continue;
        }
        let end = end(&text[inside..]).map_err(|message| SyntaxError { offset: found, message })? + inside;
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(Piece::Reference(reference(&text[inside..end], found)?));
        at = end + 1;
    }
    plain.push_str(&text[at..]);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(pieces)
}

/// Whether a text contains a reference, or a malformed one.
pub fn is_template(text: &str) -> bool {
    let is_reference = |piece: &Piece| matches!(piece, Piece::Reference(_));
    text.contains("${") && parse(text).map_or(true, |pieces| pieces.iter().any(is_reference))
}

/// The offset of the `}` that ends a reference, skipping quoted keys.
fn end(text: &str) -> Result<usize, String> {
    let mut quote = None;
    let mut may_open = false;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (_, '\n') => break,
            (Some(_), '\\') => {
                // The escaped character belongs to the key, unless it is a line break.
                if characters.clone().next().is_some_and(|(_, next)| next != '\n') {
                    characters.next();
                }
            }
            (Some(open), _) if character == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') if may_open => quote = Some(character),
            (None, '}') => return Ok(at),
            (None, _) => {}
        }
        may_open = character == '[' || (may_open && character == ' ');
    }
    Err(match quote {
        Some(quote) => format!("`${{` with a key whose quote {quote} is not closed on the same line"),
        None => "`${` without a closing `}` on the same line; write `$${` for a literal `${`".to_owned(),
    })
}

fn reference(inside: &str, offset: usize) -> Result<Reference, SyntaxError> {
    let error = |message: String| SyntaxError { offset, message };
    let steps = steps(inside.trim()).map_err(|message| error(format!("`${{{inside}}}`: {message}")))?;
    let mut steps = steps.into_iter();
    let Some(Step::Name(first)) = steps.next() else {
        return Err(error(format!("`${{{inside}}}`: expected a task id, `inputs`, `files`, `env` or `run` first")));
    };
    let mut named = |what: &str| match steps.next() {
        Some(Step::Name(name) | Step::Key(name)) => Ok(name),
        _ => Err(error(format!("`${{{inside}}}`: expected `{what}.NAME`"))),
    };
    let root = match first.as_str() {
        "inputs" => Root::Input(named("inputs")?),
        "files" => Root::File(named("files")?),
        "env" => Root::Env(named("env")?),
        "run" => match named("run")?.as_str() {
            "id" => Root::RunId,
            other => return Err(error(format!("`${{{inside}}}`: `run` has no `{other}`, only `run.id`"))),
        },
        _ => Root::Task(first),
    };
    let path: Vec<Step> = steps.collect();
    match (&root, path.as_slice()) {
        (Root::Env(_) | Root::RunId, [_, ..]) => Err(error(format!("`${{{inside}}}` is text and has no fields"))),
        (Root::File(_), [Step::Name(name) | Step::Key(name)]) if name == "base64" => Ok(()),
        (Root::File(_), [_, ..]) => Err(error(format!("`${{{inside}}}`: a file has only `.base64`"))),
        _ => Ok(()),
    }?;
    Ok(Reference { root, path, text: inside.trim().to_owned(), offset })
}

fn steps(text: &str) -> Result<Vec<Step>, String> {
    if text.is_empty() {
        return Err("empty reference".to_owned());
    }
    let mut steps = Vec::new();
    let mut rest = text;
    loop {
        let (name, behind) = rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()));
        if name.is_empty() && (steps.is_empty() || !behind.starts_with('[')) {
            return Err("a name is missing before or after a dot".to_owned());
        }
        if let Some(bad) = name.chars().find(|character| !may_be_in_name(*character)) {
            let quoted = quoted(name);
            return Err(format!("unexpected {bad:?} in `{name}`; a key with other characters is written `{quoted}`"));
        }
        if !name.is_empty() {
            steps.push(Step::Name(name.to_owned()));
        }
        rest = behind;
        while let Some(inside) = rest.strip_prefix('[') {
            let (step, behind) = bracket(inside)?;
            steps.push(step);
            rest = behind;
        }
        if rest.is_empty() {
            return Ok(steps);
        }
        rest = rest.strip_prefix('.').ok_or_else(|| format!("unexpected `{rest}` after `]`"))?;
    }
}

fn may_be_in_name(character: char) -> bool {
    !character.is_whitespace() && !"]{}$\"'`()|".contains(character)
}

/// Parses the text between brackets; returns the step and the text after the brackets.
fn bracket(inside: &str) -> Result<(Step, &str), String> {
    let begun = inside.trim_start_matches(' ');
    let Some(quote) = begun.chars().next().filter(|first| matches!(first, '\'' | '"')) else {
        let Some((index, rest)) = inside.split_once(']') else { return Err("`[` without `]`".to_owned()) };
        return match index.parse() {
            Ok(index) => Ok((Step::Index(index), rest)),
            Err(_) => {
                let quoted = quoted(index.trim());
                Err(format!("`[{index}]` is not an index from 0; a key stands in quotes: `{quoted}`"))
            }
        };
    };
    let mut key = String::new();
    let mut characters = begun[1..].char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => key.push(match characters.next() {
                Some((_, same @ ('\\' | '\'' | '"'))) => same,
                Some((_, 'n')) => '\n',
                Some((_, 'r')) => '\r',
                Some((_, 't')) => '\t',
                other => {
                    let other = other.map_or_else(String::new, |(_, other)| other.to_string());
                    return Err(format!("`\\{other}` in a key; a backslash itself is written `\\\\`"));
                }
            }),
            _ if character == quote => {
                let behind = begun[1 + at + 1..].trim_start_matches(' ');
                let rest = behind.strip_prefix(']').ok_or("a quoted key is not followed by `]`")?;
                return Ok((Step::Key(key), rest));
            }
            _ => key.push(character),
        }
    }
    Err(format!("a key whose quote {quote} is not closed"))
}

/// A key as a step of a reference: `.name`, or `['…']` if it contains other characters than letters, digits, `_` and
/// `-`.
pub fn written_step(key: &str) -> String {
    let is_plain = |character: char| character.is_alphanumeric() || matches!(character, '_' | '-');
    if !key.is_empty() && key.chars().all(is_plain) {
        return format!(".{key}");
    }
    quoted(key)
}

fn quoted(key: &str) -> String {
    let mut quoted = String::from("['");
    for character in key.chars() {
        match character {
            '\\' | '\'' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            other => quoted.push(other),
        }
    }
    quoted.push_str("']");
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match parse(text) {
            Ok(pieces) => pieces
                .into_iter()
                .map(|piece| match piece {
                    Piece::Text(text) => format!("{text:?} "),
                    Piece::Reference(reference) => format!("<{:?} {:?}> ", reference.root, reference.path),
                })
                .collect(),
            Err(error) => format!("{}: {}", error.offset, error.message),
        }
    }

    #[test]
    fn templates_are_split_into_text_and_references() {
        for (text, expected) in [
            ("", ""),
            ("plain $ { } $x", "\"plain $ { } $x\" "),
            ("${a}", "<Task(\"a\") []> "),
            ("${my-task.b-c[0].1.d}", "<Task(\"my-task\") [Name(\"b-c\"), Index(0), Name(\"1\"), Name(\"d\")]> "),
            ("x ${inputs.n}$${no}", "\"x \" <Input(\"n\") []> \"${no}\" "),
            ("${ files.f.base64 }", "<File(\"f\") [Name(\"base64\")]> "),
            ("${run.id}${env.HOME}", "<RunId []> <Env(\"HOME\") []> "),
            ("a[${b.c[1][2]}]", "\"a[\" <Task(\"b\") [Name(\"c\"), Index(1), Index(2)]> \"]\" "),
            ("${a['@odata.count']}", "<Task(\"a\") [Key(\"@odata.count\")]> "),
            (
                r#"${a.b["first name"].c[0][ '}' ]}"#,
                r#"<Task("a") [Name("b"), Key("first name"), Name("c"), Index(0), Key("}")]> "#,
            ),
            (r"${a['it\'s']['\\']['\n\t']['']}", r#"<Task("a") [Key("it's"), Key("\\"), Key("\n\t"), Key("")]> "#),
            ("${a['${b}']}", "<Task(\"a\") [Key(\"${b}\")]> "),
            ("${inputs['a b'].c} ${env['X']}", "<Input(\"a b\") [Name(\"c\")]> \" \" <Env(\"X\") []> "),
            ("${files['a.txt']['base64']}", "<File(\"a.txt\") [Key(\"base64\")]> "),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn two_dollars_before_a_brace_are_one_and_an_odd_one_begins_a_reference() {
        for dollars in 1..12_usize {
            let text = format!("a$ {}{{x}}$$", "$".repeat(dollars));
            let kept = "$".repeat(dollars / 2);
            let expected = if dollars % 2 == 1 {
                format!("{:?} <Task(\"x\") []> \"$$\" ", format!("a$ {kept}"))
            } else {
                format!("{:?} ", format!("a$ {kept}{{x}}$$"))
            };
            assert_eq!(shown(&text), expected, "{text}");
        }
        assert_eq!(shown("${x}$${x}"), "<Task(\"x\") []> \"${x}\" ");
        assert_eq!(shown("${x}$$${x}"), "<Task(\"x\") []> \"$\" <Task(\"x\") []> ");
    }

    #[test]
    fn any_key_can_be_written_as_a_step() {
        for key in ["", "a", "a b", "a.b", "'", "\"", "\\", "\\'", "a]b", "}", "${x}", "\n", "é", "0", "\t\r", "\u{1}"]
        {
            let text = format!("${{a{}}}", written_step(key));
            let pieces = parse(&text).expect(&text);
            let [Piece::Reference(reference)] = pieces.as_slice() else { panic!("{text}: {pieces:?}") };
            assert!(matches!(&reference.path[..], [Step::Key(step) | Step::Name(step)] if step == key), "{text}");
            assert_eq!(reference.to_string(), text);
        }
    }

    #[test]
    fn invalid_references_are_errors_with_their_place() {
        for text in [
            "é ${",
            "${}",
            "${a..b}",
            "${a[x]}",
            "${a[0}",
            "${a b}",
            "${inputs}",
            "${run.name}",
            "${files.x.y}",
            "${[0]}",
            "${a\n}",
            "$$${a b}",
            "${a['x}",
            "${a['x'}",
            "${a['x'b]}",
            r"${a['\x']}",
            r"${a['x\']}",
            "${a['x\n']}",
            "${a'x'}",
            "${['x']}",
            "${inputs[0]}",
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(text.find("${"), Some(error.offset), "{text}");
        }
    }
}
