//! Which providers may get a task: those of the workers that would run a workflow, as far as they are known.

use std::path::{Path, PathBuf};

use gleitzeit_agent::AgentConfig;
use gleitzeit_protocols::Registry;
use gleitzeit_providers::{Definition, Settings};
use gleitzeit_workflow::spec::{KnownProvider, KnownProviders, Others, Task};

use crate::definitions;
use crate::error::CommandError;

/// The workers that would run the workflows being checked.
pub(crate) struct Workers {
    definitions: Vec<Definition>,
    known: Vec<KnownProvider>,
    pub(crate) settings: Settings,
    /// Whether there are no other providers.
    pub(crate) are_all: bool,
    /// Whether programs run on the machine of this process.
    pub(crate) are_here: bool,
}

impl Workers {
    /// Workers on this machine with these provider files. If no files are named, there may be other providers.
    ///
    /// # Errors
    /// If a provider file is invalid.
    pub(crate) fn here(folder: Option<&Path>, files: &[PathBuf], registry: &Registry) -> Result<Self, CommandError> {
        let definitions = definitions::providers(folder, files, registry)?;
        let settings = machine();
        let known = gleitzeit_providers::known(&definitions, registry, &settings);
        Ok(Self { definitions, known, settings, are_all: folder.is_some() || !files.is_empty(), are_here: true })
    }

    /// Unknown workers elsewhere.
    pub(crate) fn elsewhere() -> Self {
        let settings = machine();
        Self { definitions: Vec::new(), known: Vec::new(), settings, are_all: false, are_here: false }
    }

    /// Their providers, for the check of workflows.
    pub(crate) fn providers(&self) -> KnownProviders {
        KnownProviders::new(self.known.clone(), if self.are_all { Others::None } else { Others::Any })
    }

    /// Applies `say` to the definitions that may get a task; returns the first result.
    pub(crate) fn of_task<T>(&self, task: &Task, say: impl Fn(&Definition) -> Option<T>) -> Option<T> {
        self.definitions.iter().filter(|definition| admits(task, &definition.name)).find_map(say)
    }

    /// The addresses of the providers that may get a task; `None` for those whose address is unknown.
    pub(crate) fn addresses(&self, task: &Task) -> Vec<Option<&str>> {
        let serving = self.known.iter().filter(|it| it.methods.iter().any(|method| method == task.method.as_str()));
        serving.filter(|it| admits(task, &it.name)).map(|it| it.address.as_deref()).collect()
    }
}

/// Whether a provider of this name may get a task.
pub(crate) fn admits(task: &Task, name: &str) -> bool {
    task.provider.as_ref().is_none_or(|wanted| wanted.as_str() == name)
}

/// The providers of a worker that is the only one.
pub(crate) fn providers_of(worker: &AgentConfig) -> KnownProviders {
    let AgentConfig { providers, protocols, settings, .. } = worker;
    KnownProviders::new(gleitzeit_providers::known(providers, protocols, settings), Others::None)
}

/// What executors may see of this machine, and the TLS roots that they use.
pub(crate) fn machine() -> Settings {
    Settings { trust: crate::trust::roots(), ..Settings::from_env(|name| std::env::var_os(name)) }
}
