//! Python: one process runs all programs of a test, each in a namespace of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use gleitzeit_workflow::template::Language;
use serde_json::{Value, json};

use super::{filled, hostile, untouched};

/// Runs the programs of a JSON list; answers with the `found` of each, or its error.
const DRIVER: &str = "
import json, sys, warnings
warnings.simplefilter('ignore')
class Any(dict):
    def __missing__(self, key):
        return key
answers = []
for code in json.load(sys.stdin):
    names = {'d': Any()}
    try:
        exec(compile(code, '<code>', 'exec'), names)
        # As bytes a program may declare its encoding in a comment.
        if code.startswith('#'):
            exec(compile(code.encode(), '<code>', 'exec'), names)
        found = names['found']
        answers.append({'found': found.decode() if isinstance(found, bytes) else found})
    except BaseException as error:
        answers.append({'error': type(error).__name__ + ': ' + str(error)})
json.dump(answers, sys.stdout)
";

/// The installed Pythons among the supported versions; `python3` always.
pub(super) fn interpreters() -> &'static [String] {
    static FOUND: OnceLock<Vec<String>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let more = (8..=14).map(|minor| format!("python3.{minor}")).filter(|name| {
            let version = Command::new(name).arg("--version").stderr(Stdio::null()).output();
            version.is_ok_and(|output| output.status.success())
        });
        std::iter::once("python3".to_owned()).chain(more).collect()
    })
}

fn run(python: &str, programs: &[String]) -> Vec<Value> {
    ask(python, DRIVER, programs)
}

/// The answer of a Python program to a JSON list of texts, which it reads completely before it writes anything.
pub(super) fn ask(python: &str, program: &str, texts: &[String]) -> Vec<Value> {
    let mut child = Command::new(python)
        .args(["-I", "-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let input = serde_json::to_vec(texts).expect("JSON");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(&input).expect("Python reads");
    drop(stdin);
    let output = child.wait_with_output().expect("Python ends");
    assert!(output.status.success(), "{python}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn sentinel(name: &str) -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_file(&path);
    // It contains neither quotes nor spaces, so it works in every string and outside of strings.
    let bytes: Vec<String> = path.to_str().expect("UTF-8").bytes().map(|byte| byte.to_string()).collect();
    let payload = format!("open(bytes([{}]),chr(119))", bytes.join(","));
    (path, payload)
}

/// Positions that take any text, each a program whose `found` is the text.
const TEXT: &[&str] = &[
    // Bare.
    "found = ${a}",
    "found=${a}",
    "found = [1, ${a}][1]",
    "found = {'k': ${a}}['k']",
    "found = (lambda x: x)(${a})",
    "found = '%s' % ${a}",
    "found = ${a} if ${a} == ${a} else None",
    "found = ''.join([${a}])",
    "if True:\n\tfound = \\\n  ${a}\n",
    "found = (  # ${a}\n  ${a}  # ${a}\n)",
    // Plain strings.
    "found = '${a}'",
    "found = \"${a}\"",
    "found = u'${a}'",
    "found = U\"${a}\"",
    "found = '''${a}'''",
    "found = \"\"\"${a}\"\"\"",
    "found = 'x${a}y'[1:-1]",
    "found = '${a}''y'[:-1]",
    "found = 'x''${a}''y'[1:-1]",
    "found = '${a}'\"y\"[:-1]",
    "found = '''x${a}y'''[1:-1]",
    "found = '''''${a}'y'''[2:-2]",
    "found = \"\"\"\"\"${a}\"\"y\"\"\"[2:-3]",
    "found = '''\\''${a}'''[2:]",
    "found = \"\"\"a\n\"${a}\n\"\"\"[3:-1]",
    "found = 'it\\'s \\\\${a}'[6:]",
    "found = '\\1${a}2'[1:-1]",
    "found = '\\12${a}'[1:]",
    "found = '\\123${a}4'[1:-1]",
    "found = '\\x41\\u0041\\N{BULLET}${a}'[3:]",
    "found = 'a\\\nb${a}'[2:]",
    "x = \"'\"; y = '\"'; found = '${a}'",
    "# it's \"\"\" here\nfound = '${a}'",
    "found = '# ${a}'[2:]",
    "def f():\n    \"\"\"${a}\"\"\"\n    return '${a}'\nfound = f()",
    // Raw strings.
    "found = r'${a}'",
    "found = R\"${a}\"",
    "found = r'''${a}'''",
    "found = r\"\"\"${a}\"\"\"",
    "found = r'x${a}y'[1:-1]",
    "found = r'\\d${a}\\d'[2:-2]",
    "found = r'\\${a}'[1:]",
    "found = r'\\\\${a}'[2:]",
    "found = r'\\'${a}\\''[2:-2]",
    "found = r'''\\'${a}''y'''[2:-3]",
    "found = r\"\"\"x\"\"${a}\"\"y\"\"\"[3:-3]",
    "found = r'${a}''y'[:-1]",
    "found = 'x'r'${a}''y'.strip()[1:-1]",
    "found = (r'x' r'${a}' 'y')[1:-1]",
    "found = {r'k': r'${a}'}['k']",
    // Bytes.
    "found = b'${a}'",
    "found = B\"${a}\"",
    "found = b'''${a}'''",
    "found = b'\\1${a}\\x41'[1:-1]",
    "found = b'\"'b'''''${a}'y'''[3:-2]",
    "found = rb'${a}'",
    "found = bR\"x${a}y\"[1:-1]",
    "found = Rb'''\\${a}'y'''[1:-2]",
    // Formatted strings.
    "x = 1; found = f'${a}'",
    "x = 1; found = f'{x}${a}'[1:]",
    "x = 1; found = F\"{x}${a}{x}\"[1:-1]",
    "x = 1; found = f'''{x}'${a}'{x}'''[2:-2]",
    "x = 1; found = f\"\"\"{x}${a}{x}\"\"\"[1:-1]",
    "x = 1; found = f'{{${a}}}'[1:-1]",
    "x = 1; found = f'}}${a}{{'[1:-1]",
    "x = 1; found = f'{x!r:>3}${a}'[3:]",
    "x = 1; found = f'{x:{x}}${a}'[1:]",
    "x = 1; found = f'{d[\"k\"]}${a}'[1:]",
    "x = 1; found = f'{x != 2}${a}'[4:]",
    "x = 1; found = f'\\N{BULLET}\\1${a}2'[2:-1]",
    "x = 1; found = rf'{x}${a}'[1:]",
    "x = 1; found = fr\"\\d{x}${a}{x}\"[3:-1]",
    "x = 1; found = Rf'''\\${a}'{x}'''[1:-2]",
    "x = 1; found = ('y' f'{x}${a}' 'y')[2:-1]",
    // Fields of formatted strings.
    "found = f'{${a}}'",
    "found = f\"{${a}}\"",
    "found = f'''{${a}}'''",
    "found = f\"\"\"{ ${a} }\"\"\"",
    "found = f'{${a}!s:}'",
    "found = f'{[1, ${a}][1]}'",
    "found = f'{ {1: ${a}}[1] }'",
    "found = f'''{f\"{${a}}\"}'''",
    "found = f\"\"\"{f'{${a}}'}\"\"\"",
    "found = rf'{${a}}'",
    "found = f\"{'${a}'}\"",
    "found = f\"{'x${a}y'[1:-1]}\"",
    "found = f'''{\"x${a}\"}'''[1:]",
    "found = f\"{d['${a}']}\"",
    "found = f\"{r'${a}'}\"",
    "found = f\"{f'${a}'}\"",
    "found = f\"{f'x{1}${a}'}\"[2:]",
    "found = f\"\"\"{'''x'${a}y'''}\"\"\"[2:-1]",
];

/// Positions whose text the program cannot see, or sees in another form: the program runs, and `found` is 1.
const UNSEEN: &[&str] = &[
    "'''${a}'''\nfound = 1",
    "# ${a}\nfound = 1",
    "# -*- coding: ${a} -*-\nfound = 1",
    "#\n# vim: set fileencoding=${a} :\nfound = 1",
    "# ${a}: utf-7 ${a}\nfound = 1",
    "found = 1 # ${a}",
    "found = 1 #${a}",
    "found = 1 # '${a}' \"${a}\"\n",
    "if True:\n    # ${a}\r    found = 1",
    "found = 1\n#${a}",
    "found = len({${a}: 1})",
    "found = len([${a}])",
    "match = 1; found = len(f'{1:{len(${a}) * 0 + 1}}')",
];

/// Positions that no value may take.
const REFUSED: &[&str] = &[
    "x = '\\${a}'",
    "x = '\\x${a}'",
    "x = '\\x4${a}'",
    "x = '\\u00${a}'",
    "x = '\\N${a}'",
    "x = '\\N{${a}}'",
    "x = b'\\x${a}'",
    "x = \"\"\"\\${a}\"\"\"",
    "x = \\${a}",
    "x = f${a}",
    "x = r${a}",
    "b${a}",
    "1${a}",
    "x.${a}",
    "x${a}",
    "f()${a}",
    "x[0]${a}",
    "'x'${a}",
    "${a}${a}",
    "''${a}",
    "x = 'open\n${a}",
    "x = f'{1:${a}}'",
    "x = f'{1!${a}}'",
    "x = f'}${a}'",
    "x = f'\\{${a}'",
    "x = f'{1 # ${a}",
    "x = f\"{b'${a}'}\"",
    "x = t'{t\"${a}\"}'",
    "x = f'{f\"{${a}}\"}'",
];

#[test]
fn no_value_becomes_code_and_text_arrives_exactly() {
    let (path, payload) = sentinel("python-attacks");
    let (mut cases, mut programs) = (Vec::new(), Vec::new());
    for (positions, seen) in [(TEXT, true), (UNSEEN, false)] {
        for position in positions {
            for text in hostile(&payload) {
                let value = json!(text);
                let program = filled(position, Language::Python, &value);
                programs.push(program.unwrap_or_else(|why| panic!("{position} {text:?}: {why}")));
                cases.push((*position, if seen { value } else { json!(1) }));
            }
        }
    }
    for python in interpreters() {
        for ((answer, (position, expected)), program) in run(python, &programs).iter().zip(&cases).zip(&programs) {
            assert_eq!(answer["found"], *expected, "{python}: {position}: {answer}\n{program}");
        }
        untouched(&path, python);
    }
}

#[test]
fn the_payload_is_detectable() {
    let (path, payload) = sentinel("python-control");
    let answers = run("python3", &[format!("found = '' + str({payload}) + ''")]);
    assert!(path.exists(), "{answers:?}");
}

#[test]
fn values_of_every_type_stand_in_bare_positions() {
    let mut deep = json!(["deep", {"k'": null}]);
    for level in 0..120 {
        deep = if level % 2 == 0 { json!([level, deep, "x"]) } else { json!({"a": 1, "b\n": deep}) };
    }
    let wide: Vec<Value> = (0..4_000).map(|at| if at % 2 == 0 { json!(at) } else { json!(at.to_string()) }).collect();
    let values = [
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-5),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1.5),
        json!(-1.5e300),
        json!(1e-320),
        json!([]),
        json!({}),
        json!([[], {}]),
        json!({"k'\"\n\\{": [1, "\\", {"n": null}]}),
        deep,
        json!(wide),
    ];
    let positions = [
        "found = ${a}",
        "found = [${a}][0]",
        "def f(x=${a}):\n  return x\nfound = f()",
        "keep = []; f'{keep.append(${a})}'; found = keep[0]",
        "keep = []; f\"\"\"{keep.append(${a})}\"\"\"; found = keep[0]",
        "class C:\n  x = ${a}\nfound = C.x",
        "x = 1\nfound = ${a}\nv = 1",
    ];
    let mut cases = Vec::new();
    for position in positions {
        for value in &values {
            let program = filled(position, Language::Python, value).unwrap_or_else(|why| panic!("{position}: {why}"));
            cases.push((program, value));
        }
    }
    let programs: Vec<String> = cases.iter().map(|case| case.0.clone()).collect();
    for python in interpreters() {
        for (answer, (program, expected)) in run(python, &programs).iter().zip(&cases) {
            let shown: String = program.chars().take(2_000).collect();
            assert_eq!(answer.get("found"), Some(*expected), "{python}: {}\n{shown}", answer["error"]);
        }
    }
}

#[test]
fn ambiguous_places_are_refused_before_the_value_is_known() {
    for position in REFUSED {
        let made = filled(position, Language::Python, &json!("x"));
        assert!(made.as_ref().is_err_and(|why| why.starts_with("${a} stands ")), "{position}: {made:?}");
    }
    for position in TEXT.iter().chain(UNSEEN) {
        gleitzeit_workflow::template::check_code(position, Language::Python)
            .unwrap_or_else(|why| panic!("{position}: {why:?}"));
    }
}
