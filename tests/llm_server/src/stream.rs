//! Streamed answers, in the manner of their model, and whether the client read them to the end.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use tokio::sync::OwnedMutexGuard;

use crate::Server;
use crate::script::Manner;

/// The pause between the pieces of a slow answer.
const PACE: Duration = Duration::from_millis(20);

/// The lines of an answer in one API.
pub(crate) struct Lines {
    pub(crate) content_type: &'static str,
    /// One line for each piece of text, with its line end.
    pub(crate) pieces: Vec<String>,
    /// The line that marks the answer as complete.
    pub(crate) last: String,
    /// The line that reports an error.
    pub(crate) error: String,
    /// A line that is invalid.
    pub(crate) garbled: String,
}

enum Step {
    Say(String),
    Wait(Duration),
    /// Stops sending but stays connected.
    Stay,
    /// Ends the connection without a proper end of the body.
    Break,
}

struct Speaker {
    server: Server,
    steps: VecDeque<Step>,
    /// Sent again and again.
    again: Option<String>,
    whole: bool,
    /// Held until the end of the answer.
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.server.open.fetch_sub(1, Ordering::SeqCst);
        if !self.whole {
            self.server.abandoned.fetch_add(1, Ordering::SeqCst);
        }
    }
}

pub(crate) fn speak(server: &Server, manner: Manner, lines: Lines, turn: Option<OwnedMutexGuard<()>>) -> Response {
    let content_type = lines.content_type;
    let again = lines.pieces.first().filter(|_| manner == Manner::Endless).cloned();
    server.open.fetch_add(1, Ordering::SeqCst);
    let speaker = Speaker { server: server.clone(), steps: steps(manner, lines), again, whole: false, _turn: turn };
    let body = stream::unfold(speaker, |mut speaker| async move { speaker.next().await.map(|said| (said, speaker)) });
    ([(header::CONTENT_TYPE, content_type)], Body::from_stream(body)).into_response()
}

/// How an answer is sent.
fn steps(manner: Manner, lines: Lines) -> VecDeque<Step> {
    let Lines { pieces, last, error, garbled, .. } = lines;
    let first_two = || pieces.iter().take(2).cloned().map(Step::Say);
    match manner {
        Manner::Slow | Manner::Queued => {
            let slowly = pieces.iter().cloned().flat_map(|piece| [Step::Say(piece), Step::Wait(PACE)]);
            slowly.chain([Step::Say(last)]).collect()
        }
        // Its first line is sent again and again.
        Manner::Endless => VecDeque::new(),
        Manner::Silent => pieces.iter().take(1).cloned().map(Step::Say).chain([Step::Stay]).collect(),
        Manner::Cut => first_two().chain([Step::Wait(PACE), Step::Break]).collect(),
        Manner::Garbled => first_two().chain([Step::Say(garbled)]).collect(),
        Manner::Fails | Manner::Overrun => first_two().chain([Step::Say(error)]).collect(),
        // These differ only in their text.
        Manner::Plain
        | Manner::Big
        | Manner::Cached
        | Manner::Short
        | Manner::Whole
        | Manner::Thinks
        | Manner::Thinker
        | Manner::Tagged
        | Manner::Fenced
        | Manner::Empty
        | Manner::Full
        | Manner::Caller
        | Manner::Refuser
        | Manner::Filtered
        | Manner::Cutter
        | Manner::Timed
        | Manner::Deep
        | Manner::Surrogate
        | Manner::Miscounted => pieces.iter().cloned().chain([last]).map(Step::Say).collect(),
        Manner::LongLine => (0..1_000).map(|_| Step::Say("x".repeat(10_000))).collect(),
    }
}

impl Speaker {
    /// The next line; `None` at the end of the answer.
    async fn next(&mut self) -> Option<std::io::Result<Bytes>> {
        loop {
            match self.steps.pop_front() {
                Some(Step::Say(line)) => {
                    // The last line is given to the connection before it is known to have arrived.
                    self.whole = self.steps.is_empty() && self.again.is_none();
                    return Some(Ok(Bytes::from(line)));
                }
                Some(Step::Wait(pace)) => tokio::time::sleep(pace).await,
                Some(Step::Stay) => std::future::pending().await,
                Some(Step::Break) => {
                    self.whole = true;
                    return Some(Err(std::io::Error::other("cut")));
                }
                None => {
                    let line = self.again.clone()?;
                    self.steps.extend([Step::Wait(PACE), Step::Say(line)]);
                }
            }
        }
    }
}
