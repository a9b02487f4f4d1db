//! Reads a stream to its end and keeps only its beginning, so that no output costs much memory.

use gleitzeit_workflow::error::ErrorCode;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use super::live::{ActiveStreams, Live, StreamOutput};
use crate::call::{CallError, Context};

/// How much of a stream is kept, and how much it may produce.
#[derive(Clone, Copy, Debug)]
pub(in crate::executors) struct StreamLimits {
    pub(in crate::executors) kept: usize,
    pub(in crate::executors) most: u64,
}

impl StreamLimits {
    /// Reads everything and keeps nothing.
    pub(in crate::executors) const DROP: Self = Self { kept: 0, most: u64::MAX };
}

/// The captured beginning of a stream.
#[derive(Debug, Default)]
pub(in crate::executors) struct Captured {
    bytes: Vec<u8>,
    total: u64,
    complete: bool,
    /// Sends the output to watchers as it arrives; `None` if nobody watches.
    live: Option<Live>,
}

/// Standard output and standard error of a call, which watchers see as they are written.
#[derive(Debug)]
pub(in crate::executors) struct Outputs {
    output: Captured,
    errors: Captured,
}

impl Outputs {
    pub(in crate::executors) fn of(context: &Context) -> Self {
        let active_streams = ActiveStreams::default();
        let watched = |stream| Captured {
            live: context.progress.clone().map(|to| Live::new(to, stream, active_streams.clone())),
            ..Captured::default()
        };
        Self { output: watched("stdout"), errors: watched("stderr") }
    }

    /// Reads until both streams end. What was read is kept if the future is dropped.
    ///
    /// # Errors
    /// If a stream produces more than it may.
    pub(in crate::executors) async fn read(
        &mut self,
        output: impl AsyncRead + Unpin,
        errors: impl AsyncRead + Unpin,
        limits: StreamLimits,
    ) -> Result<(), CallError> {
        tokio::try_join!(self.output.read(output, limits), self.errors.read(errors, limits)).map(drop)
    }

    /// Sends the output that was not sent yet, because the call is over.
    pub(in crate::executors) fn send_rest(&mut self) {
        self.output.send_rest();
        self.errors.send_rest();
    }

    pub(in crate::executors) fn into_texts(self) -> Texts {
        Texts { output: self.output.into_text(), error_output: self.errors.into_text() }
    }
}

/// What a call wrote to standard output and to standard error.
#[derive(Debug)]
pub(in crate::executors) struct Texts {
    pub(in crate::executors) output: String,
    pub(in crate::executors) error_output: String,
}

impl Texts {
    /// Adds the end of both texts to an error.
    pub(in crate::executors) fn add_to(self, error: CallError) -> CallError {
        error.with("output", tail(self.output)).with("error_output", tail(self.error_output))
    }
}

impl Captured {
    /// Reads until the stream ends. What was read is kept if the future is dropped.
    ///
    /// # Errors
    /// If the stream produces more than it may.
    pub(in crate::executors) async fn read(
        &mut self,
        mut stream: impl AsyncRead + Unpin,
        limits: StreamLimits,
    ) -> Result<(), CallError> {
        // Grows to the size of a pipe only for processes that write much.
        let mut buffer = vec![0; 1024];
        loop {
            let read = match self.live.as_ref().and_then(Live::due) {
                None => stream.read(&mut buffer).await,
                // Also reached for a stream that never pauses.
                Some(due) if due <= Instant::now() => {
                    self.send_next();
                    continue;
                }
                Some(due) => match timeout_at(due, stream.read(&mut buffer)).await {
                    Ok(read) => read,
                    Err(_due) => {
                        self.send_next();
                        continue;
                    }
                },
            };
            let Ok(read @ 1..) = read else { break };
            self.total = self.total.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
            if self.total > limits.most {
                let message = format!("more than {} bytes of output, see `max_stream_bytes`", limits.most);
                return Err(CallError::new(ErrorCode::TaskExecutionFailed, message));
            }
            let room = limits.kept.saturating_sub(self.bytes.len()).min(read);
            self.bytes.extend_from_slice(&buffer[..room]);
            self.with_live(Live::received);
            if read == buffer.len() && read < 64 * 1024 {
                buffer.resize(64 * 1024, 0);
            }
        }
        self.complete = true;
        Ok(())
    }

    fn send_rest(&mut self) {
        self.with_live(|live, output| live.send_rest(StreamOutput { has_ended: true, ..output }));
    }

    fn send_next(&mut self) {
        self.with_live(Live::send_next);
    }

    fn with_live(&mut self, act: impl FnOnce(&mut Live, StreamOutput<'_>)) {
        if let Some(live) = &mut self.live {
            let is_full = u64::try_from(self.bytes.len()).is_ok_and(|kept| kept < self.total);
            act(live, StreamOutput { kept: &self.bytes, is_full, has_ended: false });
        }
    }

    /// The output as text, with a note if something is missing. `gleitzeit logs -f` recognizes these notes by how they
    /// begin.
    fn into_text(self) -> String {
        let kept = self.bytes.len();
        let mut text = String::from_utf8(self.bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        if u64::try_from(kept).is_ok_and(|kept| kept < self.total) {
            text.push_str(&format!("\n[output cut: {kept} of {} bytes kept, see `max_output_bytes`]\n", self.total));
        }
        if !self.complete {
            text.push_str("\n[output lost: a process that outlived the call still holds it]\n");
        }
        text
    }
}

/// The end of an output, for an error: errors are journaled, so they carry no more.
fn tail(text: String) -> Value {
    const KEPT: usize = 8 * 1024;
    let start = text.len().saturating_sub(KEPT);
    let start = (start..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    json!(text[start..])
}
