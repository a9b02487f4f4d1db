//! A match on events or commands names each of them: who adds one is shown by the compiler every place that must decide what
//! it means there. `docs/design/events.md` lists these places.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The names of the variants that `tagged!` defines in a file.
fn variants(file: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect(file);
    let lines = text.lines().filter(|line| line.starts_with("        ") && line.contains(") = \""));
    lines.filter_map(|line| Some(line.trim().split_once('(')?.0.to_owned())).collect()
}

/// The lines with an arm for everything else, beside arms for variants of `of`.
fn wildcards(text: &str, of: &str, variants: &BTreeSet<String>) -> Vec<usize> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let names_one = |line: &str| {
        let arm = line.trim_start().trim_start_matches("| ").trim_start_matches(['(', '&']);
        let arm = arm.strip_prefix("Some(").or(arm.strip_prefix("Ok(")).unwrap_or(arm);
        let name = arm.strip_prefix(of).and_then(|rest| rest.strip_prefix("::"));
        name.is_some_and(|name| variants.contains(name.split(['(', ' ']).next().unwrap_or_default()))
    };
    let is_any = |line: &str| {
        let pattern = line.trim_start().trim_start_matches('(').split([' ', ',', ')']).next().unwrap_or_default();
        let is_name = !pattern.is_empty() && pattern.chars().all(|it| it == '_' || it.is_ascii_lowercase());
        is_name && [" =>", " if ", ", "].iter().any(|after| line.contains(&format!("{pattern}{after}")))
    };
    let lines: Vec<&str> = text.lines().collect();
    let mut found = BTreeSet::new();
    for (first, line) in lines.iter().enumerate().filter(|(_, line)| names_one(line)) {
        let depth = indent(line);
        let arms = lines[first..].iter().enumerate();
        let of_match = arms.take_while(|(_, line)| line.trim().is_empty() || indent(line) >= depth);
        found.extend(of_match.filter(|(_, line)| indent(line) == depth && is_any(line)).map(|(at, _)| first + at + 1));
    }
    found.into_iter().collect()
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if path.is_dir() && name != "tests" && name != "generated" {
            sources(&path, into);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            into.push(path);
        }
    }
}

#[test]
fn matches_on_events_and_commands_name_each_of_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in
        ["src", "core", "proto/src", "control-plane/src", "agent", "sdk/rust/src", "protocols/src", "providers/src"]
    {
        sources(&root.join(folder), &mut files);
    }
    let (events, commands) = (variants("core/run/src/event.rs"), variants("core/run/src/command.rs"));
    assert!(events.len() >= 20 && commands.len() >= 10, "{events:?} {commands:?}");
    let mut found = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a source");
        for (of, variants) in [("Event", &events), ("Command", &commands)] {
            let lines = wildcards(&text, of, variants);
            found.extend(
                lines.iter().map(|line| format!("{}:{line}", file.strip_prefix(root).expect("ours").display())),
            );
        }
    }
    assert!(found.is_empty(), "name each event and command, or ask `Event::meaning`:\n{}", found.join("\n"));
}

#[test]
fn arms_for_everything_else_are_found() {
    let events = BTreeSet::from(["TaskReady".to_owned(), "TaskFailed".to_owned()]);
    let matched = |last: &str| {
        format!(
            "    match event {{\n        Event::TaskReady(it) => {{\n            f(_);\n        }}\n{last}    }}\n    _ => 0\n"
        )
    };
    assert_eq!(wildcards(&matched("        | Event::TaskFailed(_) => {}\n"), "Event", &events), [0_usize; 0]);
    assert_eq!(wildcards(&matched("        _ => {}\n"), "Event", &events), [5]);
    assert_eq!(wildcards(&matched("        other => other.clone(),\n"), "Event", &events), [5]);
    assert_eq!(wildcards(&matched("        _ if late => {}\n"), "Event", &events), [5]);
    let of_pairs = "        (Event::TaskReady(it), Some(id)) => f(it),\n        (_, None) => {}\n";
    assert_eq!(wildcards(of_pairs, "Event", &events), [2]);
    assert_eq!(wildcards(&matched("        _ => {}\n"), "Key", &events), [0_usize; 0], "of another type");
}
