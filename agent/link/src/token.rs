//! Where a connection's token comes from: it is given, or a control plane of the same user has stored it.
//!
//! A control plane that listens on this machine only and was given no token generates one. It stores the token in
//! `STATE/gleitzeit/token-PORT`, which only its user can read, and holds a shared lock on that file for as long as it
//! runs. A reader of the token first tries for an exclusive lock. If it gets the lock, no control plane of this user is
//! listening, so whatever listens at the port belongs to another user and must not be sent the token.

use std::ffi::OsString;
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tokio_tungstenite::tungstenite::http::Uri;

use crate::secret::{NONBLOCK, SecretFile, read_token};

/// Where a control plane listens if its address names no port, as everywhere for `http` and `https`.
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// The source of a connection's token, read anew for each connection.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum TokenSource {
    /// No token is sent.
    #[default]
    None,
    /// A fixed token.
    Given(String),
    /// The token in a file, as it is at the time of the connection.
    File(SecretFile),
    /// The token of this user's own control plane, while that runs.
    Kept(TokenFile),
}

impl TokenSource {
    /// The given token, or else that of this user's own control plane at the address; `read` reads the environment.
    pub fn new(given: Option<String>, url: &str, read: impl Fn(&str) -> Option<OsString>) -> Self {
        given.map_or(Self::None, Self::Given).or_kept(url, read)
    }

    /// Keeps this source unless it is `None`, and otherwise uses the token of this user's own control plane at the
    /// address; `read` reads the environment.
    #[must_use]
    pub fn or_kept(self, url: &str, read: impl Fn(&str) -> Option<OsString>) -> Self {
        match self {
            Self::None => TokenFile::at_url(url, read).map_or(Self::None, Self::Kept),
            given => given,
        }
    }

    /// The token at this moment.
    pub fn current(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Given(token) => Some(token.clone()),
            Self::File(file) => Some(file.current().to_string()),
            Self::Kept(file) => file.of_living(),
        }
    }
}

/// Never shows a token.
impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Given(_) => f.write_str("Given(…)"),
            Self::File(file) => file.fmt(f),
            Self::Kept(file) => file.fmt(f),
        }
    }
}

/// Reads an environment variable. If `HOME` is not set, the home directory in the system's user database stands in for
/// it, as `~` does in a shell: services and containers often start without `HOME`.
pub fn variable(name: &str) -> Option<OsString> {
    match name {
        "HOME" => std::env::home_dir().map(PathBuf::into_os_string),
        name => std::env::var_os(name),
    }
}

/// The file in which a control plane stores its own token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFile(PathBuf);

impl TokenFile {
    /// The file for a port of this machine: in `$XDG_STATE_HOME/gleitzeit`, or else in `~/.local/state/gleitzeit`.
    /// `None` if the environment, which `read` reads, names neither.
    pub fn of_port(port: u16, read: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let absolute = |name: &str| read(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")))?;
        Some(Self(state.join("gleitzeit").join(format!("token-{port}"))))
    }

    /// The file for the control plane at an address; `None` if it is not on this machine.
    pub fn at_url(url: &str, read: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let url = url.trim();
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let uri: Uri = url.parse().ok()?;
        let host = uri.host()?.trim_matches(['[', ']']);
        let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let usual = if uri.scheme_str() == Some("https") { HTTPS_PORT } else { HTTP_PORT };
        if is_here { Self::of_port(uri.port_u16().unwrap_or(usual), read) } else { None }
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The token, if a control plane of this user holds the file now.
    pub fn of_living(&self) -> Option<String> {
        let file = OpenOptions::new().read(true).custom_flags(NOFOLLOW | NONBLOCK).open(&self.0).ok()?;
        check_private(&file).ok()?;
        match file.try_lock() {
            // Closing the file releases the lock.
            Ok(()) | Err(TryLockError::Error(_)) => None,
            Err(TryLockError::WouldBlock) => read_token(&file).ok().flatten(),
        }
    }
}

/// Checks that only this user can read and write a file.
///
/// # Errors
/// If the file belongs to another user, others have access to it, or it is not a regular file.
pub fn check_private(file: &File) -> io::Result<()> {
    let metadata = file.metadata()?;
    let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
    if metadata.is_file() && is_own && metadata.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "it must be a file of this user, with the mode 0600"))
}

const NOFOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn in_folder(folder: &Path) -> impl Fn(&str) -> Option<OsString> {
        let folder = folder.as_os_str().to_owned();
        move |name| (name == "XDG_STATE_HOME").then(|| folder.clone())
    }

    #[test]
    fn only_local_addresses_have_a_token_file() {
        let read = |name: &str| (name == "HOME").then(|| OsString::from("/home/x"));
        let path = |url: &str| TokenFile::at_url(url, read).map(|file| file.path().display().to_string());
        let of = |port: u16| Some(format!("/home/x/.local/state/gleitzeit/token-{port}"));
        for (url, expected) in [
            ("http://localhost:8000", of(8000)),
            ("localhost:8001/", of(8001)),
            ("127.0.0.1:9", of(9)),
            ("http://127.1.2.3:8000/x", of(8000)),
            ("http://[::1]:8000", of(8000)),
            ("http://localhost", of(80)),
            ("https://localhost", of(443)),
            ("http://10.0.0.1:8000", None),
            ("http://localhost.example:8000", None),
            ("http://example:8000", None),
            ("", None),
        ] {
            assert_eq!(path(url), expected, "{url}");
        }
        assert_eq!(TokenFile::of_port(1, |_| Some("relative".into())), None);
    }

    #[test]
    fn a_token_is_sent_only_to_a_live_control_plane_of_the_same_user() {
        let folder = std::env::temp_dir().join(format!("gleitzeit-token-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("gleitzeit")).expect("a folder");
        let file = TokenFile::of_port(7, in_folder(&folder)).expect("a file");
        let source = TokenSource::new(None, "http://localhost:7", in_folder(&folder));
        assert_eq!(source.current(), None, "there is no file");
        std::fs::write(file.path(), "secret\n").expect("written");
        let set_mode = |mode| std::fs::set_permissions(file.path(), Permissions::from_mode(mode)).expect("set");
        set_mode(0o600);
        assert_eq!(source.current(), None, "nobody lives");
        let held = File::open(file.path()).expect("opened");
        held.lock_shared().expect("locked");
        assert_eq!(source.current().as_deref(), Some("secret"));
        set_mode(0o640);
        assert_eq!(source.current(), None, "others can read it");
        set_mode(0o600);
        drop(held);
        assert_eq!(source.current(), None, "it lives no more");
        let given = TokenSource::new(Some("given".to_owned()), "http://localhost:7", in_folder(&folder));
        assert_eq!(given.current().as_deref(), Some("given"));
        assert_eq!(format!("{given:?}"), "Given(…)");
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
