//! Limits on the variables and arguments of a process. They are checked before a process is started, because the
//! system's own error only says that something was too long.

use std::collections::BTreeMap;

use gleitzeit_workflow::error::ErrorCode;

use crate::call::CallError;
use crate::platform::{MAX_ONE_TEXT, max_total_text_bytes};

/// Room for what every process gets besides: `PATH` and the like, and the terminators of all texts.
const RESERVED_BYTES: u64 = 16 * 1024;
/// The size of the pointer to each text.
const POINTER: usize = 8;

/// # Errors
/// If a variable is longer than the system accepts, or all of them together with `command` are. The error says which,
/// how long it is, the limit and the remedy.
pub(super) fn check(env: &BTreeMap<String, String>, command: &str) -> Result<(), CallError> {
    check_against(env, command, MAX_ONE_TEXT, max_total_text_bytes().saturating_sub(RESERVED_BYTES))
}

fn check_against(env: &BTreeMap<String, String>, command: &str, one: usize, together: u64) -> Result<(), CallError> {
    let refused = |message: String| Err(CallError::new(ErrorCode::TaskParameterError, message));
    let mut sum = command.len() + POINTER;
    for (name, value) in env {
        // With `=` and a NUL.
        let around = name.len() + 2;
        let size = value.len();
        if size > one.saturating_sub(around) {
            let most = one.saturating_sub(around);
            return refused(format!(
                "`env`: the value of `{name}` is {size} bytes, and the system takes {most}; pass it in `stdin` instead"
            ));
        }
        sum += around + size + POINTER;
    }
    let sum = u64::try_from(sum).unwrap_or(u64::MAX);
    if sum > together {
        let longest = env.iter().max_by_key(|(_, value)| value.len());
        let named = longest.map_or_else(String::new, |(name, value)| format!(" (`{name}` alone {})", value.len()));
        return refused(format!(
            "`command` and the variables in `env` are {sum} bytes together{named}, and the system takes {together}; pass \
             the longest value in `stdin` instead"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_too_long_are_named_with_size_limit_and_remedy() {
        let env = |sizes: &[(&str, usize)]| -> BTreeMap<String, String> {
            sizes.iter().map(|(name, size)| ((*name).to_owned(), "x".repeat(*size))).collect()
        };
        for (sizes, expected) in [
            (&[("A", 97)][..], ""),
            (
                &[("A", 98)][..],
                "`env`: the value of `A` is 98 bytes, and the system takes 97; pass it in `stdin` instead",
            ),
            (&[("A", 90), ("B", 80)][..], ""),
            (
                &[("A", 90), ("B", 97)][..],
                "`command` and the variables in `env` are 221 bytes together (`B` alone 97), and the system takes 210; \
                 pass the longest value in `stdin` instead",
            ),
        ] {
            let told = check_against(&env(sizes), "true", 100, 210).err().map_or_else(String::new, |error| {
                assert_eq!(error.code, ErrorCode::TaskParameterError);
                error.message
            });
            assert_eq!(told, expected, "{sizes:?}");
        }
    }

    #[test]
    fn the_system_accepts_at_least_the_minimum_of_posix() {
        assert!((100 << 10..=6 << 20).contains(&(max_total_text_bytes() - RESERVED_BYTES)));
    }
}
