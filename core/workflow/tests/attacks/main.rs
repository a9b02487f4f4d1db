//! Values that try to be code, in every position of a program, run by real interpreters. None of them may execute
//! anything, and if the position holds text, the program must see exactly the value.

#![expect(clippy::disallowed_methods, reason = "real interpreters read real files")]

mod any;
mod python;
mod shell;
mod url;

use std::borrow::Cow;
use std::path::Path;

use gleitzeit_workflow::template::{Budget, Language, Root, Scope, resolve_code};
use serde_json::Value;

struct Fixed<'v>(&'v Value);

impl Scope for Fixed<'_> {
    fn root(&self, _: &Root) -> Option<Cow<'_, Value>> {
        Some(Cow::Borrowed(self.0))
    }
}

/// The program, or why the value is refused.
fn filled(template: &str, language: Language, value: &Value) -> Result<String, String> {
    let mut budget = Budget::new(16 << 20);
    let filled = resolve_code(template, language, "code", &Fixed(value), &mut budget, &|_| false);
    filled.map(|filled| filled.text).map_err(|error| error.message)
}

/// Texts that are hard to pass on.
const HARD: &[&str] = &[
    "",
    "plain",
    "it's",
    "say \"hi\"",
    "'''",
    "\"\"\"",
    "\"\"",
    "''",
    "'",
    "\"",
    "ends with \\",
    "ends with \\\\",
    "\\",
    "\\'",
    "\\\"",
    "\\\\'",
    "\\N{BULLET} \\x41 \\u0041 \\101",
    "x41",
    "N{BULLET}",
    "7",
    "141",
    "a\nb\r\nc\td",
    "\n",
    "\r",
    "\nEOF\n",
    "EOF",
    "EOF\n",
    "\tEOF\nx",
    "E",
    "F",
    "{x} {{y}} {0!r}",
    "{",
    "}",
    "{{",
    "}}",
    "}{",
    "%s %d %% %(x)s",
    "$(exit 9) `exit 9` $HOME ${HOME} $1 $$ !!",
    "$",
    "`",
    "$((1+1))",
    "a[$(exit 9)]",
    "#",
    "# x",
    " #x",
    "é 😀 漢字",
    "\u{2028}\u{2029}\u{7f}\u{85}\u{c}\u{b}\u{1b}[31m",
    "\u{202e}gnp.exe\u{202c}\u{2066}\u{200b}\u{feff}",
    "\u{10ffff}\u{e0001}",
    "\\ud83d\\ude00 \\ud800",
    "* ? ~ [a] ; & | < > ( ) ! ^",
    "-n",
    "-e",
    "--",
    "=",
    ":",
    "a=b",
    "coding: utf-7",
    "utf-7",
    "-*- coding: utf-7 -*-",
    "coding",
    "1; 2",
    "__import__('os').abort()",
];

/// What stands before and behind a payload so that it may leave the surrounding text.
const ESCAPES: &[(&str, &str)] = &[
    ("", ""),
    ("\n", "\n"),
    ("\r", "\r"),
    ("\\\n", "\n"),
    ("'\n", "\n'"),
    ("\"\n", "\n\""),
    ("'''\n", "\n'''"),
    ("\"\"\"\n", "\n\"\"\""),
    ("' + str(", ") + '"),
    ("\" + str(", ") + \""),
    ("''' + str(", ") + '''"),
    ("\"\"\" + str(", ") + \"\"\""),
    ("\\' + str(", ") + '"),
    ("\\\" + str(", ") + \""),
    ("\\\\' + str(", ") #"),
    ("' + ", " #"),
    ("\" + ", " #"),
    ("{", "}"),
    ("}{", "}{"),
    ("'}{", "}'"),
    ("{'{", "}'}"),
    ("!r}{", "}"),
    (":{", "}"),
    ("); ", " #"),
    ("]; ", " #"),
    ("}; ", " #"),
    ("); ", "; ("),
    ("; ", ";"),
    ("\n); ", "\n("),
    ("\u{2028}", "\u{2028}"),
    ("\u{85}", ""),
    ("\u{c}", "\n"),
    ("'; ", "; '"),
    ("\"; ", "; \""),
    ("'\\''; ", "; '"),
    ("$(", ")"),
    ("`", "`"),
    ("\\`", "\\`"),
    ("\\$(", ")"),
    ("\"$(", ")\""),
    ("'$(", ")'"),
    ("a[$(", ")]"),
    ("a[`", "`]"),
    ("x\nEOF\n", "\nEOF"),
    ("\nEOF\n", "\ncat <<EOF\n"),
    ("EOF\n", "\n"),
    (")\n", "\n("),
    ("}; ", "; {"),
    ("|", "|"),
    ("&", "&"),
    ("&& ", " #"),
    ("|| ", " #"),
    (";; esac; ", "; case x in "),
    (") ", ";; *"),
    ("))\n", "\n(("),
    ("$'", "'"),
    ("'\\\n", "\n'"),
    ("x'\"'\n", "\n'\"'"),
    ("> /dev/null; ", ""),
    ("\0", "\0"),
    ("\n\0", ""),
    ("EOF)\n", "\n"),
];

/// Texts that try to end their surroundings and run `payload`, and texts that are merely hard to pass on.
fn hostile(payload: &str) -> Vec<String> {
    let mut texts: Vec<String> = HARD.iter().map(|text| (*text).to_owned()).collect();
    texts.extend(ESCAPES.iter().map(|(before, after)| format!("{before}{payload}{after}")));
    texts.push("long ".repeat(5_000) + payload);
    texts.push("'\"\\$`{}\n".repeat(500));
    texts
}

#[track_caller]
fn untouched(sentinel: &Path, what: &str) {
    assert!(!sentinel.exists(), "data was run as code: {what}");
}
