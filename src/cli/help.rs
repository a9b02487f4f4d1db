//! How help is formatted. Its text is in the grammar.

use clap::builder::StyledStr;
use clap::builder::styling::Styles;

use crate::color::{Paint, Tone};

/// The colours of help texts.
pub(super) const STYLES: Styles = Styles::plain()
    .header(Tone::Heading.style())
    .usage(Tone::Heading.style())
    .literal(Tone::Mark.style())
    .valid(Tone::Good.style())
    .invalid(Tone::Warning.style())
    .error(Tone::Bad.style().bold());

/// Headings inside a text, which the grammar's styles do not cover.
const HEADINGS: [&str; 2] = ["Example:", "Examples:"];

/// A help text as it is printed.
pub(crate) fn shown(help: &StyledStr, paint: Paint) -> String {
    if !paint.is_on() {
        return help.to_string();
    }
    let line = |line: &str| match HEADINGS.contains(&line.trim_end()) {
        true => paint.text(Tone::Heading, line),
        false => line.to_owned(),
    };
    help.ansi().to_string().split('\n').map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory as _};

    use super::*;
    use crate::cli::Cli;

    /// Every command with the full name that is typed to reach it.
    fn all() -> Vec<(String, Command)> {
        let mut root = Cli::command().term_width(80);
        root.build();
        let (mut all, mut left) = (Vec::new(), vec![(String::from("gleitzeit"), root)]);
        while let Some((name, command)) = left.pop() {
            let parts = command.get_subcommands().filter(|part| part.get_name() != "help" && !part.is_hide_set());
            left.extend(parts.map(|part| (format!("{name} {}", part.get_name()), part.clone().term_width(80))));
            all.push((name, command));
        }
        assert!(all.len() > 30, "{}", all.len());
        all
    }

    #[test]
    fn every_help_fits_80_columns_and_long_help_contains_all_of_the_short_one() {
        for (name, mut command) in all() {
            let (short, long) = (command.render_help().to_string(), command.render_long_help().to_string());
            for line in short.lines().chain(long.lines()) {
                assert!(crate::width::of(line) <= 80, "{name}: {line}");
            }
            assert!(long.len() > short.len(), "{name}: `--help` says more than `-h`");
        }
    }

    #[test]
    fn global_options_come_last_under_their_own_heading() {
        let globals =
            ["--color", "--utc", "--full", "--quiet", "--verbose", "--log-level", "--ca", "--config", "--help"];
        for (name, mut command) in all() {
            let help = command.render_help().to_string();
            let (own, last) = help.split_once("\nGlobal options:\n").unwrap_or_else(|| panic!("{name}: {help}"));
            for option in globals {
                let named = |text: &str| ["\n", " ", "..."].iter().any(|end| text.contains(&format!("{option}{end}")));
                assert!(named(last), "{name}: {option} in {help}");
                assert!(!named(own), "{name}: {option} in {help}");
            }
            let below: Vec<&str> = last.lines().filter(|line| !line.is_empty() && !line.starts_with(' ')).collect();
            assert!(matches!(below[..], ["Example:" | "Examples:"]), "{name}: only an example follows: {below:?}");
        }
    }

    #[test]
    fn every_command_has_an_example_that_its_grammar_accepts() {
        for (name, mut command) in all() {
            for help in [command.render_help().to_string(), command.render_long_help().to_string()] {
                let (_, examples) = help.rsplit_once("\nExample").unwrap_or_else(|| panic!("{name} has no example"));
                let lines: Vec<&str> = examples.lines().skip(1).take_while(|line| line.starts_with("  ")).collect();
                assert!(lines.iter().any(|line| line.trim().starts_with(&name)), "{name}: {lines:?}");
                for line in lines {
                    // The part that a shell reads from a command, or passes to another program.
                    let line = line.split_once("<(").map_or(line, |(_, inner)| inner.trim_end_matches(')'));
                    let line = line.split(['|', '>', '&']).next().unwrap_or_default();
                    let parsed = Cli::command().try_get_matches_from(quoted(line));
                    assert!(
                        parsed.is_ok(),
                        "{name}: {line}: {}",
                        parsed.err().map(|it| it.to_string()).unwrap_or_default()
                    );
                }
            }
        }
    }

    /// Splits a line into words as a shell does, with single quotes.
    fn quoted(line: &str) -> Vec<String> {
        let parts = line.split('\'').enumerate();
        let words = parts.flat_map(|(at, part)| match at % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        });
        words.collect()
    }

    #[test]
    fn help_has_colours_only_where_they_are_wanted() {
        let mut root = Cli::command().term_width(80);
        root.build();
        let help = root.find_subcommand_mut("version").expect("a command").render_help();
        assert!(!shown(&help, Paint::OFF).contains('\x1b'));
        let coloured = shown(&help, Paint::ON);
        let headings = coloured.lines().filter(|line| line.contains("Usage") || line.contains("Example"));
        let expected = ["\x1b[1mUsage:\x1b[0m \x1b[36mgleitzeit version\x1b[0m [OPTIONS]", "\x1b[1mExample:\x1b[0m"];
        assert_eq!(headings.collect::<Vec<_>>(), expected);
    }
}
