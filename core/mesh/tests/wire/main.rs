//! The wire format of the mesh. Each event has files in `golden`, `["name", {body}]` as on the wire, which must be
//! readable and writable for as long as components of other versions are in use. A file `<kind>-least.json` is what a
//! plain Socket.IO client sends if it sends only the required fields.

mod from_hub;
mod malformed;
mod to_hub;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::Path;

use gleitzeit_mesh::wire::{Meta, with_meta};
use gleitzeit_run::AttemptRef;
use gleitzeit_workflow::tagged::Tagged;
use gleitzeit_workflow::{Payload, Timestamp};
use serde_json::{Value, json};

/// An event of one of the two directions.
trait Message: Tagged + Debug + PartialEq + Sized {
    const KINDS: &'static [&'static str];
    fn read(kind: &str, body: &str) -> Self;
    fn written(&self) -> (&'static str, String);
}

macro_rules! message {
    ($($name:ty),*) => {
        $(impl Message for $name {
            const KINDS: &'static [&'static str] = <$name>::KINDS;
            fn read(kind: &str, body: &str) -> Self {
                Self::decode(kind, body).unwrap_or_else(|error| panic!("{error}"))
            }
            fn written(&self) -> (&'static str, String) {
                (self.kind(), self.body())
            }
        })*
    };
}

message!(gleitzeit_mesh::wire::ToHub, gleitzeit_mesh::wire::FromHub);

/// The files of a direction: names and texts.
#[expect(clippy::disallowed_methods, reason = "the files are what is tested")]
fn files(direction: &str) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(direction);
    let files = std::fs::read_dir(folder).expect("the folder is there");
    files
        .map(|file| {
            let path = file.expect("it can be listed").path();
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a plain name").to_owned();
            (name, std::fs::read_to_string(&path).expect("it can be read"))
        })
        .collect()
}

/// Checks that each file is read as the value of its name, in any surroundings, and (except for a least one) written
/// identically.
fn check<M: Message>(direction: &str, values: Vec<(&str, M)>) {
    let mut files = files(direction);
    let kinds: BTreeSet<&str> = values.iter().filter_map(|(name, _)| name.split('-').next()).collect();
    assert_eq!(kinds, M::KINDS.iter().copied().collect(), "each kind has a file");
    for (name, value) in values {
        let text = files.remove(name).unwrap_or_else(|| panic!("no file `{name}`, which should be: {}", wire(&value)));
        let (kind, body): (String, Payload) = serde_json::from_str(&text).expect("an event of the wire");
        assert_eq!(Some(kind.as_str()), name.split('-').next(), "{name}");
        assert_eq!(M::read(&kind, body.get()), value, "{name}");
        if !name.ends_with("-least") {
            assert_eq!(wire(&value), text.trim_end(), "{name}");
        }
        let rest = body.get().strip_prefix('{').expect("an object");
        let comma = if rest.starts_with('}') { "" } else { "," };
        let newer = format!("{{\"later\":{{\"x\":[1]}}{comma}{rest}");
        assert_eq!(M::read(&kind, &newer), value, "{name} with a field of later");
        // A call has its own `meta`; every other body gets one when it is sent.
        if !body.get().contains("\"meta\"") {
            let meta = Meta { id: Some("m1".to_owned()), timestamp: Some(Timestamp(0)), ..Meta::default() };
            let sent = with_meta(&value, &meta);
            assert_eq!((M::read(&kind, sent.get()), Meta::of(sent.get())), (value, meta), "{name} with meta");
        }
    }
    assert!(files.is_empty(), "files without a value: {:?}", files.keys());
}

fn wire(message: &impl Message) -> String {
    let (kind, body) = message.written();
    format!("[\"{kind}\",{body}]")
}

fn at(task: &str, attempt: u32) -> AttemptRef {
    AttemptRef {
        run_id: gleitzeit_fixtures::run_id(0x0193_0a5c_7e31_7c3d_9b4f_2a6d_5e8f_9c01),
        task_id: task.into(),
        attempt,
    }
}

fn payload(value: Value) -> Payload {
    Payload::from(value)
}

fn schemas() -> Payload {
    payload(json!({"math/add": {"parameters": {"type": "object", "required": ["numbers"]}, "timeout": "10s"}}))
}
