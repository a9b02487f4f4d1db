//! The checked options of the executors, and the names that differ between the kinds of servers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use gleitzeit_protocols::yaml::{Kind, Node, Reader};

use crate::client::REFUSED;
use crate::executors::result_bytes;

/// The API that a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    Ollama,
    OpenAi,
}

/// The options of an executor.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// The largest answer in bytes.
    pub(super) max_response_bytes: usize,
    /// The server's names for models that workflows call by other names.
    pub(super) models: BTreeMap<String, String>,
    /// The folder that `images: [{file: …}]` are read from; `None` forbids them.
    pub(super) image_folder: Option<PathBuf>,
    /// The server's name for the limit on answer tokens.
    pub(super) max_tokens_field: String,
    /// Whether a prompt counts as cut if the server reports too few tokens for it.
    pub(super) check_prompt_tokens: bool,
}

const TOKENS_FIELDS: [&str; 2] = ["max_tokens", "max_completion_tokens"];

/// Reads the options; relative folders are relative to the folder of the file.
pub(super) fn read(api: Api, reader: &mut Reader, node: Option<&Node>) -> Config {
    let mut config = Config {
        max_response_bytes: 1 << 20,
        models: BTreeMap::new(),
        image_folder: None,
        max_tokens_field: if api == Api::Ollama { "num_predict" } else { TOKENS_FIELDS[0] }.to_owned(),
        check_prompt_tokens: true,
    };
    let Some(node) = node else { return config };
    let known: &[&str] = match api {
        Api::Ollama => &["max_response_bytes", "models", "image_folder", "check_prompt_tokens"],
        Api::OpenAi => &["max_response_bytes", "models", "image_folder", "check_prompt_tokens", "max_tokens_field"],
    };
    let fields = reader.fields(node, "`options`", known);
    if let Some(bytes) = result_bytes(reader, &fields, "max_response_bytes") {
        config.max_response_bytes = bytes;
    }
    if let Some(entries) = fields.get("models").and_then(|node| reader.map(node, "`models`")) {
        for (key, (_, node)) in entries {
            if let Some(name) = reader.text(node, key) {
                config.models.insert(key.clone(), name);
            }
        }
    }
    if let Some(folder) = reader.optional_text(&fields, "image_folder") {
        config.image_folder = Some(reader.beside(&folder));
    }
    if let Some(check) = fields.get("check_prompt_tokens").and_then(|node| reader.boolean(node, "check_prompt_tokens"))
    {
        config.check_prompt_tokens = check;
    }
    if let Some(node) = fields.get("max_tokens_field") {
        match &node.kind {
            Kind::Text(name) if TOKENS_FIELDS.contains(&name.as_str()) => {
                config.max_tokens_field.clone_from(name);
            }
            _ => {
                let message = format!("`max_tokens_field` is `{}` or `{}`", TOKENS_FIELDS[0], TOKENS_FIELDS[1]);
                reader.problem(node.spot, message, None);
            }
        }
    }
    config
}

impl Config {
    /// The server's name for this model.
    pub(super) fn model(&self, named: &str) -> String {
        self.models.get(named).map_or(named, String::as_str).to_owned()
    }
}

impl Api {
    /// The server at an address, for messages.
    pub(super) fn server(self, url: &str) -> String {
        match self {
            Self::Ollama => format!("Ollama at {url}"),
            Self::OpenAi => format!("the server at {url}"),
        }
    }

    /// The error text if the server cannot be reached.
    pub(super) fn unreachable(self, url: &str, cause: &str) -> String {
        match (self, cause) {
            (Self::Ollama, REFUSED) => format!("Ollama is not reachable at {url}; start it with `ollama serve`"),
            (Self::Ollama, _) => format!("Ollama is not reachable at {url} ({cause}); start it with `ollama serve`"),
            (Self::OpenAi, _) => format!("no server is reachable at {url}: {cause}"),
        }
    }
}
