//! `http`: requests to any server, or to one service with a secret. `service` knows the service and who may see the
//! secret, `request` parses what a task asks for, `exchange` sends it and follows redirects, `address` decides which
//! addresses may be reached, `answer` reads the answer, `coding` decompresses its body, and `text` decodes it.
//!
//! The invariants: a secret of the provider is sent only to its own service, even over redirects; and a request that
//! may have reached a server is never repeated automatically.

mod address;
mod answer;
mod coding;
mod exchange;
mod request;
mod service;
mod text;

#[cfg(fuzzing)]
pub use answer::read_any;
pub use request::check_url;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gleitzeit_mesh::wire::Health;
use gleitzeit_protocols::yaml::{Node, Problem, Reader};
use gleitzeit_workflow::error::ErrorCode;
use gleitzeit_workflow::payload::Payload;
use reqwest::Client;
use tokio::sync::OnceCell;

use crate::call::{Call, CallError, Context, Executor};
use crate::client;
use crate::connection::{Authentication, Connection};
use crate::definition::Definition;
use crate::executors::builtin::parameters;
use crate::executors::result_bytes;
use crate::settings::Settings;

pub(crate) const METHODS: &[&str] = &["http/request"];

/// The limit without a `connection`, for connecting and for each wait for more of an answer.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) fn concurrency(_settings: &Settings) -> u32 {
    64
}

/// The checked options of the executor.
#[derive(Clone, Copy, Debug)]
struct Options {
    max_response_bytes: usize,
    refuse_private_addresses: bool,
}

pub(crate) fn check(reader: &mut Reader, node: Option<&Node>) {
    let _ = read(reader, node);
}

fn read(reader: &mut Reader, node: Option<&Node>) -> Options {
    let mut options = Options { max_response_bytes: 256 * 1024, refuse_private_addresses: false };
    let Some(node) = node else { return options };
    let fields = reader.fields(node, "`options`", &["max_response_bytes", "refuse_private_addresses"]);
    if let Some(bytes) = result_bytes(reader, &fields, "max_response_bytes") {
        options.max_response_bytes = bytes;
    }
    let refuse = "refuse_private_addresses";
    if let Some(refuse) = fields.get(refuse).and_then(|node| reader.boolean(node, refuse)) {
        options.refuse_private_addresses = refuse;
    }
    options
}

pub(crate) fn build(definition: &Definition, settings: &Settings) -> Result<Arc<dyn Executor>, Vec<Problem>> {
    let mut reader = Reader::new(definition.options.file.clone());
    let options = read(&mut reader, definition.options.node.as_ref());
    let options = reader.finish(Some(options))?;
    Ok(Arc::new(Http {
        options,
        connection: definition.connection.clone(),
        authentication: definition.authentication.clone(),
        settings: settings.clone(),
        client: OnceCell::new(),
    }))
}

struct Http {
    options: Options,
    /// The connection to the one service that it serves; `None` if requests may go anywhere.
    connection: Option<Connection>,
    authentication: Authentication,
    settings: Settings,
    client: OnceCell<Client>,
}

impl Http {
    /// Built once.
    async fn client(&self) -> Result<&Client, String> {
        let make = || async {
            let settings = self.settings.clone();
            let timeout = self.connection.as_ref().map_or(TIMEOUT, |connection| connection.timeout);
            let ca = self.connection.as_ref().and_then(|connection| connection.ca.clone());
            let only_public = self.options.refuse_private_addresses;
            client::build(move || {
                let builder = client::builder(&settings, ca.as_deref(), timeout)?;
                // A proxy would resolve the names itself.
                Ok(if only_public { builder.no_proxy().dns_resolver(Arc::new(address::OnlyPublic)) } else { builder })
            })
            .await
        };
        self.client.get_or_try_init(make).await
    }

    /// The address of the service and the authentication header. The file of a secret is read on a blocking thread.
    async fn service(&self) -> Result<Option<service::Service>, String> {
        let Some(connection) = &self.connection else { return Ok(None) };
        let base_url = connection.base_url.resolve(&self.settings)?;
        let (authentication, settings) = (self.authentication.clone(), self.settings.clone());
        let header = tokio::task::spawn_blocking(move || authentication.header(&settings))
            .await
            .map_err(|error| format!("the secret could not be read: {error}"))??;
        service::Service::new(&base_url, header).map(Some)
    }

    /// # Errors
    /// The health to report: unhealthy if the service refuses, slow if it does not answer.
    async fn ask(&self) -> Result<(), Health> {
        let client = self.client().await.map_err(Health::unhealthy)?;
        let Some(service) = self.service().await.map_err(Health::unhealthy)? else { return Ok(()) };
        let Some(connection) = &self.connection else { return Ok(()) };
        let check = &connection.health_check;
        // Only a configured path is queried: a request for any other path might have side effects.
        let Some(path) = check.path.as_deref().filter(|_| check.enabled) else { return Ok(()) };
        if self.options.refuse_private_addresses {
            let url = service.url_of(path);
            let url = url.map_err(|error| Health::unhealthy(format!("{}: {error}", service.base_url())))?;
            address::check(&url).map_err(|private| Health::unhealthy(private.to_string()))?;
        }
        let request = service.get(client, path).timeout(check.timeout);
        let response = request.send().await.map_err(|error| {
            if error.is_timeout() {
                let limit = check.timeout.as_secs_f64();
                return Health::slow(format!("{} did not answer within {limit} s", service.base_url()));
            }
            Health::unhealthy(format!("{} cannot be reached: {}", service.base_url(), client::cause(&error)))
        })?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(Health::unhealthy(format!("{} answers GET {path} with {}", service.base_url(), response.status())))
    }
}

#[async_trait]
impl Executor for Http {
    async fn call(&self, call: Call, context: Context) -> Result<Payload, CallError> {
        let asked: request::Asked = parameters(&call)?;
        let limit = asked.timeout;
        // What was received of an answer before something went wrong.
        let mut partial = None;
        let work = async {
            let unhealthy = |why: String| CallError::new(ErrorCode::ProviderUnhealthy, why);
            let client = self.client().await.map_err(unhealthy)?;
            let service = self.service().await.map_err(unhealthy)?;
            let request = request::Request::read(asked, service.as_ref())?;
            let retries = self.connection.as_ref().map_or(0, |connection| connection.retries);
            let exchange = exchange::Exchange {
                client,
                service: service.as_ref(),
                retries,
                only_public: self.options.refuse_private_addresses,
            };
            let begun = exchange.run(&request).await?;
            let secrets = service.as_ref().map(service::Service::secrets).unwrap_or_default();
            answer::read(begun, &request, self.options.max_response_bytes, secrets, &mut partial).await
        };
        let own_limit = async {
            match limit.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        // Dropping either future closes its connection.
        let outcome = tokio::select! {
            result = work => result,
            error = context.ended() => Err(error),
            () = own_limit => {
                let seconds = limit.unwrap_or_default();
                let message = format!("no complete answer within its `timeout` of {seconds} s");
                Err(CallError::new(ErrorCode::TaskTimeout, message))
            }
        };
        outcome.map_err(|error| match &partial {
            Some(partial) => partial.add_to(error),
            None => error,
        })
    }

    fn capabilities(&self) -> Vec<String> {
        if self.options.refuse_private_addresses { vec!["addresses:public".to_owned()] } else { Vec::new() }
    }

    async fn health(&self) -> Health {
        match self.ask().await {
            Ok(()) => Health::default(),
            Err(health) => health,
        }
    }
}

#[cfg(test)]
mod tests;
