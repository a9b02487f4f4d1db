//! The appearance of this process's output: set once, from the options, the environment and the properties of stdout
//! and stderr, and used by everything that prints. Until it is set, and in tests, output looks as it does in a file.

use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicU8, Ordering};

use clap::ValueEnum;

static SETTLED: AtomicU8 = AtomicU8::new(0);

const STDOUT_COLOUR: u8 = 1;
const STDERR_COLOUR: u8 = 1 << 1;
const RELATIVE_TIMES: u8 = 1 << 2;
const IN_FULL: u8 = 1 << 3;
const SHORT_IDS: u8 = 1 << 4;
const QUIET: u8 = 1 << 5;

/// When text is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorWhen {
    /// As the environment says, else on a terminal
    #[default]
    Auto,
    /// Whatever the environment says, also into files and pipes
    Always,
    /// Nowhere
    Never,
}

/// What the options ask for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Choices {
    pub(crate) colour: ColorWhen,
    pub(crate) utc: bool,
    pub(crate) full: bool,
    pub(crate) quiet: bool,
}

/// What the process finds itself in.
#[derive(Clone, Copy, Debug, Default)]
struct Environment {
    stdout_is_terminal: bool,
    stderr_is_terminal: bool,
    /// `TERM` says that the terminal can only print.
    is_dumb: bool,
    /// `NO_COLOR` is set to anything (no-color.org).
    no_color: bool,
    /// `CLICOLOR_FORCE` is set to anything but 0 (bixense.com/clicolors).
    force: bool,
}

impl Environment {
    fn of_process() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            stdout_is_terminal: io::stdout().is_terminal(),
            stderr_is_terminal: io::stderr().is_terminal(),
            is_dumb: set("TERM").is_some_and(|term| term == "dumb"),
            no_color: set("NO_COLOR").is_some(),
            force: set("CLICOLOR_FORCE").is_some_and(|value| value != "0"),
        }
    }

    /// The option takes precedence over `NO_COLOR`, that over `CLICOLOR_FORCE`, and that over the type of the stream.
    fn colours(&self, when: ColorWhen, is_terminal: bool) -> bool {
        match when {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto if self.no_color => false,
            ColorWhen::Auto => self.force || (is_terminal && !self.is_dumb),
        }
    }
}

/// Sets the appearance of all further output.
pub(crate) fn settle(choices: &Choices) {
    SETTLED.store(bits(choices, &Environment::of_process()), Ordering::Relaxed);
}

fn bits(choices: &Choices, around: &Environment) -> u8 {
    let flags = [
        (STDOUT_COLOUR, around.colours(choices.colour, around.stdout_is_terminal)),
        (STDERR_COLOUR, around.colours(choices.colour, around.stderr_is_terminal)),
        (RELATIVE_TIMES, around.stdout_is_terminal && !choices.utc),
        (IN_FULL, choices.full),
        (SHORT_IDS, around.stdout_is_terminal && !choices.full),
        (QUIET, choices.quiet),
    ];
    flags.into_iter().filter_map(|(bit, is_set)| is_set.then_some(bit)).fold(0, |all, bit| all | bit)
}

fn is_set(bit: u8) -> bool {
    SETTLED.load(Ordering::Relaxed) & bit != 0
}

/// Whether stdout has colours. A full-screen view is on stdout too.
pub(crate) fn stdout_has_colour() -> bool {
    is_set(STDOUT_COLOUR)
}

/// Whether stderr has colours.
pub(crate) fn stderr_has_colour() -> bool {
    is_set(STDERR_COLOUR)
}

/// Whether stdout shows times as ages.
pub(crate) fn relative_times() -> bool {
    is_set(RELATIVE_TIMES)
}

/// Whether nothing is cut to fit the terminal.
pub(crate) fn in_full() -> bool {
    is_set(IN_FULL)
}

/// Whether lists on stdout shorten ids to a unique prefix.
pub(crate) fn short_ids() -> bool {
    is_set(SHORT_IDS)
}

/// Whether only results and errors are printed.
pub(crate) fn is_quiet() -> bool {
    is_set(QUIET)
}

/// The choice of colour, as far as it can be found in arguments that could not be parsed.
pub(crate) fn wanted_colour(arguments: &[String]) -> ColorWhen {
    let mut wanted = ColorWhen::Auto;
    for (index, argument) in arguments.iter().enumerate() {
        let value = match argument.as_str() {
            "--" => break,
            "--color" => arguments.get(index + 1).map(String::as_str),
            other => other.strip_prefix("--color="),
        };
        match value {
            Some("always") => wanted = ColorWhen::Always,
            Some("never") => wanted = ColorWhen::Never,
            Some("auto") => wanted = ColorWhen::Auto,
            _ => {}
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMINAL: Environment = Environment {
        stdout_is_terminal: true,
        stderr_is_terminal: true,
        is_dumb: false,
        no_color: false,
        force: false,
    };
    const FILE: Environment = Environment { stdout_is_terminal: false, stderr_is_terminal: false, ..TERMINAL };

    #[test]
    fn colour_follows_the_option_then_no_color_then_force_then_the_stream() {
        let (no_color, force, dumb) = (
            Environment { no_color: true, ..TERMINAL },
            Environment { force: true, ..FILE },
            Environment { is_dumb: true, ..TERMINAL },
        );
        let both = Environment { no_color: true, ..force };
        for (around, auto) in
            [(TERMINAL, true), (FILE, false), (no_color, false), (force, true), (both, false), (dumb, false)]
        {
            for (when, expected) in [(ColorWhen::Auto, auto), (ColorWhen::Always, true), (ColorWhen::Never, false)] {
                let bits = bits(&Choices { colour: when, ..Choices::default() }, &around);
                assert_eq!(bits & STDOUT_COLOUR != 0, expected, "{when:?} {around:?}");
                assert_eq!(bits & STDERR_COLOUR != 0, expected, "{when:?} {around:?}");
            }
        }
        let piped = Environment { stdout_is_terminal: false, ..TERMINAL };
        let bits = bits(&Choices::default(), &piped);
        assert_eq!((bits & STDOUT_COLOUR, bits & STDERR_COLOUR), (0, STDERR_COLOUR), "each stream by itself");
    }

    #[test]
    fn a_file_always_gets_whole_ids_and_exact_times() {
        let of = |choices: Choices, around| bits(&choices, &around) & (RELATIVE_TIMES | SHORT_IDS);
        let (plain, utc, full) = (
            Choices::default(),
            Choices { utc: true, ..Choices::default() },
            Choices { full: true, ..Choices::default() },
        );
        assert_eq!(of(plain, TERMINAL), RELATIVE_TIMES | SHORT_IDS);
        assert_eq!(of(utc, TERMINAL), SHORT_IDS);
        assert_eq!(of(full, TERMINAL), RELATIVE_TIMES);
        let always = Choices { colour: ColorWhen::Always, ..Choices::default() };
        for choices in [plain, utc, full, always] {
            assert_eq!(of(choices, FILE), 0, "{choices:?}");
        }
    }

    #[test]
    fn the_colour_option_is_found_among_invalid_arguments() {
        for (line, expected) in [
            ("gz list --nope --color always", ColorWhen::Always),
            ("gz --color=never lst", ColorWhen::Never),
            ("gz list --color", ColorWhen::Auto),
            ("gz list --color sometimes", ColorWhen::Auto),
            ("gz run f -- --color always", ColorWhen::Auto),
        ] {
            let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(wanted_colour(&arguments), expected, "{line}");
        }
    }
}
