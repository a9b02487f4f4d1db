//! The `meta` object of every event.

use gleitzeit_workflow::tagged::{Body, Tagged};
use gleitzeit_workflow::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

/// The sender of an event, its time, and what it belongs to. A component may leave out every field; the hub fills it
/// in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Meta {
    /// Identifies this event; an answer refers to it in `in_reply_to`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The correlation id of the run that the event is about, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// W3C trace context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Component id of the sender; `hub` for the hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// When it was sent, by the sender's wall clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
}

impl Meta {
    /// Reads the `meta` of a body; the default if the body has none or it is malformed (nothing depends on it).
    pub fn of(body: &str) -> Self {
        #[derive(Deserialize)]
        struct Body {
            #[serde(default)]
            meta: Option<Meta>,
        }
        serde_json::from_str::<Body>(body).ok().and_then(|body| body.meta).unwrap_or_default()
    }
}

/// The `meta.id` of a body, to which errors refer. Bodies without `meta` are not parsed a second time.
pub fn message_id(body: &str) -> Option<String> {
    if body.contains("\"meta\"") { Meta::of(body).id } else { None }
}

/// The body of a message with `meta` in front of its fields, serialized in one pass. Not for bodies that have a `meta`
/// of their own.
pub fn with_meta<T: Tagged>(message: &T, meta: &Meta) -> Box<RawValue> {
    #[derive(Serialize)]
    #[serde(bound = "T: Tagged")]
    struct Whole<'a, T> {
        meta: &'a Meta,
        #[serde(flatten)]
        body: Body<'a, T>,
    }
    // Structs of strings, numbers and raw JSON always serialize.
    to_raw_value(&Whole { meta, body: Body(message) }).expect("a message is serializable")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{FromHub, Heartbeat, Welcome};

    #[test]
    fn meta_precedes_the_fields_and_is_read_back() {
        let meta = Meta { source: Some("hub".into()), ..Meta::default() };
        let welcome = FromHub::from(Welcome { version: "1".into(), ..Welcome::default() });
        let text = with_meta(&welcome, &meta);
        assert_eq!(text.get(), r#"{"meta":{"source":"hub"},"version":"1"}"#);
        assert_eq!(Meta::of(text.get()), meta);
        let beat = FromHub::from(Heartbeat {});
        assert_eq!(with_meta(&beat, &meta).get(), r#"{"meta":{"source":"hub"}}"#);
    }
}
