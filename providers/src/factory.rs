//! Builds running providers from definitions. To add an executor, add one file in `executors` and one line in
//! [`KINDS`].

use std::sync::Arc;

use gleitzeit_protocols::Registry;
use gleitzeit_protocols::yaml::{Node, Problem, Reader};
use gleitzeit_workflow::error::{ErrorCode, Failure};
use thiserror::Error;

use crate::call::Executor;
use crate::connection::BaseUrl;
use crate::definition::Definition;
use crate::executors::{builtin, http, llm, python, shell};
use crate::provider::Provider;
use crate::settings::Settings;

/// Why a provider cannot be built.
#[derive(Debug, Error)]
pub enum ProviderError {
    /// Its protocol is not known.
    #[error("provider `{provider}` serves unknown protocol `{protocol}`")]
    Protocol {
        /// The provider.
        provider: String,
        /// The name and version, such as `python/v1`.
        protocol: String,
    },
    /// Its executor is not known.
    #[error("provider `{provider}` needs unknown executor `{executor}`")]
    Executor {
        /// The provider.
        provider: String,
        /// The executor.
        executor: String,
    },
    /// The executor serves another protocol.
    #[error("provider `{provider}`: executor `{executor}` does not serve method `{method}`")]
    Method {
        /// The provider.
        provider: String,
        /// The executor.
        executor: String,
        /// The method.
        method: String,
    },
    /// The executor's options are wrong.
    #[error("provider `{provider}`: the options are not valid: {}", list(problems))]
    Options {
        /// The provider.
        provider: String,
        /// The problems, with their places.
        problems: Vec<Problem>,
    },
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}

impl From<&ProviderError> for Failure {
    fn from(error: &ProviderError) -> Self {
        Self::new(ErrorCode::ProviderInitializationFailed, error.to_string())
    }
}

type Build = fn(&Definition, &Settings) -> Result<Arc<dyn Executor>, Vec<Problem>>;

/// Whether an executor connects to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connects {
    /// It has no use for a `connection`.
    Never,
    /// It connects to the service of its `connection`, if there is one.
    MayBe,
    /// It needs a `connection`.
    Always,
}

/// The address of a provider whose tasks say where the service is.
const ANYWHERE: &str = "*";

/// One kind of executor.
struct Kind {
    /// The name in provider YAML.
    name: &'static str,
    /// The methods that it knows.
    methods: &'static [&'static str],
    /// Whether it connects to a service.
    connects: Connects,
    /// The address that a base URL leads to; `None` if it is not configured.
    address: fn(&BaseUrl, &Settings) -> Option<String>,
    /// The default concurrency.
    concurrency: fn(&Settings) -> u32,
    /// Checks the options; problems are noted in the reader.
    check: fn(&mut Reader, Option<&Node>),
    /// Builds the executor from checked options.
    build: Build,
}

const KINDS: &[Kind] = &[
    Kind {
        name: "builtin",
        methods: builtin::METHODS,
        connects: Connects::Never,
        address: plain,
        concurrency: builtin::concurrency,
        check: builtin::check,
        build: builtin::build,
    },
    Kind {
        name: "http",
        methods: http::METHODS,
        connects: Connects::MayBe,
        address: plain,
        concurrency: http::concurrency,
        check: http::check,
        build: http::build,
    },
    Kind {
        name: "ollama-llm",
        methods: llm::METHODS,
        connects: Connects::Always,
        address: llm::ollama_address,
        concurrency: llm::concurrency,
        check: llm::check_ollama,
        build: llm::build_ollama,
    },
    Kind {
        name: "openai-llm",
        methods: llm::METHODS,
        connects: Connects::Always,
        address: plain,
        concurrency: llm::concurrency,
        check: llm::check_openai,
        build: llm::build_openai,
    },
    Kind {
        name: "python-local",
        methods: python::METHODS,
        connects: Connects::Never,
        address: plain,
        concurrency: python::concurrency,
        check: python::check,
        build: python::build,
    },
    Kind {
        name: "shell-local",
        methods: shell::METHODS,
        connects: Connects::Never,
        address: plain,
        concurrency: shell::concurrency,
        check: shell::check,
        build: shell::build,
    },
];

/// An address as it is written.
fn plain(base_url: &BaseUrl, settings: &Settings) -> Option<String> {
    base_url.resolve(settings).ok()
}

/// Builds providers.
#[derive(Clone, Copy, Debug)]
pub struct Factory;

impl Factory {
    /// The names of all executors.
    pub fn executors() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|kind| kind.name)
    }

    /// Whether an executor connects to a service; `None` if the executor is unknown.
    pub(crate) fn connects(executor: &str) -> Option<Connects> {
        KINDS.iter().find(|kind| kind.name == executor).map(|kind| kind.connects)
    }

    /// The address of the service that a provider calls, or `*` if its tasks say where it is; `None` if it calls no
    /// service, or no address is configured. Equal addresses are written alike.
    pub(crate) fn address(definition: &Definition, settings: &Settings) -> Option<String> {
        let kind = KINDS.iter().find(|kind| kind.name == definition.executor)?;
        let address = match (&definition.connection, kind.connects) {
            (_, Connects::Never) | (None, Connects::Always) => return None,
            (None, Connects::MayBe) => return Some(ANYWHERE.to_owned()),
            (Some(connection), _) => (kind.address)(&connection.base_url, settings)?,
        };
        let written = reqwest::Url::parse(&address).map(|url| url.to_string());
        Some(written.map_or(address, |url| url.trim_end_matches('/').to_owned()))
    }

    /// Checks an executor's options; problems are noted in `reader`.
    pub(crate) fn check_options(executor: &str, node: &Node, reader: &mut Reader) {
        if let Some(kind) = KINDS.iter().find(|kind| kind.name == executor) {
            (kind.check)(reader, Some(node));
        }
    }

    /// Builds a provider. What it needs from the machine is looked up when its health is checked or it is called.
    ///
    /// # Errors
    /// If its protocol or executor is unknown, they do not match, or its options are wrong.
    pub fn build(
        definition: &Definition,
        protocols: &Registry,
        settings: &Settings,
    ) -> Result<Provider, ProviderError> {
        let provider = || definition.name.clone();
        let protocol = protocols.protocol(&definition.protocol, &definition.version).ok_or_else(|| {
            let protocol = format!("{}/{}", definition.protocol, definition.version);
            ProviderError::Protocol { provider: provider(), protocol }
        })?;
        let kind = KINDS
            .iter()
            .find(|kind| kind.name == definition.executor)
            .ok_or_else(|| ProviderError::Executor { provider: provider(), executor: definition.executor.clone() })?;
        let methods: Vec<String> = protocol.methods.keys().cloned().collect();
        if let Some(method) = methods.iter().find(|method| !kind.methods.contains(&method.as_str())) {
            let executor = kind.name.to_owned();
            return Err(ProviderError::Method { provider: provider(), executor, method: method.clone() });
        }
        let executor = (kind.build)(definition, settings)
            .map_err(|problems| ProviderError::Options { provider: provider(), problems })?;
        let concurrency = definition.max_concurrency.unwrap_or_else(|| (kind.concurrency)(settings)).max(1);
        let address = Self::address(definition, settings);
        Ok(Provider::new(definition.clone(), methods, concurrency, address, executor))
    }
}

#[cfg(test)]
mod tests;
