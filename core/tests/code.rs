//! Values inserted into program text come out as they went in: real interpreters say so.

use std::borrow::Cow;
use std::process::Command;

use gleitzeit_core::spec::Language;
use gleitzeit_core::template::{Root, Scope, resolve_code};
use serde_json::{Value, json};

struct Fixed(Value);

impl Scope for Fixed {
    fn root(&self, _: &Root) -> Option<Cow<'_, Value>> {
        Some(Cow::Borrowed(&self.0))
    }
}

const HOSTILE: &[&str] = &[
    "",
    "plain",
    "it's",
    "say \"hi\"",
    "'''",
    "\"\"\"",
    "ends with '",
    "ends with \"",
    "ends with \\",
    "\\N{BULLET} \\x41 \\u0041",
    "a\nb\r\nc\td",
    "{x} {{y}} {0!r}",
    "'); import os; os.abort() #",
    "$(exit 9) `exit 9` $HOME ${HOME} !!",
    "é 😀 \u{2028} \u{7f} \u{85}",
    "* ? ~ [a] ; & | < >",
    "-n",
];

#[test]
fn python_gets_back_every_text_from_every_kind_of_literal() {
    let mut program = "import json\nfound = []\n".to_owned();
    let mut expected = Vec::new();
    for template in ["${a}", "'${a}'", "\"${a}\"", "'''${a}'''", "\"\"\"${a}\"\"\"", "u'${a}'"] {
        for text in HOSTILE {
            let line =
                resolve_code(&format!("found.append({template})\n"), Language::Python, "code", &Fixed(json!(text)));
            program.push_str(&line.unwrap_or_else(|error| panic!("{template} {text:?}: {error}")));
            expected.push((template, json!(text)));
        }
    }
    for value in [json!(null), json!(true), json!(-1.5e300), json!(u64::MAX), json!({"k'": [1, "\\", {"n": null}]})] {
        let line = resolve_code("found.append(${a})\n", Language::Python, "code", &Fixed(value.clone()));
        program.push_str(&line.expect("a bare position takes any value"));
        expected.push(("${a}", value));
    }
    program.push_str("print(json.dumps(found))\n");
    let output = Command::new("python3").args(["-I", "-c", &program]).output().expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(found.len(), expected.len());
    for (found, (template, expected)) in found.iter().zip(&expected) {
        assert_eq!(found, expected, "{template}");
    }
}

#[test]
fn a_shell_gets_back_every_text_as_one_word() {
    for template in ["${a}", "'${a}'", "\"${a}\""] {
        for text in HOSTILE {
            let program =
                resolve_code(&format!("printf '%s' {template}"), Language::Shell, "code", &Fixed(json!(text)))
                    .unwrap_or_else(|error| panic!("{template} {text:?}: {error}"));
            let output = Command::new("sh").args(["-c", &program]).output().expect("sh runs");
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(String::from_utf8_lossy(&output.stdout), *text, "{program}");
        }
    }
}

#[test]
fn what_an_interpreter_would_read_again_is_refused() {
    for (language, template) in [
        (Language::Shell, "# ${a}"),
        (Language::Shell, "echo `echo ${a}`"),
        (Language::Shell, "cat <<END\n${a}\nEND\n"),
        (Language::Shell, "echo $((${a} + 1))"),
    ] {
        let made = resolve_code(template, language, "code", &Fixed(json!("x")));
        assert!(made.is_err(), "{template}: {made:?}");
    }
}
