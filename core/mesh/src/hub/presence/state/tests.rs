use super::*;

fn present(role: Role) -> (Presence, ComponentId) {
    let (mut presence, id) = (Presence::new(&Config::default()), ComponentId::from("c"));
    let component =
        Component { socket: Some(SocketId(1)), silent_since: None, ..Component::expected(role, Instant(0)) };
    assert!(presence.insert(id.clone(), component).is_none());
    (presence, id)
}

#[test]
fn a_component_that_the_journal_names_is_silent_from_the_start_and_expected_once() {
    let (mut presence, id) = (Presence::new(&Config::default()), ComponentId::from("c"));
    assert_eq!(presence.expect(&id, Role::Engine, Instant(5)), Some(Instant(15_005)));
    assert_eq!(presence.expect(&id, Role::Engine, Instant(9)), None);
    assert_eq!(presence.silence(&id, Instant(15_004)), Some(Silence::Until(Instant(15_005))));
    assert_eq!(presence.silence(&id, Instant(15_005)), Some(Silence::Over(Role::Engine)));
}

#[test]
fn a_silence_has_one_beginning_and_ends_with_a_message() {
    let (mut presence, id) = present(Role::Queue);
    assert_eq!(presence.silence(&id, Instant(9)), None);
    assert_eq!(presence.hear(&id), None, "it was not silent");
    let fell = presence.fall_silent(&id, Instant(1));
    assert_eq!(fell, Some(Fell { role: Role::Queue, until: Some(Instant(2_001)) }));
    assert_eq!(presence.fall_silent(&id, Instant(7)), Some(Fell { role: Role::Queue, until: None }));
    assert_eq!(presence.silence(&id, Instant(2_000)), Some(Silence::Until(Instant(2_001))));
    assert_eq!((presence.socket(&id), presence.socket_of(&id)), (Some(SocketId(1)), None), "no work for it");
    assert_eq!(presence.hear(&id), Some(Back { role: Role::Queue, capacity: 0, socket: Some(SocketId(1)) }));
    assert_eq!(presence.socket_of(&id), Some(SocketId(1)));
}

#[test]
fn only_the_current_socket_of_a_component_can_be_unplugged() {
    let (mut presence, id) = present(Role::Provider);
    assert!(!presence.unplug(&id, SocketId(2)));
    assert!(presence.unplug(&id, SocketId(1)));
    assert!(!presence.unplug(&id, SocketId(1)) && presence.connected(Role::Provider).next().is_none());
}
