//! The server behind a provider: reaches it, sends requests, and interprets refusals. Nothing here depends on what is
//! asked.

use gleitzeit_mesh::wire::Health;
use gleitzeit_workflow::error::ErrorCode;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::config::Api;
use super::silence::Patience;
use super::target::Target;
use super::{host, refusal};
use crate::call::CallError;
use crate::client::{self, Retries};
use crate::connection::{Authentication, Connection};
use crate::settings::Settings;

/// A server and how to reach it.
pub(super) struct Service {
    pub(super) api: Api,
    connection: Connection,
    authentication: Authentication,
    settings: Settings,
    client: OnceCell<Client>,
}

/// An answer that has begun.
pub(super) struct Begun {
    pub(super) response: Response,
    pub(super) target: Target,
    pub(super) patience: Patience,
}

impl Service {
    pub(super) fn new(api: Api, connection: Connection, authentication: Authentication, settings: Settings) -> Self {
        Self { api, connection, authentication, settings, client: OnceCell::new() }
    }

    /// Built once.
    async fn client(&self) -> Result<&Client, String> {
        let make = || async {
            let (settings, ca, timeout) = (self.settings.clone(), self.connection.ca.clone(), self.connection.timeout);
            client::build(move || client::patient_builder(&settings, ca.as_deref(), timeout)).await
        };
        self.client.get_or_try_init(make).await
    }

    /// Read for each request, because address and secret may change while the provider runs. The file of a secret is
    /// read on a blocking thread.
    async fn target(&self) -> Result<Target, String> {
        let url = match self.api {
            Api::Ollama => host::resolve(&self.connection.base_url, &self.settings)?,
            Api::OpenAi => self.connection.base_url.resolve(&self.settings)?,
        };
        let Some(secret) = self.authentication.secret.clone() else {
            return Ok(Target { url, header: None, secrets: Vec::new(), secret_from: None });
        };
        let (authentication, settings) = (self.authentication.clone(), self.settings.clone());
        let (header, plain) = tokio::task::spawn_blocking(move || {
            let plain = authentication.secret.as_ref().and_then(|secret| secret.read(&settings).ok());
            (authentication.header(&settings), plain)
        })
        .await
        .map_err(|error| format!("the secret could not be read: {error}"))?;
        let Some((name, value)) = header? else {
            return Ok(Target { url, header: None, secrets: Vec::new(), secret_from: None });
        };
        let mut secrets: Vec<String> = plain.into_iter().collect();
        secrets.extend(value.rsplit(' ').next().map(str::to_owned));
        let from = secret.to_string();
        let header = client::secret_header(&name, &value, &format!("what {from} holds"))?;
        Ok(Target { url, header: Some(header), secrets, secret_from: Some(from) })
    }

    /// Sends JSON and waits until an answer with a successful status begins. If the server refuses the fields named in
    /// `spare` because it does not know them, the request is sent again without them.
    pub(super) async fn post(
        &self,
        path: &str,
        mut body: Value,
        mut spare: &[&str],
        model: &str,
        traceparent: &str,
    ) -> Result<Begun, CallError> {
        let unhealthy = |why: String| CallError::new(ErrorCode::ProviderUnhealthy, why);
        let client = self.client().await.map_err(unhealthy)?;
        let target = self.target().await.map_err(unhealthy)?;
        let mut bytes = body.to_string().into_bytes();
        let mut retries = Retries::new(self.connection.retries);
        let mut patience = Patience::begin(&target.url, self.connection.timeout);
        let response = loop {
            let mut request = client.post(format!("{}{path}", target.url)).body(bytes.clone());
            request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            if let Some((name, value)) = &target.header {
                request = request.header(name, value);
            }
            if !traceparent.is_empty() {
                request = request.header("traceparent", traceparent);
            }
            let Some(sent) = patience.wait(request.send()).await else { return Err(self.silent(&target)) };
            match sent {
                Ok(response) if response.status().is_success() => break response,
                Ok(response) => {
                    let (status, headers) = (response.status(), response.headers().clone());
                    // If the server falls silent now, its status says enough.
                    let said = patience.wait(refusal::read_error(response)).await.unwrap_or_default();
                    if !refusal::refuses_fields(status, &said, spare) {
                        return Err(refusal::explain(self.api, &target, (status, &headers), &said, path, model));
                    }
                    if let Value::Object(fields) = &mut body {
                        fields.retain(|name, _| !spare.contains(&name.as_str()));
                    }
                    bytes = body.to_string().into_bytes();
                    spare = &[];
                }
                Err(error) if retries.again(&error).await => {}
                Err(error) => return Err(self.failed(&target, &error)),
            }
        };
        patience.received();
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if kind.is_some_and(|kind| kind.starts_with("text/html")) {
            let message = format!("{} answers with a web page; correct `base_url`", self.api.server(&target.url));
            return Err(CallError::new(ErrorCode::TaskExecutionFailed, message).retryable(false));
        }
        Ok(Begun { response, target, patience })
    }

    /// The next piece of an answer; `None` at its end. Cancel-safe.
    pub(super) async fn more(&self, begun: &mut Begun) -> Result<Option<Vec<u8>>, CallError> {
        let Some(read) = begun.patience.wait(begun.response.chunk()).await else {
            return Err(self.silent(&begun.target));
        };
        let chunk = read.map_err(|error| self.failed(&begun.target, &error))?;
        begun.patience.received();
        Ok(chunk.map(|chunk| chunk.to_vec()))
    }

    fn silent(&self, target: &Target) -> CallError {
        let (server, limit) = (self.api.server(&target.url), self.connection.timeout.as_secs_f64());
        let message = format!(
            "{server} sent nothing for {limit} s, to this call or another; if it needs longer, raise the `timeout` of its `connection`"
        );
        CallError::new(ErrorCode::ProviderTimeout, message)
    }

    /// The error if nothing more came from the server.
    pub(super) fn failed(&self, target: &Target, error: &reqwest::Error) -> CallError {
        let server = self.api.server(&target.url);
        if error.is_connect() {
            let message = self.api.unreachable(&target.url, &client::cause(error));
            return CallError::new(ErrorCode::ProviderUnhealthy, message);
        }
        let message = format!("{server} aborted its answer: {}", client::cause(error));
        CallError::new(ErrorCode::TaskExecutionFailed, message)
    }

    /// Checks the health of the server.
    pub(super) async fn health(&self) -> Health {
        self.ask().await.unwrap_or_else(Health::unhealthy)
    }

    async fn ask(&self) -> Result<Health, String> {
        let check = &self.connection.health_check;
        let target = self.target().await?;
        let client = self.client().await?;
        if !check.enabled {
            return Ok(Health::default());
        }
        let path = check.path.as_deref().unwrap_or(match self.api {
            Api::Ollama => "/api/version",
            Api::OpenAi => "/models",
        });
        let mut request = client.get(format!("{}{path}", target.url)).timeout(check.timeout);
        if let Some((name, value)) = &target.header {
            request = request.header(name, value);
        }
        let server = self.api.server(&target.url);
        let sent = request.send().await;
        // A server that is busy computing may not answer in time, which does not mean that it is broken.
        if sent.as_ref().is_err_and(reqwest::Error::is_timeout) {
            let limit = check.timeout.as_secs_f64();
            return Ok(Health::slow(format!("{server} did not answer within {limit} s")));
        }
        let response = sent.map_err(|error| {
            if error.is_connect() {
                return self.api.unreachable(&target.url, &client::cause(&error));
            }
            format!("{server} cannot be queried: {}", client::cause(&error))
        })?;
        match response.status() {
            status if status.is_success() => Ok(Health::default()),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Ok(Health::broken(refusal::secret(self.api, &target, response.status(), "")))
            }
            // While it loads a model, llama.cpp answers every path like this; other servers do so while they start.
            StatusCode::SERVICE_UNAVAILABLE => {
                let status = response.status();
                let words = refusal::words(&target, response).await;
                Ok(Health::starting(format!("{server} is not ready yet ({status}){words}")))
            }
            // Not every server that speaks the API has this path, and a server that limits the request rate is healthy.
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::TOO_MANY_REQUESTS
                if check.path.is_none() =>
            {
                Ok(Health::default())
            }
            status => Err(format!("{server} answers GET {path} with {status}")),
        }
    }
}
