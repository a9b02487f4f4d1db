//! Serving methods to workflows.
//!
//! ```no_run
//! use gleitzeit_sdk::provider::{Provider, Schemas};
//! use serde::Deserialize;
//! use serde_json::json;
//!
//! #[derive(Deserialize)]
//! struct Sides { width: f64, height: f64 }
//!
//! # async fn example() -> gleitzeit_sdk::Result<()> {
//! let schemas = Schemas::new(
//!     json!({"type": "object", "required": ["width", "height"], "properties": {
//!         "width": {"type": "number"}, "height": {"type": "number"}}}),
//!     json!({"type": "number"}),
//! );
//! Provider::new("geometry")
//!     .method("geometry/area", schemas, async |sides: Sides, _call| Ok(sides.width * sides.height))
//!     .serve(async { tokio::signal::ctrl_c().await.unwrap_or_default() })
//!     .await
//! # }
//! ```
//!
//! The provider reconnects by itself and offers answers again that may have been lost. When it is stopped, it takes no
//! new calls and finishes the open ones.

mod call;
mod host;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use gleitzeit_mesh::wire::ProtocolDefinition;
use gleitzeit_tls::CA_VARIABLE;
use gleitzeit_workflow::{ErrorCode, Payload};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::config::DEFAULT_URL;
use crate::error::{Error, Result};

pub use call::{Call, CallError};

type Answer = Pin<Box<dyn Future<Output = std::result::Result<Payload, CallError>> + Send>>;
type Handler = Arc<dyn Fn(Payload, Call) -> Answer + Send + Sync>;

/// The parameters and the result of a method, as JSON Schemas. Workflows are checked against them on submission.
#[derive(Clone, Debug, Default)]
pub struct Schemas {
    parameters: Value,
    returns: Value,
    description: String,
}

impl Schemas {
    /// The schema of the parameters, which must describe an object, and the schema of the result.
    pub fn new(parameters: Value, returns: Value) -> Self {
        Self { parameters, returns, description: String::new() }
    }

    /// Adds a description of the method, for people.
    #[must_use]
    pub fn description(mut self, text: &str) -> Self {
        text.clone_into(&mut self.description);
        self
    }

    fn definition(&self) -> Value {
        let or_any = |schema: &Value, any: Value| if schema.is_null() { any } else { schema.clone() };
        let mut definition = json!({
            "parameters": or_any(&self.parameters, json!({"type": "object"})),
            "returns": or_any(&self.returns, json!({})),
        });
        if !self.description.is_empty() {
            definition["description"] = self.description.as_str().into();
        }
        definition
    }
}

/// Methods, and how they are served.
#[derive(Clone)]
pub struct Provider {
    name: String,
    version: String,
    url: String,
    ca: Option<PathBuf>,
    token: Option<String>,
    token_file: Option<PathBuf>,
    max_concurrency: u32,
    drain_timeout: Duration,
    max_payload_bytes: usize,
    address: Option<String>,
    methods: BTreeMap<String, (Schemas, Handler)>,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let methods: Vec<&String> = self.methods.keys().collect();
        f.debug_struct("Provider").field("name", &self.name).field("methods", &methods).finish_non_exhaustive()
    }
}

impl Provider {
    /// A provider with this name, which lists show and tasks can ask for. Unless set otherwise, it connects to
    /// `GLEITZEIT_HUB_URL` or else [`DEFAULT_URL`], and takes the token from `GLEITZEIT_TOKEN` or from the file that
    /// `GLEITZEIT_TOKEN_FILE` names, and a private root for `https` from the file that `GLEITZEIT_CA` names. Without a
    /// token it uses that of a control plane of the same user on this machine.
    pub fn new(name: &str) -> Self {
        let read = |variable: &str| std::env::var(variable).ok().filter(|value| !value.is_empty());
        Self {
            name: name.to_owned(),
            version: "v1".to_owned(),
            url: read("GLEITZEIT_HUB_URL").unwrap_or_else(|| DEFAULT_URL.to_owned()),
            ca: read(CA_VARIABLE).map(PathBuf::from),
            token: read("GLEITZEIT_TOKEN"),
            token_file: read("GLEITZEIT_TOKEN_FILE").map(PathBuf::from),
            max_concurrency: 16,
            drain_timeout: Duration::from_secs(30),
            max_payload_bytes: 1024 * 1024,
            address: None,
            methods: BTreeMap::new(),
        }
    }

    /// Sets the address of the control plane, and its token.
    #[must_use]
    pub fn at(mut self, url: &str, token: Option<&str>) -> Self {
        (self.url, self.token, self.token_file) = (url.to_owned(), token.map(str::to_owned), None);
        self
    }

    /// Sets a file that holds only the token, instead of a given one; it is read again when it changes.
    #[must_use]
    pub fn token_file(mut self, file: impl Into<PathBuf>) -> Self {
        (self.token, self.token_file) = (None, Some(file.into()));
        self
    }

    /// Sets a file (PEM) with the root of a private authority, trusted in addition to the others for an `https`
    /// address.
    #[must_use]
    pub fn ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca = Some(file.into());
        self
    }

    /// Sets the version of its protocols (default `v1`). A changed schema needs a new version.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// Sets how many calls it takes at once (default 16).
    #[must_use]
    pub fn max_concurrency(mut self, calls: u32) -> Self {
        self.max_concurrency = calls.max(1);
        self
    }

    /// Sets the address of the service that the provider calls, without credentials. Lists show it. If providers of a
    /// method call different services, workflows must name the provider that they mean.
    #[must_use]
    pub fn address(mut self, url: &str) -> Self {
        self.address = Some(url.to_owned());
        self
    }

    /// Sets how long open calls may continue after the provider was stopped (default 30 s).
    #[must_use]
    pub fn drain_timeout(mut self, limit: Duration) -> Self {
        self.drain_timeout = limit;
        self
    }

    /// Sets the largest result in bytes; use the control plane's limit (default 1 MiB).
    #[must_use]
    pub fn max_payload_bytes(mut self, bytes: usize) -> Self {
        self.max_payload_bytes = bytes;
        self
    }

    /// Serves a method, `PROTOCOL/METHOD`, with a function from its parameters to its result. When a call is cancelled
    /// or out of time, its future is dropped at the next await point.
    #[must_use]
    pub fn method<P, R, F, W>(mut self, name: &str, schemas: Schemas, function: F) -> Self
    where
        P: DeserializeOwned + Send + 'static,
        R: Serialize + 'static,
        F: Fn(P, Call) -> W + Send + Sync + 'static,
        W: Future<Output = std::result::Result<R, CallError>> + Send + 'static,
    {
        let function = Arc::new(function);
        let handler = move |parameters: Payload, call: Call| -> Answer {
            let function = function.clone();
            Box::pin(async move {
                let parameters = parameters.read().map_err(|error| {
                    CallError::new(format!("the parameters are invalid: {error}")).code(ErrorCode::InvalidParams)
                })?;
                let result = function(parameters, call).await?;
                Payload::of(&result)
                    .map_err(|error| CallError::new(format!("the result cannot be written as JSON: {error}")))
            })
        };
        self.methods.insert(name.to_owned(), (schemas, Arc::new(handler)));
        self
    }

    /// Serves until `stop` completes, then finishes the open calls.
    ///
    /// # Errors
    /// If the provider serves no method or one with an invalid name, the address is invalid, or the control plane
    /// refuses the provider for good (for example because a schema differs from the one that is known under its
    /// version).
    pub async fn serve(self, stop: impl Future<Output = ()> + Send) -> Result<()> {
        let protocols = self.protocols()?;
        host::serve(self, protocols, stop).await
    }

    /// The protocols of its methods.
    fn protocols(&self) -> Result<Vec<ProtocolDefinition>> {
        let mut protocols: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
        for (name, (schemas, _)) in &self.methods {
            let protocol = name.split_once('/').filter(|(protocol, method)| !protocol.is_empty() && !method.is_empty());
            let Some((protocol, _)) = protocol else {
                return Err(Error::invalid(format!(
                    "`{name}` is not a method: expected PROTOCOL/METHOD, such as `math/add`"
                )));
            };
            protocols.entry(protocol).or_default().insert(name.clone(), schemas.definition());
        }
        if protocols.is_empty() {
            return Err(Error::invalid("the provider serves no method"));
        }
        let definition = |(name, methods): (&str, Map<String, Value>)| ProtocolDefinition {
            name: name.to_owned(),
            version: self.version.clone(),
            methods: Payload::from_value(&Value::Object(methods)),
        };
        Ok(protocols.into_iter().map(definition).collect())
    }
}
