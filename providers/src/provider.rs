//! A provider: a definition, its methods, and the executor behind it.

use std::fmt;
use std::sync::Arc;

use gleitzeit_mesh::wire::Health;
use gleitzeit_workflow::error::ErrorCode;
use gleitzeit_workflow::payload::Payload;

use crate::call::{Call, CallError, Context, Executor};
use crate::definition::Definition;

/// Serves the methods of one protocol. Cheap to clone.
#[derive(Clone)]
pub struct Provider {
    inner: Arc<Inner>,
}

struct Inner {
    definition: Definition,
    methods: Vec<String>,
    max_concurrency: u32,
    address: Option<String>,
    executor: Arc<dyn Executor>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("definition", &self.inner.definition).finish_non_exhaustive()
    }
}

impl Provider {
    pub(crate) fn new(
        definition: Definition,
        methods: Vec<String>,
        max_concurrency: u32,
        address: Option<String>,
        executor: Arc<dyn Executor>,
    ) -> Self {
        Self { inner: Arc::new(Inner { definition, methods, max_concurrency, address, executor }) }
    }

    /// The definition from the provider's file.
    pub fn definition(&self) -> &Definition {
        &self.inner.definition
    }

    /// The provider's name.
    pub fn name(&self) -> &str {
        &self.inner.definition.name
    }

    /// The full names of the methods it serves.
    pub fn methods(&self) -> &[String] {
        &self.inner.methods
    }

    /// The capabilities from its file and its executor, each word once.
    pub fn capabilities(&self) -> Vec<String> {
        let mut capabilities = self.inner.definition.capabilities.clone();
        for word in self.inner.executor.capabilities() {
            if !capabilities.contains(&word) {
                capabilities.push(word);
            }
        }
        capabilities
    }

    /// The most calls that it takes at a time; the host enforces this.
    pub fn max_concurrency(&self) -> u32 {
        self.inner.max_concurrency
    }

    /// The address of the service that it calls, without credentials, or `*` if its tasks say where it is; `None` if it
    /// calls no service, or no address is configured.
    pub fn address(&self) -> Option<&str> {
        self.inner.address.as_deref()
    }

    /// Serves one call; dropping the future also ends the call's work.
    ///
    /// # Errors
    /// If the method is not one of its own, or the work failed, was cancelled or took too long.
    pub async fn call(&self, call: Call, context: Context) -> Result<Payload, CallError> {
        if !self.inner.methods.iter().any(|method| method == call.method.as_str()) {
            let message = format!("provider `{}` does not serve `{}`", self.name(), call.method.as_str());
            return Err(CallError::new(ErrorCode::MethodNotSupported, message));
        }
        self.inner.executor.call(call, context).await
    }

    /// Whether it can work now.
    pub async fn health(&self) -> Health {
        self.inner.executor.health().await
    }
}
