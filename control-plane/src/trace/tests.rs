//! Tests of exporting runs that a real writer recorded.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use gleitzeit_run::Request;
use gleitzeit_run::command::CancelWorkflow;
use gleitzeit_run::event::CancelCause;
use tokio::time::timeout;

use super::*;
use crate::journal::tests::store_suite::{run_id, submission};
use crate::journal::{MemoryStore, WriterConfig};

const GRACE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Received {
    spans: Mutex<Vec<Span>>,
    is_away: AtomicBool,
    refused: Mutex<u32>,
}

#[async_trait]
impl SpanSink for Received {
    fn wants(&self, _: TraceId, is_sampled: Option<bool>) -> bool {
        is_sampled != Some(false)
    }

    async fn export(&self, spans: Vec<Span>) -> Result<(), String> {
        if self.is_away.load(Ordering::Relaxed) {
            *self.refused.lock().expect("no panic") += 1;
            return Err("nobody is there".to_owned());
        }
        self.spans.lock().expect("no panic").extend(spans);
        Ok(())
    }
}

impl Received {
    fn runs(&self) -> Vec<String> {
        let spans = self.spans.lock().expect("no panic");
        let runs = spans.iter().filter(|span| span.is_of_run());
        let id = |span: &Span| span.attributes[0].1.as_str().expect("a text").to_owned();
        runs.map(id).collect()
    }
}

/// Submits a run and cancels it before any of its tasks begins. Returns its id.
async fn end(journal: &Journal, n: u128, traceparent: Option<&str>) -> String {
    let mut submitted = gleitzeit_run::event::WorkflowSubmitted::clone(&submission("w"));
    submitted.correlation_id = format!("{n:032x}");
    submitted.traceparent = traceparent.map(str::to_owned);
    let submit = Request::Submit { run_id: run_id(n), submitted: Arc::new(submitted), known: None };
    journal.propose(submit).await.expect("recorded");
    let cancel = CancelWorkflow { run_id: run_id(n), cause: CancelCause::Requested, reason: String::new() };
    journal.propose(Request::Cancel { cancel }).await.expect("recorded");
    run_id(n).to_string()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let looking = async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(GRACE, looking).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

#[tokio::test]
async fn every_wanted_run_is_exported_once_it_has_ended() {
    let (journal, _port, writer) =
        Journal::start(Box::new(MemoryStore::default()), WriterConfig::default()).expect("it starts");
    let (sink, stop) = (Arc::new(Received::default()), CancellationToken::new());
    end(&journal, 1, None).await;
    let cursor = Cursor::of(None);
    let exporter = Exporter::start(journal.clone(), cursor, sink.clone(), stop.clone(), GRACE).await.expect("started");
    let mut wanted = vec![end(&journal, 2, None).await];
    end(&journal, 3, Some("00-00000000000000000000000000000003-00f067aa0ba902b7-00")).await;
    until("the first is exported", || sink.runs().contains(&wanted[0])).await;
    sink.is_away.store(true, Ordering::Relaxed);
    wanted.push(end(&journal, 4, Some("00-00000000000000000000000000000004-00f067aa0ba902b7-01")).await);
    until("it is refused", || *sink.refused.lock().expect("no panic") > 0).await;
    sink.is_away.store(false, Ordering::Relaxed);
    until("it is exported after all", || sink.runs().contains(&wanted[1])).await;
    wanted.push(end(&journal, 5, None).await);
    stop.cancel();
    exporter.ended().await;
    let mut runs = sink.runs();
    // A run that ended in exactly the millisecond of the cursor may be among them.
    runs.retain(|run| *run != run_id(1).to_string());
    assert_eq!(runs, wanted, "what ended before the stop is exported, too");
    drop(journal);
    writer.stop().await.expect("it stops");
}

/// Accepts spans only while the control plane is stopping.
struct Late {
    stop: CancellationToken,
    received: Received,
    begun: AtomicBool,
}

#[async_trait]
impl SpanSink for Late {
    fn wants(&self, _: TraceId, _: Option<bool>) -> bool {
        true
    }

    async fn export(&self, spans: Vec<Span>) -> Result<(), String> {
        self.received.export(spans).await?;
        self.begun.store(true, Ordering::Relaxed);
        self.stop.cancelled().await;
        tokio::task::yield_now().await;
        Ok(())
    }
}

#[tokio::test]
async fn an_export_in_progress_at_the_stop_is_not_repeated() {
    let (journal, _port, writer) =
        Journal::start(Box::new(MemoryStore::default()), WriterConfig::default()).expect("it starts");
    let stop = CancellationToken::new();
    let sink = Arc::new(Late { stop: stop.clone(), received: Received::default(), begun: AtomicBool::new(false) });
    let cursor = Cursor::of(None);
    let exporter = Exporter::start(journal.clone(), cursor, sink.clone(), stop.clone(), GRACE).await.expect("started");
    let run = end(&journal, 1, None).await;
    until("it is on its way", || sink.begun.load(Ordering::Relaxed)).await;
    stop.cancel();
    exporter.ended().await;
    assert_eq!(sink.received.runs(), [run]);
    drop(journal);
    writer.stop().await.expect("it stops");
}

#[test]
fn the_cursor_continues_from_its_position_with_a_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("j.db");
    let now = Timestamp(10_000_000);
    let mut cursor = Cursor::of(Some(&store));
    cursor.begin(now, now.minus_ms(LOOK_BACK_MS));
    assert_eq!(cursor.at(), now, "nothing was to be exported before");
    cursor.advance(now.plus_ms(5));
    let begun = |now: Timestamp| {
        let mut cursor = Cursor::of(Some(&store));
        cursor.begin(now, now.minus_ms(LOOK_BACK_MS));
        cursor.at()
    };
    assert_eq!(begun(now.plus_ms(60_000)), now.plus_ms(5));
    let late = now.plus_ms(2 * LOOK_BACK_MS);
    assert_eq!(begun(late), late.minus_ms(LOOK_BACK_MS));
}
