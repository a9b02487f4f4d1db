//! The sources of protocols: those embedded in the binary, and folders of YAML files.

use std::path::Path;

use gleitzeit_workflow::ErrorCode;
use gleitzeit_workflow::yaml::Limits;

use crate::protocol::Protocol;
use crate::yaml::Problem;

/// A protocol that is embedded in the binary. Its name and methods are repeated here, so that only a process that uses
/// it has to parse it.
#[derive(Debug)]
pub(crate) struct Shipped {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// In the order of the file.
    pub(crate) methods: &'static [&'static str],
    text: &'static str,
}

pub(crate) const SHIPPED: [Shipped; 5] = [
    Shipped { name: "http", version: "v1", methods: &["http/request"], text: include_str!("../http_v1.yaml") },
    Shipped {
        name: "llm",
        version: "v1",
        methods: &["llm/chat", "llm/complete", "llm/vision", "llm/embed"],
        text: include_str!("../llm_v1.yaml"),
    },
    Shipped {
        name: "python",
        version: "v1",
        methods: &["python/execute", "python/validate"],
        text: include_str!("../python_v1.yaml"),
    },
    Shipped { name: "shell", version: "v1", methods: &["shell/run"], text: include_str!("../shell_v1.yaml") },
    Shipped {
        name: "util",
        version: "v1",
        methods: &["util/echo", "util/sleep", "util/fail"],
        text: include_str!("../util_v1.yaml"),
    },
];

impl Shipped {
    pub(crate) fn read(&self) -> Protocol {
        Protocol::parse_shipped(self.text).expect("shipped protocols are checked by a test")
    }
}

/// Reads all `*.yaml` and `*.yml` files of a folder, in the order of their names.
///
/// # Errors
/// All problems of all files.
pub fn load_dir(path: &Path) -> Result<Vec<Protocol>, Vec<Problem>> {
    Ok(load_files(path)?.into_iter().map(|(_, protocol)| protocol).collect())
}

/// The same, each with the name of its file.
///
/// # Errors
/// All problems of all files.
pub fn load_files(path: &Path) -> Result<Vec<(String, Protocol)>, Vec<Problem>> {
    let mut protocols = Vec::new();
    let mut problems = Vec::new();
    for file in yaml_files(path).map_err(|problem| vec![problem])? {
        let name = file.display().to_string();
        match read_file(&file).map_err(|problem| vec![problem]).and_then(|text| Protocol::parse(&name, &text)) {
            Ok(protocol) => protocols.push((name, protocol)),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(protocols) } else { Err(problems) }
}

/// The `*.yaml` and `*.yml` files of a folder, sorted.
///
/// # Errors
/// If the folder cannot be read.
pub fn yaml_files(folder: &Path) -> Result<Vec<std::path::PathBuf>, Problem> {
    let failed = |error: std::io::Error| problem(folder, format!("the folder cannot be read: {error}"));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        // Opening a pipe would wait for a writer. A file that was removed is a separate error.
        if is_yaml && (path.is_file() || !path.exists()) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The text of a file that is UTF-8. Reads at most one byte more than [`Limits::DEFINITION`] allows.
///
/// # Errors
/// If it cannot be read or is not UTF-8.
pub fn read_file(path: &Path) -> Result<String, Problem> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|error| problem(path, format!("cannot be read: {error}")))?;
    let mut bytes = Vec::new();
    // One byte more than allowed, so that the parser notices that the file is too large.
    let limit = u64::try_from(Limits::DEFINITION.bytes).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(|error| problem(path, format!("cannot be read: {error}")))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        problem(path, format!("is not UTF-8 text at byte {valid}"))
    })
}

fn problem(path: &Path, message: String) -> Problem {
    Problem::of_file(&path.display().to_string(), ErrorCode::ConfigurationError, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_protocols_have_valid_schemas_and_examples() {
        for shipped in &SHIPPED {
            let file = format!("{}_{}.yaml", shipped.name, shipped.version);
            let tried = Protocol::parse(&file, shipped.text).unwrap_or_else(|problems| panic!("{problems:?}"));
            assert_eq!(tried, shipped.read(), "{file}");
        }
    }

    #[test]
    fn the_index_of_shipped_protocols_matches_them() {
        for shipped in &SHIPPED {
            let protocol = shipped.read();
            assert_eq!((&*protocol.name, &*protocol.version), (shipped.name, shipped.version));
            let methods: Vec<&str> = protocol.methods.keys().map(String::as_str).collect();
            assert_eq!(methods, shipped.methods);
        }
    }
}
