//! Looks at the family of a call that runs long: how many processes it has and how much memory they hold together.
//! The kernel's own limits hold for single processes; these are for all.

use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use gleitzeit_core::error::ErrorCode;

use super::limits::Limits;
use crate::call::CallError;

/// Most calls are over by then and never looked at.
const FIRST: Duration = Duration::from_millis(20);
/// A fork bomb doubles every few milliseconds at first; later the kernel's limit on process numbers slows it.
const LONGEST: Duration = Duration::from_millis(150);

/// One process.
#[derive(Clone, Copy, Debug)]
struct Seen {
    parent: u32,
    resident_pages: u64,
}

/// Returns if a call has to end because the processes below `root` take too much; so many of them are ours. Who finds no
/// root any more says so, and nothing is looked at.
pub(in crate::executors) async fn watch(
    root: impl Fn() -> Option<u32> + Send + Sync + 'static,
    ours: u64,
    limits: &Limits,
) -> CallError {
    let (root, processes, memory) = (Arc::new(root), limits.max_processes, limits.max_memory_bytes);
    let mut pause = FIRST;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST);
        let root = root.clone();
        let looked = tokio::task::spawn_blocking(move || too_much(root()?, ours, processes, memory)).await;
        if let Ok(Some(message)) = looked {
            return CallError::new(ErrorCode::TaskExecutionFailed, message);
        }
    }
}

/// What the family below a process has too much of, if anything; so many of its processes are ours.
fn too_much(root: u32, ours: u64, most_processes: u64, most_memory: u64) -> Option<String> {
    let seen = all();
    let family = family(root, &seen);
    let count = u64::try_from(family.len()).unwrap_or(u64::MAX).saturating_sub(ours);
    if count > most_processes {
        return Some(too_many(count, most_processes));
    }
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let resident: u64 = family.iter().filter_map(|pid| seen.get(pid)).map(|seen| seen.resident_pages * page).sum();
    if resident <= most_memory {
        return None;
    }
    // Shared pages were counted for each; their proportional share costs more to ask for.
    let proportional: u64 = family.iter().filter_map(|pid| proportional(*pid)).sum();
    (proportional > most_memory).then(|| {
        format!("the processes of the code held {proportional} bytes, more than {most_memory} (`max_memory_bytes`)")
    })
}

/// What is said of code with too many processes.
pub(in crate::executors) fn too_many(count: u64, most: u64) -> String {
    format!("the code had {count} processes at a time, more than {most} (`max_processes`)")
}

/// The number behind a process handle, as `/proc` counts.
pub(in crate::executors) fn process_of(handle: &OwnedFd) -> Option<u32> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", handle.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
}

fn all() -> HashMap<u32, Seen> {
    let Ok(entries) = fs::read_dir("/proc") else { return HashMap::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, see(pid)?))).collect()
}

fn see(pid: u32) -> Option<Seen> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name may hold spaces and brackets; the last bracket ends it. Then: state, parent, … resident as the 22nd.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let resident_pages = fields.nth(19)?.parse().ok()?;
    (state != "Z").then_some(Seen { parent, resident_pages })
}

/// All below the lane, without the lane itself.
fn family(root: u32, seen: &HashMap<u32, Seen>) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (pid, seen) in seen {
        children.entry(seen.parent).or_default().push(*pid);
    }
    let mut family = children.remove(&root).unwrap_or_default();
    let mut at = 0;
    while let Some(pid) = family.get(at).copied() {
        family.extend(children.remove(&pid).unwrap_or_default());
        at += 1;
    }
    family
}

fn proportional(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}
