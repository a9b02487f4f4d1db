//! OpenAI's API, according to its documentation: <https://platform.openai.com/docs/api-reference>

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::answer::{Answer, Question, answer, texts, vector};
use crate::script::{MODELS, Manner, REFUSAL, THOUGHTS, TOOL, manner};
use crate::stream::{Lines, speak};
use crate::{Server, parsed, turn};

const WHEN: u64 = 1_767_323_045;

pub(crate) async fn models() -> Json<Value> {
    let models: Vec<Value> =
        MODELS.iter().map(|name| json!({"id": name, "object": "model", "created": WHEN, "owned_by": "test"})).collect();
    Json(json!({"object": "list", "data": models}))
}

fn refused(message: impl Into<String>) -> Response {
    let error = json!({"message": message.into(), "type": "invalid_request_error", "param": null, "code": null});
    (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response()
}

fn question(body: &Value) -> Result<Question, String> {
    let mut question = Question::default();
    for message in body["messages"].as_array().into_iter().flatten() {
        match &message["content"] {
            Value::String(text) => question.texts.push(text.clone()),
            Value::Array(parts) => {
                for part in parts {
                    match part["type"].as_str() {
                        Some("text") => question.texts.push(part["text"].as_str().unwrap_or_default().to_owned()),
                        Some("image_url") => {
                            let url = part["image_url"]["url"].as_str().unwrap_or_default();
                            let data = url.split_once(";base64,").ok_or("an image is no data URL")?;
                            question.images.push(data.1.to_owned());
                        }
                        _ => return Err("a part of a message is of no known type".to_owned()),
                    }
                }
            }
            _ => return Err("a message has no content".to_owned()),
        }
    }
    question.format = match body["response_format"]["type"].as_str() {
        Some("json_schema") => Some(body["response_format"]["json_schema"]["schema"].clone()),
        Some("json_object") => Some(json!(true)),
        _ => None,
    };
    Ok(question)
}

pub(crate) async fn chat(State(server): State<Server>, body: Bytes) -> Response {
    let body = match parsed(&body) {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    // The hosted service refuses unknown fields in this way.
    if let Some(unknown) = ["num_ctx", "num_predict", "keep_alive", "options", "truncate", "shift"]
        .iter()
        .find(|name| !body[**name].is_null())
    {
        return refused(format!("Unrecognized request argument supplied: {unknown}"));
    }
    let answer = match question(&body).and_then(|question| answer(&question, server.says.as_deref())) {
        Ok(answer) => answer,
        Err(why) => return refused(why),
    };
    let model = body["model"].as_str().unwrap_or_default();
    let Some(manner) = manner(model) else { return refused("no model") };
    let turn = turn(&server, &body["model"]).await;
    let with_usage = body["stream_options"]["include_usage"] == json!(true) && manner != Manner::Timed;
    let reply = Reply { model, manner, answer: manner.reshape(answer), with_usage };
    if body["stream"] != json!(true) || manner == Manner::Whole {
        return Json(reply.whole()).into_response();
    }
    speak(&server, manner, reply.lines(), turn)
}

/// The reply to one request.
struct Reply<'a> {
    model: &'a str,
    manner: Manner,
    answer: Answer,
    /// Whether a stream reports the usage.
    with_usage: bool,
}

impl Reply<'_> {
    fn reason(&self) -> &'static str {
        if self.manner == Manner::Caller { "tool_calls" } else { self.manner.reason() }
    }

    fn usage(&self) -> Value {
        let (prompt, tokens) = (self.answer.prompt_tokens, self.answer.tokens());
        let completion_tokens = if self.manner == Manner::Miscounted { json!(-1) } else { json!(tokens) };
        json!({"prompt_tokens": prompt, "completion_tokens": completion_tokens, "total_tokens": prompt + tokens})
    }

    /// The reply in one piece.
    fn whole(&self) -> Value {
        let message = json!({"role": "assistant", "content": self.answer.text(), "refusal": null});
        let choice = json!({"index": 0, "message": message, "finish_reason": self.reason(), "logprobs": null});
        json!({"id": "chatcmpl-1", "object": "chat.completion", "created": WHEN, "model": self.model,
            "choices": [choice], "usage": self.usage()})
    }

    /// One event of a stream.
    fn event(&self, choices: Value, usage: Value) -> String {
        let mut chunk = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": WHEN,
            "model": self.model, "choices": choices});
        if self.with_usage {
            chunk["usage"] = usage;
        }
        format!("data: {chunk}\n\n")
    }

    fn delta(&self, delta: Value, reason: Option<&str>) -> String {
        self.event(json!([{"index": 0, "delta": delta, "finish_reason": reason, "logprobs": null}]), Value::Null)
    }

    /// The events before those with the text.
    fn preface(&self) -> Vec<String> {
        let mut events = Vec::new();
        if self.manner != Manner::Endless {
            events.push(format!(": hello\n\n{}", self.delta(json!({"role": "assistant", "content": ""}), None)));
        }
        if self.manner.thinks() {
            events.extend(THOUGHTS.iter().map(|thought| self.delta(json!({"reasoning_content": thought}), None)));
        }
        match self.manner {
            Manner::Caller => {
                for function in [json!({"name": TOOL, "arguments": ""}), json!({"arguments": "{}"})] {
                    let call = json!({"index": 0, "id": "call_1", "type": "function", "function": function});
                    events.push(self.delta(json!({"tool_calls": [call]}), None));
                }
            }
            Manner::Refuser => events.push(self.delta(json!({"refusal": REFUSAL}), None)),
            Manner::Deep => events.push(format!("data: {{\"x\": {}{}}}\n\n", "[".repeat(5_000), "]".repeat(5_000))),
            Manner::Surrogate => {
                events.push("data: {\"choices\": [{\"delta\": {\"content\": \"\\ud83d\"}}]}\n\n".to_owned());
            }
            _ => {}
        }
        events
    }

    /// The events after those with the text.
    fn end(&self) -> String {
        let mut end = self.delta(json!({}), Some(self.reason()));
        if self.manner == Manner::Timed {
            let timings = json!({"cache_n": 1, "prompt_n": self.answer.prompt_tokens.saturating_sub(1),
                "prompt_ms": 2.5, "predicted_n": self.answer.tokens(), "predicted_ms": 6.0});
            let event = json!({"choices": [], "model": self.model, "timings": timings});
            end.push_str(&format!("data: {event}\n\n"));
        }
        if self.with_usage {
            end.push_str(&self.event(json!([]), self.usage()));
        }
        end.push_str("data: [DONE]\n\n");
        end
    }

    fn lines(&self) -> Lines {
        let mut pieces = self.preface();
        pieces.extend(self.answer.pieces.iter().map(|text| self.delta(json!({"content": text}), None)));
        let error = match self.manner {
            Manner::Overrun => json!({"message": "the input is too long", "type": "BadRequest", "code": 400}),
            _ => json!({"message": "the model has crashed", "type": "server_error", "code": 500}),
        };
        Lines {
            content_type: "text/event-stream",
            pieces,
            last: self.end(),
            error: format!("data: {}\n\n", json!({"error": error})),
            garbled: "data: {\"choices\": oops}\n\n".to_owned(),
        }
    }
}

pub(crate) async fn embed(body: Bytes) -> Response {
    let body = match parsed(&body) {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    let texts = texts(&body["input"]);
    let tokens: usize = texts.iter().map(|text| text.split_whitespace().count()).sum();
    // In reverse order: clients must use the index.
    let mut data: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| json!({"object": "embedding", "index": index, "embedding": vector(text)}))
        .collect();
    data.reverse();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Json(json!({"object": "list", "data": data, "model": body["model"], "usage": usage})).into_response()
}
