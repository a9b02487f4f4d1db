//! Packs the items of a stream into messages.

use prost::Message;

/// The target size of a message in bytes; a single larger item gets a message of its own.
const MESSAGE_BYTES: usize = 256 * 1024;

/// Groups the items, in their order, into messages of at most [`MESSAGE_BYTES`].
pub(super) fn batches<T: Message>(items: impl Iterator<Item = T>) -> impl Iterator<Item = Vec<T>> {
    let mut items = items.peekable();
    std::iter::from_fn(move || {
        let mut batch = vec![items.next()?];
        let mut bytes = batch[0].encoded_len();
        while let Some(item) = items.next_if(|item| bytes + item.encoded_len() <= MESSAGE_BYTES) {
            bytes += item.encoded_len();
            batch.push(item);
        }
        Some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_contains_what_fits_and_a_larger_item_is_sent_alone() {
        let sizes = [10, 100_000, 150_000, 25_000, 500_000, 5];
        let batches = batches(sizes.into_iter().map(|size| "x".repeat(size)));
        let sizes: Vec<Vec<usize>> = batches.map(|batch| batch.iter().map(String::len).collect()).collect();
        assert_eq!(sizes, [vec![10, 100_000, 150_000], vec![25_000], vec![500_000], vec![5]]);
    }
}
