//! Returns memory to the system after large runs, in long-lived processes.
//!
//! The memory that a large run leaves behind is free, but it lies in small pieces between others that are in use, so
//! the allocator keeps it: after runs of 100,000 tasks it was half of the process's memory. It is returned once the
//! process has stopped growing, so that neither a large run at work nor many small ones have to wait for it.

use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use crate::platform;

/// How often to check; longer than the pauses of a large run.
const INTERVAL: Duration = Duration::from_secs(10);
/// The least growth since the last return, in bytes; less is not worth the effort.
const WORTH_IT_BYTES: i64 = 64 << 20;
/// A process that grows by more between two checks, in bytes, is still at work.
const UNREST_BYTES: i64 = 4 << 20;

/// Returns memory in the background until the handle is dropped.
pub(crate) fn when_settled() -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async {
        let mut level = Level::default();
        while let Some(bytes) = platform::resident() {
            if level.is_settled(bytes) {
                // On a blocking thread, beside the work, which goes on in the other arenas. An error here means that
                // the process is ending.
                let _ = tokio::task::spawn_blocking(platform::give_back_memory).await;
                level.has_returned(platform::resident());
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }))
}

/// The memory in use by the process, in bytes, over time.
#[derive(Debug, Default)]
struct Level {
    /// The least since memory was last returned, which approximates what the process needs.
    needed: Option<i64>,
    /// The amount at the last check.
    last: i64,
}

impl Level {
    /// Whether memory has grown and has stopped growing.
    fn is_settled(&mut self, bytes: i64) -> bool {
        let needed = self.needed.map_or(bytes, |needed| needed.min(bytes));
        self.needed = Some(needed);
        let last = std::mem::replace(&mut self.last, bytes);
        bytes >= needed + WORTH_IT_BYTES && bytes <= last + UNREST_BYTES
    }

    fn has_returned(&mut self, bytes: Option<i64>) {
        self.needed = bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: i64 = 1 << 20;

    fn settled(looks: &[i64]) -> Vec<usize> {
        let mut level = Level::default();
        let settled = looks.iter().enumerate().filter(|(_, megabytes)| level.is_settled(*megabytes * MB));
        settled.map(|(look, _)| look).collect()
    }

    #[test]
    fn memory_is_returned_once_a_process_has_stopped_growing() {
        assert_eq!(settled(&[40, 300, 800, 802]), [3], "not while a run grows");
        assert_eq!(settled(&[40, 300, 200]), [2], "what shrinks does not grow");
        assert_eq!(settled(&[40, 60, 90, 90, 100]), [0_usize; 0], "not for little");
        assert_eq!(settled(&[200, 200, 200]), [0_usize; 0], "not for what it had from the start");
        assert_eq!(settled(&[200, 40, 104, 104]), [3], "what it needs is the least it had");
    }

    #[test]
    fn memory_in_use_is_not_requested_again() {
        let mut level = Level::default();
        assert!(!level.is_settled(40 * MB) && !level.is_settled(800 * MB) && level.is_settled(800 * MB));
        level.has_returned(Some(780 * MB));
        assert!(!level.is_settled(790 * MB) && !level.is_settled(790 * MB));
        assert!(!level.is_settled(900 * MB) && level.is_settled(900 * MB));
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn free_memory_between_used_blocks_is_returned() {
        const PIECE: usize = 1000;
        let resident = || platform::resident().expect("Linux says it");
        let before = resident();
        let mut pieces: Vec<Box<[u8]>> = (0..200_000).map(|_| vec![1; PIECE].into_boxed_slice()).collect();
        // One block in a hundred stays in use, also at the end of the arena.
        let mut next = 0;
        pieces.retain(|_| {
            next += 1;
            next % 100 == 0
        });
        let kept = resident();
        assert!(kept > before + 150 * MB, "{before} {kept}: without this there is nothing to show");
        assert!(platform::give_back_memory());
        let after = resident();
        assert!(after < before + 100 * MB, "{before} {kept} {after}");
        assert!(pieces.iter().all(|piece| piece[0] == 1));
    }
}
