//! A frame of the mesh, from either side: a valid event stays the same when it is written and read again; anything
//! else is refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use gleitzeit_mesh::wire::{FromHub, ToHub};

fuzz_target!(|text: &str| {
    let (name, body) = match gleitzeit_link::read_frame(text) {
        Some(event) => event,
        // Events that no frame contains, given by name and body alone.
        None => match text.split_once('\n') {
            Some((name, body)) => (name.into(), body),
            None => return,
        },
    };
    if let Ok(message) = ToHub::decode(&name, body) {
        let again = ToHub::decode(message.kind(), &message.body()).expect("it was read before");
        assert_eq!(message, again);
    }
    if let Ok(message) = FromHub::decode(&name, body) {
        let again = FromHub::decode(message.kind(), &message.body()).expect("it was read before");
        assert_eq!(message, again);
    }
});
