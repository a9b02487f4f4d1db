//! OpenAI's API, according to its documentation: <https://platform.openai.com/docs/api-reference>

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::answer::{Question, answer, texts, vector};
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
    let answer = manner.reshape(answer);
    let reason = if manner == Manner::Caller { "tool_calls" } else { manner.reason() };
    let completion_tokens = if manner == Manner::Miscounted { json!(-1) } else { json!(answer.tokens()) };
    let usage = json!({"prompt_tokens": answer.prompt_tokens, "completion_tokens": completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.tokens()});
    if body["stream"] != json!(true) || manner == Manner::Whole {
        let message = json!({"role": "assistant", "content": answer.text(), "refusal": null});
        return Json(json!({"id": "chatcmpl-1", "object": "chat.completion", "created": WHEN, "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": reason, "logprobs": null}], "usage": usage}))
        .into_response();
    }
    let with_usage = body["stream_options"]["include_usage"] == json!(true) && manner != Manner::Timed;
    let event = |choices: Value, usage: &Value| {
        let mut chunk = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": WHEN, "model": model,
            "choices": choices});
        if with_usage {
            chunk["usage"] = usage.clone();
        }
        format!("data: {chunk}\n\n")
    };
    let delta = |delta: Value, reason: Value| {
        event(json!([{"index": 0, "delta": delta, "finish_reason": reason, "logprobs": null}]), &Value::Null)
    };
    let mut pieces = Vec::new();
    if manner.thinks() {
        pieces.extend(THOUGHTS.iter().map(|thought| delta(json!({"reasoning_content": thought}), Value::Null)));
    }
    match manner {
        Manner::Caller => {
            for function in [json!({"name": TOOL, "arguments": ""}), json!({"arguments": "{}"})] {
                let call = json!({"index": 0, "id": "call_1", "type": "function", "function": function});
                pieces.push(delta(json!({"tool_calls": [call]}), Value::Null));
            }
        }
        Manner::Refuser => pieces.push(delta(json!({"refusal": REFUSAL}), Value::Null)),
        Manner::Deep => pieces.push(format!("data: {{\"x\": {}{}}}\n\n", "[".repeat(5_000), "]".repeat(5_000))),
        Manner::Surrogate => {
            pieces.push("data: {\"choices\": [{\"delta\": {\"content\": \"\\ud83d\"}}]}\n\n".to_owned());
        }
        _ => {}
    }
    pieces.extend(answer.pieces.iter().map(|text| delta(json!({"content": text}), Value::Null)));
    let mut last = delta(json!({}), json!(reason));
    if manner == Manner::Timed {
        let timings = json!({"cache_n": 1, "prompt_n": answer.prompt_tokens.saturating_sub(1), "prompt_ms": 2.5,
            "predicted_n": answer.tokens(), "predicted_ms": 6.0});
        last.push_str(&format!("data: {}\n\n", json!({"choices": [], "model": model, "timings": timings})));
    }
    if with_usage {
        last.push_str(&event(json!([]), &usage));
    }
    last.push_str("data: [DONE]\n\n");
    if manner != Manner::Endless {
        pieces.insert(0, format!(": hello\n\n{}", delta(json!({"role": "assistant", "content": ""}), Value::Null)));
    }
    let lines = Lines {
        content_type: "text/event-stream",
        pieces,
        last,
        error: match manner {
            Manner::Overrun => {
                "data: {\"error\":{\"message\":\"the input is too long\",\"type\":\"BadRequest\",\"code\":400}}

"
            }
            _ => {
                "data: {\"error\":{\"message\":\"the model has crashed\",\"type\":\"server_error\",\"code\":500}}

"
            }
        }
        .to_owned(),
        garbled: "data: {\"choices\": oops}\n\n".to_owned(),
    };
    speak(&server, manner, lines, turn)
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
