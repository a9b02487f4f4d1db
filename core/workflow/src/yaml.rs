//! YAML (JSON included) with places: the one reader of workflow, protocol, provider and configuration files.
//!
//! A file becomes a tree of [`Node`]s, each with its place, a [`Spot`]. [`read`] stops only at broken syntax or at a
//! limit; duplicate keys and values that cannot be carried are noted, and reading continues. This module does not know
//! what a file means: `spec` interprets workflows, and the crates of protocols and providers interpret their files.
//!
//! The invariants: a tree is within [`Limits`], aliases included, so code that walks it may recurse; and no text makes
//! this module panic.

mod parse;
mod place;
mod problem;
mod scalar;
mod syntax;
mod tree;

pub use parse::read;
pub use place::Spot;
pub(crate) use place::{inside, place_at, place_in};
pub use problem::{Note, Problem};
pub(crate) use scalar::shorten;
pub(crate) use tree::{At, text_of};
pub use tree::{Fields, Kind, Node, describe};

use crate::error::ErrorCode;
use crate::json;

/// How much a file may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of text. With aliases expanded, a file may hold twice as many.
    pub bytes: usize,
    /// Values (keys, scalars, lists, objects), aliases expanded.
    pub nodes: usize,
    /// How deep lists and objects are nested; at most [`json::MAX_DEPTH`], as deep as a value may be that is made of it.
    pub depth: usize,
}

impl Limits {
    /// For workflows, which may be made by programs: 8 MiB, 5 million values, 128 levels.
    pub const WORKFLOW: Self = Self { bytes: 8 << 20, nodes: 5_000_000, depth: json::MAX_DEPTH };
    /// For files that people write: 1 MiB, 100,000 values, 128 levels.
    pub const DEFINITION: Self = Self { bytes: 1 << 20, nodes: 100_000, depth: json::MAX_DEPTH };
}

/// The kind of a file. It decides how problems of the file are reported, and how its scalars may be spelt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A workflow, whose scalars are those of the core schema of YAML 1.2: `yes` and `1_000` are text.
    Workflow,
    /// A protocol. Its scalars, and those of the kinds below, may also be spelt as in YAML 1.1.
    Protocol,
    /// A provider.
    Provider,
    /// Options of the command line.
    Configuration,
}

impl FileKind {
    /// For messages: `a file holds one workflow`.
    fn name(self) -> &'static str {
        match self {
            Self::Workflow => "workflow",
            Self::Protocol => "protocol",
            Self::Provider => "provider",
            Self::Configuration => "configuration",
        }
    }

    /// The error code of a text that is not YAML.
    fn syntax_code(self) -> ErrorCode {
        if self == Self::Workflow { ErrorCode::ParseError } else { ErrorCode::ConfigurationError }
    }

    /// The error code of YAML that cannot be used.
    fn content_code(self) -> ErrorCode {
        if self == Self::Workflow { ErrorCode::WorkflowValidationFailed } else { ErrorCode::ConfigurationError }
    }

    /// The remedy if a file holds too much; only workflows have a place for large data.
    fn if_too_large(self) -> Option<&'static str> {
        (self == Self::Workflow).then_some("large data belongs in `files`")
    }

    /// Whether `yes`, `1_000` and `0b11` are a boolean and numbers.
    fn has_older_spellings(self) -> bool {
        self != Self::Workflow
    }
}

/// A text without the byte order mark that some editors put before it.
pub fn without_mark(source: &str) -> &str {
    source.strip_prefix('\u{feff}').unwrap_or(source)
}
