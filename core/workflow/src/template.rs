//! `${task.path}`: references in strings, and what they become.
//!
//! Only string values are templates, never keys. A value that is exactly one reference keeps the type of what it names;
//! inside other text it becomes text. Of k dollars before a `{`, each two are one dollar of text; an odd one left over
//! begins a reference: `$${x}` is the text `${x}`, `$$${x}` a dollar and a value. What is inserted is never read again.
//!
//! The invariant: what is built stays within a [`Budget`], which is asked before a value is copied.

mod budget;
mod code;
mod parse;
mod resolve;

pub use budget::{Budget, OverBudget};
pub use code::{Filled, Language, check_code, outline, resolve_code};
pub use parse::{Piece, Reference, Root, Step, SyntaxError, is_template, parse, written_step};
pub use resolve::{FileContent, Found, Place, Scope, TemplateError, lookup, references, resolve, to_text};
