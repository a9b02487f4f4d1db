//! What differs between operating systems, for this whole crate. `linux` contains what only Linux has; `portable` does
//! the same with POSIX alone, and works on Linux too. No other module of this crate has a `cfg` for the system.
//!
//! [`Way`] says how the processes of a call are held together: on Linux by kernel namespaces, unless [`PORTABLE`] is
//! set; elsewhere the portable way.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Mutex;

#[cfg(target_os = "linux")]
mod linux;
// On Linux only a part of it is used, but all of it is tested.
#[cfg_attr(target_os = "linux", expect(dead_code, reason = "it stands in for `linux` where there is none"))]
mod portable;
mod table;

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(not(target_os = "linux"))]
use portable as system;

pub(crate) use portable::own_session;
pub(crate) use system::{
    FIRST_LOOK, Handle, LONGEST_PAUSE, MAX_ONE_TEXT, drop_tracing_right, held, load_filter, look, max_total_text_bytes,
    may_trace, receive_handle, send_flags, shows_the_kernel,
};
pub(crate) use table::Processes;

/// Whether a forked process that starts no program may use every library. Some of Apple's libraries end such a process.
pub(crate) const FORK_MAY_USE_LIBRARIES: bool = !cfg!(target_vendor = "apple");

/// The variable that selects the portable way on Linux too.
pub(crate) const PORTABLE: &str = "GLEITZEIT_PORTABLE";

/// The processes of this machine, now or a moment ago.
///
/// # Errors
/// As for [`look`].
pub(crate) async fn processes() -> io::Result<Arc<Processes>> {
    static LAST: Mutex<Option<(Instant, Arc<Processes>)>> = Mutex::const_new(None);
    let mut last = LAST.lock().await;
    if let Some((at, processes)) = &*last
        && at.elapsed() < system::SAME_LOOK
    {
        return Ok(processes.clone());
    }
    let processes = Arc::new(tokio::task::spawn_blocking(look).await.map_err(io::Error::other)??);
    *last = Some((Instant::now(), processes.clone()));
    Ok(processes)
}

/// One instruction: operation, jump if true, jump if false, operand.
pub(crate) type Instruction = (u16, u8, u8, u32);

/// How the processes of a call are held together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By features of the Linux kernel: namespaces where available, otherwise process handles and adopted orphans.
    Kernel,
    /// By process groups and parents alone; contains the reason.
    Portable(String),
}

impl Way {
    /// The way for this system; `is_chosen` says whether the portable way was selected.
    pub(crate) fn of(is_chosen: bool) -> Self {
        match () {
            () if !cfg!(target_os = "linux") => Self::Portable(format!("{} has no namespaces", name())),
            () if is_chosen => Self::Portable(format!("{PORTABLE} is set")),
            () => Self::Kernel,
        }
    }

    /// Why there is no strict sandbox; `None` if this way has one.
    pub(crate) fn lacks_strict(&self) -> Option<String> {
        let Self::Portable(why) = self else { return None };
        Some(format!("`sandbox: strict` is not possible here: it needs Linux and its namespaces, and {why}"))
    }
}

/// Whether a value of [`PORTABLE`] selects the portable way.
pub(crate) fn is_chosen(value: Option<&str>) -> bool {
    value.is_some_and(|value| !["", "0", "false", "no"].contains(&value.trim()))
}

/// The system's name as users know it.
fn name() -> &'static str {
    match std::env::consts::OS {
        "linux" => "Linux",
        "macos" => "macOS",
        other => other,
    }
}

/// What this machine gives to the processes of calls, in one line; and what to do if it is not all that this program can use.
/// `portable` is as in the settings of providers.
pub fn describe(portable: bool) -> (String, Option<&'static str>) {
    let uname = rustix::system::uname();
    let system = format!("{} {} on {}", name(), uname.release().to_string_lossy(), std::env::consts::ARCH);
    let Way::Portable(why) = Way::of(portable) else {
        let about = format!("{system}: namespaces, process handles and system call filters, provided by the kernel");
        return (about, None);
    };
    let remedy = match cfg!(target_os = "linux") {
        true => "unset GLEITZEIT_PORTABLE to use what this kernel provides",
        false => "run agents on Linux for untrusted tasks",
    };
    (format!("{system}: process groups and `setrlimit`, without namespaces and strict sandboxes ({why})"), Some(remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_portable_way_is_chosen_by_a_variable_that_says_yes() {
        for (value, expected) in
            [(Some("1"), true), (Some("yes"), true), (Some("0"), false), (Some(""), false), (None, false)]
        {
            assert_eq!(is_chosen(value), expected, "{value:?}");
        }
        let Way::Portable(why) = Way::of(true) else { panic!("it was chosen") };
        assert!(why.contains(PORTABLE) || cfg!(not(target_os = "linux")), "{why}");
        let refused = Way::of(true).lacks_strict().expect("it has none");
        assert!(
            refused.contains("`sandbox: strict` is not possible here") && refused.lines().count() == 1,
            "{refused}"
        );
    }
}
