//! From text to pieces.

use std::fmt;

use thiserror::Error;

/// Where a reference starts.
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
    /// `[0]`: a list's index.
    Index(usize),
}

/// What stands between `${` and `}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Where it starts.
    pub root: Root,
    /// Where it goes from there.
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
    /// Text as it is, `$${` already made `${`.
    Text(String),
    /// A reference.
    Reference(Reference),
}

/// A template that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// Byte offset in the text.
    pub offset: usize,
    /// What is wrong and what was expected.
    pub message: String,
}

/// Splits a text into its pieces; neighbouring texts are joined, empty ones left out.
///
/// # Errors
/// If a `${` has no `}`, or what stands between them is no reference.
pub fn parse(text: &str) -> Result<Vec<Piece>, SyntaxError> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut at = 0;
    while let Some(found) = text[at..].find("${").map(|found| at + found) {
        if text[at..found].ends_with('$') {
            plain.push_str(&text[at..found]);
            plain.push('{');
            at = found + 2;
            continue;
        }
        plain.push_str(&text[at..found]);
        let inside = found + 2;
        let end = text[inside..].find(['}', '\n']).map(|end| inside + end).filter(|&end| text[end..].starts_with('}'));
        let Some(end) = end else {
            return Err(SyntaxError {
                offset: found,
                message: "`${` without a closing `}` on the same line; write `$${` for a literal `${`".to_owned(),
            });
        };
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

fn reference(inside: &str, offset: usize) -> Result<Reference, SyntaxError> {
    let error = |message: String| SyntaxError { offset, message };
    let steps = steps(inside.trim()).map_err(|message| error(format!("`${{{inside}}}`: {message}")))?;
    let mut steps = steps.into_iter();
    let Some(Step::Name(first)) = steps.next() else {
        return Err(error(format!("`${{{inside}}}`: expected a task id, `inputs`, `files`, `env` or `run` first")));
    };
    let mut named = |what: &str| match steps.next() {
        Some(Step::Name(name)) => Ok(name),
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
        (Root::File(_), [Step::Name(name)]) if name == "base64" => Ok(()),
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
    for (index, part) in text.split('.').enumerate() {
        let (name, mut brackets) = match part.find('[') {
            Some(at) => part.split_at(at),
            None => (part, ""),
        };
        if name.is_empty() && (brackets.is_empty() || index == 0) {
            return Err("a name is missing before or after a dot".to_owned());
        }
        if let Some(bad) = name.chars().find(|c| c.is_whitespace() || "]{}$\"'`()|".contains(*c)) {
            return Err(format!("unexpected {bad:?} in `{name}`"));
        }
        if !name.is_empty() {
            steps.push(Step::Name(name.to_owned()));
        }
        while let Some(rest) = brackets.strip_prefix('[') {
            let Some((inside, rest)) = rest.split_once(']') else { return Err("`[` without `]`".to_owned()) };
            let index = inside.parse().map_err(|_| format!("`[{inside}]` is not an index from 0"))?;
            steps.push(Step::Index(index));
            brackets = rest;
        }
        if !brackets.is_empty() {
            return Err(format!("unexpected `{brackets}` after `]`"));
        }
    }
    Ok(steps)
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
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_reference_is_an_error_with_its_place() {
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
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(text.find("${"), Some(error.offset), "{text}");
        }
    }
}
