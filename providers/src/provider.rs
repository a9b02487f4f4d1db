//! A provider: a definition, its methods and the executor behind it.

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

    /// As its file describes it.
    pub fn definition(&self) -> &Definition {
        &self.inner.definition
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.definition.name
    }

    /// Full names of the methods it serves.
    pub fn methods(&self) -> &[String] {
        &self.inner.methods
    }

    /// What its file and its executor say that it can do, each word once.
    pub fn capabilities(&self) -> Vec<String> {
        let mut capabilities = self.inner.definition.capabilities.clone();
        for word in self.inner.executor.capabilities() {
            if !capabilities.contains(&word) {
                capabilities.push(word);
            }
        }
        capabilities
    }

    /// How many calls it takes at a time; the host keeps to it.
    pub fn max_concurrency(&self) -> u32 {
        self.inner.max_concurrency
    }

    /// Where the service is that it calls, without credentials: an address, or `*` if its tasks say where; none if it
    /// calls none, or nobody has said where it is.
    pub fn address(&self) -> Option<&str> {
        self.inner.address.as_deref()
    }

    /// Serves one call; dropping the future ends its work too.
    ///
    /// # Errors
    /// If the method is not its own, or the work failed, was cancelled or took too long.
    pub async fn call(&self, call: Call, context: Context) -> Result<Payload, CallError> {
        if !self.inner.methods.iter().any(|method| method == call.method.as_str()) {
            let message = format!("provider `{}` does not serve `{}`", self.name(), call.method.as_str());
            return Err(CallError::new(ErrorCode::MethodNotSupported, message));
        }
        self.inner.executor.call(call, context).await
    }

    /// Whether it can do its work now.
    pub async fn health(&self) -> Health {
        self.inner.executor.health().await
    }
}
