//! A message to the hub as the link wants it: an event name and something that serializes to one JSON object.

use gleitzeit_core::mesh::ToHub;
use serde::{Serialize, Serializer};

/// The body alone: `ToHub` itself serializes with its name around it. `meta` is left to the hub to fill in.
pub(crate) struct Body<'a>(pub(crate) &'a ToHub);

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            ToHub::RegisterComponent(body) => body.serialize(serializer),
            ToHub::HeartbeatResponse(body) => body.serialize(serializer),
            ToHub::EventsAck(body) => body.serialize(serializer),
            ToHub::Append(body) => body.serialize(serializer),
            ToHub::TaskTaken(body) => body.serialize(serializer),
            ToHub::ExecuteMethod(body) => body.serialize(serializer),
            ToHub::MethodProgress(body) => body.serialize(serializer),
            ToHub::MethodResult(body) => body.serialize(serializer),
            ToHub::CancelMethod(body) => body.serialize(serializer),
            ToHub::Watch(body) => body.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use gleitzeit_core::mesh::{EventsAck, HeartbeatResponse};

    use super::*;

    #[test]
    fn the_body_is_what_the_message_calls_its_body() {
        let messages =
            [ToHub::from(EventsAck { position: gleitzeit_core::id::Position(7) }), HeartbeatResponse::default().into()];
        for message in messages {
            assert_eq!(serde_json::to_string(&Body(&message)).expect("serializable"), message.body());
        }
    }
}
