//! Compares who emits and who handles each event of the mesh in three ways: read from the code, driven through the hub,
//! and listed in the documented table. An event that nobody emits or handles is a dead end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gleitzeit_mesh::hub::{Batch, Config, Hub, Input, Output, SocketId, Start};
use gleitzeit_mesh::wire::{FromHub, Role, ToHub};
use gleitzeit_run::{Entry, Position, Request, Seq, Verdict};
use gleitzeit_workflow::Timestamp;
use gleitzeit_workflow::time::Instant;

const ROLES: [&str; 4] = ["queue", "resolver", "engine", "provider"];
/// A socket that reads the journal; none of our components does.
const WATCHER: &str = "watcher";
/// The source code of each party.
const CODE: &[(&str, &[&str])] = &[
    ("hub", &["core/mesh/src/hub.rs", "core/mesh/src/hub"]),
    (
        "queue",
        &[
            "core/mesh/src/role/queue.rs",
            "core/mesh/src/role/queue",
            "core/mesh/src/role/owner.rs",
            "core/mesh/src/role/outbox.rs",
        ],
    ),
    (
        "resolver",
        &[
            "core/mesh/src/role/resolver.rs",
            "core/mesh/src/role/resolver",
            "core/mesh/src/role/owner.rs",
            "core/mesh/src/role/outbox.rs",
        ],
    ),
    ("engine", &["core/mesh/src/role/engine.rs", "core/mesh/src/role/engine", "core/mesh/src/role/outbox.rs"]),
    ("provider", &["core/mesh/src/role/provider.rs", "core/mesh/src/role/provider"]),
];
/// Events that the hub sends to a role that does not use them so far.
const UNUSED: &[(&str, &str, &str)] =
    &[("protocols", "resolver", "resolvers leave the check of parameters to engines, others need not")];

/// Pairs of an event and a party.
type Pairs = BTreeSet<(&'static str, &'static str)>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn find_files(path: PathBuf, into: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("readable") {
            find_files(entry.expect("readable").path(), into);
        }
    } else {
        into.push(path);
    }
}

/// The lines of the code without tests.
fn lines(place: &str) -> Vec<String> {
    let mut files = Vec::new();
    find_files(root().join(place), &mut files);
    let is_of_tests = |path: &PathBuf| {
        path.strip_prefix(root())
            .expect("of ours")
            .iter()
            .any(|part| part == "tests" || part == "tests.rs" || part == "fixtures.rs")
    };
    files
        .into_iter()
        .filter(|path| !is_of_tests(path))
        .flat_map(|path| {
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
            code.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

/// Converts `register_component` to `RegisterComponent`.
fn variant(kind: &str) -> String {
    kind.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

/// Whether these lines emit and handle an event: they build it, or match it in an arm or a `let`.
fn uses(lines: &[String], direction: &str, kind: &str) -> (bool, bool) {
    let name = format!("{direction}::{}", variant(kind));
    let (mut emits, mut handles) = (false, false);
    for line in lines {
        let Some(at) = line.find(&name) else { continue };
        if line[at + name.len()..].starts_with(|c: char| c.is_alphanumeric()) {
            continue;
        }
        let (before, after) = line.split_at(at);
        let is_let = before.contains("let ") && !before.contains(" = ");
        let is_pattern = after.contains("=>") || is_let || before.contains("matches!(");
        *(if is_pattern { &mut handles } else { &mut emits }) = true;
    }
    (emits, handles)
}

/// Who emits and who handles the events of a direction, according to the code.
fn code(direction: &str, kinds: &'static [&'static str]) -> (Pairs, Pairs) {
    let (mut emitted, mut handled) = (Pairs::new(), Pairs::new());
    for (party, places) in CODE {
        let lines: Vec<String> = places.iter().flat_map(|place| lines(place)).collect();
        for kind in kinds {
            let (emits, handles) = uses(&lines, direction, kind);
            emitted.extend(emits.then_some((*kind, *party)));
            handled.extend(handles.then_some((*kind, *party)));
        }
    }
    if direction == "FromHub" {
        // The link waits for it before any role may send.
        let waits = lines("agent/link/src/transport.rs").iter().any(|line| line.contains("event.name == \"welcome\""));
        assert!(waits, "the link waits for `welcome`");
        handled.extend(ROLES.map(|role| ("welcome", role)));
    }
    (emitted, handled)
}

/// The table of docs/MESH.md: who emits and who handles what, by direction of each hop.
fn documented() -> [(Pairs, Pairs); 2] {
    let text = fs::read_to_string(root().join("docs/MESH.md")).expect("readable");
    let table =
        text.split("## Events").nth(1).expect("it has a chapter on events").split("\n## ").next().expect("text");
    let (mut to_hub, mut from_hub) = ((Pairs::new(), Pairs::new()), (Pairs::new(), Pairs::new()));
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
        let name = cells.next().expect("a name").trim_matches('`');
        let hops: Vec<Vec<&'static str>> = cells.next().expect("a path").split('→').map(parties).collect();
        for hop in hops.windows(2) {
            let [from, to] = hop else { continue };
            let is_up = to.contains(&"hub");
            let kinds = if is_up { ToHub::KINDS } else { FromHub::KINDS };
            let kind = *kinds.iter().find(|kind| **kind == name).unwrap_or_else(|| panic!("no event is: {line}"));
            let (emitted, handled) = if is_up { &mut to_hub } else { &mut from_hub };
            emitted.extend(from.iter().map(|party| (kind, *party)));
            handled.extend(to.iter().map(|party| (kind, *party)));
        }
    }
    [to_hub, from_hub]
}

fn parties(cell: &str) -> Vec<&'static str> {
    let known = ["hub", WATCHER].into_iter().chain(ROLES);
    let party = |name: &str| match name {
        "component" => ROLES.to_vec(),
        "any socket" => ROLES.into_iter().chain([WATCHER]).collect(),
        name => vec![known.clone().find(|party| *party == name).unwrap_or_else(|| panic!("who is `{name}`?"))],
    };
    cell.split(',').flat_map(|name| party(name.trim())).collect()
}

/// Without the events that only foreign sockets use.
fn ours(pairs: &Pairs) -> Pairs {
    pairs.iter().copied().filter(|(_, party)| *party != WATCHER).collect()
}

#[test]
fn no_event_is_a_dead_end() {
    let foreign: BTreeSet<&str> =
        documented()[0].0.iter().filter(|(_, party)| *party == WATCHER).map(|it| it.0).collect();
    for (direction, kinds) in [("ToHub", ToHub::KINDS), ("FromHub", FromHub::KINDS)] {
        let (emitted, handled) = code(direction, kinds);
        for kind in kinds {
            let is_emitted = emitted.iter().any(|(it, _)| it == kind);
            assert!(is_emitted || direction == "ToHub" && foreign.contains(kind), "nobody emits {direction} `{kind}`");
            assert!(handled.iter().any(|(it, _)| it == kind), "nobody handles {direction} `{kind}`");
        }
    }
}

#[test]
fn the_documented_table_is_what_the_code_does() {
    let [to_hub, from_hub] = documented();
    let (emitted, handled) = code("ToHub", ToHub::KINDS);
    assert_eq!(emitted, ours(&to_hub.0), "who emits to the hub: code, then document");
    assert_eq!(handled, to_hub.1, "what the hub handles: code, then document");
    let (emitted, mut handled) = code("FromHub", FromHub::KINDS);
    assert_eq!(emitted, from_hub.0, "what the hub emits: code, then document");
    for (kind, role, why) in UNUSED {
        assert!(handled.insert((*kind, *role)), "{role} handles `{kind}` after all, not: {why}");
    }
    assert_eq!(handled, ours(&from_hub.1), "who handles what the hub emits: code, then document");
}

/// The events of the golden files, one of each kind.
fn samples() -> BTreeMap<String, ToHub> {
    let folder = root().join("core/mesh/tests/golden/to_hub");
    let files = fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable").path());
    let events = files.map(|path| {
        let text = fs::read_to_string(path).expect("readable");
        let (kind, body): (String, serde_json::Value) = serde_json::from_str(&text).expect("an event");
        let event = ToHub::decode(&kind, &body.to_string()).expect("known");
        (kind, event)
    });
    events.collect()
}

/// The journal's answer to the hub's requests while a component registers.
fn recorded(asked: &[Output]) -> Batch {
    let mut batch = Batch::default();
    for output in asked {
        let Output::Request { token, request } = output else { continue };
        if let Request::RegisterProtocol { protocol } = request {
            let position = Position(batch.entries.len() as u64 + 1);
            let (seq, recorded_at) = (Seq(0), Timestamp(0));
            let event = protocol.clone().into();
            batch.entries.push(Arc::new(Entry { position, run_id: None, seq, recorded_at, queue: None, event }));
        }
        batch.answers.push((*token, Verdict::Duplicate { run_id: None }));
    }
    batch
}

/// Whether the hub accepts an event from a role; `None` is a socket that has not registered.
fn is_taken(role: Option<Role>, event: ToHub) -> bool {
    let (socket, now) = (SocketId(1), Instant(0));
    let mut hub = Hub::new(Config::default(), Start::default(), now);
    let mut out = Vec::new();
    hub.handle(now, Input::Connected { socket, is_within: false }, &mut out);
    if let Some(role) = role {
        let body = serde_json::json!({"component_type": role, "component_id": "it", "protocols": []});
        let mut register = match ToHub::decode("register_component", &body.to_string()).expect("valid") {
            ToHub::RegisterComponent(register) => register,
            other => panic!("{other:?}"),
        };
        if role == Role::Provider {
            let math = serde_json::json!({"name": "math", "version": "v1", "methods": {}});
            register.protocols = vec![serde_json::from_value(math).expect("valid")];
        }
        hub.handle(now, Input::Received { socket, message: register.into(), message_id: None }, &mut out);
        hub.handle(now, Input::Committed(recorded(&out).into()), &mut out);
        assert_eq!(hub.components().len(), 1, "a {role} is registered");
    }
    out.clear();
    hub.handle(now, Input::Received { socket, message: event, message_id: None }, &mut out);
    !out.iter().any(|output| match output {
        Output::Send { message, .. } => match &**message {
            FromHub::MeshError(error) => {
                ["does not send", "came before", "cannot watch"].iter().any(|refusal| error.message.contains(refusal))
            }
            _ => false,
        },
        _ => false,
    })
}

#[test]
fn the_hub_takes_what_is_documented_and_refuses_the_rest() {
    let [(senders, _), _] = documented();
    let samples = samples();
    // Harmless from anybody: these only confirm, or report presence.
    let from_all = ["events_ack", "heartbeat_response", "method_result", "register_component"];
    for kind in ToHub::KINDS {
        for role in [None].into_iter().chain(Role::ALL.map(Some)) {
            let party = role.map_or(WATCHER, Role::as_str);
            let documented = senders.contains(&(*kind, party)) || from_all.contains(kind);
            assert_eq!(is_taken(role, samples[*kind].clone()), documented, "`{kind}` from a {party}");
        }
    }
}
