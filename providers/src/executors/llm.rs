//! `ollama-llm` and `openai-llm`: language models behind HTTP. `request` parses what a call asks for, `service` talks
//! to the server, `stream` reads the answer, and `ollama` and `openai` know the API of each kind of server. Both return
//! the same shape (`answer`) and show text as it arrives (`progress`). The invariant: once a call has ended, for
//! whatever reason, it holds no connection, so that the server stops generating.

mod answer;
mod config;
mod host;
mod image;
mod ollama;
mod openai;
mod parts;
mod progress;
mod prompt;
mod refusal;
mod request;
mod service;
mod silence;
mod stream;
mod target;

use std::sync::Arc;
use std::time::Instant;

use answer::Wanted;
use async_trait::async_trait;
use config::{Api, Config};
use gleitzeit_mesh::wire::Health;
use gleitzeit_protocols::yaml::{Node, Problem, Reader, Spot};
use gleitzeit_workflow::error::ErrorCode;
use gleitzeit_workflow::payload::Payload;
use serde_json::{Map, Value};
use service::Service;

use crate::call::{Call, CallError, Context, Executor};
use crate::connection::BaseUrl;
use crate::definition::Definition;
use crate::settings::Settings;

pub(crate) const METHODS: &[&str] = &["llm/chat", "llm/complete", "llm/vision", "llm/embed"];

/// The server queues calls itself; more open requests would only wait there.
pub(crate) fn concurrency(_settings: &Settings) -> u32 {
    8
}

pub(crate) fn check_ollama(reader: &mut Reader, node: Option<&Node>) {
    config::read(Api::Ollama, reader, node);
}

pub(crate) fn check_openai(reader: &mut Reader, node: Option<&Node>) {
    config::read(Api::OpenAi, reader, node);
}

/// The address of an Ollama server; `None` if none is configured, because the default address then says nothing.
pub(crate) fn ollama_address(base_url: &BaseUrl, settings: &Settings) -> Option<String> {
    match base_url {
        BaseUrl::Variable(name) if settings.variable(name).is_none() => None,
        BaseUrl::Variable(_) | BaseUrl::Fixed(_) => host::resolve(base_url, settings).ok(),
    }
}

pub(crate) fn build_ollama(definition: &Definition, settings: &Settings) -> Result<Arc<dyn Executor>, Vec<Problem>> {
    build(Api::Ollama, definition, settings)
}

pub(crate) fn build_openai(definition: &Definition, settings: &Settings) -> Result<Arc<dyn Executor>, Vec<Problem>> {
    build(Api::OpenAi, definition, settings)
}

fn build(api: Api, definition: &Definition, settings: &Settings) -> Result<Arc<dyn Executor>, Vec<Problem>> {
    let options = &definition.options;
    let mut reader = Reader::new(options.file.clone());
    let config = config::read(api, &mut reader, options.node.as_ref());
    if definition.connection.is_none() {
        let hint = Some("add `connection: {base_url: http://HOST:PORT}`".to_owned());
        reader.problem(Spot::default(), "`connection` is missing", hint);
    }
    let (config, connection) = reader.finish(definition.connection.clone().map(|connection| (config, connection)))?;
    let service = Service::new(api, connection, definition.authentication.clone(), settings.clone());
    Ok(Arc::new(Llm { config: Arc::new(config), service }))
}

struct Llm {
    config: Arc<Config>,
    service: Service,
}

#[async_trait]
impl Executor for Llm {
    async fn call(&self, call: Call, context: Context) -> Result<Payload, CallError> {
        tokio::select! {
            // Dropping the other future closes its connection.
            error = context.ended() => Err(error),
            answered = self.answer(call, &context) => answered,
        }
    }

    async fn health(&self) -> Health {
        self.service.health().await
    }
}

impl Llm {
    async fn answer(&self, call: Call, context: &Context) -> Result<Payload, CallError> {
        match call.method.as_str() {
            "llm/chat" | "llm/vision" => self.ask(call, false, context).await,
            "llm/complete" => self.ask(call, true, context).await,
            "llm/embed" => self.embed(&call, context).await,
            other => {
                let message = format!("method `{other}` is not a method of a language model provider");
                Err(CallError::new(ErrorCode::MethodNotSupported, message))
            }
        }
    }

    async fn ask(&self, call: Call, complete: bool, context: &Context) -> Result<Payload, CallError> {
        let started = Instant::now();
        let config = self.config.clone();
        // Decoding images takes time, and reading their files may be slow.
        let read = tokio::task::spawn_blocking(move || request::question(&call, &config)).await;
        let mut question = read.map_err(|error| {
            CallError::new(ErrorCode::InternalError, format!("the parameters could not be read: {error}"))
        })??;
        let (service, config) = (&self.service, &*self.config);
        let mut wanted = self.wanted(&question.model, question.size, &question.extra);
        wanted.format = question.expected.take();
        wanted.only_loads = question.turns.iter().all(|turn| turn.content.is_empty());
        let model = question.model.clone();
        let (written, about) = match service.api {
            Api::Ollama => {
                let spare = not_in(&question.extra);
                let (path, body) = if complete {
                    (ollama::GENERATE, ollama::generate(question, config))
                } else {
                    (ollama::CHAT, ollama::chat(question, config))
                };
                let begun = service.post(path, body, &spare, &model, &context.traceparent).await?;
                wanted.server = service.api.server(&begun.target.url);
                let mut lines = ollama::Ndjson::default();
                let written = stream::read(service, config, context, begun, &model, &mut lines).await?;
                (written, lines.about)
            }
            Api::OpenAi => {
                let body = openai::chat(question, config);
                let begun = service.post(openai::CHAT, body, &[], &model, &context.traceparent).await?;
                wanted.server = service.api.server(&begun.target.url);
                let mut events = openai::Events::default();
                let written = stream::read(service, config, context, begun, &model, &mut events).await?;
                (written, events.finish())
            }
        };
        about.text(&written, &wanted, started.elapsed())
    }

    fn wanted(&self, model: &str, size: prompt::Size, extra: &Map<String, Value>) -> Wanted {
        Wanted {
            api: self.service.api,
            server: String::new(),
            model: model.to_owned(),
            format: None,
            tools: extra.contains_key("tools") || extra.contains_key("functions"),
            only_loads: false,
            whole: (self.config.check_prompt_tokens && !request::may_cut(extra)).then_some(size),
        }
    }

    async fn embed(&self, call: &Call, context: &Context) -> Result<Payload, CallError> {
        let started = Instant::now();
        let texts = request::texts(call, &self.config)?;
        let (model, count) = (texts.model.clone(), texts.input.len());
        let mut wanted = self.wanted(&model, texts.size, &texts.extra);
        let mut begun = match self.service.api {
            Api::Ollama => {
                let spare = not_in(&texts.extra);
                self.service.post(ollama::EMBED, ollama::embed(texts), &spare, &model, &context.traceparent).await?
            }
            Api::OpenAi => {
                self.service.post(openai::EMBED, openai::embed(texts), &[], &model, &context.traceparent).await?
            }
        };
        let server = self.service.api.server(&begun.target.url);
        let body = stream::object(&self.service, &self.config, &mut begun).await?;
        let read = match self.service.api {
            Api::Ollama => ollama::embedded(&body),
            Api::OpenAi => openai::embedded(&body),
        };
        let (vectors, about) = read.map_err(|why| stream::malformed(&server, &why))?;
        let vectors = answer::checked_vectors(vectors, count, &server)?;
        wanted.server = server;
        about.vectors(&vectors, &wanted, started.elapsed())
    }
}

/// The fields that keep a prompt from being cut, without those that the task sets itself.
fn not_in(extra: &Map<String, Value>) -> Vec<&'static str> {
    ollama::NO_CUT_FIELDS.into_iter().filter(|name| !extra.contains_key(*name)).collect()
}

#[cfg(test)]
mod tests;
