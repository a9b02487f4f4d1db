//! Programs that read others: which of their arguments are code. A value may only stand where the program has been
//! given for certain and no option can follow.

use super::Refused;

const CODE: Refused = "in what another program reads as code; give it as an argument of its own";
const BEFORE: Refused = "where an interpreter may take it for an option or for its program; give it behind the program, \
                         and behind `--` if options may follow there";

/// How an interpreter reads its arguments.
#[derive(Debug, PartialEq, Eq)]
struct Interpreter {
    names: &'static [&'static str],
    /// Letters of options that a program follows on, in the same word or the next.
    code: &'static str,
    long_code: &'static [&'static str],
    /// Letters of options that nothing follows on.
    flags: &'static str,
    /// Letters of options with an argument.
    takes: &'static str,
    after: After,
    /// Without a program it reads one from its input.
    input: bool,
}

/// What may stand behind the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// Arguments only.
    Data,
    /// Options too, until the first argument or `--`.
    Options,
    /// Options everywhere, until `--`.
    Mixed,
}

const INTERPRETERS: &[Interpreter] = &[
    Interpreter {
        names: &["sh", "bash", "dash", "ash", "rbash", "ksh", "mksh", "zsh", "fish"],
        code: "c",
        long_code: &[],
        flags: "abefhiklmnprtuvxBCEHPT",
        takes: "oO",
        after: After::Data,
        input: true,
    },
    Interpreter {
        names: &["python", "pypy"],
        // A module is a program too.
        code: "cm",
        long_code: &[],
        flags: "bBdEhiIOPqRsSuvVx",
        takes: "WX",
        after: After::Data,
        input: true,
    },
    Interpreter {
        names: &["perl", "ruby"],
        code: "eE",
        long_code: &[],
        flags: "acilnpsStTuUwW01234567",
        takes: "FIMmr",
        after: After::Options,
        input: true,
    },
    Interpreter {
        names: &["node", "nodejs", "bun"],
        code: "ep",
        long_code: &["--eval", "--print"],
        flags: "i",
        takes: "",
        after: After::Options,
        input: true,
    },
    Interpreter {
        names: &["php"],
        code: "rBRE",
        long_code: &["--run"],
        flags: "nqw",
        takes: "cd",
        after: After::Options,
        input: true,
    },
    Interpreter {
        names: &["lua", "luajit", "tclsh", "wish", "expect", "deno", "Rscript", "osascript", "pwsh"],
        code: "",
        long_code: &[],
        flags: "",
        takes: "",
        after: After::Data,
        input: true,
    },
    Interpreter {
        names: &["awk", "gawk", "mawk", "nawk"],
        // A file with one is a program too.
        code: "f",
        long_code: &[],
        flags: "",
        takes: "Fv",
        after: After::Options,
        input: false,
    },
    Interpreter {
        names: &["sed", "gsed"],
        code: "ef",
        long_code: &["--expression"],
        flags: "nEirsuz",
        takes: "",
        after: After::Mixed,
        input: false,
    },
];
/// First arguments that a program follows on.
const CODE_COMMANDS: &[(&str, &str)] = &[("deno", "eval")];

/// Whether an interpreter may be called in a text that cannot be read.
pub(super) fn is_named_in(text: &str) -> bool {
    let separates = |it: char| !it.is_ascii_alphanumeric() && it != '.';
    text.split(separates).any(|word| Reader::of(word).is_some_and(|reader| reader.interpreter.input))
}

/// What the next word is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Any,
    /// A program, if it is no option (or even then).
    Code { options_first: bool },
    /// The argument of an option with this letter.
    Argument(char),
}

/// The arguments of an interpreter as far as they were read.
#[derive(Debug)]
pub(super) struct Reader {
    interpreter: &'static Interpreter,
    name: String,
    next: Next,
    /// It has got a program by an option.
    code: bool,
    /// An option that is not known may have taken the next word.
    unsure: bool,
    /// `--` was read: no options follow.
    ended: bool,
    /// It has got its program, and all that follows is data.
    given: bool,
}

impl Reader {
    /// `None` if the word names no interpreter.
    pub(super) fn of(word: &str) -> Option<Self> {
        let name = word.rsplit('/').next().unwrap_or_default();
        let bare = name.trim_end_matches(|version: char| version.is_ascii_digit() || version == '.');
        let interpreter = INTERPRETERS.iter().find(|it| it.names.contains(&bare))?;
        let name = bare.to_owned();
        Some(Self { interpreter, name, next: Next::Any, code: false, unsure: false, ended: false, given: false })
    }

    /// Whether a value may be part of the word that begins with `word`.
    pub(super) fn takes_value(&self, word: &str) -> Result<(), Refused> {
        let assigns = word.split_once('=').is_some_and(|(name, _)| !name.is_empty());
        match self.next {
            _ if self.given => Ok(()),
            Next::Argument('v') if assigns => Ok(()),
            Next::Code { .. } => Err(CODE),
            _ if word.starts_with('-') || self.interpreter.after == After::Mixed => Err(CODE),
            _ => Err(BEFORE),
        }
    }

    /// Whether it reads its program from its input.
    pub(super) fn reads_input(&self) -> bool {
        self.interpreter.input && !self.given && (!self.code || self.unsure)
    }

    /// A word without a value. `solid` unless it may be no word at all, or several.
    pub(super) fn word(&mut self, word: &str, solid: bool) {
        if self.given {
            return;
        }
        if !solid {
            self.unsure = true;
            return;
        }
        let option = word.starts_with('-') && word.len() > 1 && !self.ended;
        match std::mem::take(&mut self.next) {
            Next::Argument(_) => {}
            Next::Code { options_first: true } if option && word == "--" => {
                self.next = Next::Code { options_first: false };
            }
            Next::Code { options_first: true } if option => {
                self.option(word);
                if self.next == Next::Any {
                    self.next = Next::Code { options_first: true };
                } else {
                    self.unsure = true;
                }
            }
            Next::Code { .. } => self.has_code(),
            Next::Any if word == "-" => self.unsure = true,
            Next::Any if word == "--" && !self.ended => {
                self.ended = true;
                self.given = self.code;
            }
            Next::Any if option => self.option(word),
            Next::Any => self.operand(word),
        }
    }

    fn option(&mut self, word: &str) {
        let Interpreter { code, long_code, flags, takes, .. } = *self.interpreter;
        if word.starts_with("--") {
            match word.split_once('=') {
                Some((name, _)) if long_code.contains(&name) => self.has_code(),
                None if long_code.contains(&word) => self.next = Next::Code { options_first: false },
                _ => self.unsure = true,
            }
            return;
        }
        // For a shell the program is never in the word of its option.
        let shell = takes.contains('o');
        let letters: Vec<char> = word.chars().skip(1).collect();
        for (at, letter) in letters.iter().enumerate() {
            let last = at + 1 == letters.len();
            if code.contains(*letter) && shell {
                self.next = Next::Code { options_first: true };
            } else if code.contains(*letter) {
                let rest = &letters[at + 1..];
                if rest.iter().all(|letter| code.contains(*letter)) {
                    self.unsure |= !last;
                    self.next = Next::Code { options_first: false };
                } else {
                    self.has_code();
                }
                return;
            } else if takes.contains(*letter) {
                if last && self.next == Next::Any {
                    self.next = Next::Argument(*letter);
                } else if shell {
                    self.unsure = true;
                }
                return;
            } else if !flags.contains(*letter) {
                self.unsure = true;
                return;
            }
        }
    }

    fn has_code(&mut self) {
        self.code = true;
        self.given = self.interpreter.after == After::Data && !self.unsure;
    }

    fn operand(&mut self, word: &str) {
        if CODE_COMMANDS.contains(&(self.name.as_str(), word)) {
            self.next = Next::Code { options_first: false };
            self.unsure = true;
        } else if self.interpreter.after == After::Mixed {
            self.code = true;
            self.given = self.ended;
        } else if !self.unsure {
            self.given = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a value may follow on these words, and whether the program is read from the input.
    fn after(words: &str) -> (bool, bool) {
        let mut words = words.split(' ');
        let mut reader = Reader::of(words.next().expect("a name")).expect("an interpreter");
        words.for_each(|word| reader.word(word, true));
        (reader.takes_value("").is_ok(), reader.reads_input())
    }

    #[test]
    fn arguments_are_data_behind_the_program_only() {
        let programs = "sh -c x|bash -lc x|bash -euo pipefail -c x|sh -c -e x|sh -c -- x|sh script|sh -e -- script|\
            /bin/sh -x script|bash -o pipefail script|python3 -c x|python3.11 -cx|python3 -m module|\
            python -u script|python3 -W ignore script|perl -e x --|perl -ne x file|perl -lane x --|\
            perl -F, -lane x --|perl -I lib -e x --|perl script|ruby -e x --|node script|\
            node --eval x --|node --eval=x file|php -r x --|lua script|awk x|awk -F , x|awk -v a=1 x|\
            awk -f x --|sed -e x --|sed -- x|sed x --|sed -n x --|sed -f x --";
        for words in programs.split('|') {
            assert_eq!(after(words), (true, false), "{words}");
        }
    }

    #[test]
    fn nothing_is_data_before_it_or_where_options_may_follow() {
        let from_input = "sh|sh -c|sh -c -e|sh -c --|sh -|sh -s|sh -s x|sh --|bash -o|bash -co pipefail|\
            bash --rcfile x|python3|python3 -|python3 -W|python3 -c|perl -I lib|perl -x -e x|node -pe x|\
            node -r x|ruby|lua -e x|lua -e x y|deno eval|deno eval x";
        let others = "perl -e x|perl -e x -I lib|node -p x|php -r x|awk|awk -v|awk -f|awk -f x|sed|sed x|\
            sed -e x y|sed -f x|sed -n";
        for (programs, input) in [(from_input, true), (others, false)] {
            for words in programs.split('|') {
                assert_eq!(after(words), (false, input), "{words}");
            }
        }
        let mut unsure = Reader::of("sh").expect("a shell");
        unsure.word("$x", false);
        unsure.word("script", true);
        assert!(unsure.takes_value("").is_err());
    }

    #[test]
    fn variables_of_awk_take_values() {
        let mut awk = Reader::of("gawk").expect("an interpreter");
        awk.word("-v", true);
        assert!(awk.takes_value("x=").is_ok());
        assert!(awk.takes_value("").is_err() && awk.takes_value("=").is_err());
    }
}
