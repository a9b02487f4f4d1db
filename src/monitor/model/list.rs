//! Where one is in a list or a text. Pure; the list itself lies elsewhere.
//!
//! The invariant: after `settle` the selected row is visible, and no row is empty that could show something.

use std::ops::Range;

/// A step through a list or a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Motion {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
}

/// The selected row of a list, and the first visible one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Cursor {
    pub(in super::super) selected: usize,
    top: usize,
}

impl Cursor {
    /// Moves in a list of `len` rows of which `rows` are visible.
    pub(super) fn go(&mut self, motion: Motion, len: usize, rows: usize) {
        // A page leaves one line of the one before.
        let page = rows.saturating_sub(1).max(1);
        self.selected = match motion {
            Motion::Up => self.selected.saturating_sub(1),
            Motion::Down => self.selected.saturating_add(1),
            Motion::PageUp => self.selected.saturating_sub(page),
            Motion::PageDown => self.selected.saturating_add(page),
            Motion::First => 0,
            Motion::Last => usize::MAX,
        };
        self.settle(len, rows);
    }

    /// Selects a row.
    pub(super) fn select(&mut self, at: usize) {
        self.selected = at;
    }

    /// Rows before the selected one were removed.
    pub(super) fn removed_before(&mut self, count: usize) {
        self.selected = self.selected.saturating_sub(count);
        self.top = self.top.saturating_sub(count);
    }

    /// Fits into a list that has become shorter, or a screen that has another height.
    pub(super) fn settle(&mut self, len: usize, rows: usize) {
        self.selected = self.selected.min(len.saturating_sub(1));
        self.top = self.visible(len, rows).start;
    }

    /// Which rows are visible.
    pub(in super::super) fn visible(&self, len: usize, rows: usize) -> Range<usize> {
        let least = (self.selected + 1).saturating_sub(rows);
        let most = self.selected.min(len.saturating_sub(rows));
        let top = self.top.max(least).min(most);
        top..len.min(top.saturating_add(rows))
    }
}

/// The first visible line of a text, and whether its end is to stay in sight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Scroll {
    top: usize,
    pub(in super::super) follows: bool,
}

impl Scroll {
    /// At the end of a text, and staying there.
    pub(super) fn at_end() -> Self {
        Self { top: 0, follows: true }
    }

    /// Moves in a text of `len` lines of which `rows` are visible. Moving up ends following, moving to the end begins it
    /// again if the text is one that grows.
    pub(super) fn go(&mut self, motion: Motion, len: usize, rows: usize, grows: bool) {
        let page = rows.saturating_sub(1).max(1);
        let from = self.visible(len, rows).start;
        let last = len.saturating_sub(rows);
        self.top = match motion {
            Motion::Up => from.saturating_sub(1),
            Motion::Down => from.saturating_add(1),
            Motion::PageUp => from.saturating_sub(page),
            Motion::PageDown => from.saturating_add(page),
            Motion::First => 0,
            Motion::Last => last,
        }
        .min(last);
        match motion {
            Motion::Up | Motion::PageUp | Motion::First => self.follows = false,
            Motion::Last => self.follows = grows,
            Motion::Down | Motion::PageDown => {}
        }
    }

    /// Begins or ends following.
    pub(super) fn toggle(&mut self, len: usize, rows: usize) {
        self.top = self.visible(len, rows).start;
        self.follows = !self.follows;
    }

    /// Lines before were removed.
    pub(super) fn removed_before(&mut self, count: usize) {
        self.top = self.top.saturating_sub(count);
    }

    /// Which lines are visible.
    pub(in super::super) fn visible(&self, len: usize, rows: usize) -> Range<usize> {
        let last = len.saturating_sub(rows);
        let top = if self.follows { last } else { self.top.min(last) };
        top..len.min(top.saturating_add(rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selected_row_stays_visible_and_no_row_is_empty() {
        let mut cursor = Cursor::default();
        for (motion, selected, visible) in [
            (Motion::Up, 0, 0..5),
            (Motion::Down, 1, 0..5),
            (Motion::PageDown, 5, 1..6),
            (Motion::Last, 19, 15..20),
            (Motion::Down, 19, 15..20),
            (Motion::PageUp, 15, 15..20),
            (Motion::Up, 14, 14..19),
            (Motion::First, 0, 0..5),
        ] {
            cursor.go(motion, 20, 5);
            assert_eq!((cursor.selected, cursor.visible(20, 5)), (selected, visible), "{motion:?}");
        }
        cursor.go(Motion::Last, 20, 5);
        assert_eq!(cursor.visible(20, 15), 5..20, "a larger screen is filled from above");
        cursor.settle(3, 5);
        assert_eq!((cursor.selected, cursor.visible(3, 5)), (2, 0..3), "of a shorter list");
        cursor.settle(0, 5);
        assert_eq!((cursor.selected, cursor.visible(0, 5)), (0, 0..0));
    }

    #[test]
    fn a_text_follows_its_end_until_one_moves_up() {
        let mut scroll = Scroll::at_end();
        assert_eq!(scroll.visible(100, 10), 90..100);
        scroll.go(Motion::Up, 100, 10, true);
        assert_eq!((scroll.visible(120, 10), scroll.follows), (89..99, false));
        scroll.go(Motion::Down, 120, 10, true);
        assert_eq!(scroll.visible(120, 10), 90..100);
        scroll.removed_before(40);
        assert_eq!(scroll.visible(80, 10), 50..60, "what is read stays where it is");
        scroll.go(Motion::Last, 120, 10, true);
        assert!(scroll.follows);
        scroll.toggle(120, 10);
        assert_eq!((scroll.visible(130, 10), scroll.follows), (110..120, false));
        let mut fixed = Scroll::default();
        fixed.go(Motion::Last, 30, 10, false);
        assert_eq!((fixed.visible(30, 10), fixed.follows), (20..30, false));
        assert_eq!(fixed.visible(5, 10), 0..5);
    }
}
