//! The `meta` object of every event.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Who sent an event, when, and on behalf of what. Every field may be left out by a component; the hub fills it in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Meta {
    /// Names this event; an answer's `in_reply_to`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Of the run it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// W3C trace context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Component id of the sender; `hub` for the hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The sender's wall clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
}

impl Meta {
    /// Reads the `meta` of a body; the default if it has none or it is malformed (nothing depends on it).
    pub fn of(body: &str) -> Self {
        #[derive(Deserialize)]
        struct Body {
            #[serde(default)]
            meta: Option<Meta>,
        }
        serde_json::from_str::<Body>(body).ok().and_then(|body| body.meta).unwrap_or_default()
    }
}

/// The `meta.id` of a body, by which errors refer to it. Bodies without `meta` are not read a second time.
pub fn message_id(body: &str) -> Option<String> {
    if body.contains("\"meta\"") { Meta::of(body).id } else { None }
}

/// Puts `meta` in front of the fields of a body, which is a JSON object without one.
pub fn with_meta(body: &str, meta: &Meta) -> String {
    // `Meta` is a struct of strings: serializing it cannot fail.
    let meta = serde_json::to_string(meta).expect("meta is serializable");
    match body.strip_prefix('{') {
        Some("}") => format!("{{\"meta\":{meta}}}"),
        Some(rest) => format!("{{\"meta\":{meta},{rest}"),
        None => body.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_is_spliced_into_any_object_and_read_back() {
        let meta = Meta { source: Some("hub".into()), ..Meta::default() };
        for body in ["{}", r#"{"a":1}"#] {
            let text = with_meta(body, &meta);
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
            assert_eq!(Meta::of(&text), meta);
        }
    }
}
