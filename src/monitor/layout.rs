//! Where things stand on a screen of a given size. Both the drawing and the model use it: a page is as long as what is
//! shown. Pure.

use ratatui::layout::{Constraint, Layout as Split, Rect, Size};

use super::keys::Place;

/// Anything smaller is not drawn into.
pub(super) const LEAST: Size = Size { width: 50, height: 12 };
/// From this height on there is room for a second line at the head and at the foot.
const TALL: u16 = 20;
/// From this width on two parts of a run or task stand side by side.
const WIDE: u16 = 150;
/// From this height on a run's events stand below its tasks.
const STACKED: u16 = 26;

/// Whether anything can be shown.
pub(super) fn fits(size: Size) -> bool {
    size.width >= LEAST.width && size.height >= LEAST.height
}

/// The parts of the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Where one is, and how the control plane is.
    pub(super) head: Rect,
    /// What an open run or task is; empty in lists.
    pub(super) about: Rect,
    /// The lists and texts that are visible.
    pub(super) panes: Vec<(Place, Rect)>,
    /// What happened last, and the keys.
    pub(super) foot: Rect,
}

/// The parts of a screen of this size while keys speak to `place`.
pub(super) fn of(size: Size, place: Place) -> Layout {
    let area = Rect::new(0, 0, size.width, size.height);
    let is_tall = size.height >= TALL;
    let lines = if is_tall { 2 } else { 1 };
    let about = match place {
        Place::Runs | Place::Components | Place::Providers | Place::Events => 0,
        Place::Tasks | Place::RunEvents | Place::Waiting => lines,
        Place::Details | Place::Log => 1,
    };
    let parts = [lines, about].map(Constraint::Length).into_iter();
    let parts = parts.chain([Constraint::Fill(1), Constraint::Length(lines)]);
    let [head, about, body, foot] = Split::vertical(parts).areas(area);
    Layout { head, about, panes: panes(body, size, place), foot }
}

fn panes(body: Rect, size: Size, place: Place) -> Vec<(Place, Rect)> {
    let halves = |left: Place, right: Place, shares: [u16; 2]| {
        let [first, second] = Split::horizontal(shares.map(Constraint::Fill)).spacing(2).areas(body);
        vec![(left, first), (right, second)]
    };
    match place {
        Place::Tasks | Place::RunEvents if size.width >= WIDE => halves(Place::Tasks, Place::RunEvents, [3, 2]),
        Place::Tasks | Place::RunEvents if size.height >= STACKED => {
            let [tasks, events] = Split::vertical([3, 2].map(Constraint::Fill)).areas(body);
            vec![(Place::Tasks, tasks), (Place::RunEvents, events)]
        }
        Place::Details | Place::Log if size.width >= WIDE => halves(Place::Details, Place::Log, [1, 1]),
        alone => vec![(alone, body)],
    }
}

impl Layout {
    /// How many rows of a list, or lines of a text, a visible part shows. Its title takes a line, and of a list the names
    /// of the columns another.
    pub(super) fn rows(&self, place: Place) -> usize {
        let taken = if matches!(place, Place::Details | Place::Log) { 1 } else { 2 };
        usize::from(self.pane(place).height.saturating_sub(taken)).max(1)
    }

    /// How wide a visible part is.
    pub(super) fn columns(&self, place: Place) -> usize {
        usize::from(self.pane(place).width).max(1)
    }

    fn pane(&self, place: Place) -> Rect {
        self.panes.iter().find(|(it, _)| *it == place).map(|(_, area)| *area).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(width: u16, height: u16, place: Place) -> (usize, usize) {
        let layout = of(Size { width, height }, place);
        (layout.panes.len(), layout.rows(place))
    }

    #[test]
    fn small_screens_show_one_part_and_large_ones_two() {
        assert_eq!(rows(60, 15, Place::Runs), (1, 11));
        assert_eq!(rows(60, 15, Place::Tasks), (1, 10));
        assert_eq!(rows(80, 24, Place::Tasks), (1, 16));
        assert_eq!(rows(100, 30, Place::Tasks).0, 2, "events below the tasks");
        assert_eq!(rows(200, 60, Place::Log), (2, 54), "the log beside the details");
        assert!(!fits(Size { width: 40, height: 10 }) && fits(Size { width: 60, height: 15 }));
    }

    #[test]
    fn every_line_of_the_screen_belongs_to_a_part() {
        for (width, height) in [(50, 12), (60, 15), (80, 24), (100, 30), (200, 60)] {
            for place in [Place::Runs, Place::Tasks, Place::Waiting, Place::Log] {
                let layout = of(Size { width, height }, place);
                let mut lines: Vec<u16> = [layout.head, layout.about, layout.foot].map(|it| it.height).to_vec();
                let body = layout.panes.iter().map(|(_, area)| area.bottom()).max().unwrap_or_default();
                lines.push(body - layout.about.bottom());
                assert_eq!(lines.iter().sum::<u16>(), height, "{width}x{height} {place:?}");
            }
        }
    }
}
