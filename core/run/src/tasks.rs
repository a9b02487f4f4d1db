//! The tasks of a run, in chunks that copies share. Copying a run of 100,000 tasks for a reader costs the writer one
//! pointer for each chunk, and a later change copies only the chunk that it is in.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

use crate::task::TaskState;

/// The number of tasks in a chunk.
const PIECE: usize = 64;

/// A run's tasks, by their index in the workflow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tasks {
    pieces: Vec<Arc<Vec<TaskState>>>,
    len: usize,
}

impl Tasks {
    /// The number of tasks.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no task.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The task at an index.
    pub fn get(&self, at: usize) -> Option<&TaskState> {
        self.pieces.get(at / PIECE)?.get(at % PIECE)
    }

    /// All tasks, in order.
    pub fn iter(&self) -> impl Iterator<Item = &TaskState> {
        self.pieces.iter().flat_map(|piece| piece.iter())
    }
}

impl FromIterator<TaskState> for Tasks {
    fn from_iter<I: IntoIterator<Item = TaskState>>(tasks: I) -> Self {
        let mut tasks = tasks.into_iter();
        let (mut pieces, mut len) = (Vec::new(), 0);
        loop {
            let piece: Vec<TaskState> = tasks.by_ref().take(PIECE).collect();
            if piece.is_empty() {
                return Self { pieces, len };
            }
            len += piece.len();
            pieces.push(Arc::new(piece));
        }
    }
}

impl Index<usize> for Tasks {
    type Output = TaskState;

    fn index(&self, at: usize) -> &TaskState {
        &self.pieces[at / PIECE][at % PIECE]
    }
}

impl IndexMut<usize> for Tasks {
    fn index_mut(&mut self, at: usize) -> &mut TaskState {
        &mut Arc::make_mut(&mut self.pieces[at / PIECE])[at % PIECE]
    }
}

#[cfg(test)]
mod tests {
    use gleitzeit_workflow::spec::Priority;

    use super::*;
    use crate::TaskStatus;

    #[test]
    fn a_copy_shares_unchanged_parts() {
        let mut tasks: Tasks = (0..1_000).map(|_| TaskState::waiting(0, Priority(2))).collect();
        let copy = tasks.clone();
        assert_eq!((tasks.len(), tasks.iter().count(), tasks.get(1_000)), (1_000, 1_000, None));
        tasks[777].status = TaskStatus::Ready;
        assert_eq!((tasks[777].status, copy[777].status), (TaskStatus::Ready, TaskStatus::Waiting));
        let shared = tasks.pieces.iter().zip(&copy.pieces).filter(|(one, other)| Arc::ptr_eq(one, other));
        assert_eq!(shared.count(), 1_000_usize.div_ceil(PIECE) - 1);
        let statuses = tasks.iter().map(|task| task.status);
        assert_eq!(statuses.enumerate().find(|(_, status)| *status == TaskStatus::Ready).map(|(at, _)| at), Some(777));
    }
}
