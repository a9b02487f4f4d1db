//! A list in chunks that copies share. Copying 100,000 items for a reader costs the writer one pointer for each chunk, and a
//! later change copies only the chunk that it is in.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

/// The number of items in a chunk.
const CHUNK: usize = 64;

/// A list of fixed length in chunks that copies share.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunks<T> {
    chunks: Vec<Arc<Vec<T>>>,
    len: usize,
}

impl<T> Chunks<T> {
    /// The number of items.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The item at an index.
    pub fn get(&self, at: usize) -> Option<&T> {
        self.chunks.get(at / CHUNK)?.get(at % CHUNK)
    }

    /// All items, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }
}

impl<T> FromIterator<T> for Chunks<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut items = items.into_iter();
        let (mut chunks, mut len) = (Vec::new(), 0);
        loop {
            let chunk: Vec<T> = items.by_ref().take(CHUNK).collect();
            if chunk.is_empty() {
                return Self { chunks, len };
            }
            len += chunk.len();
            chunks.push(Arc::new(chunk));
        }
    }
}

impl<T> Index<usize> for Chunks<T> {
    type Output = T;

    fn index(&self, at: usize) -> &T {
        &self.chunks[at / CHUNK][at % CHUNK]
    }
}

impl<T: Clone> IndexMut<usize> for Chunks<T> {
    fn index_mut(&mut self, at: usize) -> &mut T {
        &mut Arc::make_mut(&mut self.chunks[at / CHUNK])[at % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_shares_unchanged_parts() {
        let mut items: Chunks<u32> = (0..1_000).map(|_| 0).collect();
        let copy = items.clone();
        assert_eq!((items.len(), items.iter().count(), items.get(1_000)), (1_000, 1_000, None));
        items[777] = 5;
        assert_eq!((items[777], copy[777]), (5, 0));
        let shared = items.chunks.iter().zip(&copy.chunks).filter(|(one, other)| Arc::ptr_eq(one, other));
        assert_eq!(shared.count(), 1_000_usize.div_ceil(CHUNK) - 1);
        assert_eq!(items.iter().position(|item| *item == 5), Some(777));
    }
}
