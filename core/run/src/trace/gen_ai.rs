//! Attributes of OpenTelemetry's conventions for generative AI, for calls of language models.

use gleitzeit_workflow::id::MethodName;
use gleitzeit_workflow::payload::Payload;
use serde_json::Value;

use super::{MAX_ITEMS, short};

type Attributes = Vec<(&'static str, Value)>;

/// The attribute type of an option: the conventions define some as floating-point numbers, whatever was written.
#[derive(Clone, Copy)]
enum As {
    Whole,
    Fraction,
}

/// Options, as a parameter of their own or within `options`, with their attribute names.
const OPTIONS: [(&[&str], &str, As); 7] = [
    (&["temperature"], "gen_ai.request.temperature", As::Fraction),
    (&["max_tokens", "num_predict"], "gen_ai.request.max_tokens", As::Whole),
    (&["top_p"], "gen_ai.request.top_p", As::Fraction),
    (&["top_k"], "gen_ai.request.top_k", As::Fraction),
    (&["seed"], "gen_ai.request.seed", As::Whole),
    (&["frequency_penalty"], "gen_ai.request.frequency_penalty", As::Fraction),
    (&["presence_penalty"], "gen_ai.request.presence_penalty", As::Fraction),
];

/// The attributes that the parameters give; empty for other methods.
pub fn asked(method: &MethodName, parameters: &Payload) -> Attributes {
    let Some(operation) = operation(method) else { return Attributes::new() };
    let mut attributes = vec![("gen_ai.operation.name", Value::from(operation))];
    // Parameters that cannot be read give no attributes.
    let Ok(parameters) = parameters.to_value() else { return attributes };
    push(&mut attributes, "gen_ai.request.model", parameters.get("model"));
    for (fields, name, kind) in OPTIONS {
        // The short form takes precedence, as it does at the provider.
        let own = fields.iter().find_map(|field| parameters.get(*field));
        let option = || fields.iter().find_map(|field| parameters.get("options")?.get(*field));
        let value = match (own.or_else(option), kind) {
            (Some(Value::Number(number)), As::Fraction) => number.as_f64().map(Value::from),
            (Some(Value::Number(number)), As::Whole) => number.as_i64().map(Value::from),
            _ => None,
        };
        attributes.extend(value.map(|value| (name, value)));
    }
    if let Some(Value::Array(stop)) = parameters.pointer("/options/stop") {
        let stop = stop.iter().filter_map(Value::as_str).take(MAX_ITEMS).map(|text| Value::from(short(text)));
        attributes.push(("gen_ai.request.stop_sequences", Value::from(stop.collect::<Vec<_>>())));
    }
    match parameters.get("format") {
        Some(Value::Null) | None => {}
        Some(_) => attributes.push(("gen_ai.output.type", Value::from("json"))),
    }
    if let Some(dimensions) = parameters.get("dimensions").and_then(Value::as_i64) {
        attributes.push(("gen_ai.embeddings.dimension.count", Value::from(dimensions)));
    }
    attributes
}

/// The name of the span of a request, such as `chat llama3.2`; `None` for other methods.
pub fn span_name(method: &MethodName, parameters: &Payload) -> Option<String> {
    let operation = operation(method)?;
    let parameters = parameters.to_value().ok();
    Some(match parameters.as_ref().and_then(|it| it.get("model")?.as_str()) {
        Some(model) => format!("{operation} {}", short(model)),
        None => operation.to_owned(),
    })
}

/// The attributes that the result gives; empty for other methods.
pub fn answered(method: &MethodName, result: &Payload) -> Attributes {
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
