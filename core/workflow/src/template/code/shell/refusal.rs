//! Why a place in shell text takes no value, and what to write instead.

use crate::template::parse::Reference;

/// It cannot be told any more how the text is read: because of what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost(pub(super) &'static str);

/// Why a reference is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    CommandName,
    /// The name of a variable or a function.
    Name,
    QuotedDocument,
    /// The delimiter of a here-document.
    Delimiter,
    Arithmetic,
    Subscript,
    /// `[[ … ]]` with an operator that evaluates its operands, or after an operator that other shells read as the end
    /// of a command.
    Test,
    Backslash,
    Dollar,
    /// `${…}`
    Expansion,
    /// `$'…'`
    Ansi,
    /// `>&` and `<&`
    Duplicate,
    Backquotes,
    /// After the named construct the position cannot be determined.
    Uncertain(&'static str),
}

impl Refusal {
    pub(super) fn message(self, reference: &Reference) -> String {
        let (place, instead) = match self {
            Self::CommandName => {
                ("as the name of a command", "write the name itself; a value can be an argument".to_owned())
            }
            Self::Name => ("as the name of a variable or function", "write the name itself".to_owned()),
            Self::QuotedDocument => (
                "in a here-document with a quoted delimiter, where nothing is expanded",
                "write the delimiter without quotes, or pass the text in `stdin`".to_owned(),
            ),
            Self::Delimiter => ("in the delimiter of a here-document", "write the word itself".to_owned()),
            Self::Arithmetic => (
                "in arithmetic, where shells evaluate text",
                format!("use `expr`, as in `expr {reference} + 1`, or calculate in a `python/execute` task"),
            ),
            Self::Subscript => (
                "in an array's subscript, where shells evaluate text",
                "put it in quotes if it is no subscript, or choose the item in a `python/execute` task".to_owned(),
            ),
            Self::Test => (
                "in a `[[ … ]]` that calculates or has several parts",
                "use `[ … ]`, and `[ … ] && [ … ]` for several parts".to_owned(),
            ),
            Self::Backslash => {
                ("directly after a backslash", "remove the backslash, or write `$${…}` for a literal `${…}`".to_owned())
            }
            Self::Dollar => ("directly after a dollar sign", "write the dollar sign as `'$'`".to_owned()),
            Self::Expansion => (
                "inside a `${…}` of the shell",
                format!("assign it to a variable before, as in `x={reference}`, and use that"),
            ),
            Self::Ansi => ("inside `$'…'`", "use `'…'` or `\"…\"`".to_owned()),
            Self::Duplicate => {
                ("after `>&` or `<&`, where digits have a meaning", "write `>` or `<` before a file's name".to_owned())
            }
            Self::Backquotes => (
                "in backquotes that stand in double quotes or hold a backslash",
                "write `$(…)` instead of the backquotes".to_owned(),
            ),
            Self::Uncertain(what) => {
                return format!(
                    "{reference} stands where it is not certain how a shell reads it, because of {what}; correct that, \
                     or pass the value in `env`, as in `env: {{X: \"{reference}\"}}`, and write `\"$X\"`"
                );
            }
        };
        format!("{reference} stands {place}; {instead}")
    }
}
