//! `${task.path}`: references in strings, and how they are replaced.
//!
//! Only string values are templates, never keys. A value that is exactly one reference keeps the type of the referenced
//! value; inside other text the value becomes text. In a row of dollar signs before a `{`, each pair stands for one
//! literal dollar sign, and a remaining odd one begins a reference: `$${x}` is the text `${x}`, `$$${x}` is a dollar
//! sign and a value. Inserted text is never scanned for references.
//!
//! The invariant: what is built stays within a [`Budget`], which is charged before a value is copied.

mod budget;
mod code;
mod parse;
mod resolve;

pub use budget::{Budget, OverBudget};
pub use code::{Filled, Language, check_code, outline, resolve_code};
pub use parse::{Piece, Reference, Root, Step, SyntaxError, is_template, parse, written_step};
pub use resolve::{FileContent, Found, Place, Scope, TemplateError, lookup, references, resolve, to_text};
