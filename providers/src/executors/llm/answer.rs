//! What a call returns: the same shape whatever server answered.

use std::time::Duration;

use gleitzeit_core::error::ErrorCode;
use gleitzeit_core::payload::Payload;
use gleitzeit_core::spec::PathSegment;
use gleitzeit_protocols::Schema;
use serde_json::{Value, json};

use crate::call::CallError;

/// What a server says about an answer, as far as it does.
#[derive(Clone, Debug, Default)]
pub(super) struct About {
    pub(super) model: Option<String>,
    pub(super) done_reason: Option<String>,
    pub(super) prompt_tokens: Option<u64>,
    pub(super) completion_tokens: Option<u64>,
    pub(super) total: Option<Duration>,
    pub(super) load: Option<Duration>,
    pub(super) prompt_eval: Option<Duration>,
    pub(super) eval: Option<Duration>,
}

/// What an answer must be.
#[derive(Debug)]
pub(super) enum Format {
    /// Any JSON.
    Json,
    /// JSON that fits.
    Fitting(Box<Schema>),
}

/// Milliseconds with the microseconds behind the point.
fn ms(duration: Duration) -> Value {
    json!((duration.as_secs_f64() * 1_000_000.0).round() / 1_000.0)
}

fn optional_ms(duration: Option<Duration>) -> Value {
    duration.map_or(Value::Null, ms)
}

impl About {
    /// The result of a chat, a completion or a question about images.
    ///
    /// # Errors
    /// If a format was asked for and the model answered something else.
    pub(super) fn text(
        self,
        response: &str,
        asked: &str,
        format: Option<&Format>,
        took: Duration,
    ) -> Result<Payload, CallError> {
        let parsed = match format {
            None => Value::Null,
            Some(format) => parse(response, format, self.done_reason.as_deref())?,
        };
        let total =
            self.prompt_tokens.zip(self.completion_tokens).map(|(prompt, answer)| prompt.saturating_add(answer));
        Ok(Payload::from_value(&json!({
            "response": response,
            "json": parsed,
            "model": self.model.as_deref().unwrap_or(asked),
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
    pub(super) fn vectors(self, embeddings: &[Value], asked: &str, took: Duration) -> Payload {
        Payload::from_value(&json!({
            "embeddings": embeddings,
            "model": self.model.as_deref().unwrap_or(asked),
            "usage": {"prompt_tokens": self.prompt_tokens, "total_tokens": self.prompt_tokens},
            "total_duration_ms": ms(self.total.unwrap_or(took)),
            "load_duration_ms": optional_ms(self.load),
        }))
    }
}

/// Some models fence the JSON they were asked for, as if it stood in a document; some servers ignore the schema.
fn parse(response: &str, format: &Format, done_reason: Option<&str>) -> Result<Value, CallError> {
    let failed = |why: String| {
        let start: String = response.chars().take(200).collect();
        let message = format!("the model did not answer in the format it was asked for ({why}): {start}");
        CallError::new(ErrorCode::TaskExecutionFailed, message)
    };
    let text = response.trim();
    let fenced = text.strip_prefix("```").and_then(|text| text.strip_suffix("```"));
    let text = fenced.map_or(text, |text| text.strip_prefix("json").unwrap_or(text));
    let value: Value = serde_json::from_str(text).map_err(|error| match done_reason {
        Some("length") => failed("it was cut at the limit of its length".to_owned()),
        _ => failed(format!("no JSON: {error}")),
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
            if path.is_empty() { "all of it".to_owned() } else { format!("`{}`", path.trim_start_matches('.')) };
        return Err(failed(format!("{place}: {}", violation.message)));
    }
    Ok(value)
}

/// The vectors of an answer: as many as texts, numbers and nothing else.
///
/// # Errors
/// If they are not.
pub(super) fn checked_vectors(vectors: Vec<Value>, texts: usize, server: &str) -> Result<Vec<Value>, CallError> {
    let numbers = |vector: &Value| vector.as_array().is_some_and(|numbers| numbers.iter().all(Value::is_number));
    if vectors.len() == texts && vectors.iter().all(numbers) {
        return Ok(vectors);
    }
    let message = format!("{server} sent what is no answer: expected {texts} vectors, found {}", vectors.len());
    Err(CallError::new(ErrorCode::TaskExecutionFailed, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_parsed_only_where_it_was_asked_for() {
        let text = |response: &str, format: Option<Format>| {
            let payload = About::default().text(response, "m", format.as_ref(), Duration::from_micros(1_500))?;
            Ok::<_, CallError>(payload.to_value().expect("JSON"))
        };
        let plain = text("{\"a\": 1}", None).expect("an answer");
        assert_eq!(
            (&plain["json"], &plain["model"], &plain["total_duration_ms"]),
            (&json!(null), &json!("m"), &json!(1.5))
        );
        for response in [" {\"a\": 1}\n", "```json\n{\"a\": 1}\n```"] {
            assert_eq!(text(response, Some(Format::Json)).expect("an answer")["json"], json!({"a": 1}));
        }
        let error = text("Sure! {", Some(Format::Json)).expect_err("no JSON");
        assert!(error.retryable && error.message.ends_with(": Sure! {"), "{error:?}");
        let schema = json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}}});
        let fitting = || Some(Format::Fitting(Box::new(Schema::compile(&schema).expect("valid"))));
        assert_eq!(text("{\"a\": [1]}", fitting()).expect("an answer")["json"], json!({"a": [1]}));
        let error = text("{\"a\": [1, true]}", fitting()).expect_err("another type");
        assert!(error.retryable && error.message.contains("`a[1]`: expected integer"), "{error:?}");
    }

    #[test]
    fn totals_are_said_only_if_both_parts_are_known() {
        let about = About { prompt_tokens: Some(3), ..About::default() };
        let usage = |about: About| {
            about.text("", "m", None, Duration::ZERO).expect("an answer").to_value().expect("JSON")["usage"].take()
        };
        assert_eq!(usage(about.clone()), json!({"prompt_tokens": 3, "completion_tokens": null, "total_tokens": null}));
        assert_eq!(usage(About { completion_tokens: Some(4), ..about })["total_tokens"], 7);
    }
}
