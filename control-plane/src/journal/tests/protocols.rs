//! Unused protocols are removed from the journal, and the entries about them from the store.

use super::clocks::{HOUR, clocks_by_hand};
use super::*;

const DAY: Duration = Duration::from_secs(24 * 3_600);
const MINUTE: Duration = Duration::from_secs(60);

fn protocol(n: usize) -> ProtocolRegistered {
    let methods = Payload::from_value(&json!({"math/add": {"description": "x".repeat(n)}}));
    ProtocolRegistered { name: "math".to_owned(), version: format!("v{n}"), methods }
}

fn versions(journal: &Journal) -> Vec<String> {
    journal.protocols().iter().map(|it| it.version.clone()).collect()
}

#[tokio::test]
async fn unused_protocols_leave_the_journal_and_a_day_later_the_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("store.db");
    let (clocks, hands) = clocks_by_hand(100 * HOUR);
    let pass = |time: Duration| {
        let mut hands = hands.lock().expect("no panic");
        hands.0 += i64::try_from(time.as_millis()).expect("small");
        hands.1 += u64::try_from(time.as_millis()).expect("small");
    };
    // Room for everything that the absent hub would receive.
    let config = WriterConfig { clocks, hub_queue: 10_000, ..WriterConfig::default() };
    let mut desk = Desk::open(folder.path(), config.clone());
    for n in 0..620 {
        desk.ok(Request::RegisterProtocol { protocol: protocol(n) }).await;
    }
    desk.submit(1, submission("w")).await;
    desk.journal.keep_protocols(vec![ProtocolName::new("math", "v7")]).await.expect("taken");
    let served = [ProtocolUse { protocol: ProtocolName::new("math", "v9"), ago_ms: 0 }];
    let prune = |journal: &Journal, unused: Duration| {
        let journal = journal.clone();
        let served = served.clone();
        async move { journal.prune_protocols(unused, &served, MINUTE).await.expect("pruned") }
    };
    assert_eq!(prune(&desk.journal, DAY).await, PrunedProtocols::default());
    let removed = prune(&desk.journal, Duration::ZERO).await;
    assert_eq!(removed, PrunedProtocols { protocols: 618, entries: 0, more: false });
    assert_eq!(versions(&desk.journal), ["v7", "v9"]);
    let (mut told, mut through) = (0, None);
    while let Ok(input) = desk.port.inputs.try_recv() {
        match input {
            Input::Committed(batch) => {
                told += batch.entries.iter().filter(|it| it.event.kind() == "protocol_removed").count();
            }
            Input::Pruned { through: all } => through = Some(all),
            _ => {}
        }
    }
    assert_eq!((told, through), (618, None), "the hub hears of each, and followers may still read them");
    pass(DAY + MINUTE);
    desk.submit(2, submission("w")).await;
    let removed = prune(&desk.journal, Duration::ZERO).await;
    assert_eq!(removed, PrunedProtocols { protocols: 0, entries: 2 * 618, more: false });
    let pruned = desk.journal.summary().pruned;
    assert_eq!(pruned, Position(620 + 1 + 618));
    desk.close().await;

    let checked = check(&file).expect("it can be read");
    assert_eq!(checked.wrong, Vec::new());
    let desk = Desk::open(folder.path(), config);
    assert_eq!(desk.port.start.pruned, pruned);
    assert_eq!(versions(&desk.journal), ["v7", "v9"]);
    let left = desk.journal.entries(Position(0), 9_999).await.expect("read");
    let kinds: Vec<&str> = left.iter().map(|entry| entry.event.kind()).collect();
    let protocols = kinds.iter().filter(|kind| **kind == "protocol_registered").count();
    assert_eq!((protocols, kinds.contains(&"protocol_removed")), (2, false));
    // A removed protocol may be registered again.
    desk.ok(Request::RegisterProtocol { protocol: protocol(3) }).await;
    desk.close().await;
}
