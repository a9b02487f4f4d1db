//! Which part of a command a word is. A value must not choose what is run, nor be an argument of a command that reads
//! its arguments as code.

use super::interpreter::Reader;
use super::words::{BEFORE_COMMANDS, DECLARES, ENDS, FEED, READERS, SHOW, WRAPPERS, is_reserved, is_special};
use super::{Refused, UNCERTAIN};

const CHOOSES: Refused = "in the place of a command, which a value must not choose";
const READ_AS_CODE: Refused = "in an argument that is read as code";
const INPUT: Refused = "in a program that gives a value to an interpreter as code, by its input";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Position {
    /// The word may be a command.
    #[default]
    Command,
    /// As before, behind a program that runs another.
    Wrapped,
    Argument,
    /// Behind the end of a compound command.
    Behind,
    FunctionName,
    ForName,
    ForIn,
    CaseWord,
    CaseIn,
    Pattern,
}

/// The word that is being read.
#[derive(Debug, Default)]
struct Word {
    text: String,
    quoted: bool,
    /// Holds a value; and whether it holds nothing else.
    value: bool,
    plain: bool,
    /// Holds something that is there for certain: an expansion may be nothing, and then the next word is the command.
    solid: bool,
    /// Holds a pattern of file names, which may match none.
    glob: bool,
    /// Behind the `=` of an assignment to a variable of this name.
    assigns: Option<String>,
}

/// Where values and interpreters are that could meet in a pipe. Too much rather than too little.
#[derive(Clone, Copy, Debug, Default)]
struct Input {
    /// This command holds a value; any one did.
    here: bool,
    seen: bool,
    /// This command is given a value as its input, by a redirection or a pipe.
    redirected: bool,
    piped: bool,
    /// A compound command is behind a pipe that carries a value: so may be all that follow.
    compound: bool,
    /// A pipe was the last thing that was read.
    open: bool,
    /// A program in this line reads its input as code; any one does.
    read: bool,
    ever_read: bool,
    /// What is read becomes arguments.
    feeds: bool,
}

/// The commands of one program, subshell or substitution.
#[derive(Debug, Default)]
pub(super) struct Commands {
    position: Position,
    word: Option<Word>,
    /// The next word is where something is redirected to.
    redirects: bool,
    /// An assignment or a redirection came first: words such as `if` and `case` mean nothing special any more.
    begun: bool,
    /// Something of the patterns of a `case` was read: `esac` is one of them.
    pattern_begun: bool,
    name: String,
    /// The word before this one, and whether it is a value alone.
    previous: (String, bool),
    options: bool,
    /// In `[[ … ]]`, where operators decide whether words are arithmetic.
    test: bool,
    interpreter: Option<Reader>,
    input: Input,
    /// Open `case`s.
    cases: u32,
    /// All words are elements of an array.
    array: bool,
    /// A command gives a value to an interpreter as code.
    pub(super) refused: Option<Refused>,
    /// What the words of a command are can no longer be told.
    pub(super) lost: bool,
}

impl Commands {
    pub(super) fn of_array() -> Self {
        Self { array: true, ..Self::default() }
    }

    pub(super) fn in_word(&self) -> bool {
        self.word.is_some()
    }

    pub(super) fn in_pattern(&self) -> bool {
        self.position == Position::Pattern
    }

    pub(super) fn in_case(&self) -> bool {
        self.cases > 0
    }

    /// Whether the word is `name=` so far: an array may follow.
    pub(super) fn assigns_nothing_yet(&self) -> bool {
        self.word.as_ref().is_some_and(|word| word.assigns.is_some() && word.text.ends_with('=') && !word.value)
    }

    /// Whether a function may be defined by `()` here.
    pub(super) fn names_function(&self) -> bool {
        self.position == Position::Command && self.word.as_ref().is_some_and(|word| !word.value && !word.quoted)
    }

    /// The same with a blank between.
    pub(super) fn named_function(&self) -> bool {
        self.position == Position::Argument && self.word.is_none() && self.previous == (self.name.clone(), false)
    }

    pub(super) fn push(&mut self, character: char, quoted: bool) {
        let word = self.word.get_or_insert_with(Word::default);
        if character == '=' && !quoted && !word.quoted && !word.value && word.assigns.is_none() {
            let name = word.text.trim_end_matches('+');
            let starts = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
            if starts && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
                word.assigns = Some(name.to_owned());
            }
        }
        word.plain = true;
        word.solid |= !matches!(character, '{' | '}' | ',') || quoted;
        word.glob |= !quoted && matches!(character, '*' | '?' | '[');
        word.quoted |= quoted;
        word.text.push(character);
    }

    /// An expansion or substitution; what it is called or runs is no part of the word. `solid` if it is a word for
    /// certain.
    pub(super) fn expands(&mut self, solid: bool) {
        let word = self.word.get_or_insert_with(Word::default);
        (word.plain, word.quoted) = (true, true);
        word.solid |= solid;
        word.text.push('$');
    }

    /// A quote begins: there is a word, even if nothing is in it (but `"$@"` may be none).
    pub(super) fn quote(&mut self, solid: bool) {
        let word = self.word.get_or_insert_with(Word::default);
        word.quoted = true;
        word.solid |= solid;
    }

    pub(super) fn value(&mut self) {
        self.word.get_or_insert_with(Word::default).value = true;
        self.input.redirected |= self.redirects;
        (self.input.here, self.input.seen) = (true, true);
    }

    /// A value is in a here-document of this place.
    pub(super) fn document_value(&mut self) {
        self.input.seen = true;
        self.input.piped |= self.input.open;
    }

    /// Something in parentheses or backquotes ended.
    pub(super) fn enclosed(&mut self, inner: &Self) {
        self.refused = self.refused.or(inner.refused);
        if inner.input.seen {
            self.input.redirected |= self.redirects;
            (self.input.here, self.input.seen) = (true, true);
        }
        if inner.input.ever_read {
            (self.input.read, self.input.ever_read) = (true, true);
            if self.input.piped || self.input.compound {
                self.refused = Some(INPUT);
            }
        }
    }

    /// Whether a here-document of the line that ends may be read as code.
    pub(super) fn takes_code(&mut self) -> bool {
        std::mem::take(&mut self.input.read)
    }

    /// A here-document begins: behind a compound command it is for all in it.
    pub(super) fn announces(&mut self) {
        self.input.read |= self.input.ever_read && self.position == Position::Behind;
    }

    /// Whether a value may be part of the word.
    pub(super) fn takes_value(&self) -> Result<(), Refused> {
        let word = self.word.as_ref();
        if self.redirects {
            let behind = self.position == Position::Behind && self.input.ever_read;
            let reads = behind || self.interpreter.as_ref().is_some_and(Reader::reads_input);
            return if reads { Err(READ_AS_CODE) } else { Ok(()) };
        }
        if self.array {
            let subscript = word.is_some_and(|word| word.text.starts_with('['));
            return if subscript { Err(READ_AS_CODE) } else { Ok(()) };
        }
        if self.test {
            return Err("inside `[[ … ]]`, which may read it as arithmetic; use `[ … ]`");
        }
        let assigns = word.and_then(|word| word.assigns.as_deref());
        match self.position {
            Position::Command | Position::Wrapped => match assigns {
                Some(name) if is_special(name) => Err("in a variable that the shell itself reads"),
                Some(_) => Ok(()),
                None => Err(CHOOSES),
            },
            Position::Argument => self.takes_argument(assigns),
            Position::CaseWord | Position::Pattern => Ok(()),
            Position::Behind | Position::FunctionName | Position::ForName | Position::ForIn | Position::CaseIn => {
                Err(UNCERTAIN)
            }
        }
    }

    fn takes_argument(&self, assigns: Option<&str>) -> Result<(), Refused> {
        let name = self.name.rsplit('/').next().unwrap_or_default();
        let (previous, value) = (self.previous.0.as_str(), self.previous.1);
        if READERS.contains(&name) {
            return Err(READ_AS_CODE);
        }
        if DECLARES.contains(&name) && (self.options || assigns.is_none_or(is_special)) {
            return Err(READ_AS_CODE);
        }
        if matches!(name, "[" | "test" | "printf") && (value || matches!(previous, "-v" | "-R")) {
            return Err("where it may be the name of a variable, whose subscript is read as code");
        }
        match &self.interpreter {
            Some(interpreter) => interpreter.takes_value(self.word.as_ref().map_or("", |word| &word.text)),
            None => Ok(()),
        }
    }

    pub(super) fn redirect(&mut self) {
        // Digits right before belong to it.
        let number = |word: &Word| !word.value && !word.quoted && word.text.bytes().all(|byte| byte.is_ascii_digit());
        if self.word.as_ref().is_some_and(number) {
            self.word = None;
        }
        self.end_word();
        self.redirects = true;
        self.begun = true;
    }

    /// A blank, or anything else that ends a word.
    pub(super) fn end_word(&mut self) {
        let Some(word) = self.word.take() else { return };
        if std::mem::take(&mut self.redirects) || self.array {
            return;
        }
        let text = word.text.as_str();
        let reserved = !word.quoted && !word.value;
        if self.position == Position::Command && reserved && is_reserved(text) {
            self.input.compound |= self.input.piped;
        }
        self.note(text, word.solid || word.value);
        match self.position {
            Position::Command | Position::Wrapped | Position::Behind => {
                let behind = self.position == Position::Behind;
                if reserved && self.begun && is_reserved(text) && !behind {
                    // Shells do not agree on all of these.
                    self.lost = true;
                }
                match text {
                    "function" if reserved && !behind => self.position = Position::FunctionName,
                    "for" | "select" if reserved && !behind => self.position = Position::ForName,
                    "case" if reserved && !behind => {
                        self.cases += 1;
                        self.position = Position::CaseWord;
                    }
                    "esac" if reserved && self.cases > 0 => {
                        self.cases -= 1;
                        self.position = Position::Behind;
                    }
                    word if reserved && BEFORE_COMMANDS.contains(&word) => {
                        self.position = Position::Command;
                        self.begun = false;
                    }
                    word if reserved && ENDS.contains(&word) => {
                        self.test &= word != "]]";
                        self.position = Position::Behind;
                    }
                    _ if behind => self.lost = true,
                    _ if word.assigns.is_some() => self.begun = true,
                    name if !word.solid || (word.glob && !matches!(name, "[" | "[[")) => self.begun = true,
                    name => {
                        self.begun = true;
                        self.command(name);
                    }
                }
            }
            Position::Argument => {
                if text == "]]" && self.test {
                    self.test = false;
                    self.position = Position::Behind;
                }
                self.options |= text.starts_with('-');
                // Later assignments to it would be arithmetic.
                self.lost |= DECLARES.contains(&self.name.as_str()) && text.starts_with('-') && text.contains('i');
            }
            Position::FunctionName => {
                self.position = Position::Command;
                self.begun = false;
            }
            Position::ForName => self.position = Position::ForIn,
            Position::ForIn if text == "in" => {
                self.command("for");
            }
            Position::ForIn if text == "do" => {
                self.position = Position::Command;
                self.begun = false;
            }
            Position::CaseWord => self.position = Position::CaseIn,
            Position::CaseIn if text == "in" => {
                self.position = Position::Pattern;
                self.pattern_begun = false;
            }
            Position::ForIn | Position::CaseIn => self.lost = true,
            Position::Pattern => {
                self.lost |= text == "esac" && self.pattern_begun;
                self.pattern_begun = true;
                if text == "esac" && reserved {
                    self.cases = self.cases.saturating_sub(1);
                    self.position = Position::Behind;
                }
            }
        }
        if word.solid || word.value {
            self.previous = (word.text, word.value && !word.plain);
        }
    }

    /// Whether the word names a program that reads others as code, or is an argument of one.
    fn note(&mut self, text: &str, solid: bool) {
        match self.position {
            Position::Command | Position::Wrapped | Position::Argument => {}
            _ => return,
        }
        let shown = self.position == Position::Argument && SHOW.contains(&self.name.as_str());
        match Reader::of(text).filter(|_| !shown) {
            Some(interpreter) => self.interpreter = Some(interpreter),
            None => {
                if let Some(interpreter) = &mut self.interpreter {
                    interpreter.word(text, solid);
                }
            }
        }
    }

    /// The end of a command: it is known what it reads.
    fn end_command(&mut self) {
        let input = &mut self.input;
        if let Some(interpreter) = self.interpreter.take()
            && (interpreter.reads_input() || input.feeds)
        {
            (input.read, input.ever_read) = (true, true);
            if input.redirected || input.piped || input.compound {
                self.refused = Some(INPUT);
            }
        }
        (input.here, input.redirected, input.feeds, input.open) = (false, false, false, false);
    }

    fn command(&mut self, name: &str) {
        if self.position == Position::Wrapped && name.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        {
            return;
        }
        self.position = if WRAPPERS.contains(&name) { Position::Wrapped } else { Position::Argument };
        self.input.feeds |= FEED.contains(&name);
        self.options = false;
        self.test |= name == "[[";
        name.clone_into(&mut self.name);
    }

    /// An operator or a line's end: another command may follow.
    pub(super) fn separate(&mut self, line: bool) {
        self.end_word();
        let stays = matches!(self.position, Position::CaseIn | Position::Pattern | Position::CaseWord);
        if self.array || (stays && line) {
            return;
        }
        if line && self.input.open && !self.begun {
            // The command behind a pipe is on the next line.
            return;
        }
        (self.redirects, self.begun) = (false, false);
        self.end_command();
        self.input.piped = false;
        self.previous = (String::new(), false);
        if self.position == Position::ForIn {
            // `do` follows, or `in` on a line of its own.
            return;
        }
        if self.position != Position::Pattern {
            self.position = Position::Command;
        }
    }

    /// `|`: what this command writes is read by the next one.
    pub(super) fn pipe(&mut self) {
        self.end_word();
        let compound = self.position == Position::Behind && self.input.seen;
        let carries = self.input.piped || self.input.here || compound;
        self.separate(false);
        (self.input.piped, self.input.open) = (carries, true);
    }

    /// `;;` and its relatives.
    pub(super) fn next_pattern(&mut self) {
        self.separate(false);
        if self.cases > 0 {
            self.position = Position::Pattern;
            self.pattern_begun = false;
        }
    }

    /// The `)` behind a pattern.
    pub(super) fn end_pattern(&mut self) {
        self.end_word();
        self.end_command();
        self.position = Position::Command;
        self.begun = false;
    }

    /// `(` or `|` in the patterns of a `case`.
    pub(super) fn begin_pattern(&mut self) {
        self.end_word();
        self.pattern_begun = true;
    }

    /// Something in parentheses ended that is a command of its own.
    pub(super) fn end_compound(&mut self) {
        self.position = Position::Behind;
    }

    /// The end of the program or of what encloses it.
    pub(super) fn end(&mut self) {
        self.end_word();
        self.end_command();
    }

    /// Whether what follows may be given a value as its input.
    pub(super) fn carries(&self) -> bool {
        self.input.here
            || self.input.piped
            || self.input.compound
            || (self.input.seen && self.position == Position::Behind)
    }

    /// `()` behind a function's name.
    pub(super) fn end_function_name(&mut self) {
        self.word = None;
        self.begun = false;
        self.position = Position::Command;
    }
}
