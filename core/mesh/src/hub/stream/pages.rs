//! A slice's state in pages, and texts that are larger than a frame in pieces.

use gleitzeit_run::id::{Epoch, Slice};
use gleitzeit_run::ledger::SliceState;
use gleitzeit_workflow::payload::Payload;

use crate::frames::Packer;
use crate::wire::{Part, StatePage};

/// No frame of entries or of a state is filled beyond this.
pub(super) const FRAME_BYTES: usize = 512 * 1024;

/// A slice's state in pages; the last page is marked.
pub(super) fn pages(slice: &Slice, epoch: Epoch, state: &SliceState) -> Vec<StatePage> {
    let page = |items, part| StatePage { slice: slice.clone(), epoch, items, part, last: false };
    let mut pages = Vec::new();
    let mut frame = Packer::new(FRAME_BYTES);
    for item in &state.items {
        // Items are structs of strings, numbers and raw JSON: serializing them cannot fail.
        let item = Payload::of(item).expect("a slice item is serializable");
        let size = item.size_bytes();
        if size > FRAME_BYTES {
            pages.extend(frame.take().map(|items| page(items, None)));
            pages.extend(pieces(item.get()).into_iter().map(|part| page(Vec::new(), Some(part))));
        } else {
            pages.extend(frame.push(item, size).map(|items| page(items, None)));
        }
    }
    pages.push(StatePage { last: true, ..page(frame.take().unwrap_or_default(), None) });
    pages
}

/// A text in pieces of at most a frame, cut between characters.
pub(super) fn pieces(text: &str) -> Vec<Part> {
    let mut cuts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.floor_char_boundary(FRAME_BYTES);
        let (piece, after) = rest.split_at(end);
        cuts.push(piece);
        rest = after;
    }
    let of = u32::try_from(cuts.len()).unwrap_or(u32::MAX);
    (0..of).zip(cuts).map(|(part, text)| Part { part, of, text: text.to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_split_between_characters_and_join_to_the_original_text() {
        let text = "é".repeat(FRAME_BYTES);
        let parts = pieces(&text);
        assert_eq!(parts.len(), 2);
        assert!(parts.iter().all(|part| part.text.len() <= FRAME_BYTES && part.of == 2));
        assert_eq!(parts.iter().map(|part| part.text.as_str()).collect::<String>(), text);
    }
}
