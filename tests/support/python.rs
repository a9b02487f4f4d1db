//! Python code that can be observed from outside: it repeatedly writes its process ids and the time.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::process::is_alive;
use super::wait::{PATIENCE, until};

/// The latest record of the code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beat {
    /// The process that runs the code.
    pub(crate) pid: i32,
    /// A process that the code started.
    pub(crate) child: i32,
    /// When it was written, in milliseconds since 1970.
    pub(crate) at_ms: u64,
}

/// Code, indented for a block under `code: |`, that beats in `file` and never ends.
pub(crate) fn beat(file: &Path) -> String {
    let code = format!(
        "import os, subprocess, time\n\
         file = {file:?}\n\
         shell = 'read pid rest < /proc/self/stat; echo $pid; exec sleep 1000'\n\
         child = int(subprocess.Popen(['sh', '-c', shell], stdout=subprocess.PIPE).stdout.readline())\n\
         while True:\n\
         \u{20}   with open(file + '.new', 'w') as beat:\n\
         \u{20}       beat.write(f'{{os.readlink(\"/proc/self\")}} {{child}} {{time.time_ns() // 1000000}}')\n\
         \u{20}   os.replace(file + '.new', file)\n\
         \u{20}   time.sleep(0.01)\n"
    );
    code.lines().map(|line| format!("        {line}\n")).collect()
}

impl Beat {
    /// The latest record, if there is one.
    pub(crate) fn read(file: &Path) -> Option<Self> {
        let text = fs::read_to_string(file).ok()?;
        let mut numbers = text.split(' ');
        Some(Self {
            pid: numbers.next()?.parse().ok()?,
            child: numbers.next()?.parse().ok()?,
            at_ms: numbers.next()?.parse().ok()?,
        })
    }

    /// Waits for the first record.
    #[track_caller]
    pub(crate) fn first(file: &Path) -> Self {
        until("the code runs", PATIENCE, || Self::read(file))
    }
}

/// Waits until code and child are gone; returns when the code beat last.
#[track_caller]
pub(crate) fn gone(file: &Path, limit: Duration) -> u64 {
    let Beat { pid, child, .. } = Beat::read(file).expect("the code has run");
    until("the code and what it started are gone", limit, || (!is_alive(pid) && !is_alive(child)).then_some(()));
    Beat::read(file).expect("the code has run").at_ms
}

/// The current time, by the clock that the code uses.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("before the end of time")
}
