//! Ollama's API, according to its documentation: <https://docs.ollama.com/api>

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};
use tokio::sync::OwnedMutexGuard;

use crate::answer::{Answer, Question, answer, texts, vector};
use crate::script::{MODELS, Manner, REFUSAL, THOUGHTS, TOOL, manner};
use crate::stream::{Lines, speak};
use crate::{Server, parsed, turn};

const WHEN: &str = "2026-01-02T03:04:05.000000Z";

pub(crate) async fn tags() -> Json<Value> {
    let models: Vec<Value> = MODELS
        .iter()
        .map(|name| {
            json!({"name": format!("{name}:latest"), "model": format!("{name}:latest"), "modified_at": WHEN, "size": 1,
                "digest": "0", "details": {"format": "gguf", "family": "test", "families": ["test"],
                "parameter_size": "0B", "quantization_level": "none", "parent_model": ""}})
        })
        .collect();
    Json(json!({"models": models}))
}

fn refused(message: impl Into<String>) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({"error": message.into()}))).into_response()
}

fn strings(value: &Value) -> impl Iterator<Item = String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned)
}

fn format(body: &Value) -> Option<Value> {
    match &body["format"] {
        Value::Null => None,
        Value::String(word) if word.is_empty() => None,
        Value::Object(schema) => Some(schema.clone().into()),
        _ => Some(json!(true)),
    }
}

pub(crate) async fn chat(State(server): State<Server>, body: Bytes) -> Response {
    let body = match parsed(&body) {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    let mut question = Question { format: format(&body), ..Question::default() };
    for message in body["messages"].as_array().into_iter().flatten() {
        let (Some(_role), Some(content)) = (message["role"].as_str(), message["content"].as_str()) else {
            return refused("a message has no role or content");
        };
        question.texts.push(content.to_owned());
        question.images.extend(strings(&message["images"]));
    }
    let turn = turn(&server, &body["model"]).await;
    respond(&server, &body, &question, turn, |text| ("message", json!({"role": "assistant", "content": text})))
}

pub(crate) async fn generate(State(server): State<Server>, body: Bytes) -> Response {
    let body = match parsed(&body) {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    let mut question = Question { format: format(&body), ..Question::default() };
    question.texts.extend(["system", "prompt"].iter().filter_map(|name| body[name].as_str()).map(str::to_owned));
    question.images.extend(strings(&body["images"]));
    let turn = turn(&server, &body["model"]).await;
    respond(&server, &body, &question, turn, |text| ("response", json!(text)))
}

fn respond(
    server: &Server,
    body: &Value,
    question: &Question,
    turn: Option<OwnedMutexGuard<()>>,
    put: impl Fn(&str) -> (&'static str, Value),
) -> Response {
    let model = body["model"].as_str().unwrap_or_default();
    let Some(manner) = manner(model) else { return refused("no model") };
    let Answer { pieces, prompt_tokens } = match answer(question, server.says.as_deref()) {
        Ok(answer) => manner.reshape(answer),
        Err(why) => return refused(why),
    };
    let tokens = pieces.len();
    let object = |text: &str, done: bool| {
        let (name, value) = put(text);
        let mut object = Map::new();
        object.insert("model".to_owned(), json!(model));
        object.insert("created_at".to_owned(), json!(WHEN));
        object.insert(name.to_owned(), value);
        object.insert("done".to_owned(), json!(done));
        if done {
            let reason =
                if manner == Manner::Empty && question.texts.concat().is_empty() { "load" } else { manner.reason() };
            for (name, value) in [
                ("done_reason", json!(reason)),
                ("total_duration", json!(9_500_000)),
                ("load_duration", json!(1_250_000)),
                ("prompt_eval_count", json!(prompt_tokens)),
                ("prompt_eval_duration", json!(2_000_000)),
                ("eval_count", json!(tokens)),
                ("eval_duration", json!(6_000_000)),
            ] {
                object.insert(name.to_owned(), value);
            }
            if manner == Manner::Cached {
                // A zero is left out.
                object.remove("prompt_eval_count");
            }
            if manner == Manner::Miscounted {
                object.insert("eval_count".to_owned(), json!(-1));
            }
        }
        Value::Object(object)
    };
    if body["stream"] == json!(false) || manner == Manner::Whole {
        return Json(object(&pieces.concat(), true)).into_response();
    }
    // Beside the text, in the message or, if there is none, in the line.
    let with = |name: &str, value: Value| {
        let mut line = object("", false);
        match line.get_mut("message") {
            Some(message) => message[name] = value,
            None => line[name] = value,
        }
        format!("{line}\n")
    };
    let mut said: Vec<String> = Vec::new();
    if manner.thinks() {
        said.extend(THOUGHTS.iter().map(|thought| with("thinking", json!(thought))));
    }
    match manner {
        Manner::Caller => said.push(with("tool_calls", json!([{"function": {"name": TOOL, "arguments": {}}}]))),
        Manner::Deep => said.push(format!("{{\"x\": {}{}}}\n", "[".repeat(5_000), "]".repeat(5_000))),
        Manner::Surrogate => {
            let field = if put("").0 == "message" { "{\"content\": \"\\ud83d\"}" } else { "\"\\ud83d\"" };
            said.push(format!("{{\"{}\": {field}, \"done\": false}}\n", put("").0));
        }
        Manner::Refuser => said.push(format!("{}\n", object(REFUSAL, false))),
        _ => {}
    }
    said.extend(pieces.iter().map(|piece| format!("{}\n", object(piece, false))));
    let lines = Lines {
        content_type: "application/x-ndjson",
        pieces: said,
        last: format!("{}\n", object("", true)),
        error: match manner {
            Manner::Overrun => "{\"error\":\"the input is too long\",\"status\":400}\n",
            _ => "{\"error\":\"an error was encountered while running the model\"}\n",
        }
        .to_owned(),
        garbled: "{\"message\": oops}\n".to_owned(),
    };
    speak(server, manner, lines, turn)
}

pub(crate) async fn embed(body: Bytes) -> Response {
    let body = match parsed(&body) {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    let texts = texts(&body["input"]);
    let vectors: Vec<Value> = texts.iter().map(|text| vector(text)).collect();
    let tokens: usize = texts.iter().map(|text| text.split_whitespace().count()).sum();
    Json(json!({"model": body["model"], "embeddings": vectors, "total_duration": 3_000_000, "load_duration": 1_000_000,
        "prompt_eval_count": tokens}))
    .into_response()
}
