//! Shells: one process of each runs all programs of a test, each in a subshell of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gleitzeit_workflow::template::{Budget, Filled, Language, check_code, resolve_code};
use serde_json::json;

use super::{Fixed, hostile, untouched};
use positions::{BASH, OWN_BUSINESS, REFUSED, TEXT, UNSEEN};

mod positions;

/// The program and its variables, or why the value is refused.
pub(super) fn filled(template: &str, value: &str) -> Result<Filled, String> {
    let value = json!(value);
    let mut budget = Budget::new(16 << 20);
    resolve_code(template, Language::Shell, "command", &Fixed(&value), &mut budget, &|_| false)
        .map_err(|error| error.message)
}

pub(super) fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("a folder");
    path
}

/// What each program prints with each value. All values of one program are run in one subshell, one after the other.
fn run(shell: &str, folder: &Path, programs: &[&str], values: &[String]) -> Vec<Vec<String>> {
    for (at, program) in programs.iter().enumerate() {
        fs::write(folder.join(format!("{at}.sh")), program).expect("written");
    }
    let one =
        |value: usize| format!("export GLEITZEIT_VALUE_1=\"$VALUE_{value}\"; unset none; . ./$at.sh\nprintf '\\036'\n");
    let all: String = (0..values.len()).map(one).collect();
    fs::write(folder.join("all"), all).expect("written");
    let driver = "at=0; while [ $at -lt $1 ]; do ( . ./all ) >$at.out 2>$at.err </dev/null; at=$((at+1)); done; exit 0";
    let mut command = Command::new(shell);
    command.args(["-c", driver, "driver", &programs.len().to_string()]).current_dir(folder).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(values.iter().enumerate().map(|(at, value)| (format!("VALUE_{at}"), value)));
    assert!(command.status().expect("a shell").success(), "{shell}");
    let read = |at: usize, ending: &str| {
        let bytes = fs::read(folder.join(format!("{at}.{ending}"))).expect("an output");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let answers = |(at, program): (usize, &&str)| {
        let shown = read(at, "out");
        let answers: Vec<String> = shown.split_terminator('\u{1e}').map(str::to_owned).collect();
        let (errors, value) = (read(at, "err"), values.get(answers.len()));
        let ended = answers.len() == values.len() && errors.is_empty();
        assert!(ended, "{shell}: {errors}{} of {} answers of\n{program}\nnext {value:?}", answers.len(), values.len());
        answers
    };
    programs.iter().enumerate().map(answers).collect()
}

pub(super) fn sentinel(folder: &Path) -> (PathBuf, String) {
    let path = folder.join("sentinel");
    // A one-word command with a path without special characters; a redirection works even where no command may stand.
    let payload = format!("touch {}", path.display());
    (path, payload)
}

/// The hostile texts that an environment variable can hold.
fn values(payload: &str) -> Vec<String> {
    let mut values = hostile(payload);
    values.retain(|text| !text.contains('\0'));
    values
}

fn arrives(name: &str, positions: &[&str], shells: &[&str], seen: bool) {
    let folder = folder(name);
    let (path, payload) = sentinel(&folder);
    let values = values(&payload);
    // The program is the same whatever the value.
    let program = |position: &&str| filled(position, "x").unwrap_or_else(|why| panic!("{position}: {why}")).text;
    let programs: Vec<String> = positions.iter().map(program).collect();
    let programs: Vec<&str> = programs.iter().map(String::as_str).collect();
    let mut wrong = Vec::new();
    for shell in shells {
        for (position, answers) in positions.iter().zip(run(shell, &folder, &programs, &values)) {
            for (value, answer) in values.iter().zip(&answers) {
                // A here-document adds a line ending.
                let shown = answer.strip_suffix('\n').filter(|_| position.contains("<<")).unwrap_or(answer);
                let expected = if seen { format!("<{value}>") } else { "<1>".to_owned() };
                if shown != expected {
                    wrong.push(format!("{shell}: {position}\n{shown:?} is not {expected:?}"));
                    break;
                }
            }
        }
        untouched(&path, shell);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_value_becomes_a_command_and_text_arrives_exactly() {
    arrives("shell-text", TEXT, &["sh", "bash"], true);
}

#[test]
fn text_arrives_exactly_where_only_bash_has_words() {
    arrives("shell-bash", BASH, &["bash"], true);
}

#[test]
fn text_that_is_not_shown_does_nothing() {
    arrives("shell-unseen", UNSEEN, &["sh", "bash"], false);
}

/// Each one alone: it may not be a valid program there.
#[test]
fn bash_syntax_runs_no_value_in_another_shell() {
    let folder = folder("shell-other");
    let (path, payload) = sentinel(&folder);
    for position in BASH {
        for value in [format!("$({payload})"), format!("a[$({payload})]"), payload.clone(), format!("; {payload}")] {
            let filled = filled(position, &value).expect("text");
            let mut command = Command::new("sh");
            command.args(["-c", &filled.text]).envs(filled.variables).current_dir(&folder);
            let _ = command.output().expect("a shell");
            untouched(&path, position);
        }
    }
}

#[test]
fn a_value_with_a_nul_character_is_refused() {
    for text in hostile("touch never").iter().filter(|text| text.contains('\0')) {
        let why = filled("printf '%s' ${a}", text).expect_err("no variable holds it");
        assert!(why.starts_with("${a} holds a NUL character"), "{why}");
    }
}

#[test]
fn ambiguous_places_are_refused_before_the_value_is_known() {
    for position in REFUSED {
        let (offset, why) = check_code(position, Language::Shell).expect_err(position).remove(0);
        assert!(position[offset..].starts_with("${a}") && why.starts_with("${a} stands "), "{position}: {why}");
        assert!(why.contains("; "), "what to write instead: {why}");
        let made = filled(position, "x");
        assert!(made.as_ref().is_err_and(|why| why.starts_with("${a} stands ")), "{position}: {made:?}");
    }
    for position in TEXT.iter().chain(BASH).chain(UNSEEN).chain(OWN_BUSINESS) {
        check_code(position, Language::Shell).unwrap_or_else(|why| panic!("{position}: {why:?}"));
    }
}

#[test]
fn the_payload_is_detectable() {
    let folder = folder("shell-control");
    let (path, payload) = sentinel(&folder);
    run("sh", &folder, &[&format!("echo '' ; {payload} ; echo ''")], &["x".to_owned()]);
    assert!(path.exists());
}
