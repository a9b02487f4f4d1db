//! Makes shells parse a command without running it (`-n`), in one process per command: they cannot take several.

use std::path::{Path, PathBuf};

use tokio::process::Command;
use tokio::time::{Instant, timeout_at};

use super::{Mistake, PATIENCE, Unchecked, last_line, run};
use crate::settings::Settings;

/// The shells whose `-n` is known to run nothing.
const KNOWN: &[&str] = &["sh", "dash", "bash", "ksh", "mksh", "zsh"];

/// What shells report about commands, in the order of the commands. Each command comes with the shell that its task
/// asks for instead of the provider's own. Also returns why some commands were not checked, each reason once: the shell
/// is missing, it is not known to only parse, or the time ran out.
pub async fn check_shell(
    own: &Path,
    commands: &[(Option<&str>, &str)],
    settings: &Settings,
) -> (Vec<Option<Mistake>>, Vec<Unchecked>) {
    let until = Instant::now() + PATIENCE;
    let (mut mistakes, mut unchecked) = (Vec::with_capacity(commands.len()), Vec::<Unchecked>::new());
    for (named, command) in commands {
        let said = match shell(*named, own, settings) {
            // A process that would be ended at once is not worth starting.
            Ok(_) if Instant::now() >= until => Err(late()),
            Ok(shell) => match timeout_at(until, one(&shell, command, settings)).await {
                Ok(said) => said,
                Err(_late) => Err(late()),
            },
            Err(why) => Err(why),
        };
        mistakes.push(said.unwrap_or_else(|why| {
            if !unchecked.contains(&why) {
                unchecked.push(why);
            }
            None
        }));
    }
    (mistakes, unchecked)
}

fn late() -> Unchecked {
    let reason = format!("reading all of them takes longer than {} s", PATIENCE.as_secs());
    Unchecked { reason, remedy: "validate fewer files at a time".to_owned() }
}

/// The shell, chosen as the provider does.
fn shell(named: Option<&str>, own: &Path, settings: &Settings) -> Result<PathBuf, Unchecked> {
    let path = match named {
        None => own.to_owned(),
        Some("sh") => PathBuf::from("/bin/sh"),
        Some(name) if own.ends_with(name) => own.to_owned(),
        Some(name) => {
            let mut found = std::env::split_paths(&settings.path).map(|folder| folder.join(name));
            found.find(|path| path.is_absolute() && path.is_file()).ok_or_else(|| Unchecked {
                reason: format!("there is no `{name}` in the PATH here"),
                remedy: "install it, or validate where it is".to_owned(),
            })?
        }
    };
    if !path.file_name().is_some_and(|name| KNOWN.iter().any(|known| name == *known)) {
        return Err(Unchecked {
            reason: format!("it is not known whether `{}` only reads a command with `-n`", path.display()),
            remedy: format!("shells that are known: {}", KNOWN.join(", ")),
        });
    }
    Ok(path)
}

async fn one(shell: &Path, command: &str, settings: &Settings) -> Result<Option<Mistake>, Unchecked> {
    let mut process = Command::new(shell);
    if shell.ends_with("bash") && command.contains("extglob") {
        // Options that `shopt` would enable change how the rest is parsed, and `-n` runs no `shopt`.
        process.args(["-O", "extglob"]);
    }
    // Without the caller's environment the shell reads no startup file.
    process.arg("-n").env_clear().env("PATH", &settings.path).env("LC_ALL", "C");
    let answer = run(process, command.as_bytes()).await.map_err(|error| Unchecked {
        reason: format!("`{}` cannot be run: {error}", shell.display()),
        remedy: "name another with `shell` in a provider file, or validate where it is".to_owned(),
    })?;
    if answer.status.success() {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&answer.stderr);
    let first = said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if first.is_empty() {
        return Err(Unchecked {
            reason: format!("`{}` ended with {} and without output", shell.display(), answer.status),
            remedy: "validate again".to_owned(),
        });
    }
    Ok(Some(told(first).unwrap_or_else(|| Mistake { line: 1, column: None, message: last_line(&answer.stderr) })))
}

/// Parses the messages `NAME: line 3: WHAT`, `NAME: 3: WHAT` (dash), `NAME: syntax error at line 3: WHAT` (ksh), `NAME:
/// <stdin>[3]: WHAT` and `NAME:3: WHAT` (zsh).
fn told(said: &str) -> Option<Mistake> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    for (at, _) in said.char_indices().filter(|(_, letter)| letter.is_ascii_digit()) {
        let before = &said[..at];
        if before.ends_with(|letter: char| letter.is_ascii_digit()) {
            continue;
        }
        let is_marked =
            before.ends_with("line ") || before.ends_with(": ") || before.ends_with(':') || before.ends_with('[');
        let (number, rest) = said[at..].split_at(digits(&said[at..]));
        let rest = rest.strip_prefix(']').unwrap_or(rest);
        let Some(message) = rest.strip_prefix(':').filter(|_| is_marked) else { continue };
        let (line, message) = (number.parse::<usize>().ok().filter(|line| *line > 0)?, message.trim());
        return (!message.is_empty()).then(|| Mistake { line, column: None, message: message.to_owned() });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shell_has_its_own_format_for_the_line() {
        for (said, line, message) in [
            ("/bin/sh: 3: Syntax error: \"fi\" unexpected", 3, "Syntax error: \"fi\" unexpected"),
            ("bash: line 12: syntax error near unexpected token `fi'", 12, "syntax error near unexpected token `fi'"),
            ("/opt/bash5: line 2: syntax error: unexpected end of file", 2, "syntax error: unexpected end of file"),
            ("zsh:4: parse error near `fi'", 4, "parse error near `fi'"),
            ("mksh: <stdin>[5]: syntax error: unexpected 'fi'", 5, "syntax error: unexpected 'fi'"),
            ("ksh: syntax error at line 7: `fi' unexpected", 7, "`fi' unexpected"),
        ] {
            assert_eq!(told(said), Some(Mistake { line, column: None, message: message.to_owned() }), "{said}");
        }
        for said in ["sh: out of memory", "sh: 0: x", "3"] {
            assert_eq!(told(said), None, "{said}");
        }
    }
}
