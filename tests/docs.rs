//! Checks the documents: every workflow in them is valid, and the table of errors matches the code.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use gleitzeit_protocols::Registry;
use gleitzeit_workflow::ErrorCode;
use gleitzeit_workflow::spec::{Limits, check};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Folders with their own README, which package registries show.
const READMES: &[&str] = &[
    "agent",
    "agent/link",
    "control-plane",
    "core/mesh",
    "core/run",
    "core/workflow",
    "packages/npm/gleitzeit",
    "proto",
    "protocols",
    "providers",
    "sdk/python",
    "sdk/rust",
];

fn documents() -> Vec<PathBuf> {
    let mut documents: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].iter().map(|name| root().join(name)).collect();
    for folder in ["docs", "docs/design"] {
        let found = fs::read_dir(root().join(folder)).expect("the folder is there");
        let found = found.map(|entry| entry.expect("readable").path());
        documents.extend(found.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    for folder in READMES {
        documents.push(root().join(folder).join("README.md"));
    }
    documents.sort();
    documents
}

/// The fenced blocks of a language, each with the line that it begins on.
fn blocks(text: &str, language: &str) -> Vec<(usize, String)> {
    let (mut blocks, mut current) = (Vec::new(), None);
    for (number, line) in text.lines().enumerate() {
        match (&mut current, line.strip_prefix("```")) {
            (None, Some(found)) => current = Some((found.to_owned(), number + 2, String::new())),
            (Some(_), Some(_)) => {
                let (found, start, body) = current.take().expect("a block is open");
                if found == language {
                    blocks.push((start, body));
                }
            }
            (Some((_, _, body)), None) => {
                body.push_str(line);
                body.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(current.is_none(), "a block is not closed");
    blocks
}

#[test]
fn every_workflow_in_the_documents_is_valid() {
    let registry = Registry::shipped();
    let mut checked = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).expect("readable");
        for (line, block) in blocks(&text, "yaml") {
            if block.contains("tasks:") {
                let result = check(&block, "block", &registry, &Limits::default());
                assert!(result.is_ok(), "{}:{line}: {:?}", document.display(), result.err());
                checked += 1;
            }
        }
    }
    assert!(checked >= 3, "only {checked} workflows found");
}

#[test]
fn every_provider_in_the_documents_is_valid() {
    let mut checked = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).expect("readable");
        for (line, block) in blocks(&text, "yaml") {
            if block.lines().any(|line| line.starts_with("executor:")) {
                let result = gleitzeit_providers::Definition::parse("block", &block);
                assert!(result.is_ok(), "{}:{line}: {:#?}", document.display(), result.err());
                checked += 1;
            }
        }
    }
    assert!(checked >= 2, "only {checked} providers found");
}

#[test]
fn every_json_block_is_json() {
    for document in documents() {
        let text = fs::read_to_string(&document).expect("readable");
        for (line, block) in blocks(&text, "json") {
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(&block);
            assert!(parsed.is_ok(), "{}:{line}: {:?}", document.display(), parsed.err());
        }
    }
}

#[test]
fn every_linked_file_exists() {
    for document in documents() {
        let text = fs::read_to_string(&document).expect("readable");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            let folder = document.parent().expect("a folder");
            assert!(folder.join(path).exists(), "{} links to `{target}`", document.display());
        }
    }
}

/// What stands between backticks in one line of a document, outside of blocks, with the number of the line.
fn code_spans(text: &str) -> Vec<(usize, &str)> {
    let (mut spans, mut is_block) = (Vec::new(), false);
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            is_block = !is_block;
        } else if !is_block {
            spans.extend(line.split('`').skip(1).step_by(2).map(|span| (number + 1, span)));
        }
    }
    spans
}

/// Whether a file of Rust or Python declares this name, by itself or through `tagged!`.
fn declares(text: &str, name: &str) -> bool {
    const KINDS: [&str; 9] = ["fn", "struct", "enum", "trait", "const", "static", "type", "def", "class"];
    KINDS.iter().any(|kind| {
        let declared = format!("{kind} {name}");
        text.match_indices(&declared).any(|(at, _)| {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            !text[..at].ends_with(is_word) && !text[at + declared.len()..].starts_with(is_word)
        })
    }) || text.contains(&format!("\" {name} {{"))
}

/// The documents for contributors name only what exists: each path of this repository, and in `file.rs: name` a name that
/// the file declares.
#[test]
fn every_file_and_function_in_the_documents_for_contributors_exists() {
    let designs = fs::read_dir(root().join("docs/design")).expect("the folder is there");
    let mut documents: Vec<PathBuf> = designs.map(|entry| entry.expect("readable").path()).collect();
    documents.push(root().join("CONTRIBUTING.md"));
    let (mut paths, mut names, mut wrong) = (0, 0, Vec::new());
    for document in documents {
        let text = fs::read_to_string(&document).expect("readable");
        for (line, span) in code_spans(&text) {
            let (path, name) = match span.split_once(": ") {
                Some((path, name)) => (path, Some(name)),
                None => (span, None),
            };
            let is_path = path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            let Some((first, _)) = path.split_once('/').filter(|_| is_path) else { continue };
            // Names such as `llm/chat` are no paths, and what builds leave behind may be missing.
            if first == "target" || !root().join(first).is_dir() {
                continue;
            }
            paths += 1;
            names += usize::from(name.is_some());
            let place = format!("{}:{line}: {span}", document.display());
            match name {
                None if root().join(path).exists() => {}
                None => wrong.push(place),
                Some(name) => match fs::read_to_string(root().join(path)) {
                    Ok(text) if declares(&text, name) => {}
                    _ => wrong.push(place),
                },
            }
        }
    }
    assert!(wrong.is_empty(), "not there:\n{}", wrong.join("\n"));
    assert!(paths >= 200 && names >= 80, "only {paths} paths and {names} names found");
}

#[test]
fn every_protocol_in_the_documents_is_valid() {
    let mut checked = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).expect("readable");
        for (line, block) in blocks(&text, "yaml") {
            if block.lines().any(|line| line.starts_with("methods:")) {
                let result = gleitzeit_protocols::Protocol::parse("block", &block);
                assert!(result.is_ok(), "{}:{line}: {:#?}", document.display(), result.err());
                checked += 1;
            }
        }
    }
    assert!(checked >= 1, "no protocol found");
}

/// A block after `<!-- FILE -->` equals that file, or its part between two lines of dashes. Update with `UPDATE_DOCS=1
/// cargo test --test docs`.
#[test]
fn files_in_the_documents_are_the_files() {
    let mut checked = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).expect("readable");
        let (mut rest, mut expected) = (text.as_str(), String::new());
        while let Some((before, after)) = rest.split_once("\n<!-- ") {
            let (name, after) = after.split_once(" -->\n```").expect("a block follows its file's name");
            let (language, after) = after.split_once('\n').expect("a block");
            let (_, after) = after.split_once("\n```\n").expect("the block ends");
            let file = fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            let dashes = [format!("// {}\n", "-".repeat(117)), format!("# {}\n", "-".repeat(118))];
            let part = dashes.iter().find_map(|dashes| file.split(dashes.as_str()).nth(1)).unwrap_or(&file);
            write!(expected, "{before}\n<!-- {name} -->\n```{language}\n{part}```\n")
                .expect("writing to a string works");
            rest = after;
            checked += 1;
        }
        expected.push_str(rest);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&document, &expected).expect("writable");
        }
        let written = fs::read_to_string(&document).expect("readable");
        assert!(
            written == expected,
            "{} differs from the files it shows; run UPDATE_DOCS=1 cargo test --test docs",
            document.display()
        );
    }
    assert!(checked >= 5, "only {checked} files found");
}

/// The document generated from the table of codes. Update with `UPDATE_DOCS=1 cargo test --test docs`.
#[test]
fn the_table_of_errors_is_the_codes_own() {
    let mut table = String::from(
        "# Errors\n\nThe same failure has the same code everywhere: in YAML validation, gRPC (`google.rpc.ErrorInfo`), the mesh, the command \
         line and logs.\nIntegers and names never change their meaning.\n\n| code | name | retryable | gRPC | meaning | what to do \
         |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for code in ErrorCode::ALL {
        let retryable = if code.is_retryable() { "yes" } else { "no" };
        writeln!(
            table,
            "| {} | `{}` | {retryable} | {:?} | {} | {} |",
            code.code(),
            code.name(),
            code.grpc(),
            code.meaning(),
            code.remedy()
        )
        .expect("writing to a string works");
    }
    let path = root().join("docs/ERRORS.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &table).expect("writable");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == table, "docs/ERRORS.md differs from the table; run UPDATE_DOCS=1 cargo test --test docs");
}

/// Files for container engines and monitoring can be parsed, and everything that they mount exists. The command lines
/// of their services are checked by the program itself in `tests/deploy`.
#[test]
fn what_is_deployed_can_be_read() {
    let folder = root().join("deploy");
    let read = |name: &str| -> serde_json::Value {
        let text = fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let compose = read("compose.yaml");
    let mut mounts = 0;
    for (name, service) in compose["services"].as_object().expect("services") {
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(
                port.as_str().is_some_and(|port| port.starts_with("127.0.0.1:")),
                "{name} listens here only: {port}"
            );
        }
        for mount in service["volumes"].as_array().into_iter().flatten() {
            let from = mount.as_str().and_then(|mount| mount.split(':').next()).expect("a mount");
            if from.starts_with('.') {
                assert!(folder.join(from).exists(), "{name} mounts {from}");
                mounts += 1;
            }
        }
    }
    assert_eq!(mounts, 5);
    assert_eq!(read("observability/prometheus.yaml")["scrape_configs"][0]["job_name"], "gleitzeit");
    let source = &read("observability/grafana/provisioning/datasources/prometheus.yaml")["datasources"][0];
    let dashboard = fs::read_to_string(folder.join("observability/grafana/gleitzeit.json")).expect("readable");
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).expect("JSON");
    for panel in dashboard["panels"].as_array().expect("panels") {
        assert_eq!(panel["datasource"]["uid"], source["uid"], "{}", panel["title"]);
    }
}

/// Each alert links to a heading of the runbook, and the runbook has no other headings.
#[test]
fn every_alert_has_its_line_in_the_runbook() {
    let text = fs::read_to_string(root().join("deploy/observability/alerts.yaml")).expect("readable");
    let rules: serde_json::Value = serde_yaml::from_str(&text).expect("YAML");
    let groups = rules["groups"].as_array().expect("groups");
    let alerts: Vec<&serde_json::Value> =
        groups.iter().flat_map(|group| group["rules"].as_array().expect("rules")).collect();
    let names: Vec<&str> = alerts.iter().map(|alert| alert["alert"].as_str().expect("a name")).collect();
    for (alert, name) in alerts.iter().zip(&names) {
        let expected = format!("docs/OBSERVABILITY.md#{}", name.to_lowercase());
        assert_eq!(alert["annotations"]["runbook"], expected, "{name}");
    }
    let document = fs::read_to_string(root().join("docs/OBSERVABILITY.md")).expect("readable");
    let headings = document.lines().filter_map(|line| line.strip_prefix("#### "));
    let told: Vec<&str> = headings.filter(|it| it.starts_with("Gleitzeit")).collect();
    assert_eq!(told, names);
}
