//! The colours of the command line, as the screen takes them.

use ratatui::style::{Color, Modifier, Style};

use crate::color::{self, Tone};

/// How text of this kind looks. Without colours everything can still be told apart by its words.
pub(super) fn of(tone: Tone) -> Style {
    let colour = match tone {
        Tone::Dim => return Style::new().add_modifier(Modifier::DIM),
        Tone::Heading => return Style::new().add_modifier(Modifier::BOLD),
        Tone::Plain => return Style::new(),
        Tone::Good => Color::Green,
        Tone::Bad => Color::Red,
        Tone::Warning => Color::Yellow,
        Tone::Busy | Tone::Mark => Color::Cyan,
        Tone::Id => Color::Magenta,
    };
    if color::stdout().is_on() { Style::new().fg(colour) } else { Style::new() }
}

/// The selected row, and the view that is shown.
pub(super) fn selected() -> Style {
    Style::new().add_modifier(Modifier::REVERSED)
}
