//! The result of a call: the same shape whatever server answered. The invariant: an answer without the text that was
//! asked for is never a success; the error names what came instead and contains it.

use std::time::Duration;

use gleitzeit_protocols::Schema;
use gleitzeit_workflow::error::ErrorCode;
use gleitzeit_workflow::json;
use gleitzeit_workflow::payload::Payload;
use gleitzeit_workflow::spec::PathSegment;
use serde_json::{Map, Value, json};

use super::config::Api;
use super::prompt::Size;
use super::refusal::context_remedy;
use super::stream::{Written, malformed};
use crate::call::CallError;

/// The most characters of an answer's start that a message shows.
const SHOWN: usize = 200;
/// The most bytes that an error contains of each text that came instead of an answer: at most 256 KiB in all.
const KEPT: usize = 32 * 1024;
/// Why JSON is incomplete if the server reports that the answer reached its length limit.
const CUT_AT_LIMIT: &str = "it was cut at the length limit";
/// What is wrong with the arguments of a tool call.
const NO_OBJECT: &str = "not a JSON object";

/// What a server reports about an answer, as far as it does.
#[derive(Clone, Debug, Default)]
pub(super) struct About {
    pub(super) model: Option<String>,
    pub(super) done_reason: Option<String>,
    pub(super) prompt_tokens: Option<u64>,
    /// Prompt tokens that the server had cached from an earlier call and does not count again.
    pub(super) cached_tokens: u64,
    pub(super) completion_tokens: Option<u64>,
    pub(super) total: Option<Duration>,
    pub(super) load: Option<Duration>,
    pub(super) prompt_eval: Option<Duration>,
    pub(super) eval: Option<Duration>,
    /// Why the model refused to answer, in its own words.
    pub(super) refusal: String,
    /// The tools that the model wants to call: `{id, name, arguments}`; for the arguments see [`arguments`].
    pub(super) tool_calls: Vec<Value>,
}

/// The arguments of a tool call as a server sent them, as a value or as JSON text. A server that sends none, or an
/// empty text, means a call without arguments. A text that is not JSON is kept, for the error.
pub(super) fn arguments(sent: Option<Value>) -> Value {
    let sent = match sent {
        Some(Value::String(text)) if text.trim().is_empty() => None,
        Some(Value::String(text)) => Some(json::parse(&text).unwrap_or(Value::String(text))),
        other => other,
    };
    sent.filter(|arguments| !arguments.is_null()).unwrap_or_else(|| Value::Object(Map::new()))
}

/// The required format of an answer.
#[derive(Debug)]
pub(super) enum Format {
    /// Any JSON.
    Json,
    /// JSON that matches the schema.
    Fitting(Box<Schema>),
}

/// What the call asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) api: Api,
    /// The name of the server, for messages.
    pub(super) server: String,
    pub(super) model: String,
    pub(super) format: Option<Format>,
    /// Whether the task offered tools to the model, through `extra`.
    pub(super) tools: bool,
    /// Whether no text was asked for: an empty prompt only loads the model.
    pub(super) only_loads: bool,
    /// The size of the prompt that the server must have read; `None` if it may cut the prompt or its counts are not
    /// trusted.
    pub(super) whole: Option<Size>,
}

/// A duration as milliseconds, with microseconds as the fraction.
fn ms(duration: Duration) -> Value {
    json!((duration.as_secs_f64() * 1_000_000.0).round() / 1_000.0)
}

fn optional_ms(duration: Option<Duration>) -> Value {
    duration.map_or(Value::Null, ms)
}

fn failed(message: impl Into<String>) -> CallError {
    CallError::new(ErrorCode::TaskExecutionFailed, message)
}

impl About {
    /// The result of a chat, a completion or a question about images.
    ///
    /// # Errors
    /// If the prompt was cut, there is no text, or the model did not answer in the requested format or called a tool
    /// with arguments that are not an object.
    pub(super) fn text(self, written: &Written, wanted: &Wanted, took: Duration) -> Result<Payload, CallError> {
        self.read_all(wanted)?;
        let is_complete = self.has_text(written, wanted).map_err(|error| self.keep(error, written))?;
        self.check_arguments().map_err(|error| self.keep(error, written))?;
        let parsed = match &wanted.format {
            Some(format) if is_complete => {
                let parsed = parse(&written.text, format, self.done_reason.as_deref());
                parsed.map_err(|error| self.keep(error, written))?
            }
            _ => Value::Null,
        };
        let total =
            self.prompt_tokens.zip(self.completion_tokens).map(|(prompt, answer)| prompt.saturating_add(answer));
        Ok(Payload::from_value(&json!({
            "response": written.text,
            "json": parsed,
            "thinking": some(&written.thinking),
            "tool_calls": if self.tool_calls.is_empty() { Value::Null } else { self.tool_calls.into() },
            "model": self.model.as_deref().unwrap_or(&wanted.model),
            "done": true,
            "done_reason": self.done_reason,
            "usage": {
                "prompt_tokens": self.prompt_tokens,
                "completion_tokens": self.completion_tokens,
                "total_tokens": total,
            },
            "total_duration_ms": ms(self.total.unwrap_or(took)),
            "load_duration_ms": optional_ms(self.load),
            "prompt_eval_duration_ms": optional_ms(self.prompt_eval),
            "eval_duration_ms": optional_ms(self.eval),
        })))
    }

    /// The result of an embedding.
    ///
    /// # Errors
    /// If the texts were cut.
    pub(super) fn vectors(self, embeddings: &[Value], wanted: &Wanted, took: Duration) -> Result<Payload, CallError> {
        self.read_all(wanted)?;
        Ok(Payload::from_value(&json!({
            "embeddings": embeddings,
            "model": self.model.as_deref().unwrap_or(&wanted.model),
            "usage": {"prompt_tokens": self.prompt_tokens, "total_tokens": self.prompt_tokens},
            "total_duration_ms": ms(self.total.unwrap_or(took)),
            "load_duration_ms": optional_ms(self.load),
        })))
    }

    /// Fails if the server cannot have read all of the prompt, as far as its token count tells.
    fn read_all(&self, wanted: &Wanted) -> Result<(), CallError> {
        let (Some(size), Some(tokens)) = (wanted.whole, self.prompt_tokens) else { return Ok(()) };
        if !size.is_cut(tokens.saturating_add(self.cached_tokens)) {
            return Ok(());
        }
        let message = format!(
            "{} reports that it read {tokens} tokens, too few for a prompt of {} words in {} bytes: it has cut the \
             prompt; {} (if it counts differently, set `check_prompt_tokens: false` in the provider's options)",
            wanted.server,
            size.words,
            size.bytes,
            context_remedy(wanted.api)
        );
        Err(failed(message).retryable(false).with("prompt_tokens", tokens).with("prompt_bytes", size.bytes))
    }

    /// Whether there is text; it may be missing only if something else was asked for.
    fn has_text(&self, written: &Written, wanted: &Wanted) -> Result<bool, CallError> {
        let model = &wanted.model;
        let reason = self.done_reason.as_deref();
        if !self.refusal.is_empty() {
            let words = start(&self.refusal);
            return Err(failed(format!("the model `{model}` refuses to answer: {words}")).retryable(false));
        }
        if reason == Some("content_filter") {
            let message =
                format!("the answer of `{model}` was blocked by the server's content filter; change the prompt");
            return Err(failed(message).retryable(false));
        }
        let inline = is_only_thought(&written.text);
        if !written.text.trim().is_empty() && !inline {
            return Ok(true);
        }
        if !self.tool_calls.is_empty() && wanted.tools {
            return Ok(false);
        }
        if wanted.only_loads && matches!(reason, Some("load" | "unload")) {
            return Ok(false);
        }
        let missing = if wanted.format.is_some() {
            "did not answer in the requested format: the answer is empty"
        } else {
            "returned no text"
        };
        if !self.tool_calls.is_empty() {
            let names: Vec<&str> = self.tool_calls.iter().take(3).filter_map(|call| call["name"].as_str()).collect();
            let names = start(&names.join("`, `"));
            let hint = "instruct it in `system` to answer with text, or use another model";
            return Err(failed(format!(
                "the model `{model}` {missing}: it called `{names}`, a tool that was not offered; {hint}"
            )));
        }
        let thought = if inline { written.text.len() } else { written.thinking.len() };
        let cut = reason == Some("length");
        if thought > 0 {
            let until = if cut { " until the length limit" } else { "" };
            let more = if cut { "give it more `max_tokens`, or switch thinking off" } else { "switch thinking off" };
            let how = match wanted.api {
                Api::Ollama => "`extra: {think: false}`",
                Api::OpenAi => {
                    "`extra: {reasoning_effort: low}`, for llama.cpp and vLLM `extra: {chat_template_kwargs: \
                     {enable_thinking: false}}`"
                }
            };
            return Err(failed(format!(
                "the model `{model}` {missing}: it only returned thoughts{until}, {thought} bytes; {more}: {how}"
            )));
        }
        Err(failed(match reason {
            Some("length") => format!(
                "the model `{model}` {missing}: it reached the length limit first; raise `max_tokens`, and \
                 `num_ctx` if the prompt fills the context"
            ),
            Some(reason) => format!("the model `{model}` {missing}; it ended with `{reason}`"),
            None => format!("the model `{model}` {missing}"),
        }))
    }

    /// Fails if the arguments of a tool call are not an object.
    fn check_arguments(&self) -> Result<(), CallError> {
        let Some(call) = self.tool_calls.iter().find(|call| !call["arguments"].is_object()) else { return Ok(()) };
        let name = start(call["name"].as_str().unwrap_or_default());
        let (why, sent) = match &call["arguments"] {
            Value::String(text) if self.done_reason.as_deref() == Some("length") => (CUT_AT_LIMIT, text.clone()),
            Value::String(text) => (NO_OBJECT, text.clone()),
            other => (NO_OBJECT, other.to_string()),
        };
        Err(failed(format!(
            "the model called the tool `{name}` with arguments that cannot be read ({why}): {}",
            start(&sent)
        )))
    }

    /// Adds what came instead of an answer to an error.
    fn keep(&self, mut error: CallError, written: &Written) -> CallError {
        let texts = [("response", &written.text), ("thinking", &written.thinking), ("refusal", &self.refusal)];
        for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            error = error.with(name, cut(text));
        }
        if !self.tool_calls.is_empty() {
            let calls = Value::from(self.tool_calls.clone());
            // Either the whole value or the start of its text.
            let text = calls.to_string();
            error =
                if text.len() <= KEPT { error.with("tool_calls", calls) } else { error.with("tool_calls", cut(&text)) };
        }
        match &self.done_reason {
            Some(reason) => error.with("done_reason", reason.as_str()),
            None => error,
        }
    }
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn cut(text: &str) -> String {
    if text.len() <= KEPT {
        return text.to_owned();
    }
    let end = (0..=KEPT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}… ({} bytes in all)", &text[..end], text.len())
}

fn start(text: &str) -> String {
    let mut start: String = text.chars().take(SHOWN).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    start
}

/// Whether a text contains only thoughts between tags, as models write them if their server does not separate them.
fn is_only_thought(text: &str) -> bool {
    let Some(thought) = text.trim().strip_prefix("<think>") else { return false };
    thought.split_once("</think>").is_none_or(|(_, rest)| rest.trim().is_empty())
}

/// The error for an answer whose `sent` part has the wrong format.
fn wrong_format(why: &str, sent: &str) -> CallError {
    failed(format!("the model did not answer in the requested format ({why}): {}", start(sent)))
}

/// Parses the JSON of an answer. Some models put a Markdown fence around it or think before it, and some servers ignore
/// the schema.
fn parse(response: &str, format: &Format, done_reason: Option<&str>) -> Result<Value, CallError> {
    let value = read(response).map_err(|problem| match done_reason {
        Some("length") => wrong_format(CUT_AT_LIMIT, response),
        _ => wrong_format(&format!("not JSON: {problem}"), response),
    })?;
    if let Format::Fitting(schema) = format
        && let Some(violation) = schema.check(&value).into_iter().next()
    {
        let step = |step: &PathSegment| match step {
            PathSegment::Key(key) => format!(".{key}"),
            PathSegment::Index(index) => format!("[{index}]"),
        };
        let path: String = violation.path.iter().map(step).collect();
        let place =
            if path.is_empty() { "the whole answer".to_owned() } else { format!("`{}`", path.trim_start_matches('.')) };
        return Err(wrong_format(&format!("{place}: {}", violation.message), response));
    }
    Ok(value)
}

/// The JSON of an answer: the whole text, or what remains without leading thoughts and fences.
fn read(response: &str) -> Result<Value, json::Problem> {
    let text = response.trim();
    let problem = match json::parse(text) {
        Ok(value) => return Ok(value),
        Err(problem) => problem,
    };
    // If the server's template opens the tag, the model only closes it.
    let after_thought = text.rsplit_once("</think>").map_or(text, |(_, rest)| rest.trim());
    let text = unfenced(after_thought);
    // If that is not JSON either, the problem refers to the whole text, which is what people see.
    json::parse(text).map_err(|inner| if text.starts_with(['{', '[']) { inner } else { problem })
}

/// Removes a fence around a text, whatever language it names.
fn unfenced(text: &str) -> &str {
    let Some(inner) = text.strip_prefix("```").and_then(|text| text.strip_suffix("```")) else { return text };
    inner.trim_start_matches(|c: char| c.is_ascii_alphanumeric()).trim()
}

/// Checks the vectors of an answer: one per text, containing only numbers.
///
/// # Errors
/// If they are not.
pub(super) fn checked_vectors(vectors: Vec<Value>, texts: usize, server: &str) -> Result<Vec<Value>, CallError> {
    let numbers = |vector: &Value| vector.as_array().is_some_and(|numbers| numbers.iter().all(Value::is_number));
    let why = match vectors.iter().position(|vector| !numbers(vector)) {
        _ if vectors.len() != texts => format!("expected {texts} vectors, found {}", vectors.len()),
        Some(index) => format!("vector {index} is not a list of numbers"),
        None => return Ok(vectors),
    };
    Err(malformed(server, &why))
}

#[cfg(test)]
mod tests;
