//! The cost of small inputs: memory as the allocator counts it, and how much is built from a file.

use std::alloc::{GlobalAlloc, Layout, System};
use std::borrow::Cow;
use std::cell::Cell;

use gleitzeit_workflow::spec::{Catalog, Limits, MethodInfo, Violation, Workflow, check};
use gleitzeit_workflow::template::{Budget, Root, Scope, resolve, resolve_code};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Counts what each thread has allocated.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // While a thread ends, its counter no longer exists.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        MOST.try_with(|most| most.set(most.get().max(held.get())))
    });
}

#[expect(unsafe_code, reason = "to count what is allocated takes an allocator, which only hands on to the system's")]
// SAFETY: every call is passed on unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Returns the result of `work`, and how many bytes it held at the peak.
fn measured<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    MOST.set(before);
    let result = work();
    (result, (MOST.get() - before).cast_unsigned())
}

struct Echo;

impl Catalog for Echo {
    fn method(&self, name: &str) -> Option<MethodInfo> {
        (name == "util/echo").then(|| MethodInfo {
            protocol_version: "v1".to_owned(),
            code: Default::default(),
            returns: None,
            parameters: None,
            timeout_ms: None,
        })
    }

    fn method_names(&self) -> Vec<String> {
        vec!["util/echo".to_owned()]
    }

    fn check_template(&self, _: &str, _: &Value) -> Vec<Violation> {
        Vec::new()
    }
}

const TASK: &str = "name: n\ntasks:\n- id: a\n  method: util/echo\n  parameters:\n";

/// Files of at most 64 KiB that try to become large.
fn bombs() -> Vec<(&'static str, String)> {
    let levels = |count: usize, width: usize, open: &str, close: &str| {
        let mut text = format!("{TASK}    a0: &a0 {open}x{close}\n");
        for level in 1..count {
            let aliases = vec![format!("*a{}", level - 1); width].join(", ");
            text.push_str(&format!("    a{level}: &a{level} [{aliases}]\n"));
        }
        text
    };
    let many = |size: usize| vec!["0"; size].join(",");
    let nested: String = (0..50).map(|level| format!("&n{level} [")).collect();
    let objects: String = (0..200).map(|field| format!("k{field}: 1, ")).collect();
    vec![
        ("ten of ten", levels(20, 10, "[", "]")),
        ("two of two", levels(60, 2, "{k: ", "}")),
        ("one large, often", format!("{TASK}    a: &a [{}]\n    b: [{}]\n", many(15_000), vec!["*a"; 8_000].join(","))),
        (
            "long text, often",
            format!("{TASK}    a: &a {}\n    b: [{}]\n", "x".repeat(30_000), vec!["*a"; 8_000].join(",")),
        ),
        ("anchors in anchors", format!("{TASK}    a: {nested}{}{}\n", many(30_000), "]".repeat(50))),
        ("merged, often", format!("{TASK}    a: &a {{{objects}}}\n    b: [{}]\n", vec!["{<<: *a}"; 5_000].join(","))),
        (
            "merged in one",
            format!("{TASK}    a: &a {{{objects}}}\n    b: {{<<: [{}]}}\n", vec!["*a"; 15_000].join(",")),
        ),
        ("whole tasks", {
            let mut text =
                format!("name: n\ntasks:\n- &t {{id: a, method: util/echo, parameters: {{x: [{}]}}}}\n", many(10_000));
            text.push_str(&"- *t\n".repeat(8_000));
            text
        }),
    ]
}

#[test]
fn a_file_of_64_kib_never_takes_more_than_64_mib() {
    for (name, text) in bombs() {
        assert!(text.len() <= 64 << 10, "{name}: {}", text.len());
        let (checked, bytes) = measured(|| check(&text, "f", &Echo, &Limits::DEFAULT));
        assert!(bytes <= 64 << 20, "{name}: {bytes} bytes, {}", checked.is_ok());
    }
    let problems = check(&bombs()[0].1, "f", &Echo, &Limits::DEFAULT).expect_err("it is refused");
    assert!(problems[0].message.starts_with("the aliases (`*name`) up to here stand for "), "{problems:?}");
    assert_eq!(problems[0].line, Some(11), "{problems:?}");
}

#[test]
fn reasonable_aliases_are_accepted() {
    let rows: String = (0..9_000).map(|row| format!("      - row {row}\n")).collect();
    let text =
        format!("{TASK}    rows: &rows\n{rows}    again: [*rows, *rows, *rows, *rows, *rows, *rows, *rows, *rows]\n");
    let workflow = check(&text, "f", &Echo, &Limits::DEFAULT).expect("valid");
    assert_eq!(workflow.tasks[0].parameters["again"][7][8_999], "row 8999");
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(nodes).sum(),
        Value::Object(fields) => fields.values().map(|field| 1 + nodes(field)).sum::<usize>(),
        _ => 0,
    }
}

fn made(workflow: &Workflow) -> usize {
    workflow.tasks.iter().map(|task| nodes(&task.parameters)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn expanded_aliases_are_bounded_by_the_size_of_the_file(
        lines in vec((0..40_usize, 1..60_usize, any::<bool>(), any::<bool>()), 1..60),
    ) {
        let mut text = TASK.to_owned();
        for (at, (of, times, merge, in_list)) in lines.into_iter().enumerate() {
            let alias = if at == 0 { "x".to_owned() } else { format!("*a{}", of % at) };
            let part = if merge && at > 0 { format!("{{k: {alias}, l: {alias}}}") } else { alias };
            let parts = vec![part; times].join(", ");
            let open = if in_list { format!("[{parts}]") } else { format!("{{k: [{parts}]}}") };
            text.push_str(&format!("    a{at}: &a{at} {open}\n"));
        }
        let own = text.matches([',', ':', '[', '*']).count();
        let (checked, bytes) = measured(|| check(&text, "f", &Echo, &Limits::DEFAULT));
        prop_assert!(bytes <= 64 << 20, "{bytes} bytes for\n{text}");
        if let Ok(workflow) = checked {
            prop_assert!(made(&workflow) <= 100_000.max(10 * own) + own, "{} values", made(&workflow));
        }
    }
}

struct Fixed(Value);

impl Scope for Fixed {
    fn root(&self, _: &Root) -> Option<Cow<'_, Value>> {
        Some(Cow::Borrowed(&self.0))
    }
}

#[test]
fn references_never_build_more_than_their_budget() {
    let scope = Fixed(json!("x".repeat(700_000)));
    let references = "${a}".repeat(3_000);
    let list = vec!["${a}"; 3_000];
    for template in [json!(references), json!(list), json!({"a": {"b": [references, list]}})] {
        let (result, bytes) = measured(|| resolve(&template, &scope, &mut Budget::new(1 << 20)));
        assert!(result.is_err() && bytes <= 8 << 20, "{bytes} bytes");
    }
    for language in [gleitzeit_workflow::template::Language::Python, gleitzeit_workflow::template::Language::Shell] {
        let code = format!("x='{references}'");
        let (result, bytes) =
            measured(|| resolve_code(&code, language, "code", &scope, &mut Budget::new(1 << 20), &|_| false));
        assert!(result.is_err() && bytes <= 16 << 20, "{bytes} bytes");
    }
}
