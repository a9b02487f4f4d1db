//! What OpenTelemetry's conventions for generative AI say about a call of a language model.

use serde_json::Value;

use super::short;

use crate::id::MethodName;
use crate::payload::Payload;

type Attributes = Vec<(&'static str, Value)>;

/// What the parameters tell; nothing for other methods.
pub(super) fn asked(method: &MethodName, parameters: &Payload) -> Attributes {
    let Some(operation) = operation(method) else { return Attributes::new() };
    let mut attributes = vec![("gen_ai.operation.name", Value::from(operation))];
    // Of what cannot be read nothing is told.
    let Ok(parameters) = parameters.to_value() else { return attributes };
    for (field, name) in [
        ("model", "gen_ai.request.model"),
        ("temperature", "gen_ai.request.temperature"),
        ("max_tokens", "gen_ai.request.max_tokens"),
    ] {
        push(&mut attributes, name, parameters.get(field));
    }
    attributes
}

/// What the result tells; nothing for other methods.
pub(super) fn answered(method: &MethodName, result: &Payload) -> Attributes {
    let mut attributes = Attributes::new();
    if operation(method).is_some()
        && let Ok(result) = result.to_value()
    {
        push(&mut attributes, "gen_ai.response.model", result.get("model"));
        push(&mut attributes, "gen_ai.usage.input_tokens", result.pointer("/usage/prompt_tokens"));
        push(&mut attributes, "gen_ai.usage.output_tokens", result.pointer("/usage/completion_tokens"));
        if let Some(reason) = result.get("done_reason").and_then(Value::as_str) {
            attributes.push(("gen_ai.response.finish_reasons", Value::from(vec![short(reason)])));
        }
    }
    attributes
}

fn push(attributes: &mut Attributes, name: &'static str, value: Option<&Value>) {
    match value {
        Some(Value::String(text)) => attributes.push((name, Value::from(short(text)))),
        Some(number @ Value::Number(_)) => attributes.push((name, number.clone())),
        _ => {}
    }
}

fn operation(method: &MethodName) -> Option<&'static str> {
    match method.as_str() {
        "llm/chat" | "llm/vision" => Some("chat"),
        "llm/complete" => Some("text_completion"),
        "llm/embed" => Some("embeddings"),
        _ => None,
    }
}
