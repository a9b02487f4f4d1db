//! The commands in documents: each document is run from top to bottom, unchanged, in a folder that has the examples.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Ended, PATIENCE, Sandbox, free_port, node, python};

/// Simulates a reader's shell: packages are installed already, and each background process is awaited before the next
/// line. Only the port differs, since the default one may be in use.
fn script(document: &str, port: u16) -> String {
    let url = format!("http://127.0.0.1:{port}");
    let mut script = format!(
        "set -eu\npip() {{ :; }}\nnpm() {{ :; }}\n\
         connected() {{ gleitzeit providers | wc -l; }}\n\
         trap 'kill $(jobs -p) 2>/dev/null || true; gleitzeit stop --port {port} >/dev/null 2>&1 || true' EXIT\n"
    );
    let blocks: Vec<&str> = document.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty(), "a document without commands");
    for line in blocks.iter().flat_map(|block| block.lines()) {
        let line = line.replace("http://localhost:8000", &url).replace("token-8000", &format!("token-{port}"));
        let line = line.replace("gleitzeit stop", &format!("gleitzeit stop --port {port}"));
        let written = if line.contains("gleitzeit start --background") {
            let line = line.replace("--background", &format!("--background --port {port}"));
            writeln!(script, "{line}\nexport GLEITZEIT_HUB_URL={url}")
        } else if line.ends_with('&') {
            let wait = "until [ \"$(connected)\" -gt \"$before\" ]; do sleep 0.05; done";
            writeln!(script, "before=$(connected)\n{line}\n{wait}")
        } else {
            writeln!(script, "{line}")
        };
        written.expect("writing to a string works");
    }
    script
}

fn run(document: &str) -> Ended {
    let sandbox = Sandbox::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs").join(document)).expect("readable");
    symlink(root.join("examples"), sandbox.path().join("examples")).expect("writable");
    // A block that is "Saved as" a file goes into that file.
    let mut parts = text.split("\nSaved as `");
    let mut before = parts.next().unwrap_or_default();
    for after in parts {
        let name = after.split('`').next().unwrap_or_default();
        let block =
            before.trim_end().strip_suffix("```").and_then(|block| block.rsplit_once("```")?.1.split_once('\n'));
        fs::write(sandbox.path().join(name), block.expect("a block above").1).expect("writable");
        before = after;
    }
    // Node resolves links before it looks for packages.
    let file = sandbox.path().join("node_provider.mjs");
    let script =
        script(&text, free_port()).replace("examples/providers/node_provider.mjs", &file.display().to_string());
    let example = fs::read_to_string(root.join("examples/providers/node_provider.mjs")).expect("readable");
    let _with_packages = node(&sandbox, "node_provider.mjs", &example);

    let own = Path::new(env!("CARGO_BIN_EXE_gleitzeit")).parent().expect("a folder");
    let python = python(&[]);
    let of_python = Path::new(python.get_program()).parent().expect("a folder");
    let folders = [own, of_python].map(|folder| folder.display().to_string()).join(":");
    let mut command = Command::new("bash");
    command
        .args(["-c", &script])
        .env_clear()
        .env("PATH", format!("{folders}:{}", std::env::var("PATH").unwrap_or_default()))
        .env("HOME", sandbox.home())
        .current_dir(sandbox.path())
        .stdin(Stdio::null());
    sandbox.start_command(command).wait(PATIENCE)
}

#[test]
fn the_commands_about_workflows_work() {
    let ended = run("WORKFLOWS.md").exits(0);
    for said in ["essay.yaml", "words: 7", "custom_provider_workflow.yaml", "+    method: util/echo", "said: hello"] {
        assert!(ended.stdout.contains(said), "{said}: {ended}");
    }
}

#[test]
fn the_commands_about_providers_work() {
    let ended = run("PROVIDERS.md").exits(0);
    for said in ["85 words in 7 lines", "report/render", "stats/describe", "- deviation: 2.14"] {
        assert!(ended.stdout.contains(said), "{said}: {ended}");
    }
}

#[test]
fn the_commands_about_protocols_work() {
    let ended = run("PROTOCOLS.md").exits(0);
    for said in ["report/render", "stats/describe", "custom_provider_workflow.yaml"] {
        assert!(ended.stdout.contains(said), "{said}: {ended}");
    }
}

#[test]
fn the_commands_about_shells_work() {
    let ended = run("SHELL.md").exits(0);
    for said in ["times tide, and the longest word is everybody", "1 times time, and the longest word is everybody"] {
        assert!(ended.stdout.contains(said), "{said}: {ended}");
    }
}

#[test]
fn the_commands_about_python_work() {
    let ended = run("PYTHON.md").exits(0);
    for said in ["\"so\": 2", "\"much\": 1", "sum: 3", "85 words in 7 lines"] {
        assert!(ended.stdout.contains(said), "{said}: {ended}");
    }
}
