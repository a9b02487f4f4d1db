//! Values in shell text: each becomes an environment variable of the command, and the reference becomes a quoted
//! expansion of that variable, so that no shell ever parses a value.
//!
//! `lexer` follows the quoting of the text (with `quotes`, `operators` and `documents`), `commands` follows the words
//! of its commands, and `refusal` says why a place takes no value and what to write instead. None of them knows any
//! program: how a program uses its arguments is its own business.
//!
//! The invariant: the program text does not depend on the values. A reference is refused where dash and bash parse the
//! text differently, or where an expansion is evaluated again (arithmetic).

mod commands;
mod documents;
mod lexer;
mod operators;
mod quotes;
mod refusal;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use self::lexer::{Spot, VALUE};
use super::{Filled, Problem};
use crate::template::parse::{Piece, Reference};
use crate::template::to_text;

const VARIABLE: &str = "GLEITZEIT_VALUE_";
/// The Linux limit for one argument or variable (`MAX_ARG_STRLEN`), including the name, `=` and the final NUL.
const MAX_VARIABLE_BYTES: usize = 128 * 1024;

/// For each reference in order: where it stands, or why it is refused.
fn places(pieces: &[Piece]) -> Vec<Result<Spot, (usize, String)>> {
    let mut source = Vec::new();
    let mut references = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => source.extend_from_slice(text.as_bytes()),
            Piece::Reference(reference) => {
                source.push(VALUE);
                references.push(reference);
            }
        }
    }
    let places = lexer::places(&source, references.len());
    let refused = |(place, reference): (Result<Spot, refusal::Refusal>, &&Reference)| {
        place.map_err(|refusal| (reference.offset, refusal.message(reference)))
    };
    places.into_iter().zip(&references).map(refused).collect()
}

/// Checks where the references stand, before any value is known.
pub(super) fn check(pieces: &[Piece]) -> Vec<Problem> {
    places(pieces).into_iter().filter_map(Result::err).collect()
}

/// Looks up the value of a reference.
pub(super) type Find<'a, 's> = &'a mut dyn FnMut(&Reference) -> Result<Cow<'s, Value>, String>;

/// Writes the program and its variables. `taken` returns whether a variable's name is in use. Each reference is looked
/// up once, however often it occurs in the text.
pub(super) fn fill(pieces: &[Piece], find: Find<'_, '_>, taken: &dyn Fn(&str) -> bool) -> Result<Filled, Problem> {
    let mut places = places(pieces).into_iter();
    let mut names = Names::new(pieces, taken);
    let mut filled = Filled::default();
    let mut known: BTreeMap<&str, String> = BTreeMap::new();
    for piece in pieces {
        let reference = match piece {
            Piece::Text(text) => {
                filled.text.push_str(text);
                continue;
            }
            Piece::Reference(reference) => reference,
        };
        let spot = places.next().unwrap_or(Ok(Spot::Comment))?;
        if spot == Spot::Comment {
            filled.text.push_str(&reference.to_string());
            continue;
        }
        let name = match known.get(&*reference.text) {
            Some(name) => name.clone(),
            None => {
                let at = |message| (reference.offset, message);
                let value = find(reference).map_err(at)?;
                let name = names.next();
                let text = to_text(&value).into_owned();
                check_value(reference, &name, &text).map_err(at)?;
                filled.variables.push((name.clone(), text));
                known.insert(&reference.text, name.clone());
                name
            }
        };
        let (before, after) = match spot {
            Spot::Bare => ("\"", "\""),
            Spot::Single => ("'\"", "\"'"),
            Spot::Double | Spot::Comment => ("", ""),
        };
        filled.text.extend([before, "${", &name, "}", after]);
    }
    Ok(filled)
}

fn check_value(reference: &Reference, name: &str, text: &str) -> Result<(), String> {
    if text.contains('\0') {
        return Err(format!("{reference} holds a NUL character, which no variable of a command can hold"));
    }
    let most = MAX_VARIABLE_BYTES - name.len() - "=".len() - "\0".len();
    if text.len() > most {
        let size = text.len();
        return Err(format!(
            "{reference} is {size} bytes, and a value in a command can have {most}; pass it in `stdin` instead"
        ));
    }
    Ok(())
}

/// Generates names of variables that the program does not mention and that are not taken.
struct Names<'a> {
    taken: &'a dyn Fn(&str) -> bool,
    /// The numbers of such names that occur in the text.
    spoken: BTreeSet<&'a str>,
    last: usize,
}

impl<'a> Names<'a> {
    fn new(pieces: &'a [Piece], taken: &'a dyn Fn(&str) -> bool) -> Self {
        let mut spoken = BTreeSet::new();
        for piece in pieces {
            let Piece::Text(text) = piece else { continue };
            spoken.extend(text.split(VARIABLE).skip(1).map(|rest| {
                let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
                &rest[..end]
            }));
        }
        Self { taken, spoken, last: 0 }
    }

    fn next(&mut self) -> String {
        loop {
            self.last += 1;
            let number = self.last.to_string();
            let name = format!("{VARIABLE}{number}");
            if !self.spoken.contains(number.as_str()) && !(self.taken)(&name) {
                return name;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::template::parse;

    fn filled(text: &str, value: &Value, taken: &[&str]) -> Result<Filled, String> {
        let pieces = parse(text).expect("a template");
        let mut find = |_: &Reference| Ok(Cow::Borrowed(value));
        fill(&pieces, &mut find, &|name| taken.contains(&name)).map_err(|(_, message)| message)
    }

    #[test]
    fn repeated_references_share_one_variable() {
        let filled = filled("a ${x.y} \"${x.y}\" ${ x.y } '${z}' # ${x.y}", &json!({"k": [1]}), &[]).expect("fits");
        let expected = "a \"${GLEITZEIT_VALUE_1}\" \"${GLEITZEIT_VALUE_1}\" \"${GLEITZEIT_VALUE_1}\" \
                        ''\"${GLEITZEIT_VALUE_2}\"'' # ${x.y}";
        assert_eq!(filled.text, expected);
        let value = |name: &str| (name.to_owned(), r#"{"k":[1]}"#.to_owned());
        assert_eq!(filled.variables, [value("GLEITZEIT_VALUE_1"), value("GLEITZEIT_VALUE_2")]);
    }

    #[test]
    fn variables_avoid_names_in_use() {
        let text = "GLEITZEIT_VALUE_2=x; echo ${a} ${b} $${GLEITZEIT_VALUE_5}";
        let filled = filled(text, &json!(1), &["GLEITZEIT_VALUE_1"]).expect("fits");
        let names: Vec<&str> = filled.variables.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["GLEITZEIT_VALUE_3", "GLEITZEIT_VALUE_4"]);
    }

    #[test]
    fn values_too_large_for_a_variable_are_refused_with_size_and_limit() {
        assert!(filled("echo ${a}", &json!("x".repeat(131_052)), &[]).is_ok());
        let why = filled("echo ${a}", &json!("x".repeat(131_054)), &[]).expect_err("too long");
        assert_eq!(why, "${a} is 131054 bytes, and a value in a command can have 131053; pass it in `stdin` instead");
        let why = filled("echo ${a}", &json!("\0"), &[]).expect_err("NUL");
        assert!(why.starts_with("${a} holds a NUL character"), "{why}");
        // A reference in a comment inserts no value.
        assert!(filled("echo # ${a}", &json!("\0"), &[]).is_ok());
    }
}
