//! Lists are sent in frames of bounded size, however long they are.

/// No frame holds more than this, save for one item that is larger.
const FRAME_BYTES: usize = 1024 * 1024;
/// What an item costs besides what is measured of it, generously.
const ITEM_BYTES: usize = 1_024;

/// Cuts a list into frames; `size_of` measures what may be large in an item.
pub(crate) fn frames<T>(items: impl IntoIterator<Item = T>, size_of: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut frames: Vec<Vec<T>> = Vec::new();
    let mut bytes = 0;
    for item in items {
        let size = ITEM_BYTES + size_of(&item);
        match frames.last_mut().filter(|_| bytes + size <= FRAME_BYTES) {
            Some(frame) => frame.push(item),
            None => {
                frames.push(vec![item]);
                bytes = 0;
            }
        }
        bytes += size;
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_full_before_the_next_begins_and_a_large_item_stands_alone() {
        let item = FRAME_BYTES / 4 - ITEM_BYTES;
        let sizes: Vec<usize> = frames([item; 9], |size| *size).iter().map(Vec::len).collect();
        assert_eq!(sizes, [4, 4, 1]);
        let sizes: Vec<usize> = frames([1, 2 * FRAME_BYTES, 1], |size| *size).iter().map(Vec::len).collect();
        assert_eq!(sizes, [1, 1, 1]);
        assert!(frames(Vec::<usize>::new(), |size| *size).is_empty());
    }
}
