//! The answers: they depend on the request and on nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// A request, independent of the API.
#[derive(Debug, Default)]
pub(crate) struct Question {
    /// All texts of the conversation, the last one at the end.
    pub(crate) texts: Vec<String>,
    /// Images in base64.
    pub(crate) images: Vec<String>,
    /// A JSON Schema, or `true` for any JSON.
    pub(crate) format: Option<Value>,
}

/// An answer and its token counts.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) pieces: Vec<String>,
    pub(crate) prompt_tokens: usize,
}

impl Answer {
    pub(crate) fn tokens(&self) -> usize {
        self.pieces.len()
    }

    pub(crate) fn text(&self) -> String {
        self.pieces.concat()
    }
}

/// How many characters of the prompt are repeated.
const REPEATED: usize = 300;

pub(crate) fn answer(question: &Question, says: Option<&str>) -> Result<Answer, String> {
    let last: String = question.texts.last().map(String::as_str).unwrap_or_default().chars().take(REPEATED).collect();
    let mut text = String::new();
    for image in &question.images {
        text.push_str(&describe(image)?);
    }
    text.push_str("You said: ");
    text.push_str(&last);
    if let Some(format) = &question.format {
        text = match format {
            Value::Object(schema) => instance(&Value::Object(schema.clone()), &text),
            _ => json!({"said": text}),
        }
        .to_string();
    }
    if let Some(says) = says {
        text = says.to_owned();
    }
    let words = |text: &String| text.split_whitespace().count();
    let pieces = text.split_inclusive(' ').map(str::to_owned).collect();
    Ok(Answer { pieces, prompt_tokens: question.texts.iter().map(words).sum::<usize>() + question.images.len() * 10 })
}

/// Proves that the bytes have arrived.
fn describe(base64: &str) -> Result<String, String> {
    let bytes = STANDARD.decode(base64).map_err(|error| format!("illegal base64 data: {error}"))?;
    match bytes.as_slice() {
        [0x89, b'P', b'N', b'G', ..] if bytes.len() >= 24 => {
            let number = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            Ok(format!("I see a PNG of {} x {} pixels in {} bytes. ", number(16), number(20), bytes.len()))
        }
        _ => Ok(format!("I see an image in {} bytes. ", bytes.len())),
    }
}

/// The simplest value that fits a schema.
fn instance(schema: &Value, text: &str) -> Value {
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    match schema["type"].as_str() {
        Some("string") => json!(text),
        Some("integer" | "number") => json!(7),
        Some("boolean") => json!(true),
        Some("array") => json!([instance(&schema["items"], text)]),
        Some("null") => Value::Null,
        _ => {
            let properties = schema["properties"].as_object().cloned().unwrap_or_default();
            properties.iter().map(|(name, schema)| (name.clone(), instance(schema, text))).collect::<Map<_, _>>().into()
        }
    }
}

/// Three numbers that distinguish texts.
pub(crate) fn vector(text: &str) -> Value {
    let sum: u32 = text.bytes().map(u32::from).sum();
    json!([text.chars().count(), f64::from(sum) / 8.0, -0.5])
}

/// A text or a list of texts.
pub(crate) fn texts(input: &Value) -> Vec<String> {
    match input {
        Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::String(text) => vec![text.clone()],
        _ => Vec::new(),
    }
}
