//! Contains panics while one run's entries are read, so that a bug affects only that run and not all others.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls `what` and turns a panic into an error text. The caller must discard whatever was being changed.
pub(super) fn guarded<T>(what: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(what)).map_err(|panic| {
        let message =
            panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        format!("an internal error of this version of Gleitzeit, please report it: {}", message.unwrap_or("no message"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_reported_with_its_message() {
        assert_eq!(guarded(|| 7), Ok(7));
        let text = guarded(|| assert_eq!(1, 2, "of all things")).expect_err("it panics");
        assert!(text.contains("of all things") && text.contains("report it"), "{text}");
    }
}
