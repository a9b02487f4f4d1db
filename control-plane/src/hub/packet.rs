//! Socket.IO 5 packets as text: the content of one Engine.IO message. Pure.
//!
//! Only the frame of a packet is parsed here. Its payload is passed on as text, so that it is parsed only once, by the
//! code that knows its type.

use gleitzeit_mesh::wire::MeshError;
use serde_json::{Value, json};

/// The number under which a client wants an event acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AckId(u64);

/// One packet from a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    /// Joins the namespace, with the text of its `auth` payload, or an empty text if there is none.
    Connect { auth: &'a str },
    /// Asks to join another namespace.
    ConnectElsewhere { namespace: &'a str },
    /// Leaves the namespace.
    Disconnect,
    /// An event: the text of its argument list, and the id for its acknowledgement, if the client wants one.
    Event { data: &'a str, ack: Option<AckId> },
    /// An event or an acknowledgement with binary attachments, which follow as separate messages.
    Binary { attachments: usize, ack: Option<AckId> },
    /// An acknowledgement. The hub never asks for one.
    Ack,
    /// Not a packet.
    Malformed(String),
}

/// Parses the frame of a packet.
pub(crate) fn parse(text: &str) -> Packet<'_> {
    let mut letters = text.chars();
    let Some(kind @ '0'..='6') = letters.next() else {
        let start: String = text.chars().take(20).collect();
        return Packet::Malformed(format!("`{start}` does not begin with the type of a packet of Socket.IO, 0 to 6"));
    };
    let mut rest = letters.as_str();
    let mut attachments = 0;
    if matches!(kind, '5' | '6') {
        let Some((count, after)) = rest.split_once('-').and_then(|(count, after)| Some((count.parse().ok()?, after)))
        else {
            return Packet::Malformed("a binary packet begins with the number of its attachments".to_owned());
        };
        (attachments, rest) = (count, after);
    }
    if rest.starts_with('/') {
        let (namespace, after) = rest.split_once(',').unwrap_or((rest, ""));
        if namespace != "/" {
            return match kind {
                '0' => Packet::ConnectElsewhere { namespace },
                '1' => Packet::Ack,
                _ => Packet::Malformed(format!("the namespace `{namespace}` is not used here; use `/`")),
            };
        }
        rest = after;
    }
    match kind {
        '0' => Packet::Connect { auth: rest },
        '1' => Packet::Disconnect,
        '2' => {
            let (data, ack) = split_ack(rest);
            Packet::Event { data, ack }
        }
        '5' => Packet::Binary { attachments, ack: split_ack(rest).1 },
        '6' => Packet::Binary { attachments, ack: None },
        '3' => Packet::Ack,
        _ => Packet::Malformed("clients do not send errors of connecting".to_owned()),
    }
}

/// Splits off the acknowledgement id that may stand before the argument list.
fn split_ack(text: &str) -> (&str, Option<AckId>) {
    let data = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    (data, text[..text.len() - data.len()].parse().ok().map(AckId))
}

/// The packet that says the namespace was joined; `id` is that of the connection.
pub(crate) fn connected(id: &str) -> String {
    format!("0{}", json!({ "sid": id }))
}

/// The packet that refuses to join a namespace.
pub(crate) fn refused(namespace: &str, message: &str) -> String {
    let separator = if namespace == "/" { String::new() } else { format!("{namespace},") };
    format!("4{separator}{}", json!({ "message": message }))
}

/// The packet that removes the client from the namespace.
pub(crate) const DISCONNECTED: &str = "1";

/// An event packet with the text of its one argument.
pub(crate) fn event(name: &str, body: &str) -> String {
    // Event names contain nothing to escape.
    ["2[\"", name, "\",", body, "]"].concat()
}

/// The packet that acknowledges an event: without arguments, or with the refusal.
pub(crate) fn acknowledgement(AckId(ack): AckId, refusal: Option<&MeshError>) -> String {
    let arguments: Vec<Value> = refusal.map(|error| json!(error)).into_iter().collect();
    format!("3{ack}{}", Value::Array(arguments))
}

#[cfg(test)]
mod tests {
    use gleitzeit_workflow::ErrorCode;

    use super::*;

    #[test]
    fn packets_are_distinguished() {
        let event = |data, ack| Packet::Event { data, ack };
        for (text, packet) in [
            ("0", Packet::Connect { auth: "" }),
            ("0{\"token\":\"x\"}", Packet::Connect { auth: "{\"token\":\"x\"}" }),
            ("0/,{}", Packet::Connect { auth: "{}" }),
            ("0/admin,{}", Packet::ConnectElsewhere { namespace: "/admin" }),
            ("0/é", Packet::ConnectElsewhere { namespace: "/é" }),
            ("1", Packet::Disconnect),
            ("1/admin,", Packet::Ack),
            ("2[\"a\",{}]", event("[\"a\",{}]", None)),
            ("217[\"a\",{}]", event("[\"a\",{}]", Some(AckId(17)))),
            ("2", event("", None)),
            ("299999999999999999999[\"a\"]", event("[\"a\"]", None)),
            ("317[]", Packet::Ack),
            ("52-3[\"a\",{}]", Packet::Binary { attachments: 2, ack: Some(AckId(3)) }),
            ("61-3[]", Packet::Binary { attachments: 1, ack: None }),
        ] {
            assert_eq!(parse(text), packet, "{text}");
        }
        for text in ["", "x", "é", "9[]", "5[]", "5x-[]", "2/admin,[\"a\"]", "4{}"] {
            assert!(matches!(parse(text), Packet::Malformed(_)), "{text}");
        }
    }

    #[test]
    fn written_packets_are_what_clients_read() {
        assert_eq!(connected("s"), r#"0{"sid":"s"}"#);
        assert_eq!(refused("/", "no \"x\""), r#"4{"message":"no \"x\""}"#);
        assert_eq!(refused("/admin", "no"), r#"4/admin,{"message":"no"}"#);
        assert_eq!(event("welcome", "{}"), r#"2["welcome",{}]"#);
        assert_eq!(acknowledgement(AckId(7), None), "37[]");
        let error = MeshError::new(ErrorCode::InvalidRequest, "no", Some("m1".to_owned()));
        let text = acknowledgement(AckId(7), Some(&error));
        assert!(text.starts_with("37[{") && text.ends_with("}]") && text.contains(r#""message":"no""#), "{text}");
    }
}
