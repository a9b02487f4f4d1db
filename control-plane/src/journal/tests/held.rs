//! What happens while a batch is written.

use super::*;

/// A store in memory that reports when it is asked to write, and writes only when told the outcome.
struct Held {
    inner: MemoryStore,
    asked: std::sync::mpsc::Sender<usize>,
    told: std::sync::mpsc::Receiver<bool>,
}

impl Store for Held {
    fn tail(&self) -> Tail {
        self.inner.tail()
    }

    fn begin_term(&mut self, id: TermId) -> Result<History, StoreError> {
        self.inner.begin_term(id)
    }

    fn append(&mut self, entries: &[Arc<Entry>]) -> Result<(), StoreError> {
        self.asked.send(entries.len()).expect("the test waits");
        match self.told.recv() {
            Ok(true) => self.inner.append(entries),
            _ => Err(StoreError::Entry { position: entries[0].position.0, why: "the disk is full".to_owned() }),
        }
    }

    fn confirm(&self) -> Result<(), StoreError> {
        self.inner.confirm()
    }

    fn pruned(&self) -> Position {
        self.inner.pruned()
    }

    fn prune(&mut self, ended: Timestamp) -> Result<Pruned, StoreError> {
        self.inner.prune(ended)
    }

    fn remove(&mut self, positions: &[Position]) -> Result<u64, StoreError> {
        self.inner.remove(positions)
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        self.inner.reader()
    }
}

struct Disk {
    asked: std::sync::mpsc::Receiver<usize>,
    tell: std::sync::mpsc::Sender<bool>,
}

impl Desk {
    fn on_a_disk_by_hand() -> (Self, Disk) {
        let (asked, seen) = std::sync::mpsc::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let store = Held { inner: MemoryStore::default(), asked, told };
        (Self::start(store, WriterConfig::default()), Disk { asked: seen, tell })
    }
}

impl Disk {
    /// The size of the batch that is waiting to be written.
    async fn asked(&self) -> usize {
        loop {
            match self.asked.try_recv() {
                Ok(size) => return size,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    fn tell(&self, well: bool) {
        self.tell.send(well).expect("the writer lives");
    }
}

fn submit(n: u128) -> Request {
    Request::Submit { run_id: run_id(n), submitted: submission("w"), known: None }
}

#[tokio::test]
async fn requests_that_wait_during_a_write_become_the_next_batch() {
    let (desk, disk) = Desk::on_a_disk_by_hand();
    let first = tokio::spawn({
        let journal = desk.journal.clone();
        async move { journal.propose(submit(1)).await }
    });
    assert_eq!(disk.asked().await, 1);
    assert_eq!(desk.journal.position(), Position(0), "nothing is published before it is written");
    let large = Arc::new(WorkflowSubmitted {
        inputs: Payload::from(json!("x".repeat(700_000))),
        ..WorkflowSubmitted::clone(&submission("w"))
    });
    for n in 2..=1_500 {
        desk.port.work.send(Work::Request { token: Token(1), request: submit(n) }).await.expect("there is room");
    }
    for n in 2_001..=2_003 {
        let request = Request::Submit { run_id: run_id(n), submitted: large.clone(), known: None };
        desk.port.work.send(Work::Request { token: Token(1), request }).await.expect("there is room");
    }
    disk.tell(true);
    assert!(matches!(first.await.expect("ended").expect("answered"), Verdict::Ok { position: Position(1) }));
    for expected in [1_000, 501, 1] {
        assert_eq!(disk.asked().await, expected);
        disk.tell(true);
    }
    desk.close().await;
}

#[tokio::test]
async fn a_batch_that_cannot_be_written_ends_the_journal_and_answers_nobody() {
    let (mut desk, disk) = Desk::on_a_disk_by_hand();
    let waiting = tokio::spawn({
        let journal = desk.journal.clone();
        async move { journal.propose(submit(1)).await }
    });
    desk.port.work.send(Work::Request { token: Token(1), request: submit(2) }).await.expect("there is room");
    disk.asked().await;
    disk.tell(false);
    let ended = desk.handle.ended().await;
    assert!(matches!(ended, Err(WriterError::Store(_))), "{ended:?}");
    assert!(matches!(waiting.await.expect("ended"), Err(JournalError::Closed)));
    assert!(desk.port.inputs.recv().await.is_none(), "the hub hears of nothing");
    assert!(matches!(desk.journal.propose(submit(3)).await, Err(JournalError::Closed)));
    assert!(matches!(desk.journal.watch(run_id(1), Seq(0)).next().await, Err(JournalError::Closed)));
    assert_eq!(desk.journal.position(), Position(0));
    desk.handle.stop().await.expect("it has ended already, and has said why");
}
