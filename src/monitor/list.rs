//! The position in a list or a text. Pure; the content is elsewhere.
//!
//! The invariant: after `settle` the selected row is visible, and no visible row is empty while there is content for
//! it.

use std::ops::Range;

/// A movement through a list or a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Motion {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
}

impl Motion {
    /// Whether the position follows the end after this movement.
    fn followed(self, follows: Option<bool>) -> Option<bool> {
        follows.map(|follows| match self {
            Self::Up | Self::PageUp | Self::First => false,
            Self::Last => true,
            Self::Down | Self::PageDown => follows,
        })
    }

    fn from(self, at: usize, rows: usize) -> usize {
        // A page keeps one line of the previous one.
        let page = rows.saturating_sub(1).max(1);
        match self {
            Self::Up => at.saturating_sub(1),
            Self::Down => at.saturating_add(1),
            Self::PageUp => at.saturating_sub(page),
            Self::PageDown => at.saturating_add(page),
            Self::First => 0,
            Self::Last => usize::MAX,
        }
    }
}

/// The selected row of a list, and the first visible one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    selected: usize,
    top: usize,
    len: usize,
    rows: usize,
    /// Whether the last row stays selected as the list grows; `None` if it does not grow at its end.
    follows: Option<bool>,
}

impl Cursor {
    /// Starts at the end of a growing list, and follows it.
    pub(super) fn at_end() -> Self {
        Self { follows: Some(true), ..Self::default() }
    }

    pub(super) fn selected(&self) -> usize {
        self.selected
    }

    /// Whether the last row stays selected as the list grows; `None` if it does not grow at its end.
    pub(super) fn follows(&self) -> Option<bool> {
        self.follows
    }

    /// Toggles following.
    pub(super) fn toggle(&mut self) {
        self.follows = self.follows.map(|follows| !follows);
        self.settle(self.len, self.rows);
    }

    /// Moves. Moving up stops following; moving to the end resumes it.
    pub(super) fn go(&mut self, motion: Motion) {
        self.selected = motion.from(self.selected, self.rows);
        self.follows = motion.followed(self.follows);
        self.settle(self.len, self.rows);
    }

    pub(super) fn select(&mut self, at: usize) {
        self.selected = at;
    }

    /// Adjusts to the removal of the first row.
    pub(super) fn first_removed(&mut self) {
        self.selected = self.selected.saturating_sub(1);
        self.top = self.top.saturating_sub(1);
    }

    /// Adjusts to a change of the list's length or the screen's height.
    pub(super) fn settle(&mut self, len: usize, rows: usize) {
        (self.len, self.rows) = (len, rows);
        let last = len.saturating_sub(1);
        self.selected = if self.follows == Some(true) { last } else { self.selected.min(last) };
        let least = (self.selected + 1).saturating_sub(rows);
        let most = self.selected.min(len.saturating_sub(rows));
        self.top = self.top.max(least).min(most);
    }

    pub(super) fn visible(&self) -> Range<usize> {
        self.top..self.len.min(self.top.saturating_add(self.rows))
    }
}

/// The first visible line of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scroll {
    top: usize,
    len: usize,
    rows: usize,
    /// Whether the end stays visible; `None` if the text does not grow.
    follows: Option<bool>,
}

impl Scroll {
    /// Starts at the end of a growing text, and follows it.
    pub(super) fn at_end() -> Self {
        Self { follows: Some(true), ..Self::default() }
    }

    /// Whether the end stays visible; `None` if the text does not grow.
    pub(super) fn follows(&self) -> Option<bool> {
        self.follows
    }

    /// Toggles following.
    pub(super) fn toggle(&mut self) {
        self.follows = self.follows.map(|follows| !follows);
        self.settle(self.len, self.rows);
    }

    /// Moves. Moving up stops following; moving to the end resumes it.
    pub(super) fn go(&mut self, motion: Motion) {
        self.top = motion.from(self.top, self.rows);
        self.follows = motion.followed(self.follows);
        self.settle(self.len, self.rows);
    }

    /// Adjusts to the removal of `count` lines at the beginning.
    pub(super) fn first_removed(&mut self, count: usize) {
        self.top = self.top.saturating_sub(count);
    }

    /// Adjusts to another height of the text or the screen.
    pub(super) fn settle(&mut self, len: usize, rows: usize) {
        (self.len, self.rows) = (len, rows);
        let last = len.saturating_sub(rows);
        self.top = if self.follows == Some(true) { last } else { self.top.min(last) };
    }

    pub(super) fn visible(&self) -> Range<usize> {
        self.top..self.len.min(self.top.saturating_add(self.rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selected_row_stays_visible_and_no_row_is_empty() {
        let mut cursor = Cursor::default();
        cursor.settle(20, 5);
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
            cursor.go(motion);
            assert_eq!((cursor.selected(), cursor.visible()), (selected, visible), "{motion:?}");
        }
        cursor.go(Motion::Last);
        cursor.settle(20, 15);
        assert_eq!(cursor.visible(), 5..20, "a larger screen is filled from above");
        for (len, rows, selected, visible) in [(3, 5, 2, 0..3), (0, 5, 0, 0..0), (4, 0, 0, 0..0)] {
            cursor.settle(len, rows);
            assert_eq!((cursor.selected(), cursor.visible()), (selected, visible), "{len} in {rows}");
        }
        assert_eq!(cursor.follows(), None, "it does not grow at its end");
    }

    #[test]
    fn a_list_follows_its_end_until_the_selection_moves_up() {
        let mut cursor = Cursor::at_end();
        cursor.settle(100, 10);
        assert_eq!((cursor.selected(), cursor.visible()), (99, 90..100));
        cursor.go(Motion::Up);
        cursor.settle(120, 10);
        assert_eq!((cursor.selected(), cursor.visible(), cursor.follows()), (98, 90..100, Some(false)));
        cursor.first_removed();
        cursor.settle(120, 10);
        assert_eq!((cursor.selected(), cursor.visible()), (97, 89..99), "what is read stays where it is");
        cursor.go(Motion::Down);
        assert_eq!(cursor.follows(), Some(false));
        cursor.go(Motion::Last);
        cursor.settle(130, 10);
        assert_eq!((cursor.selected(), cursor.follows()), (129, Some(true)));
        cursor.toggle();
        cursor.settle(140, 10);
        assert_eq!((cursor.selected(), cursor.follows()), (129, Some(false)));
        cursor.toggle();
        assert_eq!((cursor.selected(), cursor.follows()), (139, Some(true)));
    }

    #[test]
    fn a_text_is_read_without_empty_lines_at_its_end() {
        let mut scroll = Scroll::default();
        scroll.settle(30, 10);
        for (motion, visible) in [
            (Motion::Up, 0..10),
            (Motion::Down, 1..11),
            (Motion::PageDown, 10..20),
            (Motion::Last, 20..30),
            (Motion::PageUp, 11..21),
            (Motion::First, 0..10),
        ] {
            scroll.go(motion);
            assert_eq!(scroll.visible(), visible, "{motion:?}");
        }
        scroll.go(Motion::Last);
        scroll.settle(30, 25);
        assert_eq!(scroll.visible(), 5..30);
        scroll.settle(3, 25);
        assert_eq!(scroll.visible(), 0..3);
    }

    #[test]
    fn a_growing_text_follows_its_end_until_the_reader_scrolls_up() {
        let mut scroll = Scroll::at_end();
        scroll.settle(100, 10);
        assert_eq!((scroll.visible(), scroll.follows()), (90..100, Some(true)));
        scroll.go(Motion::Up);
        scroll.settle(120, 10);
        assert_eq!((scroll.visible(), scroll.follows()), (89..99, Some(false)));
        scroll.first_removed(40);
        scroll.settle(80, 10);
        assert_eq!(scroll.visible(), 49..59, "what is read stays where it is");
        scroll.go(Motion::Last);
        scroll.settle(120, 10);
        assert_eq!((scroll.visible(), scroll.follows()), (110..120, Some(true)));
        scroll.toggle();
        scroll.settle(130, 10);
        assert_eq!((scroll.visible(), scroll.follows()), (110..120, Some(false)));
    }
}
