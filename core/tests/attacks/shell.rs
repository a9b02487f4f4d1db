//! Shells: one process of each runs all programs of a test, each in a subshell of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gleitzeit_core::spec::Language;
use gleitzeit_core::template::check_code;
use serde_json::json;

use super::{filled, hostile, untouched};

/// `sh` always, others as far as they are here.
pub(super) fn shells() -> Vec<&'static str> {
    let there = |name: &&str| Command::new(name).args(["-c", ":"]).output().is_ok_and(|output| output.status.success());
    std::iter::once("sh").chain(["bash", "ksh", "mksh"].into_iter().filter(there)).collect()
}

pub(super) fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("a folder");
    path
}

/// What each program prints. Those of one list are run by one subshell, one after the other.
fn run(shell: &str, folder: &Path, programs: &[Vec<String>]) -> Vec<Vec<String>> {
    for (at, programs) in programs.iter().enumerate() {
        let all: String = programs.iter().map(|program| format!("unset none\n{program}\nprintf '\\036'\n")).collect();
        fs::write(folder.join(format!("{at}.sh")), all).expect("written");
    }
    let driver = "at=0; while [ $at -lt $1 ]; do ( . ./$at.sh ) >$at.out 2>$at.err </dev/null; at=$((at+1)); done";
    let status = Command::new(shell)
        .args(["-c", driver, "driver", &programs.len().to_string()])
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .status()
        .expect("a shell");
    assert!(status.success(), "{shell}");
    let read = |at: usize, ending: &str| {
        let bytes = fs::read(folder.join(format!("{at}.{ending}"))).expect("an output");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let answers = |(at, programs): (usize, &Vec<String>)| {
        let shown = read(at, "out");
        let answers: Vec<String> = shown.split_terminator('\u{1e}').map(str::to_owned).collect();
        let errors = read(at, "err");
        let ended = answers.len() == programs.len() && errors.is_empty();
        assert!(ended, "{shell}: {errors}{} of {}: {:?}", answers.len(), programs.len(), programs.get(answers.len()));
        answers
    };
    programs.iter().enumerate().map(answers).collect()
}

/// Positions that take any text without NUL; each prints the text between `<` and `>`.
const TEXT: &[&str] = &[
    "printf '<%s>' ${a}",
    "printf '<%s>' '${a}'",
    "printf '<%s>' \"${a}\"",
    "printf '<%s>' ''${a}''\"\"",
    "printf '%s' '<${a}'\">\"",
    "printf '%s' \\<${a}'>'",
    "x=${a}; printf '<%s>' \"$x\"",
    "x=${a}\nprintf '<%s>' \"$x\"",
    "x='${a}' y=\"${a}\"; [ \"$x\" = \"$y\" ] && printf '<%s>' \"$x\"",
    "x=\"${a}\" && { printf '<%s>' \"$x\"; }",
    "f() { printf '<%s>' \"$1\"; }; f ${a}",
    "f () { local x=${a}; printf '<%s>' \"$x\"; }; f",
    "export x=${a}; printf '<%s>' \"$x\"",
    "set -- ${a}; printf '<%s>' \"$1\"",
    "for x in ${a}; do printf '<%s>' \"$x\"; done",
    "for x in \"${a}\"\ndo printf '<%s>' \"$x\"; done",
    "for x in 1; do printf '<%s>' ${a}; done",
    "for x in 1\ndo\nprintf '<%s>' ${a}\ndone",
    "if true; then printf '<%s>' ${a}; fi",
    "if [ ${a} = ${a} ]; then printf '<%s>' ${a}; fi",
    "case ${a} in ${a}) printf '<%s>' ${a};; *) echo no;; esac",
    "case x in (a) ;; \"x\") printf '<%s>' \"${a}\" ;; esac",
    "case x${a} in x${a} | y) printf '<%s>' ${a}; esac",
    "( printf '<%s>' ${a} )",
    "{ printf '<%s>' ${a}; } 2>&1",
    "true && printf '<%s>' ${a} || echo no",
    "printf '<%s>' ${a} | cat",
    "printf '<%s>' ${a} # it's a comment",
    "# it's\nprintf '<%s>' ${a}",
    "env FOO=${a} sh -c 'printf \"<%s>\" \"$FOO\"'",
    "FOO=${a} sh -c 'printf \"<%s>\" \"$FOO\"'",
    "sh -c 'printf \"<%s>\" \"$1\"' _ ${a}",
    "command printf '<%s>' ${a}",
    "x=printf; \"$x\"'' '<%s>' ${a}",
    "x=printf; $x '<%s>' ${a}",
    "x='printf \"<%s>\" \"$0\"'; sh -c \"$x\" ${a}",
    "x=; $x printf '<%s>' ${a}",
    "x=1; printf '<%s>' ${a} \"$x\" \"$${x}\" | sed 's/<1><1>$//'",
    "printf '<%s>' ${a} | sh -c 'cat'",
    "printf '<%s>' ${a} | sh -c 'cat' | cat",
    "x=${a}; printf '<%s>' \"$x\"; printf ':' | sh",
    "printf '<%s>' ${a}; echo : | sh",
    "bash -euo pipefail -c 'printf \"<%s>\" \"$1\"' _ ${a}",
    "sh -c -- 'printf \"<%s>\" \"$1\"' _ ${a}",
    "sh <<EOF\n:\nEOF\nprintf '<%s>' ${a}",
    "sh -c 'cat' <<EOF\n<${a}>\nEOF",
    "echo : | sh && printf '<%s>' ${a}",
    "printf '<%s>' \"$(printf '%s.' ${a})\" | sed 's/\\.>$/>/'",
    "echo sh python3 >/dev/null; printf '<%s>' ${a}",
    "[ \"$(printf '%s.' ${a})\" = x ] || printf '<%s>' ${a}",
    // Substitutions.
    "x=$(printf '<%s>' ${a}); printf '%s' \"$x\"",
    "printf '%s' \"$(printf '<%s>' ${a})\"",
    "printf '%s' \"$(printf '<%s>' \"${a}\")\"",
    "printf '%s' \"$(printf '%s' \"$(printf '<%s>' '${a}')\")\"",
    "printf '%s' \"$(case x in (x) printf '<%s>' ${a};; esac)\"",
    "x=`printf '<%s>' ${a}`; printf '%s' \"$x\"",
    "x=`printf '<%s>' '${a}'`; printf '%s' \"$x\"",
    "x=`printf '<%s>' \"${a}\"`; printf '%s' \"$x\"",
    "x=`y='x${a}'; printf '<%s>' \"$y\" | sed '1s/^<x/</'`; printf '%s' \"$x\"",
    "printf '<%s>' \"$${none:-${a}}\"",
    "printf '<%s>' $${none:-${a}}",
    "printf '<%s>' $${none-\"${a}\"}",
    "printf '<%s>' $${none-'${a}'}",
    "x=1; printf '<%s>' \"$${x:+${a}}\"",
    "printf '<%s>' \"$${none:=${a}}\"",
    "y='<'; x=${a}; printf '%s>' \"$${y}$${none:-${a}}\"",
    "printf '%s' \"<$((1 + 1))\" ${a} '>' | sed '1s/^<2/</'",
    // Here-documents.
    "cat <<EOF\n<${a}>\nEOF\n",
    "cat <<EOF\n<${a}>\nEOF\nx=1",
    "x=; cat <<EOF\n$x$${x}<${a}>\nEOF",
    "cat <<\"E\" >/dev/null\nit's $(x\nE\ncat <<EOF\n<${a}>\nEOF\n",
    "cat <<-EOF\n\t<${a}>\n\tEOF\n",
    "cat <<EOF; cat <<END >/dev/null\n<${a}>\nEOF\n>\nEND\n",
    "x=$(cat <<EOF\n<${a}>\nEOF\n); printf '%s' \"$x\"",
    "printf '%s' \"$(cat <<EOF\n<${a}>\nEOF\n)\"",
    "printf '<%s>' \"$${none:-$(printf %s. ${a})}\" | sed '$s/.>$/>/'",
];

/// Positions whose text is not seen: they print `<1>`.
const UNSEEN: &[&str] = &[
    "echo sh ${a} >/dev/null; printf '<1>'",
    "printf 1 | perl -ne 'print \"<$_>\"' -- | cat; : ${a}",
    "python3 -c 'print(\"<1>\", end=\"\")' ${a}",
    "awk -v x=${a} 'BEGIN { printf \"<1>\" }'",
    "sed -n '$!d;q' -- ${a} 2>/dev/null; printf '<1>'",
    "# ${a}\nprintf '<1>'",
    "printf '<1>' # ${a}",
    "printf '<1>' #${a}\n# '${a}' \"${a}\" `${a}`\n",
    "x=$(printf 1 # ${a}\n); printf '<%s>' \"$x\"",
    "printf '<1>' ; : ${a} \"${a}\" '${a}'",
    ": ${a}; printf '<1>'",
    "x=x; printf '<%s>1' \"$${x%${a}*}\" >/dev/null; printf '<1>'",
    "x=x; : \"$${x#${a}}\" $${x##\"${a}\"} $${x%%'${a}'}; printf '<1>'",
    "[ -n ${a} ] || true; printf '<1>'",
    "test ${a} -eq 1 2>/dev/null; printf '<1>'",
    "echo ${a} >/dev/null; printf '<1>'",
    "printf '%d' ${a} >/dev/null 2>&1; printf '<1>'",
    ": $'${a}' $'x\\n${a}'; printf '<1>'",
    "x=x; case ${a} in $x) : ;; esac; printf '<1>'",
    "cd ${a} 2>/dev/null; printf '<1>'",
    "kill -0 ${a} 2>/dev/null; printf '<1>'",
];

/// Positions where only some values may stand: the others are refused.
const SOME: &[&str] = &[
    "cat <<'EOF'\n<${a}>\nEOF\n",
    "cat <<'EOF'\nx${a}\n${a}\n${a}OF\nE${a}\nE${a}OF\nEOF\n",
    "cat <<\\EOF\n<${a}>\nEOF",
    "cat <<-'EOF'\n\t<${a}>\n\tEOF\n",
    "x=$(cat <<'EOF'\n${a}\nEOF\n); printf '%s' \"$x\"",
    "printf '%s' $((${a}))",
    "printf '%s' $((1 + (${a}) * 2))",
    "x=\"$((${a}+1))\"",
];

/// Positions that no value may take.
const REFUSED: &[&str] = &[
    "python3 -c\"print('${a}')\"",
    "python3 ${a}",
    "python3 -u ${a}",
    "python3 -m ${a}",
    "python3 -W ${a} script",
    "perl -E ${a}",
    "perl -e 'print' ${a}",
    "perl -ne'${a}'",
    "ruby -e ${a}",
    "node -p ${a}",
    "node --eval=${a}",
    "node --eval ${a}",
    "node -e 1 ${a}",
    "php -r 1 ${a}",
    "deno eval ${a}",
    "lua -e ${a}",
    "lua ${a}",
    "pypy3 -c ${a}",
    "awk ${a} file",
    "awk '{ print \"${a}\" }' file",
    "awk -f ${a}",
    "sed ${a} file",
    "sed 's/x/${a}/' file",
    "sed 's/x/y/' ${a}",
    "sed -e ${a}",
    "bash -c -- \"${a}\"",
    "sh -c -e \"${a}\"",
    "bash -O extglob -c ${a}",
    "bash $x ${a}",
    "sh ${a}",
    "sh -s ${a}",
    "env -i FOO=1 bash ${a}",
    "timeout -k 5 10 sh -c ${a}",
    "find . -exec sh -c ${a} +",
    "/usr/bin/ssh host ${a}",
    "su -c ${a} root",
    "watch ${a}",
    "sh <<< ${a}",
    "<<< ${a} sh",
    "bash <<< \"echo ${a}\"",
    "python3 - <<< ${a}",
    "sh < ${a}",
    "{ sh; } <<< ${a}",
    "{\nsh\n} <<EOF\n${a}\nEOF",
    "(sh) <<EOF\n${a}\nEOF",
    "(sh) <<< ${a}",
    "while read x; do sh; done <<< ${a}",
    "echo ${a} | sh",
    "echo ${a} | sh -",
    "echo ${a} |\n sh",
    "echo ${a} |& bash",
    "echo ${a} | cat | python3",
    "echo ${a} | tee x | /bin/sh -s x",
    "echo ${a} | env sh",
    "echo ${a} | (cat; sh)",
    "echo ${a} | { cat; sh; }",
    "echo ${a} | while read x; do sh; done",
    "echo ${a} | xargs sh -c",
    "echo ${a} | xargs -I % sh -c 'echo %'",
    "(echo ${a}) | sh",
    "{ echo ${a}; } | sh",
    "{ echo ${a}; echo b; } | sh",
    "for x in ${a}; do echo \"$x\"; done | sh",
    "if true; then echo ${a}; fi | sh",
    "x=$(echo ${a} | sh)",
    "(cat <<EOF\n${a}\nEOF\n) | sh",
    "cat <<EOF |\n${a}\nEOF\nsh",
    "echo $(echo ${a}) | sh",
    "echo ${a} $[1] | sh",
    "eval \"$(echo ${a})\"",
    "$(echo ${a})",
    "`echo ${a}`",
    "sh -c \"$(echo ${a})\"",
    "sh <(echo ${a})",
    "source <(echo ${a})",
    "x=1 case y in\n${a}",
    ">f case y in\n${a}",
    "command case y in\n${a}",
    "echo $(case x in (esac) ${a};; esac)",
    "echo $(case x in y|esac) ${a};; esac)",
    "hash -p ${a} ls",
    "$x ${a}",
    "\"$@\" ${a}",
    "$(echo) ${a}",
    "`echo` ${a}",
    "x=1 $x ${a}",
    "$x case y in\n${a}",
    "sh -c $x ${a}",
    "printf -v $x ${a}",
    "*.none ${a}",
    "{,} ${a}",
    "${a}",
    "${a} x",
    "'${a}' x",
    "\"x${a}\" x",
    "true; ${a}",
    "true && ${a}",
    "true | ${a}",
    "( ${a} )",
    "{ ${a}; }",
    "x=$(${a})",
    "x=`${a}`",
    "\"$(${a})\"",
    "if ${a}; then :; fi",
    "while ! ${a}; do :; done",
    "for x in 1; do ${a}; done",
    "for x do ${a}; done",
    "case x in x) ${a};; esac",
    "f() { ${a}; }",
    "function f { ${a}; }",
    "f() ${a}",
    "${a}() { :; }",
    "if { true; } then ${a}; fi",
    "if (true) then ${a}; fi",
    "while [[ x ]] do ${a}; done",
    "x=1 ${a}",
    "time ${a}",
    "time -p ${a}",
    "exec ${a}",
    "command ${a}",
    "env x=1 ${a}",
    "timeout 5 ${a}",
    "nohup ${a} &",
    ">f ${a}",
    "2>&1 ${a}",
    "${a}=1",
    "x${a}=1",
    "x[${a}]=1",
    "x=(1 [${a}]=2)",
    "eval ${a}",
    "eval \"x=${a}\"",
    "'eval' ${a}",
    "\\eval ${a}",
    "$'eval' ${a}",
    ". ${a}",
    "source ${a}",
    "trap ${a} EXIT",
    "alias x=${a}",
    "let ${a}",
    "unset ${a}",
    "read ${a}",
    "printf -v ${a} x",
    "printf ${a} ${a}",
    "test -v ${a}",
    "[ ${a} ${a} ]",
    "[[ ${a} -eq 1 ]]",
    "[[ 1 && 2 -eq ${a} ]]",
    "[[ -v ${a} ]]",
    "declare ${a}",
    "declare -i x=${a}",
    "declare -i x; x=${a}",
    "declare -i x; y=$(x=${a})",
    "export ${a}",
    "local -a x=${a}",
    "sh -c ${a}",
    "sh -c 'echo ${a}'",
    "bash -lc \"echo ${a}\"",
    "sudo sh -c ${a}",
    "python3 -c \"print('${a}')\"",
    "/bin/sh -c ${a}",
    "perl -e ${a}",
    "ssh host ${a}",
    "xargs sh -c ${a}",
    "sh <<EOF\necho ${a}\nEOF",
    "cat <<EOF | sh\necho ${a}\nEOF",
    "PATH=${a}",
    "PS4=${a}",
    "BASH_ENV=${a} x",
    "SECONDS=${a}",
    "echo \\${a}",
    "echo \"\\${a}\"",
    "echo \"$${x:${a}}\"",
    "echo $${x[${a}]}",
    "echo $${x/${a}/y}",
    "echo $${${a}}",
    "echo $[${a}]",
    "echo \"`echo ${a}`\"",
    "echo `echo \\\\${a}`",
    "echo `echo \\`echo ${a}\\``",
    "echo $((\"${a}\"))",
    "cat <<${a}\nx\n",
    "cat <<E${a}\nx\n",
    "cat <<EOF\n$(echo ${a})\nEOF",
    "cat <<EOF\n`echo ${a}`\nEOF",
    "cat <<EOF\n$${x:-${a}}\nEOF",
    "cat <<EOF\n\\${a}\nEOF",
    "cat <<EOF\nx\\\nEOF\n${a}",
    "echo $(( $${x:-${a}} ))",
];

pub(super) fn sentinel(folder: &Path) -> (PathBuf, String) {
    let path = folder.join("sentinel");
    // A command of one word with a path that holds nothing special; a redirection works also where no command may stand.
    let payload = format!("touch {}", path.display());
    (path, payload)
}

#[test]
fn no_value_becomes_a_command_and_text_arrives_exactly() {
    let folder = folder("shell-attacks");
    let (path, payload) = sentinel(&folder);
    let (mut cases, mut programs) = (Vec::new(), Vec::new());
    for (positions, seen) in [(TEXT, Some(true)), (UNSEEN, Some(false)), (SOME, None)] {
        for position in positions {
            let (mut expected, mut made) = (Vec::new(), Vec::new());
            for text in hostile(&payload) {
                match filled(position, Language::Shell, &json!(text)) {
                    Ok(program) => {
                        made.push(program);
                        expected.push(seen.map(|seen| if seen { format!("<{text}>") } else { "<1>".to_owned() }));
                    }
                    Err(why) => {
                        let allowed = seen.is_none() || (text.contains('\0') && why.contains("NUL"));
                        assert!(allowed, "{position} {text:?}: {why}");
                    }
                }
            }
            programs.push(made);
            cases.push((*position, expected));
        }
    }
    for shell in shells() {
        for ((position, expected), answers) in cases.iter().zip(run(shell, &folder, &programs)) {
            for (expected, answer) in expected.iter().zip(&answers) {
                // A here-document adds a line's end.
                let shown = answer.strip_suffix('\n').filter(|_| position.contains("<<")).unwrap_or(answer);
                assert_eq!(shown, expected.as_deref().unwrap_or(shown), "{shell}: {position}");
            }
        }
        untouched(&path, shell);
    }
}

#[test]
fn text_in_quoted_here_documents_arrives_exactly_unless_it_could_end_them() {
    let folder = folder("shell-documents");
    let (mut texts, mut programs) = (Vec::new(), Vec::new());
    for text in hostile("touch never") {
        let program = filled("cat <<'EOF'\n<${a}>\nEOF\n", Language::Shell, &json!(text));
        match program {
            Ok(program) => {
                programs.push(program);
                texts.push(text);
            }
            Err(why) => assert!(text.contains("\nEOF") || text.contains('\0'), "{text:?}: {why}"),
        }
    }
    for shell in shells() {
        for (answer, text) in run(shell, &folder, std::slice::from_ref(&programs))[0].iter().zip(&texts) {
            assert_eq!(*answer, format!("<{text}>\n"), "{shell}");
        }
    }
}

#[test]
fn whole_numbers_stand_in_arithmetic() {
    let folder = folder("shell-arithmetic");
    let position = "printf '%s' $((${a} + 1)) \"$((-${a}))\" $(((${a})))";
    let values = [json!(0), json!(41), json!(-5), json!("12")];
    let program = |value| filled(position, Language::Shell, value).expect("a number");
    let programs: [Vec<String>; 1] = [values.iter().map(program).collect()];
    for shell in shells() {
        assert_eq!(run(shell, &folder, &programs), [["100", "42-4141", "-45-5", "13-1212"]], "{shell}");
    }
    for value in
        [json!(1.5), json!("x"), json!(""), json!("1+1"), json!("a[$(id)]"), json!(null), json!("010"), json!([1])]
    {
        assert!(filled(position, Language::Shell, &value).is_err(), "{value}");
    }
}

#[test]
fn what_cannot_be_told_is_refused_also_before_the_value_is_known() {
    for position in REFUSED {
        let (offset, why) = check_code(position, Language::Shell).expect_err(position).remove(0);
        assert!(position[offset..].starts_with("${a}") && why.starts_with("${a} stands "), "{position}: {why}");
        let made = filled(position, Language::Shell, &json!("x"));
        assert!(made.as_ref().is_err_and(|why| why.starts_with("${a} stands ")), "{position}: {made:?}");
    }
    for position in TEXT.iter().chain(UNSEEN).chain(SOME) {
        check_code(position, Language::Shell).unwrap_or_else(|why| panic!("{position}: {why:?}"));
    }
}

#[test]
fn the_payload_would_be_seen() {
    let folder = folder("shell-control");
    let (path, payload) = sentinel(&folder);
    let answers = run("sh", &folder, &[vec![format!("echo '' ; {payload} ; echo ''")]]);
    assert!(path.exists(), "{answers:?}");
}
