//! The test server passes for a real one: the official clients of Ollama and OpenAI work with it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use gleitzeit_llm_server::LlmServer;

/// A PNG of 2 x 3 pixels, as far as the server checks.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAADCAIAAAA=";

/// A Python with the clients: the system's, or else a virtual environment with the packages from the usual index.
fn interpreter() -> PathBuf {
    let (system, folder) = (PathBuf::from("python3"), Path::new(env!("CARGO_TARGET_TMPDIR")).join("llm-clients"));
    let own = folder.join("bin/python3");
    // Another process may be creating it just now.
    let lock = File::create(folder.with_extension("lock")).expect("writable");
    lock.lock().expect("a lock");
    let has = |python: &PathBuf| {
        let import = Command::new(python).args(["-c", "import ollama, openai"]).output();
        import.is_ok_and(|output| output.status.success())
    };
    if let Some(found) = [&system, &own].into_iter().find(|python| has(python)) {
        return found.clone();
    }
    let steps: [&[&str]; 2] = [
        &["python3", "-m", "venv", folder.to_str().expect("UTF-8")],
        &[own.to_str().expect("UTF-8"), "-m", "pip", "install", "--quiet", "ollama", "openai"],
    ];
    for step in steps {
        let output = Command::new(step[0]).args(&step[1..]).output().expect("it starts");
        assert!(
            output.status.success(),
            "this test needs the Python packages `ollama` and `openai`, and `{}` failed; install them for `python3`\n{}",
            step.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    own
}

#[test]
fn the_official_clients_work_with_the_server() {
    // Ollama needs no key; OpenAI's client always sends one.
    let (open, locked) = (LlmServer::start(), LlmServer::start_with(0, Some("sk-test".to_owned())));
    let output = Command::new(interpreter())
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients.py"))
        .envs([("OLLAMA_URL", open.url()), ("OPENAI_URL", locked.openai_url()), ("PNG", PNG.to_owned())])
        .env("NO_PROXY", "*")
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "as expected");
    assert!(open.asked().len() > 8 && locked.asked().len() > 8);
}
