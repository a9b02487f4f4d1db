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

/// The name and the value of the field that holds the text.
type Put = fn(&str) -> (&'static str, Value);

fn respond(
    server: &Server,
    body: &Value,
    question: &Question,
    turn: Option<OwnedMutexGuard<()>>,
    put: Put,
) -> Response {
    let model = body["model"].as_str().unwrap_or_default();
    let Some(manner) = manner(model) else { return refused("no model") };
    let Answer { pieces, prompt_tokens } = match answer(question, server.says.as_deref()) {
        Ok(answer) => manner.reshape(answer),
        Err(why) => return refused(why),
    };
    let only_loads = manner == Manner::Empty && question.texts.concat().is_empty();
    let reason = if only_loads { "load" } else { manner.reason() };
    let reply = Reply { model, manner, reason, prompt_tokens, tokens: pieces.len(), put };
    if body["stream"] == json!(false) || manner == Manner::Whole {
        return Json(reply.object(&pieces.concat(), true)).into_response();
    }
    speak(server, manner, reply.lines(&pieces), turn)
}

/// The reply to one request.
struct Reply<'a> {
    model: &'a str,
    manner: Manner,
    reason: &'static str,
    prompt_tokens: usize,
    tokens: usize,
    put: Put,
}

impl Reply<'_> {
    /// A line with this text; the last one also says how the answer ended.
    fn object(&self, text: &str, done: bool) -> Value {
        let (name, value) = (self.put)(text);
        let mut object = Map::new();
        object.insert("model".to_owned(), json!(self.model));
        object.insert("created_at".to_owned(), json!(WHEN));
        object.insert(name.to_owned(), value);
        object.insert("done".to_owned(), json!(done));
        if done {
            self.end(&mut object);
        }
        Value::Object(object)
    }

    fn end(&self, object: &mut Map<String, Value>) {
        for (name, value) in [
            ("done_reason", json!(self.reason)),
            ("total_duration", json!(9_500_000)),
            ("load_duration", json!(1_250_000)),
            ("prompt_eval_count", json!(self.prompt_tokens)),
            ("prompt_eval_duration", json!(2_000_000)),
            ("eval_count", json!(self.tokens)),
            ("eval_duration", json!(6_000_000)),
        ] {
            object.insert(name.to_owned(), value);
        }
        if self.manner == Manner::Cached {
            // A zero is left out.
            object.remove("prompt_eval_count");
        }
        if self.manner == Manner::Miscounted {
            object.insert("eval_count".to_owned(), json!(-1));
        }
    }

    /// A line with something beside the text: in the message or, if there is none, in the line.
    fn beside(&self, name: &str, value: Value) -> String {
        let mut line = self.object("", false);
        match line.get_mut("message") {
            Some(message) => message[name] = value,
            None => line[name] = value,
        }
        format!("{line}\n")
    }

    /// The lines before those with the text.
    fn preface(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.manner.thinks() {
            lines.extend(THOUGHTS.iter().map(|thought| self.beside("thinking", json!(thought))));
        }
        match self.manner {
            Manner::Caller => {
                lines.push(self.beside("tool_calls", json!([{"function": {"name": TOOL, "arguments": {}}}])));
            }
            Manner::Deep => lines.push(format!("{{\"x\": {}{}}}\n", "[".repeat(5_000), "]".repeat(5_000))),
            Manner::Surrogate => {
                let name = (self.put)("").0;
                let field = if name == "message" { "{\"content\": \"\\ud83d\"}" } else { "\"\\ud83d\"" };
                lines.push(format!("{{\"{name}\": {field}, \"done\": false}}\n"));
            }
            Manner::Refuser => lines.push(format!("{}\n", self.object(REFUSAL, false))),
            _ => {}
        }
        lines
    }

    fn lines(&self, pieces: &[String]) -> Lines {
        let mut lines = self.preface();
        lines.extend(pieces.iter().map(|piece| format!("{}\n", self.object(piece, false))));
        let error = match self.manner {
            Manner::Overrun => "{\"error\":\"the input is too long\",\"status\":400}\n",
            _ => "{\"error\":\"an error was encountered while running the model\"}\n",
        };
        Lines {
            content_type: "application/x-ndjson",
            pieces: lines,
            last: format!("{}\n", self.object("", true)),
            error: error.to_owned(),
            garbled: "{\"message\": oops}\n".to_owned(),
        }
    }
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
