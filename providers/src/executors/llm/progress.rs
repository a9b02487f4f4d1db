//! Sends text to watchers as `{"text": "…"}`: each piece once and in order, gathered for a short while so that a fast
//! model does not flood the mesh.

use std::mem;
use std::time::Duration;

use gleitzeit_workflow::payload::Payload;
use serde_json::json;
use tokio::time::Instant;

use crate::call::Context;

/// The shortest time between two reports; at this pace text appears to flow.
const PACE: Duration = Duration::from_millis(50);
/// The most bytes of text in a report: the host drops progress over 64 KiB, and one byte may take six as JSON.
const MAX_BYTES: usize = 8 * 1024;

/// Gathers the text of one call.
pub(super) struct Progress<'a> {
    context: &'a Context,
    waiting: String,
    next: Instant,
}

impl<'a> Progress<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self { context, waiting: String::new(), next: Instant::now() }
    }

    /// Adds new text.
    pub(super) fn add(&mut self, text: &str, now: Instant) {
        self.waiting.push_str(text);
        if now >= self.next {
            self.flush(now);
        }
    }

    /// When the gathered text is due to be sent; `None` if there is none.
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then_some(self.next)
    }

    /// Sends the gathered text.
    pub(super) fn flush(&mut self, now: Instant) {
        if self.waiting.is_empty() {
            return;
        }
        let text = mem::take(&mut self.waiting);
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let end = (1..=rest.len().min(MAX_BYTES)).rev().find(|at| rest.is_char_boundary(*at));
            let (piece, after) = rest.split_at(end.unwrap_or(rest.len()));
            self.context.report(Payload::from_value(&json!({"text": piece})));
            rest = after;
        }
        self.next = now + PACE;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn texts(from: &mut mpsc::Receiver<Payload>) -> Vec<String> {
        std::iter::from_fn(|| from.try_recv().ok())
            .map(|data| data.to_value().expect("JSON")["text"].as_str().expect("text").to_owned())
            .collect()
    }

    #[test]
    fn pieces_are_gathered_and_none_is_lost() {
        let (sender, mut receiver) = mpsc::channel(64);
        let context = Context { progress: Some(sender), ..Context::default() };
        let mut progress = Progress::new(&context);
        let start = Instant::now();
        progress.add("first ", start);
        assert_eq!(progress.due(), None);
        for piece in ["a", "b", "c"] {
            progress.add(piece, start + PACE / 2);
        }
        assert_eq!(texts(&mut receiver), ["first "], "the first at once, the others later");
        assert_eq!(progress.due(), Some(start + PACE));
        progress.add("d", start + PACE);
        assert_eq!(texts(&mut receiver), ["abcd"]);
        progress.add("last", start + PACE);
        progress.flush(start + PACE);
        progress.flush(start + PACE);
        assert_eq!(texts(&mut receiver), ["last"], "nothing twice, nothing empty");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let (sender, mut receiver) = mpsc::channel(64);
        let context = Context { progress: Some(sender), ..Context::default() };
        let text = "ä€😀".repeat(3_000);
        Progress::new(&context).add(&text, Instant::now() + PACE);
        let texts = texts(&mut receiver);
        assert!(texts.len() > 1 && texts.iter().all(|text| text.len() <= MAX_BYTES));
        assert_eq!(texts.concat(), text);
    }
}
