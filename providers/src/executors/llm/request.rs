//! Parses what a call asks for; the same for every kind of server.

use std::mem;
use std::path::Path;

use gleitzeit_protocols::Schema;
use gleitzeit_workflow::error::ErrorCode;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::answer::Format;
use super::config::Config;
use super::image::{Image, Source};
use super::prompt::Size;
use crate::call::{Call, CallError};
use crate::executors::builtin::parameters;

/// A checked question to a model.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) model: String,
    /// The messages in the order of the conversation; never empty.
    pub(super) turns: Vec<Turn>,
    /// Model options, by the names of the protocol.
    pub(super) options: Map<String, Value>,
    /// `json` or a JSON Schema.
    pub(super) format: Option<Value>,
    /// The compiled form of `format`, to check the answer against.
    pub(super) expected: Option<Format>,
    pub(super) keep_alive: Option<Value>,
    /// Fields that are added to the request unchanged.
    pub(super) extra: Map<String, Value>,
    /// The size of the text in all turns.
    pub(super) size: Size,
}

/// One message.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub(super) role: String,
    pub(super) content: String,
    pub(super) images: Vec<Image>,
}

/// Texts to be turned into vectors.
#[derive(Clone, Debug)]
pub(super) struct Texts {
    pub(super) model: String,
    pub(super) input: Vec<String>,
    pub(super) dimensions: Option<u64>,
    pub(super) keep_alive: Option<Value>,
    pub(super) extra: Map<String, Value>,
    /// The size of all texts.
    pub(super) size: Size,
}

#[derive(Deserialize)]
struct Asked {
    model: String,
    #[serde(default)]
    messages: Vec<Message>,
    prompt: Option<String>,
    system: Option<String>,
    #[serde(default)]
    images: Vec<Source>,
    #[serde(default)]
    options: Map<String, Value>,
    temperature: Option<Value>,
    max_tokens: Option<Value>,
    format: Option<Value>,
    keep_alive: Option<Value>,
    #[serde(default)]
    extra: Map<String, Value>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: String,
    #[serde(default)]
    images: Vec<Source>,
}

#[derive(Deserialize)]
struct Embed {
    model: String,
    input: OneOrMore,
    dimensions: Option<u64>,
    keep_alive: Option<Value>,
    #[serde(default)]
    extra: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// Fields that `extra` must not set: the parameters set them, or the answer could not be read.
const RESERVED: &[&str] = &["model", "messages", "prompt", "input", "images", "stream", "stream_options", "n"];

/// Parses a chat, a completion or a question about images. Reads the files of images, so it may block.
pub(super) fn question(call: &Call, config: &Config) -> Result<Question, CallError> {
    let mut asked: Asked = parameters(call)?;
    let turns = take_turns(&mut asked, config.image_folder.as_deref())?;
    let mut size = Size::default();
    turns.iter().for_each(|turn| size.add(&turn.content));
    Ok(Question {
        model: config.model(&asked.model),
        turns,
        options: options(asked.options, asked.temperature, asked.max_tokens),
        expected: asked.format.as_ref().map(expected).transpose()?,
        format: asked.format,
        keep_alive: asked.keep_alive.map(keep_alive).transpose()?,
        extra: checked(asked.extra)?,
        size,
    })
}

/// The conversation: `system`, `messages` and `prompt`, in this order. `images` join the last message of the user.
fn take_turns(asked: &mut Asked, folder: Option<&Path>) -> Result<Vec<Turn>, CallError> {
    let mut turns = Vec::new();
    if let Some(content) = asked.system.take() {
        turns.push(Turn { role: "system".to_owned(), content, images: Vec::new() });
    }
    for (number, Message { role, content, images }) in mem::take(&mut asked.messages).into_iter().enumerate() {
        let images = load(images, &format!("messages[{number}].images"), folder)?;
        turns.push(Turn { role, content, images });
    }
    if let Some(content) = asked.prompt.take() {
        turns.push(Turn { role: "user".to_owned(), content, images: Vec::new() });
    }
    if !asked.images.is_empty() {
        let images = load(mem::take(&mut asked.images), "images", folder)?;
        let last = turns.iter_mut().rev().find(|turn| turn.role == "user");
        let last = last.ok_or_else(|| invalid("`images` need a message of the user, and there is none"))?;
        last.images.extend(images);
    }
    if turns.is_empty() {
        return Err(invalid("`messages` or `prompt` is missing"));
    }
    Ok(turns)
}

/// Loads images; `place` names their list in errors.
fn load(sources: Vec<Source>, place: &str, folder: Option<&Path>) -> Result<Vec<Image>, CallError> {
    let image = |(number, source): (usize, Source)| {
        source.load(folder).map_err(|why| invalid(format!("`{place}[{number}]` {why}")))
    };
    sources.into_iter().enumerate().map(image).collect()
}

/// The options, with the parameters that are short for one of them; an option takes precedence.
fn options(
    mut options: Map<String, Value>,
    temperature: Option<Value>,
    max_tokens: Option<Value>,
) -> Map<String, Value> {
    // Ollama's name for the limit, for those who know it by that name.
    let tokens = options.remove("num_predict");
    for (name, value) in [("temperature", temperature), ("max_tokens", max_tokens), ("max_tokens", tokens)] {
        if let Some(value) = value {
            options.entry(name).or_insert(value);
        }
    }
    options
}

/// The compiled form of a `format`.
fn expected(format: &Value) -> Result<Format, CallError> {
    if !format.is_object() {
        return Ok(Format::Json);
    }
    let schema =
        Schema::compile(format).map_err(|error| invalid(format!("`format` is not a usable JSON Schema: {error}")))?;
    Ok(Format::Fitting(Box::new(schema)))
}

/// Parses the texts of an embedding.
pub(super) fn texts(call: &Call, config: &Config) -> Result<Texts, CallError> {
    let Embed { model, input, dimensions, keep_alive: kept, extra } = parameters(call)?;
    let input = match input {
        OneOrMore::One(text) => vec![text],
        OneOrMore::More(texts) => texts,
    };
    let mut size = Size::default();
    input.iter().for_each(|text| size.add(text));
    let keep_alive = kept.map(keep_alive).transpose()?;
    Ok(Texts { model: config.model(&model), input, dimensions, keep_alive, extra: checked(extra)?, size })
}

/// Whether the task lets the server cut a prompt that is too long.
pub(super) fn may_cut(extra: &Map<String, Value>) -> bool {
    extra.get("truncate").is_some_and(|truncate| *truncate != Value::Bool(false))
        || extra.contains_key("truncate_prompt_tokens")
}

/// Ollama accepts seconds only as a number, and durations as text; a number in a text is meant as a number.
fn keep_alive(value: Value) -> Result<Value, CallError> {
    let Value::String(text) = &value else { return Ok(value) };
    let text = text.trim();
    let number = text.strip_prefix('+').unwrap_or(text);
    if let Ok(seconds) = number.parse::<i64>() {
        return Ok(seconds.into());
    }
    let is_numeric = number.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-'));
    if let Some(seconds) = number.parse().ok().filter(|_| is_numeric).and_then(serde_json::Number::from_f64) {
        return Ok(seconds.into());
    }
    if is_duration(number) {
        return Ok(number.into());
    }
    let known = "a number of seconds, or a duration in `h`, `m`, `s` or `ms` such as `24h` or `1h30m`; -1 keeps it";
    Err(invalid(format!("`keep_alive` is `{text}`; write {known}")))
}

/// Whether a text is a duration as Go parses it: numbers, each with its unit.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix('-').unwrap_or(text);
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let unit = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let number = &rest[..rest.len() - unit.len()];
        let known = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"];
        let end = unit.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(unit.len());
        if number.parse::<f64>().is_err() || !known.contains(&&unit[..end]) {
            return false;
        }
        rest = &unit[end..];
    }
    true
}

fn checked(extra: Map<String, Value>) -> Result<Map<String, Value>, CallError> {
    match extra.keys().find(|name| RESERVED.contains(&name.as_str())) {
        Some(name) => Err(invalid(format!("`extra` may not contain `{name}`"))),
        None => Ok(extra),
    }
}

/// Adds fields; an object is merged into an object that already exists.
pub(super) fn add(body: &mut Map<String, Value>, extra: Map<String, Value>) {
    for (name, value) in extra {
        match (body.get_mut(&name), value) {
            (Some(Value::Object(there)), Value::Object(more)) => there.extend(more),
            (_, value) => {
                body.insert(name, value);
            }
        }
    }
}

fn invalid(message: impl Into<String>) -> CallError {
    CallError::new(ErrorCode::InvalidParams, message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keep_alive_is_sent_in_a_form_that_ollama_takes() {
        for (given, sent) in [
            (json!(-1), json!(-1)),
            (json!(0), json!(0)),
            (json!(1.5), json!(1.5)),
            (json!("-1"), json!(-1)),
            (json!("0"), json!(0)),
            (json!(" 300 "), json!(300)),
            (json!("+5"), json!(5)),
            (json!("1.5"), json!(1.5)),
            (json!("5m"), json!("5m")),
            (json!("-1m"), json!("-1m")),
            (json!("1h30m10.5s"), json!("1h30m10.5s")),
            (json!("250ms"), json!("250ms")),
        ] {
            assert_eq!(keep_alive(given.clone()), Ok(sent), "{given}");
        }
        for wrong in ["", "-", "1d", "forever", "5 m", "m", "1m5", "inf", "1e3", "1.2.3s"] {
            let error = keep_alive(json!(wrong)).expect_err(wrong);
            assert!(error.code == ErrorCode::InvalidParams && error.message.contains("such as `24h`"), "{error:?}");
        }
    }
}
