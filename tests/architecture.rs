//! Checks the architecture: imports point one way, and the core stays pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use gleitzeit_workflow::ErrorCode;

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

fn metadata() -> serde_json::Value {
    let out = Command::new(env!("CARGO"))
        // Not offline: a dependency that no build for this platform has needed may have to be fetched.
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("cargo prints JSON")
}

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

/// A path from the crate's root, such as `["hub", "presence"]`; empty for the root itself.
type Module = Vec<String>;

/// What one crate's files say: each module's file and its text without comments and tests.
struct Sources(BTreeMap<Module, (PathBuf, String)>);

/// From a module to a sibling of it, and the files that make it so.
type Edges = BTreeMap<(String, String), BTreeSet<String>>;

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
fn every_error_code_is_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut used = BTreeSet::new();
    for name in module_roots(root) {
        for (file, text) in Sources::read(&root.join(name)).0.into_values() {
            if !file.ends_with("core/workflow/src/error.rs") {
                used.extend(text.split("::").map(|it| it[..name_end(it)].to_owned()));
            }
        }
    }
    let unused: Vec<&ErrorCode> = ErrorCode::ALL.iter().filter(|code| !used.contains(&format!("{code:?}"))).collect();
    assert!(unused.is_empty(), "remove these from the table, or return them where they apply: {unused:?}");
}

/// The folder of the root module of each crate of the workspace, and of the benchmarks.
fn module_roots(root: &Path) -> BTreeSet<String> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages").iter();
    let ours = packages.filter(|package| package["source"].is_null()).map(|package| {
        let manifest = Path::new(package["manifest_path"].as_str().expect("a path"));
        let folder = manifest.with_file_name("src");
        folder.strip_prefix(root).expect("a crate of ours").display().to_string()
    });
    ours.chain(["benches/suite".to_owned()]).collect()
}

fn path_of(parent: &[String], child: &str) -> String {
    parent.iter().map(String::as_str).chain([child]).collect::<Vec<_>>().join("::")
}

impl Sources {
    fn read(folder: &Path) -> Self {
        let (mut modules, mut open) = (BTreeMap::new(), vec![(Module::new(), folder.to_owned())]);
        while let Some((parent, folder)) = open.pop() {
            for entry in std::fs::read_dir(&folder).expect("the folder of a module") {
                let path = entry.expect("an entry of a folder").path();
                let name = path.file_stem().and_then(|name| name.to_str()).expect("a name in UTF-8").to_owned();
                // `bin` holds other crates, and what is generated imports nothing of ours.
                if ["tests", "bin", "generated"].contains(&name.as_str()) || name.ends_with("_tests") {
                    continue;
                }
                let module: Module = match name.as_str() {
                    "lib" | "mod" => parent.clone(),
                    "main" if folder.join("lib.rs").exists() => continue,
                    "main" => parent.clone(),
                    _ => parent.iter().cloned().chain([name]).collect(),
                };
                if path.is_dir() {
                    open.push((module, path));
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = std::fs::read_to_string(&path).expect("a source file");
                    modules.insert(module, (path, text));
                }
            }
        }
        Self::of(modules)
    }

    /// Leaves out comments, tests, and files that only tests have.
    fn of(mut modules: BTreeMap<Module, (PathBuf, String)>) -> Self {
        let mut only_tests = BTreeSet::new();
        for (module, (_, text)) in &mut modules {
            let (rest, tests) = without_tests(&without_comments(text));
            *text = rest;
            only_tests.extend(tests.into_iter().map(|child| [module.as_slice(), &[child]].concat()));
        }
        modules.retain(|module, _| !only_tests.iter().any(|test| module.starts_with(test)));
        Self(modules)
    }

    /// By the parent, what its children import of each other. What a child imports from its parent, or a parent from its
    /// child, makes no edge.
    fn edges_by_parent(&self, root: &Path) -> BTreeMap<Module, Edges> {
        let mut edges: BTreeMap<Module, Edges> = BTreeMap::new();
        for (from, (file, text)) in &self.0 {
            for path in paths_in(text) {
                let to = self.module_of(from, &path);
                let common = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
                if let (Some(one), Some(other)) = (from.get(common), to.get(common)) {
                    let file = file.strip_prefix(root).expect("a file of ours").display().to_string();
                    let edge = edges.entry(from[..common].to_vec()).or_default();
                    edge.entry((one.clone(), other.clone())).or_default().insert(file);
                }
            }
        }
        edges
    }

    /// The innermost module that a path written in `from` leads to. Where the path names something that a module above
    /// `from` imports or re-exports, that is the module that it is imported from; globs are not followed.
    fn module_of(&self, from: &[String], path: &[String]) -> Module {
        let (at, rest) = self.innermost(from, path);
        let Some(name) = rest.first().filter(|_| from.starts_with(&at)) else { return at };
        let uses = self.0.get(&at).map(|(_, text)| uses_in(text)).unwrap_or_default();
        match uses.iter().find(|import| import.last() == Some(name)) {
            Some(import) => self.innermost(&at, import).0,
            None => at,
        }
    }

    /// The innermost module of a path, and what of the path names things in it.
    fn innermost<'p>(&self, from: &[String], path: &'p [String]) -> (Module, &'p [String]) {
        let mut at = if path[0] == "crate" { Module::new() } else { from.to_vec() };
        for (depth, segment) in path.iter().enumerate() {
            match segment.as_str() {
                "crate" | "self" => {}
                "super" => drop(at.pop()),
                name => {
                    let inner = [at.as_slice(), &[name.to_owned()]].concat();
                    if !self.0.contains_key(&inner) {
                        return (at, &path[depth..]);
                    }
                    at = inner;
                }
            }
        }
        (at, &[])
    }
}

fn without_comments(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| line.split(" // ").next().expect("a first part")).collect::<Vec<_>>().join("\n")
}

/// The text without the items that stand under `#[cfg(test)]`, and the modules of other files among them.
fn without_tests(text: &str) -> (String, Vec<String>) {
    const MARK: &str = "#[cfg(test)]";
    let (mut rest, mut modules, mut lines) = (String::new(), Vec::new(), text.lines());
    while let Some(line) = lines.next() {
        if line.trim() != MARK {
            rest += line;
            rest.push('\n');
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let mut item = lines.next().unwrap_or_default();
        while item.trim_start().starts_with("#[") {
            item = lines.next().unwrap_or_default();
        }
        if let Some(declared) = item.trim().strip_suffix(';')
            && let Some((_, name)) = declared.rsplit_once("mod ")
        {
            modules.push(name.to_owned());
        }
        let (end_of_block, end_of_use) = (format!("{indent}}}"), format!("{indent}}};"));
        while !item.ends_with(';') && !item.ends_with("{}") && item != end_of_block && item != end_of_use {
            let Some(next) = lines.next() else { break };
            // Inside a block, statements end with a semicolon as well.
            item = if next.starts_with(&end_of_block) { next } else { "" };
        }
    }
    (rest, modules)
}

/// Every path that begins with `crate`, `self` or `super`, in `use` and in code; a `use` of several items gives several.
fn paths_in(text: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for start in ["crate::", "self::", "super::"] {
        for (at, _) in text.match_indices(start) {
            let before = text[..at].chars().next_back();
            if !before.is_some_and(|char| is_of_name(char) || char == ':') {
                read_tree(&text[at..], &[], &mut paths);
            }
        }
    }
    paths
}

/// Every path that a `use` names.
fn uses_in(text: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for line in text.match_indices("use ").filter(|(at, _)| text[..*at].ends_with(['\n', ' ']) || *at == 0) {
        read_tree(&text[line.0 + "use ".len()..], &[], &mut paths);
    }
    paths
}

/// Reads `a::b::{c, d::e}`; gives what stands behind it.
fn read_tree<'t>(mut text: &'t str, above: &[String], paths: &mut Vec<Vec<String>>) -> &'t str {
    let mut path = above.to_vec();
    loop {
        text = text.trim_start();
        if let Some(mut inner) = text.strip_prefix('{') {
            loop {
                inner = read_tree(inner, &path, paths).trim_start();
                match inner.strip_prefix(',') {
                    Some(next) => inner = next,
                    None => return inner.strip_prefix('}').unwrap_or(inner),
                }
            }
        }
        let end = name_end(text);
        if end > 0 {
            path.push(text[..end].to_owned());
        }
        text = &text[end..];
        match text.strip_prefix("::") {
            Some(next) => text = next,
            None => break,
        }
    }
    if path.len() > above.len() {
        paths.push(path);
    }
    let text = text.strip_prefix('*').unwrap_or(text).trim_start();
    match text.strip_prefix("as ") {
        Some(renamed) => renamed.trim_start_matches(is_of_name),
        None => text,
    }
}

/// Where the name ends that a text begins with.
fn name_end(text: &str) -> usize {
    text.find(|char| !is_of_name(char)).unwrap_or(text.len())
}

fn is_of_name(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
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
