//! OpenAI's API, by its documentation: <https://platform.openai.com/docs/api-reference>

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::answer::{Question, answer, texts, vector};
use crate::script::{MODELS, Manner, manner};
use crate::stream::{Lines, speak};
use crate::{Server, parsed};

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
    // As the hosted one does with what it does not know.
    if let Some(unknown) =
        ["num_ctx", "num_predict", "keep_alive", "options"].iter().find(|name| !body[**name].is_null())
    {
        return refused(format!("Unrecognized request argument supplied: {unknown}"));
    }
    let answer = match question(&body).and_then(|question| answer(&question, server.says.as_deref())) {
        Ok(answer) => answer,
        Err(why) => return refused(why),
    };
    let model = body["model"].as_str().unwrap_or_default();
    let Some(manner) = manner(model) else { return refused("no model") };
    let reason = if manner == Manner::Short { "length" } else { "stop" };
    let usage = json!({"prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.tokens(),
        "total_tokens": answer.prompt_tokens + answer.tokens()});
    if body["stream"] != json!(true) || manner == Manner::Whole {
        let message = json!({"role": "assistant", "content": answer.text(), "refusal": null});
        return Json(json!({"id": "chatcmpl-1", "object": "chat.completion", "created": WHEN, "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": reason, "logprobs": null}], "usage": usage}))
        .into_response();
    }
    let with_usage = body["stream_options"]["include_usage"] == json!(true);
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
    let texts = if manner == Manner::Big { vec!["x".repeat(20_000); 100] } else { answer.pieces };
    let mut pieces: Vec<String> = texts.iter().map(|text| delta(json!({"content": text}), Value::Null)).collect();
    let mut last = delta(json!({}), json!(reason));
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
    speak(&server, manner, lines)
}

pub(crate) async fn embed(body: Bytes) -> Response {
    let body = match parsed(&body) {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    let texts = texts(&body["input"]);
    let tokens: usize = texts.iter().map(|text| text.split_whitespace().count()).sum();
    // Last one first: the index counts.
    let mut data: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| json!({"object": "embedding", "index": index, "embedding": vector(text)}))
        .collect();
    data.reverse();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Json(json!({"object": "list", "data": data, "model": body["model"], "usage": usage})).into_response()
}
