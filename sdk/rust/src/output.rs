//! The output of running tasks, in pieces.

use gleitzeit_proto::v1;
use gleitzeit_workflow::Timestamp;
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::convert;
use crate::error::{Error, Result};
use crate::run::RunEvent;

/// One of a process's two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of a task's output: whole lines if there are any, otherwise as much of one line as there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskOutput {
    /// The id of the task.
    pub task_id: String,
    /// The number of its attempt, from 1.
    pub attempt: u32,
    /// When the control plane received it.
    pub time: Option<Timestamp>,
    /// The stream that it was written to; `None` for text that does not come from a process, such as a model's.
    pub stream: Option<OutputStream>,
    /// The position of the text in its stream, in bytes of UTF-8, if that is known. A gap after the previous piece
    /// means that pieces were lost.
    pub offset: Option<u64>,
    /// The text, newlines included.
    pub text: String,
    /// Whether the text is a remark about the output rather than output, such as that no more of it is kept.
    pub is_note: bool,
}

impl TaskOutput {
    /// The position where the next piece of the stream begins, if this piece's position is known.
    pub fn end(&self) -> Option<u64> {
        let size = if self.is_note { 0 } else { u64::try_from(self.text.len()).unwrap_or(u64::MAX) };
        self.offset.map(|offset| offset.saturating_add(size))
    }
}

impl RunEvent {
    /// The output in this event, if it has any: a `method_progress` with text.
    pub fn output(&self) -> Option<TaskOutput> {
        #[derive(Deserialize)]
        struct Piece {
            text: String,
            // Other providers may send anything here.
            #[serde(default)]
            stream: serde_json::Value,
            #[serde(default)]
            offset: serde_json::Value,
            #[serde(default)]
            note: serde_json::Value,
        }
        if self.kind != "method_progress" {
            return None;
        }
        let Piece { text, stream, offset, note } = serde_json::from_str(self.payload.as_ref()?.get()).ok()?;
        let stream = match stream.as_str() {
            Some("stdout") => Some(OutputStream::Stdout),
            Some("stderr") => Some(OutputStream::Stderr),
            Some(_) | None => None,
        };
        Some(TaskOutput {
            task_id: self.task_id.clone()?,
            attempt: self.attempt,
            time: self.time,
            stream,
            offset: offset.as_u64().filter(|_| stream.is_some()),
            text,
            is_note: note.as_bool().unwrap_or(false),
        })
    }
}

impl Client {
    /// The latest progress of each open attempt of a run, in the run's order, as `method_progress` events of at most 64
    /// KiB each. `task_ids` selects tasks; empty means all. [`RunEvent::output`] extracts the output from an event.
    ///
    /// # Errors
    /// If the id is malformed or there is no such run; also the errors of any call.
    pub async fn progress_so_far(&self, run_id: &str, task_ids: &[String]) -> Result<Vec<RunEvent>> {
        let request = v1::ReadProgressRequest { run_id: run_id.to_owned(), task_ids: task_ids.to_vec() };
        let limit = self.config().call_timeout;
        let silent = |_| Error::timeout(limit);
        // The deadline covers each message, not the stream as a whole.
        let mut workflows = self.workflows.clone();
        let opened = tokio::time::timeout(limit, workflows.read_progress(request)).await.map_err(silent)?;
        let (mut stream, mut said) = (opened?.into_inner(), Vec::new());
        while let Some(message) = tokio::time::timeout(limit, stream.message()).await.map_err(silent)?? {
            for event in message.events {
                said.push(convert::event(event)?);
            }
        }
        Ok(said)
    }
}

#[cfg(test)]
mod tests {
    use gleitzeit_workflow::Payload;
    use serde_json::{Value, json};

    use super::*;

    fn output(kind: &str, data: Value) -> Option<TaskOutput> {
        let event = RunEvent {
            seq: 0,
            time: Some(Timestamp(5)),
            kind: kind.to_owned(),
            task_id: Some("a".to_owned()),
            attempt: 2,
            payload: Some(Payload::from(data)),
            payload_omitted: false,
        };
        event.output()
    }

    #[test]
    fn text_of_any_provider_is_output_and_nothing_else_is() {
        let piece = output("method_progress", json!({"stream": "stderr", "offset": 7, "text": "ä\n"})).expect("output");
        assert_eq!((piece.stream, piece.offset, piece.end()), (Some(OutputStream::Stderr), Some(7), Some(10)));
        assert_eq!(
            (piece.task_id.as_str(), piece.attempt, piece.time, piece.is_note),
            ("a", 2, Some(Timestamp(5)), false)
        );
        let note = json!({"stream": "stdout", "offset": 7, "text": "[no more]", "note": true});
        let note = output("method_progress", note).expect("output");
        assert_eq!((note.is_note, note.end()), (true, Some(7)));
        let of_a_model =
            output("method_progress", json!({"text": "Once", "offset": "x", "stream": 3})).expect("output");
        assert_eq!((of_a_model.text.as_str(), of_a_model.stream, of_a_model.end()), ("Once", None, None));
        for (kind, data) in [
            ("task_completed", json!({"text": "x"})),
            ("method_progress", json!({"done": 3})),
            ("method_progress", json!({"text": 3})),
            ("method_progress", json!("x")),
        ] {
            assert_eq!(output(kind, data), None);
        }
    }
}
