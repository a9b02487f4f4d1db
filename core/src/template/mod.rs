//! `${task.path}`: references in strings, and what they become.
//!
//! Only string values are templates, never keys. A value that is exactly one reference keeps the type of what it names;
//! inside other text it becomes text. `$${` is a literal `${`.

mod code;
mod parse;
mod resolve;

pub use code::{check_code, resolve_code};
pub use parse::{Piece, Reference, Root, Step, SyntaxError, parse};
pub use resolve::{Place, Scope, TemplateError, lookup, references, resolve, to_text};
