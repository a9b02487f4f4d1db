//! Parses the parameters of a call, and reads its script if it names one. Scripts are read here and not by the worker,
//! so that they need not be accessible to the worker.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use gleitzeit_workflow::error::ErrorCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::Asked;
use super::options::Options;
use crate::call::{Call, CallError};
use crate::executors::builtin::parameters;
use crate::regular;

/// The largest script in bytes: as much as a parameter set may have.
const MAX_CODE: u64 = 8 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Execute<'a> {
    code: Option<String>,
    file: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(borrow)]
    context: Option<&'a RawValue>,
    timeout: Option<f64>,
}

#[derive(Deserialize)]
struct Validate {
    code: String,
}

/// Python source text.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) code: String,
    /// The name that tracebacks show.
    pub(super) name: String,
    /// The file it was read from.
    pub(super) path: Option<String>,
}

impl Source {
    fn given(code: String) -> Self {
        Self { code, name: "<code>".to_owned(), path: None }
    }
}

/// The parsed parameters of a call.
pub(super) struct Wanted<'a> {
    pub(super) asked: Asked,
    pub(super) source: Source,
    pub(super) args: Vec<String>,
    pub(super) context: Option<&'a RawValue>,
    pub(super) timeout: Option<f64>,
}

impl<'a> Wanted<'a> {
    pub(super) async fn read(call: &'a Call, options: &Options) -> Result<Self, CallError> {
        if call.method.as_str() == "python/validate" {
            let Validate { code } = parameters(call)?;
            let source = Source::given(code);
            return Ok(Self { asked: Asked::Check, source, args: Vec::new(), context: None, timeout: None });
        }
        let Execute { code, file, args, context, timeout } = parameters(call)?;
        let source = match (code, file) {
            (Some(code), None) => Source::given(code),
            (None, Some(file)) => script(&file, options.scripts_dir.as_deref()).await?,
            _ => return Err(CallError::new(ErrorCode::InvalidParams, "give either `code` or `file`")),
        };
        Ok(Self { asked: Asked::Run, source, args, context, timeout })
    }
}

/// Reads a script below the folder of scripts; links that lead out of it are refused.
async fn script(file: &str, folder: Option<&Path>) -> Result<Source, CallError> {
    let refused = |why: String| CallError::new(ErrorCode::InvalidParams, format!("script `{file}`: {why}"));
    let Some(folder) = folder else {
        let why = "this provider has no scripts; name their folder with `scripts_dir` in its options, or give `code`";
        return Err(refused(why.to_owned()));
    };
    let folder = tokio::fs::canonicalize(folder).await.map_err(|error| {
        let message = format!("`scripts_dir`: `{}` cannot be opened: {error}", folder.display());
        CallError::new(ErrorCode::ProviderInitializationFailed, message)
    })?;
    let path: PathBuf = tokio::fs::canonicalize(folder.join(file)).await.map_err(|error| refused(error.to_string()))?;
    if !path.starts_with(&folder) {
        return Err(refused("it is not below `scripts_dir`".to_owned()));
    }
    let reading = path.clone();
    let read = tokio::task::spawn_blocking(move || {
        let mut code = Vec::new();
        regular::open(&reading)?.take(MAX_CODE + 1).read_to_end(&mut code)?;
        String::from_utf8(code).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    });
    let code = read.await.map_err(io::Error::other).flatten().map_err(|error| refused(error.to_string()))?;
    if code.len() > usize::try_from(MAX_CODE).unwrap_or(usize::MAX) {
        return Err(refused(format!("it has more than {MAX_CODE} bytes")));
    }
    Ok(Source { code, name: file.to_owned(), path: path.to_str().map(str::to_owned) })
}
