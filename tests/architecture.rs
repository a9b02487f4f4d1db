//! Checks the architecture: imports point one way, the core stays pure, and a type says which files extend it.

#[path = "architecture/sources.rs"]
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use gleitzeit_workflow::ErrorCode;
use sources::{Edges, Module, Sources, metadata, module_roots, name_end};

/// The domain, in the order in which one learns it: each knows only those before it.
const CORE: [&str; 3] = ["gleitzeit-workflow", "gleitzeit-run", "gleitzeit-mesh"];

/// Which crates of ours each crate may see; `core` stands for those of [`CORE`].
const ARROWS: &[(&str, &[&str])] = &[
    ("gleitzeit-workflow", &[]),
    ("gleitzeit-run", &["gleitzeit-workflow"]),
    ("gleitzeit-mesh", &["gleitzeit-run", "gleitzeit-workflow"]),
    ("gleitzeit-proto", &["core"]),
    ("gleitzeit-protocols", &["core"]),
    ("gleitzeit-tls", &[]),
    ("gleitzeit-providers", &["core", "gleitzeit-protocols", "gleitzeit-tls"]),
    ("gleitzeit-link", &["core", "gleitzeit-tls"]),
    ("gleitzeit-control-plane", &["core", "gleitzeit-proto", "gleitzeit-protocols"]),
    ("gleitzeit-agent", &["core", "gleitzeit-protocols", "gleitzeit-providers", "gleitzeit-link"]),
    ("gleitzeit-sdk", &["core", "gleitzeit-proto", "gleitzeit-link", "gleitzeit-tls"]),
];

/// Crates that the core must not depend on, directly or indirectly.
const IMPURE: &[&str] = &["tokio", "tonic", "axum", "rusqlite", "socketioxide", "rust_socketio", "reqwest", "tracing"];

#[test]
fn imports_follow_the_arrows() {
    let metadata = metadata();
    let crates = |seen: &&'static str| if *seen == "core" { CORE.to_vec() } else { vec![*seen] };
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        ARROWS.iter().map(|(name, sees)| (*name, sees.iter().flat_map(crates).collect())).collect();
    let mut seen = 0;
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("name");
        let Some(sees) = allowed.get(name) else { continue };
        seen += 1;
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let dependency_name = dependency["name"].as_str().expect("name");
            if dependency_name.starts_with("gleitzeit") && dependency["kind"] != "dev" {
                assert!(sees.contains(dependency_name), "{name} must not see {dependency_name}");
            }
        }
    }
    assert_eq!(seen, allowed.len(), "every crate of the house is checked");
}

#[test]
fn the_core_builds_without_a_runtime() {
    let metadata = metadata();
    let nodes: BTreeMap<&str, &serde_json::Value> = metadata["resolve"]["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|node| (node["id"].as_str().expect("id"), node))
        .collect();
    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| (package["id"].as_str().expect("id"), package["name"].as_str().expect("name")))
        .collect();
    let core = names.iter().find(|(_, name)| **name == "gleitzeit-mesh").expect("the core is there").0;
    let (mut open, mut reached) = (vec![*core], BTreeSet::new());
    while let Some(id) = open.pop() {
        if !reached.insert(id) {
            continue;
        }
        for dependency in nodes[id]["deps"].as_array().expect("deps") {
            let kinds = dependency["dep_kinds"].as_array().expect("kinds");
            if kinds.iter().any(|kind| kind["kind"].is_null()) {
                open.push(dependency["pkg"].as_str().expect("pkg"));
            }
        }
    }
    for id in reached {
        assert!(!IMPURE.contains(&names[id]), "the core depends on {}", names[id]);
    }
}

/// The only modules that may check the operating system; others ask them.
const PLATFORMS: [&str; 4] =
    ["providers/src/platform", "control-plane/src/platform", "src/platform", "sdk/rust/src/regular.rs"];

#[test]
fn only_the_platform_modules_ask_which_system_this_is() {
    const QUESTIONS: [&str; 6] =
        ["target_os", "target_vendor", "target_family", "cfg(unix", "cfg(windows", "cfg!(unix"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut open, mut asked) = (Vec::new(), BTreeSet::new());
    for room in ["core", "proto", "protocols", "providers", "control-plane", "agent", "sdk/rust", "src"] {
        open.push(root.join(room));
    }
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let is_test = path
                .file_name()
                .is_some_and(|name| ["tests", "examples", "benches", "target"].map(OsStr::new).contains(&name));
            if !is_test {
                open.extend(std::fs::read_dir(&path).expect("readable").map(|entry| entry.expect("readable").path()));
            }
            continue;
        }
        let name = path.strip_prefix(root).expect("below it").to_str().expect("text").to_owned();
        if !name.ends_with(".rs") || name.ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("readable");
        // Tests may check whether there is something to test.
        let end = ["#[cfg(test)]", "#[test]", "#[tokio::test]"].iter().filter_map(|mark| text.find(mark)).min();
        let text = &text[..end.unwrap_or(text.len())];
        if let Some(question) = QUESTIONS.iter().find(|question| text.contains(**question)) {
            let place = PLATFORMS.iter().find(|place| name.starts_with(**place));
            asked.insert(
                *place.unwrap_or_else(|| panic!("{name} asks for the system (`{question}`): let `platform` say it")),
            );
        }
    }
    assert_eq!(asked, BTreeSet::from(PLATFORMS), "each of them is one");
}

/// Circles that are meant: the crate, the modules, and the reason.
const MEANT_CIRCLES: [(&str, &[&str], &str); 0] = [];

#[test]
fn imports_between_the_modules_of_a_crate_run_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut circles, mut meant) = (Vec::new(), BTreeSet::new());
    for name in module_roots(root) {
        let sources = Sources::read(&root.join(&name));
        for (parent, edges) in sources.edges_by_parent(root) {
            for circle in circles_of(&edges) {
                let modules: Vec<String> = circle.iter().map(|child| path_of(&parent, child)).collect();
                if let Some(at) = MEANT_CIRCLES.iter().position(|(of, listed, _)| *of == name && modules == *listed) {
                    meant.insert(at);
                    continue;
                }
                let mut told = format!("{name}: a circle of {}", modules.join(", "));
                for ((from, to), files) in &edges {
                    if circle.contains(from) && circle.contains(to) {
                        let files: Vec<&str> = files.iter().map(String::as_str).collect();
                        told += &format!("\n    {from} → {to}  in {}", files.join(", "));
                    }
                }
                circles.push(told);
            }
        }
    }
    assert!(circles.is_empty(), "move what both need to where neither needs the other:\n{}", circles.join("\n"));
    assert_eq!(meant.len(), MEANT_CIRCLES.len(), "a circle that is gone is not an exception any more");
}

#[test]
fn circles_of_modules_are_found() {
    let found = |files: &[(&str, &str)]| -> Vec<(String, Vec<String>)> {
        let module =
            |path: &str| path.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect::<Module>();
        let files = files.iter().map(|(path, text)| (module(path), (PathBuf::from(path), (*text).to_owned())));
        let edges = Sources::of(files.collect()).edges_by_parent(Path::new(""));
        let circles =
            edges.iter().flat_map(|(parent, edges)| circles_of(edges).into_iter().map(|it| (parent.join("::"), it)));
        circles.map(|(parent, circle)| (parent, circle.into_iter().collect())).collect()
    };
    let circle =
        |parent: &str, modules: &[&str]| (parent.to_owned(), modules.iter().map(|&it| it.to_owned()).collect());
    // Through braces, a re-export of the root, and code.
    let three = [
        ("", "mod a;\nmod b;\npub mod c;\n\npub use c::{Other, Y};\n"),
        ("a", "use std::fmt;\n\nuse crate::{\n    Unknown,\n    b::{self as other, X},\n};\n"),
        ("b", "use super::Y;\n"),
        ("c", "fn f() { crate::a::g(); }\n"),
        ("d", "use crate::{a, b, c};\n"),
    ];
    assert_eq!(found(&three), [circle("", &["a", "b", "c"])]);
    // Deeper, and not between parent and child.
    let deeper = [
        ("", "mod m;\n"),
        ("m", "mod a;\nmod b;\n\nuse a::A;\n\nfn f() { b::g(); }\n"),
        ("m::a", "use super::b::{B};\nuse super::f;\n"),
        ("m::b", "use crate::m::a::A;\n"),
    ];
    assert_eq!(found(&deeper), [circle("m", &["a", "b"])]);
    // Neither comments nor tests count.
    let none = [
        ("a", "//! Below [`crate::b`].\n\nfn f() {} // crate::b\n\n#[cfg(test)]\nmod tests {\n    use crate::b;\n}\n"),
        ("b", "use crate::a;\n\n#[cfg(test)]\nmod suite;\n"),
        ("b::suite", "use crate::c;\n"),
        ("c", "use crate::b;\n"),
    ];
    assert_eq!(found(&none), []);
}

#[test]
fn a_type_names_the_other_files_that_have_methods_of_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut unnamed = Vec::new();
    for name in module_roots(root) {
        let sources = Sources::read(&root.join(&name));
        for (declared, home, at) in sources.scattered_impls() {
            let docs = sources.docs_of(&home, &declared);
            // A folder stands for the files in it.
            let shared = at.iter().zip(&home).take_while(|(one, other)| one == other).count().min(at.len() - 1);
            if !quoted(&docs).any(|it| at[shared..].iter().any(|part| part == it)) {
                let file = |module: &Module| sources.0[module].0.strip_prefix(root).expect("a file of ours").display();
                unnamed.push(format!("{}: `{declared}` has methods in {}", file(&home), file(&at)));
            }
        }
    }
    assert!(
        unnamed.is_empty(),
        "name these files in backticks in the comment of the type or of its module:\n{}",
        unnamed.join("\n")
    );
}

/// The last parts of the names in backticks: of `calls::answers`, `calls/answers.rs` and `answers` the same.
fn quoted(docs: &str) -> impl Iterator<Item = &str> {
    let names = docs.split('`').skip(1).step_by(2).map(|name| name.trim_end_matches(".rs"));
    names.filter_map(|name| name.rsplit([':', '/']).next())
}

#[test]
fn methods_in_other_files_are_found() {
    let module = |path: &str| path.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect::<Module>();
    let files = [
        ("", "mod hub;\n\npub use hub::Hub;\n"),
        ("hub", "mod calls;\n\npub struct Hub<'a> {\n    n: u64,\n}\n\nimpl<'a> Hub<'a> {\n}\n"),
        ("hub::calls", "use super::{Config, Hub};\n\nimpl Hub<'_> {\n}\n\nimpl fmt::Debug for Hub<'_> {\n}\n"),
        ("other", "use crate::Hub;\n\nimpl<F: Fn() -> u64> Hub<F>\nwhere F: Copy {\n}\n"),
        ("far", "impl crate::hub::Hub {\n}\n"),
        ("own", "enum Hub {\n    A,\n}\n\nimpl Hub {\n}\n\nimpl From<crate::Hub> for Hub {\n}\n"),
    ];
    let files = files.iter().map(|(path, text)| (module(path), (PathBuf::from(path), (*text).to_owned())));
    let found = Sources::of(files.collect()).scattered_impls();
    let expected = ["far", "hub::calls", "other"].map(|at| ("Hub".to_owned(), module("hub"), module(at)));
    assert_eq!(found, BTreeSet::from(expected));
    assert_eq!(quoted("in `calls::answers`, `a/b.rs` and `c`").collect::<Vec<_>>(), ["answers", "b", "c"]);
}

#[test]
fn every_error_code_is_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut used = BTreeSet::new();
    for name in module_roots(root) {
        for (file, text) in Sources::read(&root.join(name)).0.into_values() {
            if !file.ends_with("core/workflow/src/error.rs") {
                used.extend(text.split("ErrorCode::").skip(1).map(|it| it[..name_end(it)].to_owned()));
            }
        }
    }
    let unused: Vec<&ErrorCode> = ErrorCode::ALL.iter().filter(|code| !used.contains(&format!("{code:?}"))).collect();
    // One that is only compared with is not found.
    assert!(unused.is_empty(), "remove these from the table, or return them where they apply: {unused:?}");
}

fn path_of(parent: &[String], child: &str) -> String {
    parent.iter().map(String::as_str).chain([child]).collect::<Vec<_>>().join("::")
}

/// The sets of more than one module in which each reaches each other.
fn circles_of(edges: &Edges) -> Vec<BTreeSet<String>> {
    let nodes: BTreeSet<&String> = edges.keys().flat_map(|(from, to)| [from, to]).collect();
    let reached: BTreeMap<&String, BTreeSet<&String>> = nodes
        .iter()
        .map(|start| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![*start]);
            while let Some(at) = open.pop() {
                for (_, to) in edges.keys().filter(|(from, _)| from == at) {
                    if seen.insert(to) {
                        open.push(to);
                    }
                }
            }
            (*start, seen)
        })
        .collect();
    let circles: BTreeSet<BTreeSet<String>> = nodes
        .iter()
        .filter(|node| reached[*node].contains(*node))
        .map(|node| {
            reached[node].iter().filter(|other| reached[*other].contains(node)).map(|other| (*other).clone()).collect()
        })
        .collect();
    circles.into_iter().collect()
}
