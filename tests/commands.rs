//! Checks that the commands in documents do what the documents say, and that the reference of the command line is
//! complete.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

const GLEITZEIT: &str = env!("CARGO_BIN_EXE_gleitzeit");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn reference() -> String {
    fs::read_to_string(root().join("docs/COMMANDS.md")).expect("readable")
}

fn help(arguments: &[&str]) -> String {
    let output = Command::new(GLEITZEIT).args(arguments).arg("--help").output().expect("starts");
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The names on the list of commands that `--help` shows.
fn commands() -> Vec<String> {
    let help = help(&[]);
    let list = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("a list of commands");
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_and_option_is_in_the_reference() {
    let reference = reference();
    let commands = commands();
    assert!(commands.len() >= 17, "{commands:?}");
    for command in commands {
        assert!(
            reference.contains(&format!("`{command}")) || reference.contains(&format!("gleitzeit {command}")),
            "{command}"
        );
        for word in help(&[&command]).split(|c: char| c.is_whitespace() || c == ',' || c == '`') {
            let flag = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            if flag.starts_with("--") && flag != "--help" && flag != "--version" {
                assert!(reference.contains(flag), "{flag} of {command} is not in docs/COMMANDS.md");
            }
        }
    }
}

#[test]
fn gz_is_the_same_program() {
    let version = |program: &str| Command::new(program).arg("version").output().expect("starts").stdout;
    assert_eq!(version(env!("CARGO_BIN_EXE_gz")), version(GLEITZEIT));
    let refused = Command::new(env!("CARGO_BIN_EXE_gz")).args(["list", "--nope"]).output().expect("starts");
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("Usage: gz list"),
        "it is called by the name that was typed"
    );
}

#[test]
fn gz_runs_the_program_in_its_folder_even_through_links_and_reports_if_it_is_missing() {
    let folders = [(); 2].map(|()| tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder"));
    let gz = folders[0].path().join("gz");
    // A copy that another test's process inherits while it is written could not be executed.
    fs::hard_link(env!("CARGO_BIN_EXE_gz"), &gz).expect("linked");
    let alone = Command::new(&gz).arg("version").output().expect("starts");
    let said = String::from_utf8_lossy(&alone.stderr);
    let missing = folders[0].path().canonicalize().expect("there").join("gleitzeit");
    assert_eq!(alone.status.code(), Some(1), "{said}");
    assert!(said.contains(&missing.display().to_string()) && said.contains("hint: "), "{said}");

    symlink(GLEITZEIT, &missing).expect("linked");
    let elsewhere = folders[1].path().join("short");
    symlink(&gz, &elsewhere).expect("linked");
    let found = Command::new(&elsewhere).arg("version").output().expect("starts");
    assert!(found.status.success() && !found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stderr));
}

/// The `sh` blocks of the reference, each run unchanged in a home of its own. Only the port differs: the default one
/// may be in use.
#[test]
fn every_command_of_the_reference_works() {
    let home = tempfile::tempdir().expect("a folder");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
    let reference = reference();
    let blocks: Vec<&str> = reference.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 4);
    let start = format!("gleitzeit start --background --port {port}");
    let stop = format!("gleitzeit stop --port {port}");
    let as_written =
        |block: &str| block.replace("gleitzeit start --background", &start).replace("gleitzeit stop", &stop);
    // In the first block everything is in one process; in the third `submit` would start a control plane at the default
    // port.
    let script = format!(
        "set -eu\n{}\nexport GLEITZEIT_HUB_URL=http://127.0.0.1:{port}\n{}\n{start}\n{}\n{}\n",
        blocks[0],
        as_written(blocks[1]),
        as_written(blocks[2]),
        blocks[3]
    );
    let output = shell(&script, home.path());
    // Whatever happened, nothing is left running.
    shell(&stop, home.path());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{script}\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("85 words in 7 lines"), "the quickstart's result: {said}");
    assert!(said.contains("\"value\": 80"), "the chain with another start: {said}");
    assert!(said.contains("run completed"), "the events of the last run: {said}");
    assert!(home.path().join("monday.db").is_file(), "the backup: {said}");
}

/// The `sh` blocks of the README except for its tests, unchanged. Only the build is left out: the binary exists
/// already.
#[test]
fn every_command_of_the_readme_works() {
    let home = tempfile::tempdir().expect("a folder");
    let readme = fs::read_to_string(root().join("README.md")).expect("readable");
    let blocks: Vec<&str> = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let [first, own, tests] = blocks[..] else { panic!("three blocks, not {}", blocks.len()) };
    assert!(tests.starts_with("cargo test "), "{tests}");
    let first = first.strip_prefix("cargo build --release --locked\n").expect("the build");
    let first = first.replace("target/release/gleitzeit", "gleitzeit");
    assert!(first.contains("logs last"), "{first}");
    let output = shell(&format!("set -eu\n{first}\ncd \"$HOME\"\n{own}\n"), home.path());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("85 words in 7 lines"), "the quickstart's result: {said}");
    assert!(said.contains("── report (completed)"), "what its tasks returned: {said}");
    assert!(said.contains("5 words, the longest is 'words'"), "the result of a first own workflow: {said}");
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("readable");
    let required = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).expect("a version of Rust");
    assert!(readme.contains(&format!("needs Rust {} or newer", required.trim_matches('"'))), "{required}");
}

fn shell(script: &str, home: &Path) -> Output {
    let folder = Path::new(GLEITZEIT).parent().expect("a folder").display();
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(root()).env("PATH", path).env("HOME", home).env_remove("XDG_DATA_HOME");
    command.env_remove("GLEITZEIT_HUB_URL").env_remove("GLEITZEIT_TOKEN").env_remove("GLEITZEIT_STORE_URL");
    command.output().expect("sh starts")
}
