use gleitzeit_run::ledger::without_payload;

use super::super::fixtures::ready;
use super::*;

/// The cursor of the owner of queue `q`, which has sent nothing.
fn owner() -> Cursor {
    let mut cursor = Cursor::new(false, Position(0), Instant(0));
    cursor.own(Slice::Queue("q".into()), Position(0));
    cursor
}

fn latest(entries: u64, max_bytes: usize) -> Latest {
    let mut latest = Latest::new(Position(0), Position(0), max_bytes);
    (1..=entries).for_each(|position| latest.push(ready(position)));
    latest
}

const QUEUE: Reader = Reader { role: Some(Role::Queue), is_within: false };

/// The positions of what was sent.
fn positions(advanced: &Advanced) -> Vec<u64> {
    let events = advanced.messages.iter().map(|message| match message {
        FromHub::Events(events) => events.entries.iter().map(|item| item.position.0),
        other => panic!("{other:?}"),
    });
    events.flatten().collect()
}

#[test]
fn a_local_component_receives_the_same_items_as_a_remote_one() {
    let (kept, cursor) = (Kept::new(ready(1)), owner());
    let item = |is_within| cursor.item(Reader { is_within, ..QUEUE }, &kept).expect("it owns the queue");
    let (within, outside) = (item(true), item(false));
    assert!(within.data.is_none() && within.whole.is_some() && outside.whole.is_none());
    let read = |item: &EventsItem| item.entry().expect("readable").expect("an entry");
    assert_eq!(read(&within), read(&outside));
    assert_eq!(read(&within), without_payload(&ready(1)));
    // It is made once, however many receivers there are.
    assert!(item(true).whole.zip(within.whole).is_some_and(|(one, other)| Arc::ptr_eq(&one, &other)));
}

#[test]
fn a_window_is_filled_confirmed_and_filled_again() {
    let (mut cursor, latest) = (owner(), latest(4, 1_000_000));
    let config = Config { window_entries: 2, ..Config::default() };
    let first = cursor.advance(&latest, &config, QUEUE, Instant(5));
    assert_eq!((positions(&first), first.sent, first.read_from), (vec![1, 2], Position(2), None));
    assert_eq!(first.check_at, Some(Instant(5).plus_ms(config.slow_consumer_ms)));
    assert_eq!(cursor.slowness(10, Instant(14)), Some(Slowness::At(Instant(15))));
    assert_eq!(cursor.slowness(10, Instant(15)), Some(Slowness::Overdue));
    cursor.confirm(Position(1), Instant(9));
    assert_eq!(cursor.slowness(10, Instant(15)), Some(Slowness::At(Instant(19))));
    let second = cursor.advance(&latest, &config, QUEUE, Instant(9));
    assert_eq!((positions(&second), second.check_at), (vec![3], None), "the window was not empty");
    cursor.confirm(Position(3), Instant(9));
    assert_eq!(cursor.slowness(10, Instant(99)), None);
}

#[test]
fn what_has_left_memory_is_read_once_and_a_stale_answer_counts_for_nothing() {
    // Only the last entry is kept.
    let (mut cursor, latest, config) = (owner(), latest(3, 1), Config::default());
    assert_eq!(cursor.advance(&latest, &config, QUEUE, Instant(0)).read_from, Some(Position(1)));
    cursor.await_read(Token(7));
    assert_eq!(cursor.advance(&latest, &config, QUEUE, Instant(0)).read_from, None, "it waits");
    assert_eq!(cursor.read(Token(6), vec![ready(1)]), Read::Stale);
    assert_eq!(cursor.read(Token(7), vec![ready(1), ready(2)]), Read::Taken);
    assert_eq!(positions(&cursor.advance(&latest, &config, QUEUE, Instant(0))), [1, 2, 3]);
    cursor.await_read(Token(8));
    assert_eq!(cursor.read(Token(8), Vec::new()), Read::Missing);
}

#[test]
fn a_proposal_of_its_own_comes_back_without_its_body_unless_the_slice_is_owned_anew() {
    let (latest, config) = (latest(1, 1_000_000), Config::default());
    for anew in [false, true] {
        let mut cursor = owner();
        cursor.recorded(Position(1), "p".into());
        if anew {
            cursor.own(Slice::Queue("q".into()), Position(0));
        }
        let advanced = cursor.advance(&latest, &config, QUEUE, Instant(0));
        let FromHub::Events(events) = &advanced.messages[0] else { panic!("{advanced:?}") };
        assert_eq!(events.entries[0].data.is_some(), anew);
    }
}
