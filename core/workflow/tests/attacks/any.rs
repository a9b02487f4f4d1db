//! Randomly generated programs: whatever they are, their behaviour does not depend on a value.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use gleitzeit_workflow::template::Language;
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

/// Only `v` and arrays get values, and nothing reads their names as arithmetic.
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
    "v=",
    "v=(",
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
    "for v in ",
    "do ",
    "done\n",
    "f() { ",
    "{ ",
    "E",
    "local v=",
    "[[ ${a} == ",
    "a=(",
    "<(",
    "<<< ",
    "&>f ",
    "|& ",
    "function f { ",
    "time ",
    "let ",
    "coproc ",
    "$[",
    "$\"",
    "a[",
    "{",
    ",",
    ">&",
    "\\\n",
    "\r\n",
    "-eq 1",
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
    "w=1 ",
    "! ",
    "(",
    "( : ) ",
    "for v in ${a}; do ",
    "while false; do ",
    "esac",
    "in ",
    "|| ",
    "<<-'E'\n\t",
    "\n\tE\n",
    "$(cat <<E\n",
    "\nE\n)",
    "=",
    "$((x[",
    "}",
];

/// Without the shell's own expansions, whose text is split unless it is quoted.
const QUOTED: &[&str] = &[
    "${a}",
    "${a}",
    "${a}",
    "${a}",
    "'",
    "'",
    "\"",
    "\"",
    " ",
    " ",
    "\n",
    ";",
    "show ",
    "show ",
    "show ",
    "show ",
    "x",
    "\\",
    "\\\n",
    "#",
    " # it's ",
    "cat <<E\n",
    "cat <<'E'\n",
    "cat <<-E\n\t",
    "\nE\n",
    "\nE\n",
    "\n\tE\n",
    "E",
    "case x in x) ",
    ";; esac\n",
    "case ${a} in ",
    "*) ",
    "if :; then ",
    "; fi\n",
    "( ",
    " )",
    "{ ",
    "; }\n",
    "&& ",
    "|| ",
    "| cat\n",
    "x=",
    "$'",
    "$\"",
    "$",
    "for x in ",
    "; do ",
    "; done\n",
    "''",
    "\"\"",
    "<<E ",
    ">&1 ",
    "2>&1",
    "[[ x == ",
    " ]]",
    "((1)); ",
    "{",
    "}",
    ",",
    "=",
    "(",
    ")",
    "\t",
    "é",
    "\\'",
    "\\\"",
    "!",
    "x=(",
    "<<<",
    "~",
];

/// With them; their values contain nothing that is split or expanded as a pattern.
const EXPANDED: &[&str] = &[
    "${a}",
    "${a}",
    "${a}",
    "${a}",
    "'",
    "\"",
    "\"",
    " ",
    " ",
    "\n",
    ";",
    "show ",
    "show ",
    "show ",
    "x",
    "\\",
    "#",
    "$(",
    "$(",
    ")",
    ")",
    "\"$(",
    ")\"",
    "`",
    "`",
    "$(show ",
    "\"$(show ",
    "`show ",
    "v=",
    "\"$v\"",
    "$v",
    "$${n:-",
    "$${n-",
    "\"$${n:-",
    "}",
    "}\"",
    "$${n#",
    "$((",
    "$((1",
    "))",
    "cat <<E\n",
    "cat <<'E'\n",
    "\nE\n",
    "\nE\n",
    "$(cat <<E\n",
    "\nE\n)",
    "case x in x) ",
    "case x in (x) ",
    ";; esac",
    "if :; then ",
    "; fi",
    "( ",
    " )",
    "{ ",
    "; }\n",
    "&& ",
    "| cat",
    "$'",
    "\\$",
    "\\`",
    "\\\\",
    "<(",
    "\n# ",
    " #",
    "$[",
];

fn programs(tokens: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<(String, usize)>> {
    let template = vec(prop::sample::select(tokens), 1..most).prop_map(|tokens| tokens.concat());
    vec((template, any::<prop::sample::Index>().prop_map(|index| index.index(1_000))), 400)
}

/// The parts of a program, without constants and the parts that are joined from them; null if it is not a program.
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

/// The same program with a plain value and with a hostile one, if it accepts both.
fn pair(template: &str, language: Language, text: &str) -> Option<(String, String)> {
    let plain = filled(template, language, &json!("plain"));
    let other = filled(template, language, &json!(text));
    Some((plain.ok()?, other.ok()?))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_python_program_has_the_same_parts_whatever_the_value(programs in programs(PYTHON, 8)) {
        // An empty value joins the text on either side.
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

    /// A program prints the same with one value as with another, except for the value.
    #[test]
    fn any_shell_program_shows_exactly_the_value(
        quoted in programs(QUOTED, 14),
        expanded in programs(EXPANDED, 14),
    ) {
        const PLAIN: &str = "PLAIN";
        let folder = shell::folder("shell-exact");
        let solid = "a'b\"c$(exit)`d`;e&f|g>h<i#j{k,l}~!m\\n$HOME\\";
        let split = [" a  b\t* ? [a] ~ 'c' \"d\" \\ \\\\ $(e) `f` $HOME; g & h | i > j # k\nE\nl ", "*", "-n", "\\", " "];
        let quoted = quoted.iter().map(|(template, at)| (template, split[at % split.len()]));
        let expanded = expanded.iter().map(|(template, _)| (template, solid));
        let made: Vec<(String, &str)> = quoted
            .chain(expanded)
            .filter_map(|(template, text)| Some((shell::filled(template, PLAIN).ok()?.text, text)))
            .filter(|(program, _)| program.contains("GLEITZEIT_VALUE_1"))
            .collect();
        for (at, (program, text)) in made.iter().enumerate() {
            fs::write(folder.join(format!("{at}.sh")), program).expect("written");
            fs::write(folder.join(format!("{at}.value")), text).expect("written");
        }
        // Each runs in a folder with one file, so that the program's own patterns find the same for both values.
        let driver = "show() { printf '<%s>' \"$@\"; }; at=0; while [ $at -lt $1 ]; do \
                      for value in \"$2\" \"$(cat $at.value; printf .)\"; do mkdir in; : >in/file; \
                      ( cd in; GLEITZEIT_VALUE_1=${value%.} at=$at n=; export GLEITZEIT_VALUE_1; unset value n v; set --; \
                      . ../$at.sh ) >$at.\"${value%%[!P]*}\" 2>/dev/null </dev/null; wait; rm -rf in; done; \
                      at=$((at+1)); done";
        for shell in ["sh", "bash"] {
            let mut command = Command::new(shell);
            command.args(["-c", driver, "driver", &made.len().to_string(), &format!("{PLAIN}.")]).current_dir(&folder);
            command.env("HOME", "/home").output().expect("a shell");
            for (at, (program, text)) in made.iter().enumerate() {
                let read = |ending: &str| fs::read_to_string(folder.join(format!("{at}.{ending}"))).expect("an output");
                prop_assert_eq!(read("P").replace(PLAIN, text), read(""), "{}: {:?} with {:?}", shell, program, text);
            }
        }
    }

    #[test]
    fn no_shell_program_runs_a_value(programs in programs(SHELL, 18)) {
        let folder = shell::folder("shell-any");
        let (sentinel, payload) = shell::sentinel(&folder);
        // A value may not even choose the command that is run.
        let chosen = folder.join("chosen");
        fs::write(&chosen, format!("#!/bin/sh\n{payload}\n")).expect("written");
        fs::set_permissions(&chosen, fs::Permissions::from_mode(0o755)).expect("ours");
        let mut texts = hostile(&payload);
        texts.retain(|text| !text.contains('\0'));
        texts.extend((0..40).map(|_| chosen.display().to_string()));
        let made: Vec<(String, &str)> = programs
            .iter()
            .filter(|(template, _)| template.contains("${"))
            .filter_map(|(template, at)| {
                let text = &texts[at % texts.len()];
                Some((shell::filled(template, text).ok()?.text, text.as_str()))
            })
            .collect();
        for (at, (program, text)) in made.iter().enumerate() {
            fs::write(folder.join(format!("{at}.sh")), program).expect("written");
            fs::write(folder.join(format!("{at}.value")), text).expect("written");
        }
        let driver = "at=0; while [ $at -lt $1 ]; do ( GLEITZEIT_VALUE_1=$(cat $at.value; printf x); \
                      export GLEITZEIT_VALUE_1=\"${GLEITZEIT_VALUE_1%x}\"; . ./$at.sh ) >/dev/null 2>&1 </dev/null; \
                      [ -e sentinel ] && exit 1; at=$((at+1)); done; exit 0";
        for shell in ["sh", "bash"] {
            let output = Command::new(shell)
                .args(["-c", driver, "driver", &made.len().to_string()])
                .current_dir(&folder)
                .output()
                .expect("a shell");
            if sentinel.exists() {
                let ran = made.iter().find(|(program, text)| {
                    let _ = fs::remove_file(&sentinel);
                    let mut command = Command::new(shell);
                    let _ = command.args(["-c", program]).env("GLEITZEIT_VALUE_1", text).current_dir(&folder).output();
                    sentinel.exists()
                });
                let _ = fs::remove_file(&sentinel);
                return Err(TestCaseError::fail(format!("{shell} ran data as code:\n{ran:?}")));
            }
            prop_assert!(output.status.success(), "{}: {:?}", shell, output);
        }
    }
}
