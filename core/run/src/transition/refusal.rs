//! Why a command is refused, and why an entry cannot be applied.

use gleitzeit_workflow::error::{ErrorCode, Failure};
use gleitzeit_workflow::id::TaskId;
use thiserror::Error;

use crate::event::{Entry, Event};
use crate::id::{Position, Seq};

/// Why a command is refused.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// The same was recorded before.
    Duplicate,
    /// The proposer is not current: its attempt or lease is stale, or the run is ending.
    Fenced,
    /// It can never be recorded.
    Invalid(Failure),
}

/// The events that a command leads to, or why it is refused.
pub(super) type Decision = Result<Vec<Event>, Refusal>;

/// Why an entry cannot follow what was recorded before: the journal is corrupt.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ApplyError {
    /// An entry of a run is missing or occurs twice.
    #[error("expected entry {expected} of run {run}, found {found} (`{kind}`)")]
    Sequence {
        /// The run.
        run: crate::id::RunId,
        /// The sequence number that should have come next.
        expected: Seq,
        /// The sequence number that was found.
        found: Seq,
        /// The kind of the entry's event.
        kind: &'static str,
    },
    /// An entry names a task that its run does not have.
    #[error("entry {position} (`{kind}`) names unknown task `{task}`")]
    UnknownTask {
        /// The entry's position in the journal.
        position: Position,
        /// The kind of the entry's event.
        kind: &'static str,
        /// The unknown task.
        task: TaskId,
    },
    /// An entry contradicts the state.
    #[error("entry {position} (`{kind}`) contradicts the entries before it: {why}")]
    Contradiction {
        /// The entry's position in the journal.
        position: Position,
        /// The kind of the entry's event.
        kind: &'static str,
        /// A description of the contradiction.
        why: String,
    },
}

pub(super) fn invalid(message: String) -> Refusal {
    Refusal::Invalid(Failure::new(ErrorCode::InvalidRequest, message))
}

pub(super) fn contradiction(entry: &Entry, why: String) -> ApplyError {
    ApplyError::Contradiction { position: entry.position, kind: entry.event.kind(), why }
}
