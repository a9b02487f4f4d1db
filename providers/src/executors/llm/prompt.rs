//! Estimates how large a prompt is and whether a server can have read all of it: some servers cut a prompt that is too
//! long for the model's context and answer the rest as if nothing were missing.
//!
//! A server reports how many tokens it read. No tokenizer in use makes one token of several words (the few that do
//! average less than two words), and none has tokens of more than 128 bytes, which are runs of one character. So a
//! prompt was cut if it has more than four words per token, or more than 64 bytes per token, where runs of white space
//! or of one character hardly count. A smaller cut cannot be detected.

/// More words per token than this are too many.
const MAX_WORDS: u64 = 4;
/// More bytes per token than this are too many.
const MAX_BYTES: u64 = 64;
/// How much of a run of one character, or of white space, counts.
const MAX_RUN: u64 = 4;
/// A prompt shorter than this, in bytes, fits into any context.
const MIN_BYTES: u64 = 2_048;

/// The size of a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// The bytes as sent, in UTF-8.
    pub(super) bytes: u64,
    /// The number of words: runs of letters.
    pub(super) words: u64,
    /// The bytes without long runs of the same character.
    dense: u64,
}

impl Size {
    /// Adds a text.
    pub(super) fn add(&mut self, text: &str) {
        self.bytes = self.bytes.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
        let (mut before, mut run, mut in_word) = (None, 0, false);
        for letter in text.chars() {
            let kind = if letter.is_whitespace() { ' ' } else { letter };
            run = if before == Some(kind) { run + 1 } else { 1 };
            before = Some(kind);
            if run <= MAX_RUN {
                self.dense += if kind == ' ' { 1 } else { u64::try_from(letter.len_utf8()).unwrap_or(4) };
            }
            let is_letter = letter.is_alphabetic();
            self.words += u64::from(is_letter && !in_word);
            in_word = is_letter;
        }
    }

    /// Whether this number of tokens is too small for all of it. Zero says nothing: a server omits what it has not
    /// counted.
    pub(super) fn is_cut(&self, tokens: u64) -> bool {
        tokens > 0
            && self.bytes >= MIN_BYTES
            && (tokens.saturating_mul(MAX_WORDS) < self.words || tokens.saturating_mul(MAX_BYTES) < self.dense)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(text: &str) -> Size {
        let mut size = Size::default();
        size.add(text);
        size
    }

    #[test]
    fn a_partly_read_prompt_is_detected() {
        let long = size(&"filler ".repeat(20_000));
        assert_eq!((long.bytes, long.words), (140_000, 20_000));
        assert!(long.is_cut(2_050) && long.is_cut(4_999) && !long.is_cut(5_001));
        assert!(!long.is_cut(0), "not counted");
        let chinese = size(&"每个人都有权享有生命自由和人身安全".repeat(1_000));
        assert!(chinese.is_cut(500) && !chinese.is_cut(1_000), "no words, but many bytes");
        let seed = size(&"The quick brown fox jumps over it. ".repeat(4_129));
        assert!(seed.is_cut(512) && !seed.is_cut(28_905));
    }

    #[test]
    fn text_that_needs_few_tokens_does_not_count_as_cut() {
        // One token per 128 bytes, the longest that exist.
        for text in [" ".repeat(100_000), "\n".repeat(100_000), "=".repeat(100_000), "\u{2500}".repeat(30_000)] {
            assert!(!size(&text).is_cut(u64::try_from(text.len() / 128).expect("few")), "{:?}", &text[..3]);
        }
        for text in [" \t\n".repeat(40_000), "translatesAutoresizingMaskIntoConstraints ".repeat(3_000)] {
            assert!(!size(&text).is_cut(3_000), "{:?}", &text[..9]);
        }
        assert!(!size(&"word ".repeat(400)).is_cut(1), "too short for any context to be too small");
    }
}
