//! Programs put together at random: whatever they are, what they do does not depend on a value.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use gleitzeit_core::spec::Language;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{filled, hostile, python, shell};

const PYTHON: &[&str] = &[
    "${a}",
    "${a}",
    "${a}",
    "'",
    "'",
    "\"",
    "\"",
    "'''",
    "\"\"\"",
    "r",
    "b",
    "f",
    "rb",
    "rf",
    "u",
    "t",
    "{",
    "}",
    "{{",
    "}}",
    "\\",
    "\\\\",
    "\\1",
    "\\x4",
    "\\N{",
    "\n",
    "\n",
    "\r",
    "#",
    " ",
    " ",
    "x",
    "x = ",
    "(",
    ")",
    "[",
    "]",
    ", ",
    ":",
    "!r",
    "!=",
    "+ ",
    "1",
    ".",
    "lambda: ",
    "\\\n",
    "in ",
    "$$",
    "'${a}'",
    "\"${a}\"",
    "''",
    "\"\"",
    "f'",
    "f\"",
    "f'{",
    "f\"{",
    "r'",
    "rb\"",
    "x = '",
    "x = \"\"\"",
    "'\n",
    "\"\n",
    "\nx = ",
    "f(",
    "['",
    "']",
];

const SHELL: &[&str] = &[
    "${a}",
    "${a}",
    "${a}",
    "'",
    "'",
    "\"",
    "\"",
    "$(",
    "$(",
    ")",
    ")",
    "`",
    "`",
    "\n",
    "\n",
    " ",
    " ",
    ";",
    ";;",
    "echo ",
    "echo ",
    ": ",
    "x=",
    "x=(",
    "$${x:-",
    "$${x#",
    "$${x:",
    "$${x[",
    "}",
    "<<E\n",
    "<<'E'\n",
    "<<-E\n",
    "E\n",
    "\nE\n",
    "#",
    "\\",
    "\\\n",
    "case x in ",
    "x) ",
    "esac\n",
    "((",
    "$((",
    "))",
    "[[ ",
    " ]] ",
    "[ ",
    " ] ",
    "&&",
    "| cat ",
    "$'",
    "$",
    "(",
    "if ",
    "then ",
    "fi\n",
    "for x in ",
    "do ",
    "done\n",
    "f() { ",
    "{ ",
    "E",
    "local ",
    "declare -i ",
    "-eq 1",
    "test -v ",
    "printf -v ",
    "[",
    "]",
    "&",
    "<",
    "\t",
    "time ",
    "! ",
    "x",
    "1",
    "\"$(",
    ")\"",
    "`echo ",
    "case x in x) ",
    "case ${a} in ",
    ";; esac; ",
    "if :; then ",
    "f() { ",
    "; }; f ",
    "<<E | cat\n",
    "cat <<E; ",
    "[[ x == ",
    " ]] && ",
    "\"$${x:-",
    "}\"",
    "\"$${x%%",
    "$'x",
    "echo $((",
    ")); ",
    "# it's ",
    "$(echo # (\n",
    "x=1 ",
    "env ",
    "! ",
    "(",
    "( : ) ",
    "for x in ${a}; do ",
    "while false; do ",
    "esac",
    "in ",
    "|| ",
    "<<-'E'\n\t",
    "\n\tE\n",
    "$(cat <<E\n",
    "\nE\n)",
    "eval",
    "=",
    "+=(",
    "$((x[",
    "local -",
    "}",
];

fn programs(tokens: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<(String, usize)>> {
    let template = vec(prop::sample::select(tokens), 1..most).prop_map(|tokens| tokens.concat());
    vec((template, any::<prop::sample::Index>().prop_map(|index| index.index(1_000))), 400)
}

/// What parts a program has, constants and what they are joined from left out; null if it is no program.
const PARTS: &str = "
import ast, json, sys, warnings
warnings.simplefilter('ignore')
left_out = (ast.Constant, ast.JoinedStr, ast.FormattedValue, ast.Load)
def parts(code):
    try:
        return [type(node).__name__ for node in ast.walk(compile(code, '', 'exec', ast.PyCF_ONLY_AST)) if not isinstance(node, left_out)]
    except (SyntaxError, ValueError):
        return None
json.dump([parts(code) for code in json.load(sys.stdin)], sys.stdout)
";

/// The same program with a plain value and with a hostile one, if it takes both.
fn pair(template: &str, language: Language, text: &str) -> Option<(String, String)> {
    let plain = filled(template, language, &json!("plain"));
    let other = filled(template, language, &json!(text));
    Some((plain.ok()?, other.ok()?))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_python_program_has_the_same_parts_whatever_the_value(programs in programs(PYTHON, 8)) {
        // An empty value brings together what stands around it.
        let mut texts = hostile("f()");
        texts.extend((0..40).map(|_| String::new()));
        let made: Vec<(String, String)> = programs
            .iter()
            .filter(|(template, _)| template.contains("${"))
            .filter_map(|(template, at)| pair(template, Language::Python, &texts[at % texts.len()]))
            .collect();
        for python in python::interpreters() {
            let all: Vec<String> = made.iter().flat_map(|(plain, other)| [plain.clone(), other.clone()]).collect();
            let parts: Vec<Value> = python::ask(python, PARTS, &all);
            for (parts, (plain, other)) in parts.chunks(2).zip(&made) {
                prop_assert_eq!(&parts[0], &parts[1], "{}:\n{}\n---\n{}", python, plain, other);
            }
        }
    }

    #[test]
    fn no_shell_program_runs_what_a_value_says(programs in programs(SHELL, 18)) {
        let folder = shell::folder("shell-any");
        let (sentinel, payload) = shell::sentinel(&folder);
        // A value may not even choose what is run.
        let chosen = folder.join("chosen");
        fs::write(&chosen, format!("#!/bin/sh\n{payload}\n")).expect("written");
        fs::set_permissions(&chosen, fs::Permissions::from_mode(0o755)).expect("ours");
        let mut texts = hostile(&payload);
        texts.extend((0..40).map(|_| chosen.display().to_string()));
        let made: Vec<String> = programs
            .iter()
            .filter(|(template, _)| template.contains("${"))
            .filter_map(|(template, at)| filled(template, Language::Shell, &json!(texts[at % texts.len()])).ok())
            .collect();
        for (at, program) in made.iter().enumerate() {
            fs::write(folder.join(format!("{at}.sh")), program).expect("written");
        }
        let driver = "at=0; while [ $at -lt $1 ]; do ( . ./$at.sh ) >/dev/null 2>&1 </dev/null; [ -e sentinel ] && exit 1; \
                      at=$((at+1)); done; exit 0";
        for shell in shell::shells() {
            let output = Command::new(shell)
                .args(["-c", driver, "driver", &made.len().to_string()])
                .current_dir(&folder)
                .output()
                .expect("a shell");
            if sentinel.exists() {
                let ran = made.iter().find(|program| {
                    let _ = fs::remove_file(&sentinel);
                    let _ = Command::new(shell).args(["-c", program]).current_dir(&folder).output();
                    sentinel.exists()
                });
                let _ = fs::remove_file(&sentinel);
                return Err(TestCaseError::fail(format!("{shell} ran data as code:\n{}", ran.map_or("?", String::as_str))));
            }
            prop_assert!(output.status.success(), "{}: {:?}", shell, output);
        }
    }
}
