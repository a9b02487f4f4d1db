//! Looks at the family of a call that runs long: how many processes it has and how much memory they hold together.
//! The kernel's own limits hold for single processes; these are for all.

use gleitzeit_workflow::error::ErrorCode;

use super::limits::Limits;
use crate::call::CallError;
use crate::platform::{FIRST_LOOK, LONGEST_PAUSE, Processes, held, processes};

/// Returns if a call has to end because the processes below `root` take too much; so many of them are ours. Who finds no
/// root any more says so, and nothing is looked at.
pub(in crate::executors) async fn watch(root: impl Fn() -> Option<u32>, ours: u64, limits: &Limits) -> CallError {
    let mut pause = FIRST_LOOK;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        let Some(root) = root() else { continue };
        let seen = match processes().await {
            Ok(seen) => seen,
            Err(error) => {
                tracing::debug!(%error, "the processes of a call cannot be looked at");
                continue;
            }
        };
        if let Some(message) = too_much(root, &seen, ours, limits).await {
            return CallError::new(ErrorCode::TaskExecutionFailed, message);
        }
    }
}

/// What the family below a process has too much of, if anything; so many of its processes are ours.
async fn too_much(root: u32, seen: &Processes, ours: u64, limits: &Limits) -> Option<String> {
    let (most_processes, most_memory) = (limits.max_processes, limits.max_memory_bytes);
    let family = seen.family(root);
    let count = u64::try_from(family.len()).unwrap_or(u64::MAX).saturating_sub(ours);
    if count > most_processes {
        return Some(too_many(count, most_processes));
    }
    if seen.resident(&family) <= most_memory {
        return None;
    }
    // Shared pages were counted for each; their part costs more to ask for.
    let held = held(family, seen).await;
    (held > most_memory)
        .then(|| format!("the processes of the code held {held} bytes, more than {most_memory} (`max_memory_bytes`)"))
}

/// What is said of code with too many processes.
pub(in crate::executors) fn too_many(count: u64, most: u64) -> String {
    format!("the code had {count} processes at a time, more than {most} (`max_processes`)")
}
