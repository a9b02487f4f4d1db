//! The words of commands: which one names a command, assigns a variable or is a pattern, as far as operators and the
//! shell's reserved words determine it. The only command known by name is `let`, whose arguments the shell itself
//! evaluates.
//!
//! If dash and bash differ, a place counts as a command's name if either treats it as one.

use super::refusal::{Lost, Refusal};

/// The construct that encloses the commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Program,
    /// `$(…)`, `<(…)`, `>(…)`
    Substitution,
    /// `(…)`
    Subshell,
    /// `name=(…)`
    Array,
    Backquotes,
}

/// The role of the next word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A command's name, an assignment or a reserved word.
    Command,
    Argument,
    /// An argument of `let`.
    Arithmetic,
    CaseWord,
    CaseIn,
    Pattern,
    ForName,
    ForIn,
    FunctionName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Redirection {
    File,
    /// `>&`, `<&`
    Duplicate,
}

/// The beginning of the word, as far as it decides whether the word is an assignment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Head {
    #[default]
    Name,
    /// `name[`, with the number of open brackets.
    Subscript(u32),
    /// `name[…]`
    Subscripted,
    /// `name+`
    Plus,
    /// `name=`; `true` if nothing has followed yet.
    Assigned(bool),
    Other,
}

#[derive(Debug, Default)]
struct Word {
    /// Its first characters, as long as they are literal.
    text: String,
    /// Whether part of it is quoted or an expansion.
    quoted: bool,
    /// Whether it is a word whatever its expansions produce.
    solid: bool,
    /// Whether it may be a file name pattern.
    pattern: bool,
    head: Head,
}

/// The longest text that is kept; no reserved word is longer.
const MOST_TEXT: usize = 16;

/// A here-document whose text begins on the next line.
#[derive(Debug)]
pub(super) struct Here {
    pub(super) delimiter: Vec<u8>,
    pub(super) quoted: bool,
    /// Whether leading tabs of its lines are removed (`<<-`).
    pub(super) strips: bool,
}

/// A sequence of commands being read.
#[derive(Debug)]
pub(super) struct Commands {
    pub(super) kind: Kind,
    place: Place,
    word: Option<Word>,
    redirection: Option<Redirection>,
    /// Whether an assignment or a redirection preceded the command's name.
    begun: bool,
    /// Whether the previous word is the first one of its command, and plain.
    named: bool,
    /// Whether `time` was read, whose options precede the command.
    timed: bool,
    /// The number of open `case`s. `pattern_begun` says whether the patterns of the innermost one have begun.
    cases: u32,
    pattern_begun: bool,
    /// Inside `[[ … ]]`: the references in it so far.
    test: Option<Vec<usize>>,
    /// Here-documents that the current line has announced.
    pub(super) documents: Vec<Here>,
}

impl Commands {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            place: Place::Command,
            word: None,
            redirection: None,
            begun: false,
            named: false,
            timed: false,
            cases: 0,
            pattern_begun: false,
            test: None,
            documents: Vec::new(),
        }
    }

    pub(super) fn in_word(&self) -> bool {
        self.word.is_some()
    }

    pub(super) fn in_pattern(&self) -> bool {
        self.place == Place::Pattern
    }

    pub(super) fn in_test(&self) -> bool {
        self.test.is_some()
    }

    /// The references in the current `[[ … ]]`.
    pub(super) fn tested(&self) -> &[usize] {
        self.test.as_deref().unwrap_or_default()
    }

    /// Records a reference inside `[[ … ]]`.
    pub(super) fn note(&mut self, reference: usize) {
        if let Some(references) = &mut self.test {
            references.push(reference);
        }
    }

    /// Why a value cannot be part of the current word.
    pub(super) fn refuses(&self) -> Option<Refusal> {
        let head = self.word.as_ref().map(|word| word.head).unwrap_or_default();
        let subscript = matches!(head, Head::Subscript(_)).then_some(Refusal::Subscript);
        if let Some(redirection) = self.redirection {
            return (redirection == Redirection::Duplicate).then_some(Refusal::Duplicate);
        }
        if self.kind == Kind::Array {
            return subscript;
        }
        match self.place {
            Place::Command if matches!(head, Head::Assigned(_)) => None,
            Place::Command if self.test.is_some() => Some(Refusal::Test),
            Place::Command => subscript.or(Some(Refusal::CommandName)),
            Place::Argument => subscript,
            Place::Arithmetic => Some(Refusal::Arithmetic),
            Place::CaseWord | Place::Pattern => None,
            Place::ForName | Place::FunctionName => Some(Refusal::Name),
            Place::CaseIn | Place::ForIn => Some(Refusal::Uncertain("the words before it")),
        }
    }

    /// Adds a literal character to the word.
    pub(super) fn push(&mut self, character: u8) {
        let array = self.kind == Kind::Array;
        let word = self.word.get_or_insert_with(Word::default);
        let first = word.text.is_empty() && !word.quoted;
        word.head = match (word.head, character) {
            (Head::Name, b'[') if first == array => Head::Subscript(1),
            (Head::Name, b'=') if !first => Head::Assigned(true),
            (Head::Name, b'+') if !first => Head::Plus,
            (Head::Name, b'0'..=b'9') if !first => Head::Name,
            (Head::Name, b'a'..=b'z' | b'A'..=b'Z' | b'_') => Head::Name,
            (Head::Subscript(open), b'[') => Head::Subscript(open + 1),
            (Head::Subscript(1), b']') => Head::Subscripted,
            (Head::Subscript(open), b']') => Head::Subscript(open - 1),
            (Head::Subscript(open), _) => Head::Subscript(open),
            (Head::Subscripted, b'+') => Head::Plus,
            (Head::Subscripted | Head::Plus, b'=') => Head::Assigned(true),
            (Head::Assigned(_), _) => Head::Assigned(false),
            _ => Head::Other,
        };
        // Braces and patterns may expand to nothing.
        word.solid |= !matches!(character, b'{' | b'}' | b',');
        word.pattern |= matches!(character, b'*' | b'?' | b'[');
        if word.text.len() < MOST_TEXT {
            word.text.push(char::from(character));
        }
    }

    /// Adds a quoted part or an expansion; `solid` if it certainly makes a word.
    pub(super) fn quote(&mut self, solid: bool) {
        let word = self.word.get_or_insert_with(Word::default);
        word.quoted = true;
        word.solid |= solid;
        word.head = match word.head {
            Head::Assigned(_) => Head::Assigned(false),
            Head::Subscript(open) => Head::Subscript(open),
            _ => Head::Other,
        };
    }

    /// Whether an array may begin here: the word is `name=`.
    pub(super) fn assigns_nothing_yet(&self) -> bool {
        let word = self.word.as_ref().filter(|_| self.redirection.is_none());
        word.is_some_and(|word| word.head == Head::Assigned(true))
    }

    /// Whether `()` would define a function here.
    pub(super) fn names_function(&self) -> bool {
        match &self.word {
            Some(_) if self.place == Place::FunctionName => self.redirection.is_none(),
            Some(word) => self.place == Place::Command && !word.quoted && word.solid && self.redirection.is_none(),
            None => self.redirection.is_none() && (self.named || (self.place == Place::Command && !self.begun)),
        }
    }

    /// `()` behind a function's name.
    pub(super) fn define_function(&mut self) {
        self.word = None;
        self.restart();
    }

    /// Whether a command may begin here.
    pub(super) fn at_command(&self) -> bool {
        self.word.is_none() && self.place == Place::Command && !self.begun && self.redirection.is_none()
    }

    /// Whether `for ((` may go on here.
    pub(super) fn at_for(&self) -> bool {
        self.word.is_none() && self.place == Place::ForName
    }

    /// A command may begin.
    fn restart(&mut self) {
        self.place = Place::Command;
        (self.begun, self.named, self.timed) = (false, false, false);
    }

    /// A command in parentheses has ended.
    pub(super) fn end_compound(&mut self) {
        self.restart();
    }

    /// Ends the word, at a blank or another terminator. Returns the references of a `[[ … ]]` that turns out to be
    /// arithmetic.
    pub(super) fn end_word(&mut self) -> Result<Vec<usize>, Lost> {
        let Some(word) = self.word.take() else { return Ok(Vec::new()) };
        self.named = false;
        if self.redirection.take().is_some() {
            self.begun |= self.place == Place::Command;
            return Ok(Vec::new());
        }
        // Bash reads on to the closing bracket; other shells do not.
        if matches!(word.head, Head::Subscript(_)) && (self.kind == Kind::Array || self.place == Place::Command) {
            return Err(Lost("a subscript with blanks or operators"));
        }
        if self.kind == Kind::Array {
            return Ok(Vec::new());
        }
        let text = if word.quoted { "" } else { word.text.as_str() };
        if self.test.is_some() {
            match text {
                "]]" => {
                    self.test = None;
                    self.restart();
                    return Ok(Vec::new());
                }
                "-eq" | "-ne" | "-lt" | "-le" | "-gt" | "-ge" | "-v" | "-R" => {
                    let references = self.test.replace(Vec::new()).unwrap_or_default();
                    // References that follow are refused as well.
                    self.place = Place::Command;
                    self.begun = true;
                    return Ok(references);
                }
                _ => {}
            }
        }
        match self.place {
            Place::Command => self.command_word(&word, text)?,
            Place::Argument | Place::Arithmetic => {}
            Place::CaseWord => self.place = Place::CaseIn,
            Place::CaseIn if text == "in" => {
                self.place = Place::Pattern;
                self.pattern_begun = false;
            }
            Place::CaseIn => return Err(Lost("a `case` without `in`")),
            Place::Pattern if text == "esac" => {
                if self.pattern_begun {
                    return Err(Lost("`esac` within a pattern"));
                }
                self.cases = self.cases.saturating_sub(1);
                self.restart();
            }
            Place::Pattern => self.pattern_begun = true,
            Place::ForName => self.place = Place::ForIn,
            Place::ForIn if text == "in" => self.place = Place::Argument,
            Place::ForIn if text == "do" => self.restart(),
            Place::ForIn => return Err(Lost("a `for` without `in` or `do`")),
            Place::FunctionName => self.restart(),
        }
        Ok(Vec::new())
    }

    fn command_word(&mut self, word: &Word, text: &str) -> Result<(), Lost> {
        if self.begun && is_reserved(text) {
            return Err(Lost("a reserved word that does not begin a command"));
        }
        match text {
            "if" | "then" | "elif" | "else" | "while" | "until" | "do" | "!" | "{" | "coproc" | "fi" | "done" | "}" => {
                self.restart();
            }
            "time" => {
                self.restart();
                self.timed = true;
            }
            "case" => {
                self.cases += 1;
                self.place = Place::CaseWord;
            }
            "esac" => {
                self.cases = self.cases.checked_sub(1).ok_or(Lost("`esac` without `case`"))?;
                self.restart();
            }
            "for" | "select" => self.place = Place::ForName,
            "function" => self.place = Place::FunctionName,
            "[[" => {
                self.place = Place::Argument;
                // Inside a `[[ … ]]` that is not closed on its line.
                if self.test.is_some() {
                    return Err(Lost("`[[` within `[[`"));
                }
                self.test = Some(Vec::new());
            }
            "let" => self.place = Place::Arithmetic,
            "[" => self.place = Place::Argument,
            option if self.timed && option.starts_with('-') => {}
            _ if matches!(word.head, Head::Assigned(_)) || !word.solid || word.pattern => self.begun = true,
            _ => {
                self.place = Place::Argument;
                self.named = !word.quoted && !self.begun;
            }
        }
        Ok(())
    }

    /// Ends a line of commands.
    pub(super) fn end_line(&mut self) -> Result<(), Lost> {
        if self.redirection.is_some() {
            return Err(Lost("a redirection without a file"));
        }
        self.named = false;
        match self.place {
            Place::ForIn | Place::CaseIn | Place::CaseWord | Place::Pattern => {}
            Place::ForName | Place::FunctionName => return Err(Lost("a name that is missing")),
            Place::Command | Place::Argument | Place::Arithmetic => self.restart(),
        }
        Ok(())
    }

    /// Reads `;`, `&`, `|` and similar operators, except those that end the commands of a pattern.
    pub(super) fn separate(&mut self) -> Result<(), Lost> {
        if self.kind == Kind::Array {
            return Err(Lost("an operator within an array"));
        }
        match self.place {
            Place::Pattern | Place::CaseWord | Place::CaseIn | Place::ForName | Place::FunctionName => {
                return Err(Lost("an operator within a `case`, a `for` or a `function`"));
            }
            Place::Command | Place::Argument | Place::Arithmetic | Place::ForIn => self.restart(),
        }
        self.redirection = None;
        Ok(())
    }

    /// Reads `;;` and similar operators.
    pub(super) fn next_pattern(&mut self) -> Result<(), Lost> {
        self.separate()?;
        if self.cases == 0 || self.kind == Kind::Array {
            return Err(Lost("`;;` without `case`"));
        }
        self.place = Place::Pattern;
        self.pattern_begun = false;
        Ok(())
    }

    /// `(` before a pattern, or `|` in it.
    pub(super) fn go_on_with_pattern(&mut self) {
        self.pattern_begun = true;
    }

    /// `)` behind a pattern.
    pub(super) fn end_pattern(&mut self) {
        self.restart();
    }

    /// `<<` and a delimiter.
    pub(super) fn announce(&mut self, here: Here) {
        self.begun |= self.place == Place::Command;
        self.documents.push(here);
    }

    /// Reads a redirection: the next word is its file.
    pub(super) fn redirect(&mut self, redirection: Redirection) {
        self.redirection = Some(redirection);
    }

    /// Digits directly before a redirection belong to it.
    pub(super) fn drop_number(&mut self) {
        let number = |word: &Word| !word.quoted && word.text.bytes().all(|byte| byte.is_ascii_digit());
        if self.word.as_ref().is_some_and(number) {
            self.word = None;
        }
    }

    /// Reads `&>`: in some shells it ends the command, and the word after the file is the name of another.
    pub(super) fn redirect_both(&mut self) -> Result<(), Lost> {
        self.separate()?;
        self.begun = true;
        self.redirection = Some(Redirection::File);
        Ok(())
    }

    /// Whether a redirection still lacks its file.
    pub(super) fn redirects(&self) -> bool {
        self.redirection.is_some()
    }

    /// Checks that the commands are complete when their enclosing construct ends.
    pub(super) fn finish(&self) -> Result<(), Lost> {
        if self.cases > 0 {
            return Err(Lost("a `case` without `esac`"));
        }
        if self.test.is_some() {
            return Err(Lost("`[[` without `]]`"));
        }
        if !self.documents.is_empty() {
            return Err(Lost("a here-document without a text"));
        }
        if self.redirection.is_some() {
            return Err(Lost("a redirection without a file"));
        }
        Ok(())
    }
}

/// Whether a word has a meaning of its own where a command begins.
fn is_reserved(word: &str) -> bool {
    const BEGIN: &[&str] =
        &["if", "while", "until", "case", "for", "select", "function", "coproc", "time", "[[", "{", "!"];
    const GO_ON: &[&str] = &["then", "elif", "else", "do"];
    const END: &[&str] = &["fi", "done", "esac", "}"];
    [BEGIN, GO_ON, END].iter().any(|words| words.contains(&word))
}
