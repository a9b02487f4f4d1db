//! How a provider reaches a service over HTTP: the `connection` and `authentication` of its file. The file never
//! contains a secret: it names an environment variable or a file, which is read whenever the secret is needed, so that
//! the secret can change.

use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gleitzeit_protocols::yaml::{Fields, Kind, Node, Reader};
use gleitzeit_workflow::suggest::did_you_mean;

use crate::regular;
use crate::settings::Settings;

/// How to reach a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The address of the service.
    pub base_url: BaseUrl,
    /// `ca`: a PEM file with root certificates to trust besides the others. Default: none.
    pub ca: Option<PathBuf>,
    /// The longest time for connecting, and for each wait for more of an answer. Default 60 s.
    pub timeout: Duration,
    /// How often a request that reached no server is sent again within one call. Default 0.
    pub retries: u32,
    /// How the health of the service is checked.
    pub health_check: HealthCheck,
}

/// The address of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaseUrl {
    /// `base_url`: as written, without a trailing slash.
    Fixed(String),
    /// `base_url_env`: the environment variable that contains the address. If it is unset, the provider is unhealthy.
    Variable(String),
}

/// How the health of a service is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Whether it is checked at all; if not, the service counts as healthy. `health_check: false` turns the check off.
    pub enabled: bool,
    /// A path below the base URL that is queried with GET, instead of the executor's own check.
    pub path: Option<String>,
    /// The longest time for an answer. Default 3 s.
    pub timeout: Duration,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self { enabled: true, path: None, timeout: Duration::from_secs(3) }
    }
}

/// How a provider authenticates itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authentication {
    /// What is sent.
    pub scheme: Scheme,
    /// Where the secret comes from; always set unless the scheme is [`Scheme::None`].
    pub secret: Option<Secret>,
    /// Whether requests are sent without the secret if there is none; otherwise the provider is then unhealthy.
    pub optional: bool,
}

/// The authentication scheme.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// No authentication.
    #[default]
    None,
    /// `Authorization: Bearer SECRET`.
    Bearer,
    /// `NAME: SECRET`.
    Header(String),
    /// `Authorization: Basic …` with this user and the secret.
    Basic(String),
}

/// The source of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// An environment variable.
    Variable(String),
    /// A file; white space around its content is dropped.
    File(PathBuf),
}

impl BaseUrl {
    /// The address, without a trailing slash.
    ///
    /// # Errors
    /// If the variable is unset or contains no address, with the remedy.
    pub fn resolve(&self, settings: &Settings) -> Result<String, String> {
        let name = match self {
            Self::Fixed(url) => return Ok(url.clone()),
            Self::Variable(name) => name,
        };
        let Some(url) = settings.variable(name) else {
            return Err(format!("no server is set: put its address into the environment variable {name}"));
        };
        clean_url(&url).map_err(|why| format!("the environment variable {name} {why}"))
    }
}

/// The most bytes that are read; no secret is longer.
const MAX_SECRET: u64 = 64 << 10;

fn read_secret(path: &Path) -> io::Result<String> {
    let mut secret = String::new();
    regular::open(path)?.take(MAX_SECRET).read_to_string(&mut secret)?;
    Ok(secret)
}

impl Secret {
    /// Reads the secret.
    ///
    /// # Errors
    /// If there is none, with the remedy; the text never contains the secret.
    pub fn read(&self, settings: &Settings) -> Result<String, String> {
        let secret = match self {
            Self::Variable(name) => {
                settings.variable(name).ok_or_else(|| format!("the environment variable {name} is not set"))?
            }
            Self::File(path) => read_secret(path)
                .map_err(|error| format!("the secret's file {} cannot be read: {error}", path.display()))?,
        };
        let secret = secret.trim();
        let shown = |what: &str| match self {
            Self::Variable(name) => format!("the environment variable {name} {what}"),
            Self::File(path) => format!("the secret's file {} {what}", path.display()),
        };
        if secret.is_empty() {
            return Err(shown("is empty"));
        }
        if secret.chars().any(|c| c.is_control() || !c.is_ascii()) {
            return Err(shown("contains characters that are not allowed in a header"));
        }
        Ok(secret.to_owned())
    }
}

impl Authentication {
    /// The name and value of the header to send; `None` if there is nothing to send.
    ///
    /// # Errors
    /// If a secret is required but missing, with the remedy.
    pub fn header(&self, settings: &Settings) -> Result<Option<(String, String)>, String> {
        use base64::Engine as _;
        let Some(secret) = &self.secret else { return Ok(None) };
        let secret = match secret.read(settings) {
            Ok(secret) => secret,
            Err(_) if self.optional => return Ok(None),
            Err(why) => return Err(why),
        };
        Ok(match &self.scheme {
            Scheme::None => None,
            Scheme::Bearer => Some(("authorization".to_owned(), format!("Bearer {secret}"))),
            Scheme::Header(name) => Some((name.clone(), secret)),
            Scheme::Basic(user) => {
                let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{secret}"));
                Some(("authorization".to_owned(), format!("Basic {pair}")))
            }
        })
    }
}

/// Names the source of the secret, never the secret.
impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

const CONNECTION_FIELDS: &[&str] = &["base_url", "base_url_env", "ca", "timeout", "retries", "health_check"];
const HEALTH_FIELDS: &[&str] = &["path", "timeout"];
const AUTHENTICATION_FIELDS: &[&str] = &["type", "env", "file", "header", "username", "optional"];
const MAX_RETRIES: u64 = 10;

pub(crate) fn read_connection(reader: &mut Reader, node: &Node) -> Option<Connection> {
    let fields = reader.fields(node, "`connection`", CONNECTION_FIELDS);
    let base_url = match (fields.get("base_url"), fields.get("base_url_env")) {
        (Some(_), Some(node)) => {
            reader.problem(node.spot, "`base_url` and `base_url_env` are both given", Some("keep one".to_owned()));
            None
        }
        (Some(node), None) => {
            let text = reader.text(node, "base_url")?;
            match clean_url(&text) {
                Ok(url) => Some(BaseUrl::Fixed(url)),
                Err(why) => {
                    let hint = Some("write, for example, `http://localhost:11434`".to_owned());
                    reader.problem(node.spot, format!("`base_url` {why}"), hint);
                    None
                }
            }
        }
        (None, Some(node)) => variable(reader, node, "base_url_env").map(BaseUrl::Variable),
        (None, None) => {
            let hint = Some("add `base_url: http://HOST:PORT`".to_owned());
            reader.problem(fields.spot, "`base_url` is missing in `connection`", hint);
            None
        }
    };
    let timeout = duration(reader, fields.get("timeout"), "timeout", Duration::from_secs(60));
    let retries = match fields.get("retries") {
        None | Some(Node { kind: Kind::Number(_), .. }) => {
            let number = fields.get("retries").map_or(Some(0), |node| node.to_value().as_u64());
            match number.filter(|number| *number <= MAX_RETRIES).and_then(|number| u32::try_from(number).ok()) {
                Some(number) => number,
                None => {
                    let spot = fields.get("retries").map_or(fields.spot, |node| node.spot);
                    reader.problem(spot, format!("`retries` must be between 0 and {MAX_RETRIES}"), None);
                    0
                }
            }
        }
        Some(node) => {
            let message = format!("expected a number for `retries`, found {}", node.describe());
            reader.problem(node.spot, message, None);
            0
        }
    };
    let health_check = fields.get("health_check").map_or_else(HealthCheck::default, |node| read_health(reader, node));
    let ca = fields.get("ca").and_then(|node| reader.text(node, "ca")).map(|path| reader.beside(&path));
    Some(Connection { base_url: base_url?, ca, timeout, retries, health_check })
}

fn read_health(reader: &mut Reader, node: &Node) -> HealthCheck {
    let default = HealthCheck::default();
    if let Kind::Bool(enabled) = node.kind {
        return HealthCheck { enabled, ..default };
    }
    let fields = reader.fields(node, "`health_check`", HEALTH_FIELDS);
    let path = reader.optional_text(&fields, "path");
    if let (Some(path), Some(node)) = (&path, fields.get("path"))
        && (!path.starts_with('/') || path.chars().any(|c| c.is_whitespace() || c.is_control()))
    {
        let hint = Some("write, for example, `/health`".to_owned());
        reader.problem(node.spot, format!("`{path}` is not a path"), hint);
    }
    let timeout = duration(reader, fields.get("timeout"), "timeout", default.timeout);
    HealthCheck { enabled: true, path, timeout }
}

pub(crate) fn read_authentication(reader: &mut Reader, node: &Node) -> Option<Authentication> {
    let what = "`authentication`";
    let fields = reader.fields(node, what, AUTHENTICATION_FIELDS);
    let kind = reader.required_text(&fields, "type", what)?;
    let scheme = match kind.as_str() {
        "none" => Scheme::None,
        "bearer" => Scheme::Bearer,
        "header" => {
            let name = reader.required_text(&fields, "header", what)?;
            Scheme::Header(header_name(reader, name, &fields)?)
        }
        "basic" => Scheme::Basic(reader.required_text(&fields, "username", what)?),
        other => {
            let spot = fields.get("type").map_or(fields.spot, |node| node.spot);
            let hint = did_you_mean(other, ["none", "bearer", "header", "basic"])
                .unwrap_or_else(|| "known types: none, bearer, header, basic".to_owned());
            reader.problem(spot, format!("unknown type of authentication `{other}`"), Some(hint));
            return None;
        }
    };
    let secret = match (fields.get("env"), fields.get("file")) {
        (Some(_), Some(node)) => {
            reader.problem(node.spot, "the secret is given by `env` and by `file`", Some("keep one".to_owned()));
            None
        }
        (Some(node), None) => variable(reader, node, "env").map(Secret::Variable),
        (None, Some(node)) => reader.text(node, "file").map(|path| Secret::File(reader.beside(&path))),
        (None, None) if scheme == Scheme::None => return Some(Authentication::default()),
        (None, None) => {
            let hint = Some("name an environment variable with `env`, or a file with `file`".to_owned());
            reader.problem(fields.spot, format!("{what} of type `{kind}` does not name a secret"), hint);
            None
        }
    };
    let optional = fields.get("optional").and_then(|node| reader.boolean(node, "optional")).unwrap_or_default();
    Some(Authentication { scheme, secret: Some(secret?), optional })
}

fn header_name(reader: &mut Reader, name: String, fields: &Fields<'_>) -> Option<String> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.chars().all(token) {
        return Some(name.to_ascii_lowercase());
    }
    let spot = fields.get("header").map_or(fields.spot, |node| node.spot);
    reader.problem(spot, format!("`{name}` is not the name of a header"), Some("such as `X-Api-Key`".to_owned()));
    None
}

fn variable(reader: &mut Reader, node: &Node, field: &str) -> Option<String> {
    let name = reader.text(node, field)?;
    let named = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if named {
        return Some(name);
    }
    // The text may be the secret itself, so it is not repeated.
    let hint = Some("write the variable's name, such as `OPENAI_API_KEY`, never the secret itself".to_owned());
    reader.problem(node.spot, format!("`{field}` is not the name of an environment variable"), hint);
    None
}

fn duration(reader: &mut Reader, node: Option<&Node>, name: &str, default: Duration) -> Duration {
    node.and_then(|node| reader.duration_ms(node, name)).map_or(default, Duration::from_millis)
}

/// Accepts an HTTP address without user, query and fragment.
pub(crate) fn clean_url(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text).map_err(|error| format!("is no address: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("must begin with http:// or https:// and name a host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("contains a user or password; use `authentication`".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must end before `?` and `#`".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests;
