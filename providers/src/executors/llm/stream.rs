//! Reads an answer piece by piece: lines of bounded length, text that is shown as it arrives, and an explicit end. What
//! the lines mean is decided by `ollama` and `openai`.

use std::future::pending;
use std::pin::pin;

use gleitzeit_workflow::error::ErrorCode;
use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::config::{Api, Config};
use super::parts::{self, Object};
use super::progress::Progress;
use super::refusal::{ServerError, midway};
use super::service::{Begun, Service};
use crate::call::{CallError, Context};

/// How many bytes a line may have beyond its text: a streamed line holds one piece and some numbers, and a server that
/// does not stream sends the whole answer in one line.
const MAX_BEYOND_TEXT: usize = 256 * 1024;

/// What a server has written so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// The text of the answer.
    pub(super) text: String,
    /// The model's thoughts, if the server separates them.
    pub(super) thinking: String,
}

/// The next piece of an answer; may be empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) thinking: String,
    /// How many bytes the reader itself keeps of the line.
    pub(super) kept: usize,
    /// Whether the answer is complete with this piece.
    pub(super) is_last: bool,
}

/// The meaning of a line.
pub(super) enum Line {
    /// More of the answer.
    Piece(Piece),
    /// The server gave up.
    Error(ServerError),
    /// The line is not valid.
    Malformed(String),
}

/// The line format of one kind of server.
pub(super) trait Reading: Send {
    /// Reads a line without its line break.
    fn take(&mut self, line: &[u8]) -> Line;

    /// Whether the answer counts as complete if it ends without an end mark.
    fn may_end(&self) -> bool;
}

/// Reads an answer to its end and returns what the reader collected. Only the text of the answer is shown as it
/// arrives.
///
/// # Errors
/// If the server fails, breaks off, sends too much, or sends something that cannot be understood.
pub(super) async fn read(
    service: &Service,
    config: &Config,
    context: &Context,
    begun: Begun,
    model: &str,
    reading: &mut dyn Reading,
) -> Result<Written, CallError> {
    let server = service.api.server(&begun.target.url);
    let mut lines = Lines::of(service, config, begun).await?;
    let mut progress = Progress::new(context);
    let (mut answer, mut kept) = (Written::default(), 0);
    loop {
        let piece = match next_line(&mut lines, &mut progress).await? {
            Some(line) => match reading.take(line) {
                Line::Piece(piece) => piece,
                Line::Error(said) => return Err(midway(service.api, lines.target(), &said, model)),
                Line::Malformed(why) => return Err(malformed(&server, &why)),
            },
            None if reading.may_end() => Piece { is_last: true, ..Piece::default() },
            None => return Err(cut(&server)),
        };
        kept += piece.kept;
        answer.text.push_str(&piece.text);
        answer.thinking.push_str(&piece.thinking);
        if answer.text.len() + answer.thinking.len() + kept > config.max_response_bytes {
            return Err(too_long(config));
        }
        progress.add(&piece.text, Instant::now());
        if piece.is_last {
            progress.flush(Instant::now());
            return Ok(answer);
        }
    }
}

/// The next line. Shows the gathered text while it waits.
async fn next_line<'l>(lines: &'l mut Lines<'_>, progress: &mut Progress<'_>) -> Result<Option<&'l [u8]>, CallError> {
    let mut line = pin!(lines.next());
    loop {
        let due = progress.due();
        let show = async {
            match due {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            line = &mut line => return line,
            () = show => progress.flush(Instant::now()),
        }
    }
}

/// Reads an answer that is one JSON object.
///
/// # Errors
/// If it is larger than the limit, cut off, or not JSON.
pub(super) async fn object(service: &Service, config: &Config, begun: &mut Begun) -> Result<Object, CallError> {
    let server = service.api.server(&begun.target.url);
    // Some servers put every number on its own line.
    let limit = config.max_response_bytes * 4 + MAX_BEYOND_TEXT;
    let mut body = Vec::new();
    while let Some(chunk) = service.more(begun).await? {
        if body.len() + chunk.len() > limit {
            let message = format!("{server} answers with more than {limit} bytes; request less at a time");
            return Err(CallError::new(ErrorCode::TaskResultInvalid, message));
        }
        body.extend_from_slice(&chunk);
    }
    parts::object(&body).map_err(|error| {
        if error.contains("EOF while parsing") {
            return cut(&server);
        }
        malformed(&server, &error)
    })
}

fn is_json(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/json"))
}

/// The error for an answer that does not follow the API of the server.
pub(super) fn malformed(server: &str, why: &str) -> CallError {
    CallError::new(ErrorCode::TaskExecutionFailed, format!("{server} sent an invalid answer: {why}"))
}

fn cut(server: &str) -> CallError {
    CallError::new(ErrorCode::TaskExecutionFailed, format!("{server} ended its answer before it was complete"))
}

fn too_long(config: &Config) -> CallError {
    let message = format!(
        "the answer is longer than {} bytes, including the model's thoughts; set `max_tokens` in the task's options, or raise `max_response_bytes` in \
         the provider's",
        config.max_response_bytes
    );
    CallError::new(ErrorCode::TaskResultInvalid, message)
}

/// The lines of a body.
struct Lines<'a> {
    service: &'a Service,
    begun: Begun,
    limit: usize,
    buffer: Vec<u8>,
    /// How many bytes of the buffer were returned.
    taken: usize,
    /// How many bytes of the buffer were searched and contain no line break.
    searched: usize,
    ended: bool,
}

impl<'a> Lines<'a> {
    async fn of(service: &'a Service, config: &Config, mut begun: Begun) -> Result<Self, CallError> {
        // JSON may take six bytes for one byte of text.
        let limit = config.max_response_bytes * 6 + MAX_BEYOND_TEXT;
        let (mut buffer, mut ended) = (Vec::new(), false);
        if service.api == Api::OpenAi && is_json(&begun.response) {
            // The server does not stream. Its object may span several lines.
            let object = object(service, config, &mut begun).await?;
            (buffer, ended) = (Value::Object(object).to_string().into_bytes(), true);
        }
        Ok(Self { service, begun, limit, buffer, taken: 0, searched: 0, ended })
    }

    fn target(&self) -> &super::target::Target {
        &self.begun.target
    }

    /// The next line that is not empty, without its line break; `None` at the end of the body.
    async fn next(&mut self) -> Result<Option<&[u8]>, CallError> {
        loop {
            let end = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n').map(|at| at + self.searched);
            let (from, to) = match end {
                Some(end) => {
                    let from = self.taken;
                    self.taken = end + 1;
                    self.searched = end + 1;
                    (from, end)
                }
                None if self.ended && self.taken == self.buffer.len() => return Ok(None),
                None if self.ended => {
                    let from = self.taken;
                    self.taken = self.buffer.len();
                    self.searched = self.buffer.len();
                    (from, self.buffer.len())
                }
                None => {
                    self.fill().await?;
                    continue;
                }
            };
            if self.buffer[from..to].iter().any(|byte| !byte.is_ascii_whitespace()) {
                return Ok(Some(self.buffer[from..to].trim_ascii()));
            }
        }
    }

    async fn fill(&mut self) -> Result<(), CallError> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.searched = self.buffer.len();
        let Some(chunk) = self.service.more(&mut self.begun).await? else {
            self.ended = true;
            return Ok(());
        };
        if self.buffer.len() + chunk.len() > self.limit {
            let server = self.service.api.server(&self.begun.target.url);
            let message = format!("{server} sent a line of more than {} bytes", self.limit);
            return Err(CallError::new(ErrorCode::TaskResultInvalid, message));
        }
        self.buffer.extend_from_slice(&chunk);
        Ok(())
    }
}
