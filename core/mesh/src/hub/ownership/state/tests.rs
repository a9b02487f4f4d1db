use super::*;
use crate::hub::Config;

fn queue(name: &str) -> Slice {
    Slice::Queue(name.into())
}

fn granted(slice: Slice, owner: &str, epoch: u64) -> OwnershipGranted {
    OwnershipGranted { slice, component_id: owner.into(), epoch: Epoch(epoch) }
}

#[test]
fn nothing_is_planned_without_a_live_owner() {
    let mut ownerships = Ownerships::new(Vec::new(), vec!["gpu".into()]);
    assert_eq!(ownerships.plan(&Presence::new(&Config::default())), []);
}

#[test]
fn an_owner_continues_with_what_it_holds_under_the_recorded_epoch_and_whose_entries_are_there() {
    let mut ownerships = Ownerships::new(Vec::new(), Vec::new());
    for (name, epoch) in [("a", 1), ("b", 2), ("c", 3)] {
        assert_eq!(ownerships.granted(granted(queue(name), "q", epoch)), None);
    }
    let before = ownerships.granted(granted(queue("c"), "q2", 4));
    assert_eq!(before, Some((ComponentId::from("q"), Epoch(3))));
    let owned = |name: &str, epoch, position| Owned { slice: queue(name), epoch: Epoch(epoch), position };
    let held = vec![owned("a", 1, Position(5)), owned("b", 1, Position(5)), owned("c", 3, Position(5))];
    let resumed = ownerships.resume(&"q".into(), held, &(Position(2)..=Position(9)));
    let kept = vec![(queue("a"), Epoch(1), Some(Position(5))), (queue("b"), Epoch(2), None)];
    assert_eq!(resumed, Resumed { revoked: vec![(queue("c"), Epoch(3))], kept });
    let gone = ownerships.resume(&"q".into(), vec![owned("a", 1, Position(1))], &(Position(2)..=Position(9)));
    assert_eq!(gone.kept[0].2, None, "the entries that it missed are gone");
}
