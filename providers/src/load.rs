//! Reads and checks provider YAML; every problem has a place.

use std::path::Path;

use gleitzeit_protocols::yaml::{Fields, FileKind, Kind, Node, Problem, Reader};
use gleitzeit_protocols::{read_file, yaml_files};
use gleitzeit_workflow::ErrorCode;
use gleitzeit_workflow::suggest::did_you_mean;

use crate::connection::{read_authentication, read_connection};
use crate::definition::{Definition, Options};
use crate::factory::{Connects, Factory};

const FIELDS: &[&str] = &[
    "name",
    "protocol",
    "executor",
    "capabilities",
    "connection",
    "authentication",
    "max_concurrency",
    "options",
    "metadata",
];

impl Definition {
    /// Parses provider YAML; problems refer to it as `file`.
    ///
    /// # Errors
    /// All problems, each with its place.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader::new(file);
        let node = reader.parse(FileKind::Provider, text);
        let definition = node.and_then(|node| read(&mut reader, file, &node));
        reader.finish(definition)
    }
}

fn read(reader: &mut Reader, file: &str, node: &Node) -> Option<Definition> {
    let what = "the provider";
    let fields = reader.fields(node, what, FIELDS);
    let name = reader.required_text(&fields, "name", what);
    let protocol = reader.required_text(&fields, "protocol", what).and_then(|text| {
        let split = text.split_once('/').filter(|(name, version)| !name.is_empty() && !version.is_empty());
        if split.is_none() {
            let spot = fields.get("protocol").map_or(fields.spot, |node| node.spot);
            let hint = Some("write name and version, such as `python/v1`".to_owned());
            reader.problem(spot, format!("`{text}` is not a protocol with a version"), hint);
        }
        split.map(|(name, version)| (name.to_owned(), version.to_owned()))
    });
    let executor = reader.required_text(&fields, "executor", what);
    if let (Some(executor), Some(node)) = (&executor, fields.get("executor"))
        && !Factory::executors().any(|known| known == executor)
    {
        let hint = did_you_mean(executor, Factory::executors())
            .unwrap_or_else(|| format!("known executors: {}", Factory::executors().collect::<Vec<_>>().join(", ")));
        reader.problem(node.spot, format!("unknown executor `{executor}`"), Some(hint));
    }
    let capabilities = fields.get("capabilities").map_or_else(Vec::new, |node| texts(reader, node));
    let max_concurrency = reader.positive_up_to(&fields, "max_concurrency", 100_000);
    let connection = fields.get("connection").and_then(|node| read_connection(reader, node));
    let authentication = fields.get("authentication").and_then(|node| read_authentication(reader, node));
    if let Some(executor) = &executor {
        check_connection(reader, executor, &fields);
    }
    let options = Options { file: file.to_owned(), node: fields.get("options").cloned() };
    if let (Some(executor), Some(node)) = (&executor, &options.node) {
        Factory::check_options(executor, node, reader);
    }
    let metadata = fields.get("metadata").and_then(|node| reader.object(node, "metadata")).unwrap_or_default();
    let (protocol, version) = protocol?;
    Some(Definition {
        name: name?,
        protocol,
        version,
        name_place: fields.get("name").map_or(fields.spot, |node| node.spot),
        protocol_place: fields.get("protocol").map_or(fields.spot, |node| node.spot),
        executor: executor?,
        capabilities,
        connection,
        authentication: authentication.unwrap_or_default(),
        max_concurrency: max_concurrency.and_then(|number| u32::try_from(number).ok()),
        options,
        metadata,
    })
}

/// An executor that connects must be told where to; for others a connection is an error.
fn check_connection(reader: &mut Reader, executor: &str, fields: &Fields<'_>) {
    match Factory::connects(executor) {
        Some(Connects::Always) if fields.get("connection").is_none() => {
            let message = format!("`connection` is missing, which the executor `{executor}` needs");
            reader.problem(fields.spot, message, Some("add `connection: {base_url: http://HOST:PORT}`".to_owned()));
        }
        Some(Connects::MayBe) if fields.get("connection").is_none() => {
            if let Some(node) = fields.get("authentication") {
                let message = "`authentication` without `connection`: no server is named that may see the secret";
                let hint = "add `connection: {base_url: https://HOST}`; only that address gets it";
                reader.problem(node.spot, message, Some(hint.to_owned()));
            }
        }
        Some(Connects::Never) => {
            for name in ["connection", "authentication"] {
                if let Some(node) = fields.get(name) {
                    let message = format!("`{name}` has no effect: the executor `{executor}` connects to no service");
                    reader.problem(node.spot, message, Some("remove it".to_owned()));
                }
            }
        }
        _ => {}
    }
}

fn texts(reader: &mut Reader, node: &Node) -> Vec<String> {
    let word = |item: &Node| match &item.kind {
        Kind::Text(word) => Some(word.clone()),
        _ => None,
    };
    let words = match &node.kind {
        Kind::List(items) => items.iter().map(word).collect(),
        _ => None,
    };
    words.unwrap_or_else(|| {
        let message = format!("expected a list of words for `capabilities`, found {}", node.describe());
        reader.problem(node.spot, message, None);
        Vec::new()
    })
}

const SHIPPED: &[(&str, &str)] = &[
    ("providers/http.yaml", include_str!("../http.yaml")),
    ("providers/ollama.yaml", include_str!("../ollama.yaml")),
    ("providers/openai.yaml", include_str!("../openai.yaml")),
    ("providers/python_local.yaml", include_str!("../python_local.yaml")),
    ("providers/shell_local.yaml", include_str!("../shell_local.yaml")),
    ("providers/util.yaml", include_str!("../util.yaml")),
];

/// The providers that ship with Gleitzeit.
pub fn shipped() -> Vec<Definition> {
    SHIPPED
        .iter()
        .map(|(file, text)| Definition::parse(file, text).expect("shipped providers are checked by a test"))
        .collect()
}

/// Reads one provider file.
///
/// # Errors
/// All problems of the file.
pub fn load_file(path: &Path) -> Result<Definition, Vec<Problem>> {
    let text = read_file(path).map_err(|problem| vec![problem])?;
    Definition::parse(&path.display().to_string(), &text)
}

/// Reads all `*.yaml` and `*.yml` files of a folder, in the order of their names.
///
/// # Errors
/// All problems of all files. Two files of the folder that use the same name are a problem, because their order is
/// arbitrary.
pub fn load_dir(path: &Path) -> Result<Vec<Definition>, Vec<Problem>> {
    let mut definitions: Vec<Definition> = Vec::new();
    let mut problems = Vec::new();
    for file in yaml_files(path).map_err(|problem| vec![problem])? {
        match load_file(&file) {
            Ok(definition) => {
                let same = definitions.iter().find(|known| known.name == definition.name);
                problems.extend(same.map(|first| named_twice(&definition, first)));
                definitions.push(definition);
            }
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(definitions) } else { Err(problems) }
}

fn named_twice(second: &Definition, first: &Definition) -> Problem {
    let message = format!("`{}` already has a provider named `{}`", first.options.file, first.name);
    Problem::of_file(&second.options.file, ErrorCode::ConfigurationError, message)
        .at_spot(second.name_place)
        .hint("give it another name, or remove one of the files")
}
