//! The token of a control plane, as option, file or variable: servers require it and clients send it.

use std::fmt;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use gleitzeit_link::{SecretFile, TokenSource, check_token};
use gleitzeit_sdk::ClientConfig;
use gleitzeit_workflow::ErrorCode;

use crate::error::CommandError;

/// Where the token comes from.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) enum TokenArgs {
    /// No token is given.
    #[default]
    None,
    Token(String),
    File(PathBuf),
}

/// Omits the token.
impl fmt::Debug for TokenArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Token(_) => f.write_str("Token(…)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// The options as clap reads them.
#[derive(Args)]
struct Written {
    /// The control plane's token (default, on this machine: the one that it generates for its user)
    #[arg(long, env = "GLEITZEIT_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A file with the token, read again when it changes
    #[arg(long, env = "GLEITZEIT_TOKEN_FILE", value_name = "FILE", hide_env_values = true,
        value_parser = OsStringValueParser::new().map(PathBuf::from))]
    token_file: Option<PathBuf>,
}

/// The origins of options, in order of precedence.
const ORIGINS: [ValueSource; 3] = [ValueSource::CommandLine, ValueSource::EnvVariable, ValueSource::DefaultValue];

impl FromArgMatches for TokenArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let Written { mut token, mut token_file } = Written::from_arg_matches(matches)?;
        // An empty variable counts as unset.
        let is_variable = |name| matches.value_source(name) == Some(ValueSource::EnvVariable);
        token = token.filter(|token| !token.is_empty() || !is_variable("token"));
        token_file = token_file.filter(|path| !path.as_os_str().is_empty() || !is_variable("token_file"));
        for origin in ORIGINS {
            let stands = |name, is_given: bool| is_given && matches.value_source(name) == Some(origin);
            let of_origin = (stands("token", token.is_some()), stands("token_file", token_file.is_some()));
            match of_origin {
                (true, true) if origin == ValueSource::CommandLine => {
                    let message = "`--token` and `--token-file` exclude each other; give one of them\n";
                    return Err(clap::Error::raw(ErrorKind::ArgumentConflict, message));
                }
                (true, _) => {
                    let name = match origin {
                        ValueSource::CommandLine => "`--token`",
                        ValueSource::EnvVariable => "GLEITZEIT_TOKEN",
                        _ => "`token` in the configuration file",
                    };
                    return token.take().map_or(Ok(Self::None), |token| checked(&token, name).map(Self::Token));
                }
                (false, true) => return Ok(token_file.take().map_or(Self::None, Self::File)),
                (false, false) => {}
            }
        }
        Ok(Self::None)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn checked(token: &str, name: &str) -> Result<String, clap::Error> {
    match check_token(token) {
        Ok(token) => Ok(token.to_owned()),
        Err(problem) => Err(clap::Error::raw(ErrorKind::ValueValidation, format!("{name} {problem}\n"))),
    }
}

impl Args for TokenArgs {
    fn augment_args(command: Command) -> Command {
        Written::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Written::augment_args_for_update(command)
    }
}

impl TokenArgs {
    /// Whether a token is given at all.
    pub(crate) fn is_some(&self) -> bool {
        *self != Self::None
    }

    /// Adds the token to a client's configuration.
    pub(crate) fn for_client(&self, config: ClientConfig) -> ClientConfig {
        match self.clone() {
            Self::None => config,
            Self::Token(token) => ClientConfig { token: Some(token), ..config },
            Self::File(path) => ClientConfig { token_file: Some(path), ..config },
        }
    }

    /// The token or its file, which must hold a token now.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub(crate) fn source(&self) -> Result<TokenSource, CommandError> {
        match self {
            Self::None => Ok(TokenSource::None),
            Self::Token(token) => Ok(TokenSource::Given(token.clone())),
            Self::File(path) => SecretFile::open(path).map(TokenSource::File).map_err(|error| {
                let message = format!("cannot use the token in `{}`: {error}", path.display());
                let hint = "`--token-file` (GLEITZEIT_TOKEN_FILE) names a file that holds the token and nothing else";
                CommandError { code: ErrorCode::ConfigurationError, ..CommandError::usage(message).hint(hint) }
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<TokenArgs, clap::Error> {
        let command = TokenArgs::augment_args(Command::new("x"));
        let matches = command.try_get_matches_from(std::iter::once(&"x").chain(arguments))?;
        TokenArgs::from_arg_matches(&matches)
    }

    #[test]
    fn a_token_is_given_by_itself_or_in_a_file() {
        assert_eq!(read(&["--token", "t"]).expect("read"), TokenArgs::Token("t".to_owned()));
        assert_eq!(read(&["--token", "t\n"]).expect("read"), TokenArgs::Token("t".to_owned()), "as from a file");
        assert_eq!(read(&["--token-file", "f"]).expect("read"), TokenArgs::File("f".into()));
        let refused = read(&["--token", "t", "--token-file", "f"]).expect_err("both");
        assert!(refused.to_string().contains("`--token` and `--token-file`"), "{refused}");
    }

    #[test]
    fn an_invalid_token_is_refused_without_showing_it() {
        let long = "x".repeat(4_097);
        for (wrong, why) in [
            ("se cret", "contains spaces"),
            ("sécret", "contains spaces"),
            ("", "is empty"),
            (long.as_str(), "is longer than 4096 bytes"),
        ] {
            let refused = read(&["--token", wrong]).expect_err(wrong).to_string();
            assert!(refused.contains(&format!("`--token` {why}")), "{refused}");
            assert!(!refused.contains("cret"), "{refused}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_an_error_with_its_name() {
        let error = TokenArgs::File("/nowhere/token".into()).source().expect_err("no file");
        assert_eq!(error.code, ErrorCode::ConfigurationError);
        assert!(error.message.contains("`/nowhere/token`"), "{}", error.message);
        assert!(error.hint.is_some_and(|hint| hint.contains("GLEITZEIT_TOKEN_FILE")));
    }
}
