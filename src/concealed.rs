//! Keeps what this process knows from other processes of its user: those that it starts for tasks are among them.
//!
//! A process that does not look like one to be debugged has its memory and its environment hidden by the kernel (Linux).
//! The token is removed from the environment as well, for whoever may look all the same.

/// For processes that keep a token and work for others. Called before there are threads that might read the environment.
///
/// # Errors
/// If the kernel does not hide the memory of this process.
#[cfg(target_os = "linux")]
pub(crate) fn conceal() -> std::io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    forget_variable("GLEITZEIT_TOKEN");
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Other systems let nobody but root read the memory of a process that is not theirs to debug.
#[cfg(not(target_os = "linux"))]
pub(crate) fn conceal() -> std::io::Result<()> {
    Ok(())
}

/// Overwrites the value of a variable where the kernel shows it: removing it would only hide it from this process.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "what `/proc/PID/environ` shows is the memory that the process was started with")]
fn forget_variable(name: &str) {
    use std::ffi::{CStr, c_char};

    // SAFETY: `environ` points to texts that end with NUL, behind the last of which stands a null pointer; no other thread
    // writes to them, since nothing here ever sets a variable.
    unsafe {
        let mut next: *mut *mut c_char = libc::environ;
        while !next.is_null() && !(*next).is_null() {
            let entry = *next;
            let length = CStr::from_ptr(entry).to_bytes().len();
            let text = std::slice::from_raw_parts_mut(entry.cast::<u8>(), length);
            if text.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"=")) {
                text[name.len() + 1..].fill(0);
            }
            next = next.add(1);
        }
    }
}
