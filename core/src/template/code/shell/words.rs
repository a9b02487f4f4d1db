//! Words and names that mean something to shells or to the programs that they call.

/// Words that another command follows.
pub(super) const BEFORE_COMMANDS: &[&str] = &["if", "then", "else", "elif", "do", "while", "until", "!", "{"];
/// Words that end a compound command; only such words, redirections and operators may follow.
pub(super) const ENDS: &[&str] = &["}", "fi", "done", "]]"];
/// Programs that run the one that follows on their options.
pub(super) const WRAPPERS: &[&str] = &[
    "command", "exec", "builtin", "env", "nohup", "time", "nice", "ionice", "timeout", "setsid", "stdbuf", "sudo",
    "doas", "xargs", "busybox",
];
/// Commands that read their arguments as code, or as names whose subscripts are.
pub(super) const READERS: &[&str] = &[
    ".",
    "alias",
    "bind",
    "compgen",
    "complete",
    "coproc",
    "enable",
    "eval",
    "fc",
    "getopts",
    "hash",
    "integer",
    "let",
    "mapfile",
    "parallel",
    "read",
    "readarray",
    "runuser",
    "script",
    "source",
    "ssh",
    "su",
    "trap",
    "unset",
    "wait",
    "watch",
];
/// Commands whose arguments are names and assignments.
pub(super) const DECLARES: &[&str] = &["declare", "export", "local", "readonly", "typeset"];
/// Programs whose arguments are not run: the name of an interpreter among them is a word like others.
pub(super) const SHOW: &[&str] =
    &[":", "[", "cd", "echo", "false", "for", "grep", "ls", "mkdir", "printf", "set", "test", "true"];
/// Programs that give what they read to others as arguments.
pub(super) const FEED: &[&str] = &["parallel", "xargs"];

/// Words that begin or end compound commands.
pub(super) fn is_reserved(word: &str) -> bool {
    BEFORE_COMMANDS.contains(&word)
        || ENDS.contains(&word)
        || ["case", "esac", "for", "function", "select", "[["].contains(&word)
}

/// Variables that decide what a shell does, or that it reads as code or arithmetic.
pub(super) fn is_special(name: &str) -> bool {
    matches!(
        name,
        "PATH"
            | "IFS"
            | "ENV"
            | "SECONDS"
            | "RANDOM"
            | "SRANDOM"
            | "LINENO"
            | "OPTIND"
            | "HISTCMD"
            | "PROMPT_COMMAND"
            | "EPOCHSECONDS"
            | "EPOCHREALTIME"
            | "SHELLOPTS"
            | "FUNCNEST"
            | "TMOUT"
            | "HISTSIZE"
            | "HISTFILESIZE"
    ) || ["PS", "BASH", "LD_", "DYLD_", "COMP_", "MAIL"].iter().any(|start| name.starts_with(start))
}
