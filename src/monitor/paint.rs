//! Translates the colours of the command line to the screen.

use ratatui::style::{Color, Modifier, Style};

use crate::color::{self, Tone};

/// The style of a tone. Without colours the words still carry all information.
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

/// The style of the selected row, and of the current view's name.
pub(super) fn selected() -> Style {
    Style::new().add_modifier(Modifier::REVERSED)
}
