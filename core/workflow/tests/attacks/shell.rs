//! Shells: one process of each runs all programs of a test, each in a subshell of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gleitzeit_workflow::template::{Budget, Filled, Language, check_code, resolve_code};
use serde_json::json;

use super::{Fixed, hostile, untouched};

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

/// What each program prints with each value. Those of one program are run by one subshell, one after the other.
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
    "case ${a} in ${a}) printf '<%s>' ${a};; *) echo no;; esac",
    "printf '<%s>' \"$(printf '%s.' ${a})\" | sed '$s/[.]>$/>/'",
    "printf '<%s>' \\\n  ${a}",
    "true &&\\\nprintf '<%s>' ${a}",
    "printf \\\n'<%s>' \\\n${a}\\\n",
    "printf '%s%s%s' '<' ${a} '>'",
    "printf '<%s' ${a}\\>",
    "printf '<%s>' ${a};",
    "printf '<%s>' ${a}&\nwait",
    "printf '%s' '<'\"${a}\"'>'",
    "printf '%s' '<'${a}\">\"",
    "printf '%s' \"<${a}\"'>'",
    "x='it'\\''s' y=${a}; printf '<%s>' \"$y\"",
    "printf '%s' \"\\\"<${a}>\\\"\" | sed '1s/^\"//;$s/\"$//'",
    "printf '%s' \"\\$<${a}>\" | sed '1s/^.//'",
    "x='$(exit 9)`'; printf '<%s>' ${a} # it's \"fine\"",
    "printf '<%s>' ${a} #`$(\"'",
    "echo a#b 'c # d' >/dev/null; printf '<%s>' ${a}",
    "printf '%s' ü→😀 >/dev/null; printf '<%s>' ${a}",
    "printf '%s' \"é<${a}>\" | sed '1s/^é//'",
    "printf '<%s>' ${a} >&1",
    "printf '<%s>' ${a} 2>/dev/null 1>&1",
    "{ printf '<%s>' ${a} >&2; } 2>&1",
    ">/dev/null : x; printf '<%s>' ${a}",
    "printf '<%s>' ${a} <<EOF\n$(echo \")\n')\n\" \"`echo x`\")\nEOF\n",
    "cat <<EOF\n<${a}>\nEOF\necho ${a} >/dev/null",
    "cat <<EOF | cat\n<${a}>\nEOF",
    "cat <<EOF &&\n<${a}>\nEOF\ntrue",
    "cat <<\"EOF\" >/dev/null && printf '<%s>' ${a}\n\"'`$(\nEOF",
    "cat <<EOF | sed '$s/[.]>$/>/'\n<$(printf '%s.' ${a})>\nEOF",
    "cat <<EOF | sed '$s/[.]>$/>/'\n<$(printf '%s.' \"${a}\")>\nEOF",
    "cat <<EOF\n<`printf '%s' \"\"`${a}>\nEOF\n",
    "cat <<EOF | sed \"1s/^'.//\"\n'\"<${a}>\nEOF\n",
    "cat <<'A' <<B\n'$(`\nA\n<${a}>\nB",
    "cat <<A - <<B\n'\"$${none:-$(echo x)}\nA\n<${a}>\nB",
    "cat <<-A\n\t<${a}>\n\t\tA\nprintf ''",
    "cat <<' A B ' >/dev/null\n\\\n A B \nprintf '<%s>' ${a}",
    "x=$(\ncat <<EOF\n<${a}>\nEOF\n)\nprintf '%s' \"$x\"",
    "f() { cat; }; f <<EOF\n<${a}>\nEOF\n",
    "while read -r x; do :; done <<EOF\n${a}\nEOF\nprintf '<%s>' ${a}",
    "case x in x) printf '<%s>' ${a};; esac",
    "case x in (y|x) printf '<%s>' ${a};; esac",
    "case x in y) ;; x) printf '<%s>' ${a} ;; esac; :",
    "case x in\n  y) : ;;\n  *) printf '<%s>' ${a}\nesac",
    "case ${a} in *${a}*) printf '<%s>' ${a}; esac",
    "case \"x${a}\" in x${a} | none) printf '<%s>' \"${a}\";; esac",
    "case in in in) printf '<%s>' ${a}; esac",
    "x=$(case x in x) printf '<%s>' ${a};; esac); printf '%s' \"$x\"",
    "x=$( (printf '<%s>' ${a}) ); printf '%s' \"$x\"",
    "x=$( { printf '<%s>' ${a}; } ); printf '%s' \"$x\"",
    "x=\"$(printf \"<%s>\" \"${a}\" ')' \"(\" | sed '$s/<)><(>$//')\"; printf '%s' \"$x\"",
    "( ( (printf '<%s>' 1) >/dev/null) ); printf '<%s>' ${a}",
    "if [ -n x ] && [ ${a} = ${a} ]; then printf '<%s>' ${a}; else :; fi",
    "if false; then :; elif true; then printf '<%s>' ${a}; fi",
    "while :; do printf '<%s>' ${a}; break; done",
    "until printf '<%s>' ${a}; do :; done",
    "for x in a ${a} b; do [ \"$x\" = a ] || [ \"$x\" = b ] || printf '<%s>' \"$x\"; done",
    "for x\nin ${a}\ndo printf '<%s>' \"$x\"; done",
    "set -- ${a}; for x do printf '<%s>' \"$x\"; done",
    "set -- ${a}; for x; do printf '<%s>' \"$x\"; done",
    "f() { printf '<%s>' ${a}; }\nf",
    "f() ( printf '<%s>' ${a} )\nf",
    "f()\n{\n  printf '<%s>' ${a}\n}\nf",
    "f() if true; then printf '<%s>' ${a}; fi; f",
    "! printf '<%s>' ${a}",
    "! false && printf '<%s>' ${a}",
    "x=1 y=2 printf '<%s>' ${a}",
    "x= printf '<%s>' ${a}",
    "a_1=${a} && printf '<%s>' \"$a_1\"",
    "x=a${a}; printf '<%s>' \"$${x#a}\"",
    "printf '<%s>' ${a} $none",
    "printf '<%s>' ${a} $((1 + 2 * (3))) | sed '$s/<7>$//'",
    "printf '%s' \"<$((16 >> 4))\" ${a} '>' | sed '1s/^<1/</'",
    "x=abc; printf '%s' \"$${#x}$${x%c}$${x##a*}\" >/dev/null; printf '<%s>' ${a}",
    "printf '%s' \"$${none:-$(echo '}')}\" >/dev/null; printf '<%s>' ${a}",
    "printf '%s' \"$none$$$?$!$#$-$*$@$1$0\" >/dev/null; printf '<%s>' ${a}",
    "printf '%s' \"$\" '$' $ >/dev/null; printf '<%s>' ${a}",
    "printf '%s>' '$'${a} | sed '1s/^./</'",
    "\"printf\" '<%s>' ${a}",
    "'pr'int\"f\" '<%s>' ${a}",
    "\\printf '<%s>' ${a}",
    "\"$${none:-printf}\" '<%s>' ${a}",
    "\"$(echo printf)\" '<%s>' ${a}",
    "printf '<%s>' ${a} | { cat; }",
    "printf '<%s>' ${a} |\ncat",
    "printf '<%s>' ${a} ||\nfalse",
    ": <<'X'\n'\nX\nprintf '<%s>' ${a}",
    "if\ntrue\nthen\nprintf '<%s>' ${a}\nfi",
    "printf \"<%s>\" ${a}\t",
];

/// The same, in bash alone.
const BASH: &[&str] = &[
    "a=(${a}); printf '<%s>' \"$${a[@]}\"",
    "a=( x ${a} ); printf '<%s>' \"$${a[1]}\"",
    "a=(\n  x # one\n  \"${a}\"\n); printf '<%s>' \"$${a[1]}\"",
    "a=([3]=${a}); printf '<%s>' \"$${a[3]}\"",
    "a=(); a+=(${a}); printf '<%s>' \"$${a[0]}\"",
    "a=(); a[0]=${a}; printf '<%s>' \"$${a[0]}\"",
    "f() { local a=(${a}); printf '<%s>' \"$${a[@]}\"; }; f",
    "x=a; x+=${a}; printf '<%s>' \"$${x#a}\"",
    "declare x=${a}; printf '<%s>' \"$x\"",
    "[[ ${a} == ${a} ]] && printf '<%s>' ${a}",
    "[[ ${a} = \"${a}\" ]] && printf '<%s>' ${a}",
    "[[ x${a} =~ ${a} ]] && printf '<%s>' ${a}",
    "[[ x != *y${a} ]] && printf '<%s>' ${a}",
    "[[ -n x${a} ]] && printf '<%s>' ${a}",
    "if [[ ! -e /none/${a} ]]; then printf '<%s>' ${a}; fi",
    "[[ ab =~ ^(a|b)+$ ]] && printf '<%s>' ${a}",
    "[[ ab == +(a|b) ]]; printf '<%s>' ${a}",
    "cat <<<${a} | sed '1s/^/</;$s/$/>/'",
    "cat <<< \"<${a}>\"",
    "cat <(printf '<%s>' ${a})",
    "cat < <(printf '<%s>' ${a})",
    "printf '<%s>' ${a} > >(cat); wait",
    "printf '<%s>' {x,${a}} | sed '1s/^<x>//'",
    "printf '<%s>' {${a},x} | sed '$s/<x>$//'",
    "((1 + 2)); printf '<%s>' ${a}",
    "for ((i = 0; i < 1; i++)); do printf '<%s>' ${a}; done",
    "if ((1)); then printf '<%s>' ${a}; fi",
    "function f { printf '<%s>' ${a}; }; f",
    "function f() { printf '<%s>' ${a}; }; f",
    "printf '<%s>' ${a} |& cat",
    "printf '<%s>' ${a} $'a\\tb' | sed '$s/<a\tb>$//'",
    "printf '<%s>' ${a} $\"x\" | sed '$s/<x>$//'",
    "select x in; do :; done; printf '<%s>' ${a}",
    "case x in x) printf '<%s>' ${a} ;& esac",
    "case x in x) printf '<%s>' ${a} ;;& y) esac",
    "x=${a}; printf '<%s>' \"$${x//none/}\"",
    "printf -v x '<%s>' ${a}; printf '%s' \"$x\"",
    "{ coproc :; wait; } 2>/dev/null; printf '<%s>' ${a}",
    "set -o pipefail; printf '<%s>' ${a} | cat",
];

/// Positions whose text is not seen: they print `<1>`.
const UNSEEN: &[&str] = &[
    "echo sh ${a} >/dev/null; printf '<1>'",
    "printf 1 | perl -ne 'print \"<$_>\"' -- | cat; : ${a}",
    "awk -v x=${a} 'BEGIN { printf \"<1>\" }'",
    "sed -n '$!d;q' -- ${a} 2>/dev/null; printf '<1>'",
    "# ${a}\nprintf '<1>'",
    "printf '<1>' # ${a}",
    "x=$(printf 1 # ${a}\n); printf '<%s>' \"$x\"",
    "printf '<1>' ; : ${a} \"${a}\" '${a}'",
    ": ${a}; printf '<1>'",
    "[ -n ${a} ] || true; printf '<1>'",
    "test ${a} -eq 1 2>/dev/null; printf '<1>'",
    "echo ${a} >/dev/null; printf '<1>'",
    "printf '%d' ${a} >/dev/null 2>&1; printf '<1>'",
    "x=x; case ${a} in $x) : ;; esac; printf '<1>'",
    "cd ${a} 2>/dev/null; printf '<1>'",
    "kill -0 ${a} 2>/dev/null; printf '<1>'",
    "printf '<1>' #${a}\n# '${a}' \"${a}\" `${a}` $((${a})) \\${a}\n",
    "printf '<1>' >/dev/null; : >/dev/null <<EOF\n${a}\nEOF\nprintf '<1>'",
    "mkdir -p d; { true >d/x${a}; } 2>/dev/null; printf '<1>'",
    "{ true </dev/null/${a}; } 2>/dev/null; printf '<1>'",
    "ls -d -- ${a} >/dev/null 2>&1; printf '<1>'",
    "case x in ${a} | ${a}x) : ;; *) : ;; esac; printf '<1>'",
];

/// Positions that no value may take.
const REFUSED: &[&str] = &[
    "${a}",
    "${a} x",
    "'${a}' x",
    "\"x${a}\" x",
    "x${a}",
    "/bin/${a}",
    "true; ${a}",
    "true\n${a}",
    "true & ${a}",
    "true && ${a}",
    "true || ${a}",
    "true |\n${a}",
    "true | ${a}",
    "true |& ${a}",
    "( ${a} )",
    "{ ${a}; }",
    "x=$(${a})",
    "x=`${a}`",
    "\"$(${a})\"",
    "cat <(${a})",
    "if ${a}; then :; fi",
    "if :; then ${a}; fi",
    "if :; then :; else ${a}; fi",
    "if :; then :; elif ${a}; then :; fi",
    "while ! ${a}; do :; done",
    "for x in 1; do ${a}; done",
    "for x do ${a}; done",
    "for x\ndo ${a}; done",
    "case x in x) ${a};; esac",
    "case x in x) ;; y) ${a} ;; esac",
    "case x in x) : ;; esac ${a}",
    "f() { ${a}; }",
    "function f { ${a}; }",
    "function ${a} { :; }",
    "f() ${a}",
    "${a}() { :; }",
    "if { true; } then ${a}; fi",
    "if (true) then ${a}; fi",
    "while [[ x ]] do ${a}; done",
    "x=1 ${a}",
    "x+=1 ${a}",
    "x[0]=1 ${a}",
    "time ${a}",
    "time -p ${a}",
    "coproc ${a}",
    "! ${a}",
    ">f ${a}",
    "2>&1 ${a}",
    "<<EOF ${a}\nx\nEOF",
    "echo x &>f ${a}",
    "$x ${a}",
    "$(echo) ${a}",
    "`echo` ${a}",
    "\"$@\" ${a}",
    "\"$${x[@]}\" ${a}",
    "x=1 $x ${a}",
    "*.none ${a}",
    "{,} ${a}",
    "$(echo ${a})",
    "`echo ${a}`",
    "\"$(echo ${a})\" x",
    "<(echo ${a})",
    "${a}=1",
    "x${a}=1",
    "for ${a} in x; do :; done",
    "select ${a} in x; do :; done",
    "x[${a}]=1",
    "x[$(echo ${a})]=1",
    "x=(1 [${a}]=2)",
    "x=([1+ ${a}]=2)",
    "x[1 + ${a}]=2",
    "unset x[${a}]",
    "read x[${a}]",
    "let ${a}",
    "let x=${a}",
    "let \"x = ${a}\"",
    "((${a}))",
    "((x = ${a} + 1))",
    "for ((i = ${a}; i < 1; i++)); do :; done",
    "echo $((${a}))",
    "echo $((1 + (${a}) * 2))",
    "echo \"$((${a}+1))\"",
    "echo $((\"${a}\"))",
    "echo $(( $(echo ${a}) ))",
    "echo $(( $${x:-${a}} ))",
    "echo $[${a}]",
    "[[ ${a} -eq 1 ]]",
    "[[ 1 -lt ${a} ]]",
    "[[ x && ${a} == x ]]",
    "[[ x || 2 -eq ${a} ]]",
    "[[ -v ${a} ]]",
    "[[ $(echo ${a}) -gt 1 ]]",
    "[[ x -eq 1${a} ]]",
    "[[ ${a}$[1] -eq 2 ]]",
    "echo \\${a}",
    "echo \"\\${a}\"",
    "cat <<EOF\n\\${a}\nEOF",
    "echo $'${a}'",
    "echo $'x\\n${a}'",
    "echo $'it\\'s' ${a}",
    "echo \"$${x:${a}}\"",
    "echo \"$${x:-${a}}\"",
    "echo $${x:-\"${a}\"}",
    "echo $${x#'${a}'}",
    "echo \"$${x:-$(echo ${a})}\"",
    "echo $${x[${a}]}",
    "echo $${x/${a}/y}",
    "echo $${${a}}",
    "echo \"$${x:-'}'}\" ${a}",
    "cat <<EOF\n$${x:-${a}}\nEOF",
    "echo \"`echo ${a}`\"",
    "echo `echo \\\\${a}`",
    "echo `echo \\`echo ${a}\\``",
    "cat <<EOF\n`echo ${a}`\nEOF",
    "echo `cat <<EOF\n${a}\nEOF\n`",
    "cat <<'EOF'\n${a}\nEOF",
    "cat <<\"EOF\"\n${a}\nEOF",
    "cat <<\\EOF\n${a}\nEOF",
    "cat <<-'EOF'\n\t${a}\n\tEOF",
    "x=$(cat <<'EOF'\n${a}\nEOF\n)",
    "cat <<${a}\nx\n",
    "cat <<E${a}\nx\n",
    "cat <<'${a}'\nx\n",
    "cat <<EOF\n${a}\n",
    "cat <<EOF ${a}",
    "cat <<EOF\n${a}\n EOF",
    "cat <<EOF\nx\\\nEOF\n${a}",
    "cat <<EOF\nEO\\\nF\n${a}\nEOF",
    "x=$(cat <<EOF\n${a}\nEOF)",
    "x=$(cat <<EOF)\n${a}\nEOF",
    "cat <<EOF \"\n\" ${a}\nEOF",
    "cat <<EOF\n$(echo\nEOF\n)\nEOF\n${a}",
    "echo x >&${a}",
    "echo x >& ${a}",
    "cat <&${a}",
    "echo x 2>&${a}",
    "echo ${a} 'x",
    "echo ${a} \"x",
    "echo '${a}",
    "echo \"${a}",
    "echo ${a} `x",
    "echo ${a} $(x",
    "echo ${a} $${x",
    "echo ${a}; case x in y",
    "(echo ${a}",
    "[[ ${a} == x",
    "echo x) ${a}",
    "echo (x) ${a}",
    "echo @(x) ${a}",
    "x=1 case y in\n${a}",
    ">f case y in\n${a}",
    "command case y in\n${a}",
    "$x case y in\n${a}",
    "echo $(case x in (esac) ${a};; esac)",
    "echo $(case x in y|esac) ${a};; esac)",
    "echo $(echo # it's )\n) ${a}",
    "((echo x); echo y); echo ${a}",
    "$((echo x); echo y); echo ${a}",
    "echo >#x ${a}",
    "echo x &\\\n& ${a}",
    "echo $\\\n(x) ${a}",
    "echo $$'${a}' $[1] ${a}",
];

/// Programs that read an argument or their input as code: their own business, as the documents say. Nothing here may
/// come to know them.
const OWN_BUSINESS: &[&str] = &[
    "eval ${a}",
    "sh -c ${a}",
    "sh -c 'echo ${a}'",
    "bash -c \"echo ${a}\"",
    "ssh host ${a}",
    "env ${a}",
    "command ${a}",
    "exec ${a}",
    "find . -exec sh -c ${a} +",
    "echo ${a} | xargs sh -c",
    "echo ${a} | sh",
    "sh <<EOF\n${a}\nEOF",
    ". ${a}",
    "trap ${a} EXIT",
    "test -v ${a}",
    "printf -v ${a} x",
    "declare ${a}",
    "declare -i x=${a}",
    "PATH=${a}",
    "python3 -c \"print('${a}')\"",
    "awk \"${a}\"",
];

pub(super) fn sentinel(folder: &Path) -> (PathBuf, String) {
    let path = folder.join("sentinel");
    // A command of one word with a path that holds nothing special; a redirection works also where no command may stand.
    let payload = format!("touch {}", path.display());
    (path, payload)
}

/// The hostile texts that a variable can hold.
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
                // A here-document adds a line's end.
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

/// Each on its own: it may be no program there.
#[test]
fn what_only_bash_reads_runs_no_value_in_another_shell() {
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
fn what_cannot_be_told_is_refused_also_before_the_value_is_known() {
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
fn the_payload_would_be_seen() {
    let folder = folder("shell-control");
    let (path, payload) = sentinel(&folder);
    run("sh", &folder, &[&format!("echo '' ; {payload} ; echo ''")], &["x".to_owned()]);
    assert!(path.exists());
}
