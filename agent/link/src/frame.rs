//! Socket.IO packets as text, the content of one WebSocket message. Pure.
//!
//! Bodies pass through unchanged: reading one scans it once and copies it once.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// Engine.IO's answer to a ping.
pub(crate) const PONG: &str = "3";
/// The packet that leaves the namespace.
pub(crate) const DISCONNECT: &str = "41";

/// One packet from the hub.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    /// Engine.IO handshake with its JSON.
    Open(&'a str),
    /// Engine.IO ends the connection.
    Close,
    Ping,
    /// The namespace is joined.
    Connected,
    /// The hub removed us from the namespace.
    Disconnected,
    /// The hub refuses to let us join.
    Refused(String),
    /// An event: its JSON array.
    Event(&'a str),
    /// A packet that this client ignores.
    Other,
}

/// Reads the type of a packet.
pub(crate) fn parse(text: &str) -> Packet<'_> {
    let Some(kind) = text.bytes().next().filter(u8::is_ascii) else { return Packet::Other };
    let rest = &text[1..];
    match kind {
        b'0' => Packet::Open(rest),
        b'1' => Packet::Close,
        b'2' => Packet::Ping,
        b'4' => message(rest),
        _ => Packet::Other,
    }
}

fn message(text: &str) -> Packet<'_> {
    let Some(kind) = text.bytes().next().filter(u8::is_ascii) else { return Packet::Other };
    let rest = &text[1..];
    if rest.starts_with('/') {
        // We join the default namespace only.
        return Packet::Other;
    }
    match kind {
        b'0' => Packet::Connected,
        b'1' => Packet::Disconnected,
        // An acknowledgement id may stand before the array; we never answer it.
        b'2' => Packet::Event(rest.trim_start_matches(|c: char| c.is_ascii_digit())),
        b'4' => Packet::Refused(refusal(rest)),
        _ => Packet::Other,
    }
}

fn refusal(text: &str) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    match serde_json::from_str(text) {
        Ok(Refusal { message }) => message,
        Err(_) if text.is_empty() => "no reason given".to_owned(),
        Err(_) => text.chars().take(500).collect(),
    }
}

/// An event's name and its first argument.
pub(crate) struct Event<'a> {
    pub(crate) name: Cow<'a, str>,
    body: Option<&'a str>,
}

impl<'a> Event<'a> {
    /// The JSON object; `{}` if the event came without argument, `None` if the argument is something else.
    pub(crate) fn body(&self) -> Option<&'a str> {
        self.body.map_or(Some("{}"), |text| Some(text).filter(|text| text.starts_with('{')))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Event<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = Event<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of an event name and an object")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let Some(Name(name)) = seq.next_element()? else {
                    return Err(serde::de::Error::invalid_length(0, &self));
                };
                let body = seq.next_element::<&RawValue>()?.map(RawValue::get);
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Event { name, body })
            }
        }
        deserializer.deserialize_seq(Parts)
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads an event's array. If the event is written as the hub writes it, `["name",{…}]`, this does not check that the
/// argument is valid JSON: the consumer of the body does, so that the body is parsed only once.
pub(crate) fn event(text: &str) -> Result<Event<'_>, serde_json::Error> {
    match plain(text) {
        Some((name, body)) => Ok(Event { name: Cow::Borrowed(name), body: Some(body) }),
        None => serde_json::from_str(text),
    }
}

fn plain(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.strip_prefix("[\"")?.split_once("\",")?;
    let body = rest.strip_suffix("}]").and_then(|_| rest.strip_suffix(']'))?;
    (body.starts_with('{') && !name.contains('\\')).then_some((name, body))
}

/// The request to join the namespace.
pub(crate) fn join(token: Option<&str>) -> String {
    match token {
        None => "40".to_owned(),
        Some(token) => format!("40{}", serde_json::json!({ "token": token })),
    }
}

/// Writes an event.
pub(crate) fn encode<T: Serialize + ?Sized>(event: &str, body: &T) -> Result<String, serde_json::Error> {
    let mut buffer = Vec::with_capacity(256);
    buffer.extend_from_slice(b"42[");
    serde_json::to_writer(&mut buffer, event)?;
    buffer.push(b',');
    serde_json::to_writer(&mut buffer, body)?;
    buffer.push(b']');
    String::from_utf8(buffer).map_err(|error| serde::ser::Error::custom(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_distinguished() {
        let cases = [
            ("", Packet::Other),
            ("ä", Packet::Other),
            ("4", Packet::Other),
            ("4ä", Packet::Other),
            ("0{}", Packet::Open("{}")),
            ("1", Packet::Close),
            ("2", Packet::Ping),
            ("6", Packet::Other),
            ("40{\"sid\":\"x\"}", Packet::Connected),
            ("41", Packet::Disconnected),
            ("42[\"a\",{}]", Packet::Event("[\"a\",{}]")),
            ("4217[\"a\",{}]", Packet::Event("[\"a\",{}]")),
            ("42/admin,[\"a\",{}]", Packet::Other),
            ("44{\"message\":\"no\"}", Packet::Refused("no".to_owned())),
            ("44\"odd\"", Packet::Refused("\"odd\"".to_owned())),
            ("44", Packet::Refused("no reason given".to_owned())),
        ];
        for (text, packet) in cases {
            assert_eq!(parse(text), packet, "{text}");
        }
    }

    #[test]
    fn a_body_is_kept_as_it_was_written() {
        let text = r#"["n", {"big": 123456789012345678901234567890, "huge":1e400,  "f": 1.50, "s":"\u00e4"} ]"#;
        let read = event(text).expect("valid");
        let body = r#"{"big": 123456789012345678901234567890, "huge":1e400,  "f": 1.50, "s":"\u00e4"}"#;
        assert_eq!((read.name.as_ref(), read.body()), ("n", Some(body)));
        let raw = RawValue::from_string(body.to_owned()).expect("valid");
        assert_eq!(encode("n", &raw).expect("valid"), format!("42[\"n\",{body}]"));
    }

    #[test]
    fn events_without_one_object_are_refused() {
        assert_eq!(event(r#"["a"]"#).expect("valid").body(), Some("{}"));
        assert_eq!(event(r#"["a",{"x":1},2]"#).expect("valid").body(), Some(r#"{"x":1}"#));
        assert_eq!(event(r#"["a",{"x":1} ]"#).expect("valid").body(), Some(r#"{"x":1}"#));
        assert_eq!(event(r#"["a",[1]]"#).expect("valid").body(), None);
        assert_eq!(event(r#"["\u0061b",{}]"#).expect("valid").name, "ab");
        for bad in ["[]", "[1,{}]", "{}", "[\"a\",{}", ""] {
            assert!(event(bad).is_err(), "{bad}");
        }
    }
}
