//! Lists are sent in frames of bounded size, however long they are.

/// The largest size of a frame, except for one with a single larger item.
pub(crate) const FRAME_BYTES: usize = 1024 * 1024;
/// The estimated size of an item besides what is measured; generous.
const ITEM_BYTES: usize = 1_024;

/// Packs items into frames, in order: a frame is full when the next item would take it over its limit.
#[derive(Debug)]
pub(crate) struct Packer<T> {
    max_bytes: usize,
    items: Vec<T>,
    bytes: usize,
}

impl<T> Packer<T> {
    /// Packs into frames of at most `max_bytes`.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, items: Vec::new(), bytes: 0 }
    }

    /// Adds an item of a size. Returns the frame so far, as a full one, if the item does not fit into it.
    #[must_use = "a full frame must be sent"]
    pub(crate) fn push(&mut self, item: T, size: usize) -> Option<Vec<T>> {
        let full = if self.bytes + size > self.max_bytes { self.take() } else { None };
        self.bytes += size;
        self.items.push(item);
        full
    }

    /// The last frame, if it holds anything.
    #[must_use = "the last frame must be sent"]
    pub(crate) fn take(&mut self) -> Option<Vec<T>> {
        self.bytes = 0;
        (!self.items.is_empty()).then(|| std::mem::take(&mut self.items))
    }
}

/// Cuts a list into frames; `size_of` measures what may be large in an item.
pub(crate) fn frames<T>(items: impl IntoIterator<Item = T>, size_of: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut packer = Packer::new(FRAME_BYTES);
    let mut frames = Vec::new();
    for item in items {
        let size = ITEM_BYTES + size_of(&item);
        frames.extend(packer.push(item, size));
    }
    frames.extend(packer.take());
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_filled_in_order_and_a_large_item_has_its_own() {
        let item = FRAME_BYTES / 4 - ITEM_BYTES;
        let sizes: Vec<usize> = frames([item; 9], |size| *size).iter().map(Vec::len).collect();
        assert_eq!(sizes, [4, 4, 1]);
        let sizes: Vec<usize> = frames([1, 2 * FRAME_BYTES, 1], |size| *size).iter().map(Vec::len).collect();
        assert_eq!(sizes, [1, 1, 1]);
        assert!(frames(Vec::<usize>::new(), |size| *size).is_empty());
    }
}
