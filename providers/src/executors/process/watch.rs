//! Watches the processes of a call that runs long: how many there are and how much memory they use together. The
//! kernel's own limits apply to single processes; these apply to all of them.

use gleitzeit_workflow::error::ErrorCode;

use super::limits::Limits;
use crate::call::CallError;
use crate::platform::{FIRST_LOOK, LONGEST_PAUSE, Processes, held, processes};

/// Returns an error once the processes below `root` use too much; `ours` of them belong to the agent. If `root` returns
/// `None`, nothing is counted.
pub(in crate::executors) async fn watch(root: impl Fn() -> Option<u32>, ours: u64, limits: &Limits) -> CallError {
    let mut pause = FIRST_LOOK;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        let Some(root) = root() else { continue };
        let seen = match processes().await {
            Ok(seen) => seen,
            Err(error) => {
                tracing::debug!(%error, "the processes of a call cannot be listed");
                continue;
            }
        };
        if let Some(message) = too_much(root, &seen, ours, limits).await {
            return CallError::new(ErrorCode::TaskExecutionFailed, message);
        }
    }
}

/// What the processes below `root` use too much of, if anything; `ours` of them belong to the agent.
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
    // Shared pages were counted for each process; their exact share costs more to find out.
    let held = held(family, seen).await;
    (held > most_memory)
        .then(|| format!("the processes of the code held {held} bytes, more than {most_memory} (`max_memory_bytes`)"))
}

/// The error text for code with too many processes.
pub(in crate::executors) fn too_many(count: u64, most: u64) -> String {
    format!("the code had {count} processes at a time, more than {most} (`max_processes`)")
}
