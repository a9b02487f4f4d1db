use super::super::fixtures::ready;
use super::*;
use crate::wire::Role;

const QUEUE: Reader = Reader { role: Some(Role::Queue), is_within: false };

#[test]
fn only_sessions_that_read_are_moved_and_a_forgotten_one_is_none_of_them() {
    let (mut stream, now) = (Stream::new(Position(0), Position(0), 1_000), Instant(0));
    let (watcher, owner, other) = (SocketId(1), SocketId(2), SocketId(3));
    stream.watch(watcher, Position(0), now);
    stream.own(owner, Slice::Queue("q".into()), Position(0), now);
    stream.take_due();
    stream.push(ready(1));
    stream.set_all_due();
    stream.confirm(other, Position(1), now);
    assert_eq!(stream.take_due(), BTreeSet::from([watcher, owner]));
    stream.set_due(other);
    assert_eq!(stream.take_due(), BTreeSet::from([other]), "an answer may be due to it");
    assert!(stream.advance(other, QUEUE, &Config::default(), now).is_none());
    assert!(stream.advance(owner, QUEUE, &Config::default(), now).is_some_and(|it| it.sent == Position(1)));
    stream.forget(owner);
    assert!(!stream.is_reader(owner) && stream.is_reader(watcher));
    assert_eq!(stream.read(owner, Token(1), vec![ready(1)]), Read::Stale);
}

#[test]
fn an_owner_that_is_disowned_receives_nothing_more_of_the_slice() {
    let (mut stream, now, owner) = (Stream::new(Position(0), Position(0), 1_000), Instant(0), SocketId(1));
    stream.own(owner, Slice::Queue("q".into()), Position(0), now);
    stream.disown(owner, &Slice::Queue("q".into()));
    stream.push(ready(1));
    let advanced = stream.advance(owner, QUEUE, &Config::default(), now).expect("it still reads");
    assert!(advanced.messages.is_empty() && advanced.sent == Position(1));
}
