//! The latest progress of open attempts, for watchers that come later; bounded per attempt and in all. The progress of
//! an attempt is dropped when it ends, because its result or error then contains it. Nothing here survives the process.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use gleitzeit_run::{AttemptRef, Entry, Event, RunId};
use gleitzeit_workflow::TaskId;

use crate::hub::Progress;

/// The most bytes and pieces of progress that are kept of one attempt. The last piece is kept whatever its size.
const MAX_ATTEMPT_BYTES: usize = 64 * 1024;
const MAX_ATTEMPT_PIECES: usize = 2_000;
/// The most bytes that are kept in all; beyond that the longest attempts lose their oldest pieces.
const MAX_TOTAL_BYTES: usize = 64 * 1024 * 1024;
/// What a piece takes besides its data, in bytes, roughly.
const PIECE_OVERHEAD_BYTES: usize = 256;
/// The bytes of JSON around the text of a piece of output, roughly: `{"stream":"stdout","offset":…,"text":"…"}`.
const JSON_OVERHEAD_BYTES: usize = 48;

/// The latest progress of each open attempt.
#[derive(Debug)]
pub(super) struct ProgressSoFar {
    attempts: BTreeMap<AttemptRef, Ring>,
    /// The keys of `attempts`, by size.
    by_size: BTreeSet<(usize, AttemptRef)>,
    bytes: usize,
    /// The number of the next piece, by which the pieces of several attempts are put in order of arrival.
    number: u64,
    most_of_attempt: usize,
    most_of_all: usize,
}

/// The latest pieces of one attempt, in order.
#[derive(Debug, Default)]
struct Ring {
    pieces: VecDeque<(u64, Arc<Progress>)>,
    /// The bytes that all pieces take.
    bytes: usize,
    /// The bytes of output in all pieces.
    output_bytes: usize,
}

impl Ring {
    fn push(&mut self, number: u64, piece: Arc<Progress>) {
        self.bytes += size(&piece);
        self.output_bytes += output_bytes(&piece);
        self.pieces.push_back((number, piece));
    }

    /// Drops the oldest pieces while there is too much, but never the last one.
    fn shrink_while(&mut self, is_too_much: impl Fn(&Self) -> bool) {
        while self.pieces.len() > 1
            && is_too_much(self)
            && let Some((_, oldest)) = self.pieces.pop_front()
        {
            self.bytes -= size(&oldest);
            self.output_bytes -= output_bytes(&oldest);
        }
    }
}

/// The bytes of output in a piece. For process output that is its text, without the JSON around it.
fn output_bytes(piece: &Progress) -> usize {
    piece.data.size_bytes().saturating_sub(JSON_OVERHEAD_BYTES)
}

fn size(piece: &Progress) -> usize {
    PIECE_OVERHEAD_BYTES + piece.at.task_id.as_str().len() + piece.data.size_bytes()
}

impl Default for ProgressSoFar {
    fn default() -> Self {
        Self::within(MAX_ATTEMPT_BYTES, MAX_TOTAL_BYTES)
    }
}

impl ProgressSoFar {
    fn within(most_of_attempt: usize, most_of_all: usize) -> Self {
        Self { attempts: BTreeMap::new(), by_size: BTreeSet::new(), bytes: 0, number: 0, most_of_attempt, most_of_all }
    }

    /// Adds a piece of progress of an open attempt.
    pub(super) fn add(&mut self, piece: Arc<Progress>) {
        let at = piece.at.clone();
        let mut ring = self.take(&at).unwrap_or_default();
        ring.push(self.number, piece);
        self.number += 1;
        let most = self.most_of_attempt;
        ring.shrink_while(|ring| ring.output_bytes > most || ring.pieces.len() > MAX_ATTEMPT_PIECES);
        self.put(at, ring);
        while self.bytes > self.most_of_all
            && let Some((size, at)) = self.by_size.last().cloned()
            && let Some(mut ring) = self.take(&at)
        {
            if ring.pieces.len() > 1 {
                ring.shrink_while(|ring| ring.bytes >= size);
                self.put(at, ring);
            }
        }
    }

    /// Drops the progress of an attempt that ended with this entry.
    pub(super) fn recorded(&mut self, entry: &Entry) {
        if self.attempts.is_empty() {
            return;
        }
        let Some(run_id) = entry.run_id else { return };
        let mut ended = |task_id: &TaskId, attempt| {
            self.take(&AttemptRef { run_id, task_id: task_id.clone(), attempt });
        };
        match &entry.event {
            Event::TaskCompleted(it) => ended(&it.task_id, it.attempt),
            Event::TaskAttemptFailed(it) => ended(&it.task_id, it.attempt),
            Event::TaskAttemptStopped(it) => ended(&it.task_id, it.attempt),
            Event::WorkflowCompleted(_) | Event::WorkflowFailed(_) | Event::WorkflowCancelled(_) => {
                let left: Vec<AttemptRef> = self.attempts_of(run_id).map(|(at, _)| at.clone()).collect();
                left.iter().for_each(|at| drop(self.take(at)));
            }
            Event::WorkflowSubmitted(_)
            | Event::WorkflowCancelRequested(_)
            | Event::TaskReady(_)
            | Event::TaskDispatched(_)
            | Event::TaskStarted(_)
            | Event::TaskRequeued(_)
            | Event::TaskRetryScheduled(_)
            | Event::TaskFailed(_)
            | Event::TaskSkipped(_)
            | Event::TaskCancelled(_)
            | Event::OwnershipGranted(_)
            | Event::ProtocolRegistered(_)
            | Event::ProtocolsUsed(_)
            | Event::ProtocolRemoved(_) => {}
        }
    }

    /// The progress of a run's open attempts, in the order of arrival.
    pub(super) fn of(&self, run_id: RunId) -> Vec<Arc<Progress>> {
        let mut pieces: Vec<&(u64, Arc<Progress>)> =
            self.attempts_of(run_id).flat_map(|(_, ring)| &ring.pieces).collect();
        pieces.sort_unstable_by_key(|(number, _)| *number);
        pieces.into_iter().map(|(_, piece)| piece.clone()).collect()
    }

    fn attempts_of(&self, run_id: RunId) -> impl Iterator<Item = (&AttemptRef, &Ring)> {
        let first = AttemptRef { run_id, task_id: TaskId::from(""), attempt: 0 };
        self.attempts.range(first..).take_while(move |(at, _)| at.run_id == run_id)
    }

    fn take(&mut self, at: &AttemptRef) -> Option<Ring> {
        let (at, ring) = self.attempts.remove_entry(at)?;
        self.bytes -= ring.bytes;
        self.by_size.remove(&(ring.bytes, at));
        Some(ring)
    }

    fn put(&mut self, at: AttemptRef, ring: Ring) {
        if !ring.pieces.is_empty() {
            self.bytes += ring.bytes;
            self.by_size.insert((ring.bytes, at.clone()));
            self.attempts.insert(at, ring);
        }
    }
}

#[cfg(test)]
mod tests {
    use gleitzeit_run::event::{TaskCompleted, TaskFailed, WorkflowCompleted};
    use gleitzeit_run::{Position, Seq};
    use gleitzeit_workflow::{ErrorCode, Failure, Payload, Timestamp};
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    fn run(number: u128) -> RunId {
        RunId(Uuid::from_u128(number))
    }

    fn piece(run_id: RunId, task: &str, attempt: u32, text: &str) -> Arc<Progress> {
        let at = AttemptRef { run_id, task_id: TaskId::from(task), attempt };
        let data = Payload::from_value(&json!({"text": text}));
        Arc::new(Progress { at, received_at: Timestamp(1), data })
    }

    fn entry(run_id: RunId, event: Event) -> Entry {
        Entry {
            position: Position(1),
            run_id: Some(run_id),
            seq: Seq(1),
            recorded_at: Timestamp(1),
            queue: None,
            event,
        }
    }

    fn completed(task: &str, attempt: u32) -> Event {
        let result = Payload::from_value(&Value::Null);
        TaskCompleted { task_id: TaskId::from(task), attempt, result, ran_ms: 0, carried: false }.into()
    }

    fn kept(so_far: &ProgressSoFar, run_id: RunId) -> Vec<String> {
        let shown = |piece: &Arc<Progress>| {
            let text = piece.data.shown()["text"].as_str().expect("text").to_owned();
            format!("{}{}{text}", piece.at.task_id, piece.at.attempt)
        };
        so_far.of(run_id).iter().map(shown).collect()
    }

    #[test]
    fn progress_is_kept_until_its_attempt_ends() {
        let mut so_far = ProgressSoFar::default();
        for (number, task, attempt, text) in
            [(1, "a", 1, "x"), (2, "a", 1, "y"), (1, "b", 2, "z"), (1, "a", 1, "x"), (1, "b", 1, "late")]
        {
            so_far.add(piece(run(number), task, attempt, text));
        }
        assert_eq!(kept(&so_far, run(1)), ["a1x", "b2z", "a1x", "b1late"]);
        let failed = TaskFailed {
            task_id: TaskId::from("a"),
            attempt: 1,
            error: Failure::new(ErrorCode::TaskTimeout, "its run's time was up"),
        };
        so_far.recorded(&entry(run(1), failed.into()));
        assert_eq!(kept(&so_far, run(1)).len(), 4, "the failure of a task does not end its attempt");
        so_far.recorded(&entry(run(1), completed("a", 1)));
        so_far.recorded(&entry(run(1), completed("b", 2)));
        assert_eq!(kept(&so_far, run(1)), ["b1late"]);
        let outputs = Payload::from_value(&json!({}));
        so_far.recorded(&entry(run(1), WorkflowCompleted { outputs }.into()));
        assert!(kept(&so_far, run(1)).is_empty(), "nothing outlives its run");
        assert_eq!(kept(&so_far, run(2)), ["a1y"]);
        so_far.recorded(&entry(run(2), completed("a", 1)));
        assert_eq!((so_far.bytes, so_far.by_size.len(), so_far.attempts.len()), (0, 0, 0));
    }

    #[test]
    fn long_progress_keeps_its_end_and_the_longest_is_evicted_first() {
        let each = size(&piece(run(1), "a", 1, "0000"));
        let mut so_far = ProgressSoFar::within(10 * each, 25 * each);
        for number in 0..1_000 {
            so_far.add(piece(run(1), "a", 1, &format!("{number:04}")));
        }
        assert_eq!(kept(&so_far, run(1)).first().map(String::as_str), Some("a10975"), "as many as are kept");
        so_far.add(piece(run(2), "a", 1, "once"));
        for number in 0..1_000 {
            let task = char::from_digit(10 + number % 20, 36).expect("a letter").to_string();
            so_far.add(piece(run(3), &task, 1, &format!("{number:04}")));
        }
        assert!(so_far.bytes <= 25 * each, "{}", so_far.bytes);
        assert_eq!(so_far.bytes, so_far.attempts.values().map(|ring| ring.bytes).sum::<usize>());
        assert_eq!(kept(&so_far, run(2)), ["a1once"], "the longest are shortened first");
        assert!(kept(&so_far, run(3)).contains(&"a10980".to_owned()), "and all keep their last piece");
        so_far.add(piece(run(4), "a", 1, &"x".repeat(30 * each)));
        assert!(kept(&so_far, run(4)).is_empty(), "a piece above the total limit is not kept");
    }

    #[test]
    fn only_text_counts_toward_the_limit_and_the_last_piece_is_kept() {
        let mut so_far = ProgressSoFar::default();
        for number in 0..3_000 {
            so_far.add(piece(run(1), "a", 1, &format!("line {number}\n")));
        }
        assert_eq!(kept(&so_far, run(1)).len(), MAX_ATTEMPT_PIECES, "short lines do not evict each other early");
        for _ in 0..100 {
            so_far.add(piece(run(2), "a", 1, &"x".repeat(1_000)));
        }
        assert!((60..=70).contains(&kept(&so_far, run(2)).len()), "64 KiB: {}", kept(&so_far, run(2)).len());
        so_far.add(piece(run(2), "a", 1, &"y".repeat(MAX_ATTEMPT_BYTES + 100)));
        assert_eq!(kept(&so_far, run(2)).len(), 1, "a large piece replaces all earlier ones");
    }
}
