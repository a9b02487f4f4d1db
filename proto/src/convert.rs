//! Converts wire messages to domain types and back. Each type is converted in one place.

mod event;
mod names;
mod run;
mod trace;
mod workflow;

use std::time::Duration;

use gleitzeit_run::Waiting;
use gleitzeit_workflow::spec::{Note, Problem};
use gleitzeit_workflow::{ErrorCode, Failure, Payload, Timestamp};

use crate::v1;

pub use event::event;
pub use names::{
    health, presence, presence_from, role, role_from, run_status, run_status_from, task_status, task_status_from,
};
pub use run::{RunOptions, dependencies, explained, run, task_run};
pub use trace::span;
pub use workflow::workflow_value;

/// An instant on the wire.
pub fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    let nanos = i32::try_from(at.0.rem_euclid(1_000) * 1_000_000).unwrap_or_default();
    prost_types::Timestamp { seconds: at.0.div_euclid(1_000), nanos }
}

/// An instant from the wire, in whole milliseconds; `None` if it cannot be represented.
pub fn timestamp_from(at: &prost_types::Timestamp) -> Option<Timestamp> {
    if !(0..1_000_000_000).contains(&at.nanos) {
        return None;
    }
    let ms = at.seconds.checked_mul(1_000)?.checked_add(i64::from(at.nanos / 1_000_000))?;
    Some(Timestamp(ms))
}

/// A duration in milliseconds, with fractions rounded up; `None` if it is negative or too long.
pub fn duration_ms(duration: &prost_types::Duration) -> Option<u64> {
    let duration = Duration::try_from(*duration).ok()?;
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).ok()
}

/// An error on the wire.
pub fn error(failure: &Failure) -> v1::Error {
    v1::Error {
        code: failure.code,
        name: failure.name().to_owned(),
        message: failure.message.clone(),
        details_json: failure.data.as_ref().map(|data| data.get().to_owned()),
    }
}

/// An error from the wire.
pub fn failure(error: &v1::Error) -> Failure {
    let mut failure = Failure { code: error.code, message: error.message.clone(), data: None };
    if let Some(text) = &error.details_json {
        failure = failure.with_data(data(text));
    }
    failure
}

/// Error data from the wire. It may predate the validation of incoming data: text that is not JSON becomes a JSON
/// string.
pub(crate) fn data(text: &str) -> Payload {
    Payload::grammatical(text.to_owned()).unwrap_or_else(|_| Payload::from_value(&text.into()))
}

/// What a task waits for.
pub fn waiting(waiting: &Waiting) -> v1::Waiting {
    v1::Waiting {
        reason: waiting.reason.clone(),
        since: waiting.since.map(timestamp),
        until: waiting.until.map(timestamp),
        remedy: waiting.remedy.clone().unwrap_or_default(),
    }
}

/// A problem of a workflow on the wire.
pub fn problem(problem: &Problem) -> v1::Problem {
    v1::Problem {
        file: problem.file.clone(),
        line: problem.line.unwrap_or(0),
        column: problem.column.unwrap_or(0),
        field: problem.field.clone(),
        code: problem.code.code(),
        name: problem.code.name().to_owned(),
        message: problem.message.clone(),
        hint: problem.hint.clone().unwrap_or_default(),
    }
}

/// A problem from the wire; a code that is unknown both by number and by name becomes the general one.
pub fn problem_from(problem: v1::Problem) -> Problem {
    let code = ErrorCode::from_code(problem.code)
        .or_else(|| ErrorCode::from_name(&problem.name))
        .unwrap_or(ErrorCode::WorkflowValidationFailed);
    Problem {
        file: problem.file,
        line: Some(problem.line).filter(|line| *line > 0),
        column: Some(problem.column).filter(|column| *column > 0),
        field: problem.field,
        code,
        message: problem.message,
        hint: Some(problem.hint).filter(|hint| !hint.is_empty()),
    }
}

/// A note on a workflow, on the wire.
pub fn note(note: &Note) -> v1::Note {
    v1::Note {
        file: note.file.clone(),
        line: note.line.unwrap_or(0),
        column: note.column.unwrap_or(0),
        field: note.field.clone(),
        message: note.message.clone(),
        hint: note.hint.clone().unwrap_or_default(),
    }
}

/// A note from the wire.
pub fn note_from(note: v1::Note) -> Note {
    Note {
        file: note.file,
        line: Some(note.line).filter(|line| *line > 0),
        column: Some(note.column).filter(|column| *column > 0),
        field: note.field,
        message: note.message,
        hint: Some(note.hint).filter(|hint| !hint.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_and_after_the_epoch_can_be_decoded() {
        for ms in [0, 1, 999, 1_764_000_000_123, -1, -1_500] {
            assert_eq!(timestamp_from(&timestamp(Timestamp(ms))), Some(Timestamp(ms)));
        }
        assert_eq!(timestamp_from(&prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }), None);
        assert_eq!(timestamp_from(&prost_types::Timestamp { seconds: 0, nanos: -1 }), None);
    }

    #[test]
    fn durations_are_rounded_up_and_never_negative() {
        assert_eq!(duration_ms(&prost_types::Duration { seconds: 1, nanos: 1 }), Some(1_001));
        assert_eq!(duration_ms(&prost_types::Duration { seconds: -1, nanos: 0 }), None);
    }

    #[test]
    fn failures_can_be_decoded_also_with_foreign_codes() {
        let data = Payload::from_value(&serde_json::json!({"a": 1}));
        for failure in [
            Failure::new(ErrorCode::TaskTimeout, "late").with_data(data),
            Failure { code: 77, message: "strange".to_owned(), data: None },
        ] {
            assert_eq!(super::failure(&error(&failure)), failure);
        }
    }
}
