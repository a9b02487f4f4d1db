//! The sources of a crate as text: its modules, what they import of each other, and where methods of a type stand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A path from the crate's root, such as `["hub", "presence"]`; empty for the root itself.
pub(crate) type Module = Vec<String>;

/// What one crate's files say: each module's file and its text without comments and tests.
pub(crate) struct Sources(pub(crate) BTreeMap<Module, (PathBuf, String)>);

/// From a module to a sibling of it, and the files that make it so.
pub(crate) type Edges = BTreeMap<(String, String), BTreeSet<String>>;

pub(crate) fn metadata() -> serde_json::Value {
    let out = Command::new(env!("CARGO"))
        // Not offline: a dependency that no build for this platform has needed may have to be fetched.
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("cargo prints JSON")
}

/// The folder of the root module of each crate of the workspace, and of the benchmarks.
pub(crate) fn module_roots(root: &Path) -> BTreeSet<String> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages").iter();
    let ours = packages.filter(|package| package["source"].is_null()).map(|package| {
        let manifest = Path::new(package["manifest_path"].as_str().expect("a path"));
        let folder = manifest.with_file_name("src");
        folder.strip_prefix(root).expect("a crate of ours").display().to_string()
    });
    ours.chain(["benches/suite".to_owned()]).collect()
}

impl Sources {
    pub(crate) fn read(folder: &Path) -> Self {
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
    pub(crate) fn of(mut modules: BTreeMap<Module, (PathBuf, String)>) -> Self {
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
    pub(crate) fn edges_by_parent(&self, root: &Path) -> BTreeMap<Module, Edges> {
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

    /// Inherent impls in other files than the one that declares their type: the type, its module, and theirs.
    pub(crate) fn scattered_impls(&self) -> BTreeSet<(String, Module, Module)> {
        let mut scattered = BTreeSet::new();
        for (at, (_, text)) in &self.0 {
            for path in inherent_impls(text) {
                let name = path.last().expect("a type has a name").clone();
                let home = self.home_of(at, &path);
                if home != *at {
                    scattered.insert((name, home, at.clone()));
                }
            }
        }
        scattered
    }

    /// The module that declares the type with this path in `from`. A type that a macro declares has no declaration in
    /// the text: then it is the module from which it is imported.
    fn home_of(&self, from: &[String], path: &[String]) -> Module {
        let name = path.last().expect("a type has a name");
        let mut at = self.innermost(from, path).0;
        // Each step follows one `use`.
        for _ in 0..self.0.len() {
            let Some((_, text)) = self.0.get(&at) else { break };
            if declares(text, name) {
                break;
            }
            let imported = uses_in(text).into_iter().find(|import| import.last() == Some(name));
            match imported.map(|import| self.innermost(&at, &import).0) {
                Some(next) if next != at => at = next,
                _ => break,
            }
        }
        at
    }

    /// The comments that describe a type: those of its module, and those above its declaration.
    pub(crate) fn docs_of(&self, module: &Module, name: &str) -> String {
        let text = std::fs::read_to_string(&self.0[module].0).expect("a source file");
        let mut docs = String::new();
        let mut above = Vec::new();
        for line in text.lines() {
            match line {
                _ if line.starts_with("//!") => docs += &line[3..],
                _ if line.starts_with("///") => above.push(&line[3..]),
                _ if declares(line, name) => docs += &above.concat(),
                _ if !line.starts_with([' ', '#', ')']) => above.clear(),
                _ => {}
            }
        }
        docs
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

/// The paths of the types of all inherent impls.
fn inherent_impls(text: &str) -> Vec<Vec<String>> {
    let mut types = Vec::new();
    for line in text.match_indices("impl").filter(|(at, _)| *at == 0 || text[..*at].ends_with('\n')) {
        let rest = without_generics(&text[line.0 + "impl".len()..]).trim_start();
        let end = rest.find(|char| !is_of_name(char) && char != ':').unwrap_or(rest.len());
        let after = without_generics(&rest[end..]).trim_start();
        if end > 0 && (after.starts_with('{') || after.starts_with("where ")) {
            types.push(rest[..end].split("::").map(str::to_owned).collect());
        }
    }
    types
}

/// The text behind `<…>`, if it begins with that.
fn without_generics(text: &str) -> &str {
    if !text.starts_with('<') {
        return text;
    }
    let (mut depth, mut last) = (0, ' ');
    for (at, char) in text.char_indices() {
        depth += i32::from(char == '<') - i32::from(char == '>' && last != '-');
        if depth == 0 {
            return &text[at + 1..];
        }
        last = char;
    }
    text
}

/// Whether a type of this name is declared here.
fn declares(text: &str, name: &str) -> bool {
    ["struct ", "enum ", "union "].iter().any(|keyword| {
        text.match_indices(keyword).any(|(at, _)| {
            let (before, after) = (&text[..at], &text[at + keyword.len()..]);
            let begins_line = before.rsplit('\n').next().is_some_and(|it| it.is_empty() || it.starts_with("pub"));
            begins_line && after[..name_end(after)] == *name
        })
    })
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
pub(crate) fn name_end(text: &str) -> usize {
    text.find(|char| !is_of_name(char)).unwrap_or(text.len())
}

fn is_of_name(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}
