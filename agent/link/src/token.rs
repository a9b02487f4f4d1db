//! Where the token comes from that a control plane asks for: given, or kept by a control plane of the same user.
//!
//! A control plane that listens on this machine only and was given no token makes one of its own. It stands in
//! `STATE/gleitzeit/token-PORT`, which only its user can read, and the control plane holds a shared lock on that file for
//! as long as it lives. Whoever reads the token tries for an exclusive lock first: if it is to be had, no control plane of
//! this user listens, so whatever listens at the port is another user's and must not be shown the token.

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

/// The token of a connection, looked for anew each time one is made.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum TokenSource {
    /// None is sent.
    #[default]
    None,
    /// Always this one.
    Given(String),
    /// The one in a file, as it is then.
    File(SecretFile),
    /// That of this user's own control plane, while it lives.
    Kept(TokenFile),
}

impl TokenSource {
    /// The given token, else that of this user's own control plane at the address; `read` reads the environment.
    pub fn new(given: Option<String>, url: &str, read: impl Fn(&str) -> Option<OsString>) -> Self {
        given.map_or(Self::None, Self::Given).or_kept(url, read)
    }

    /// This one, or where it is none that of this user's own control plane at the address; `read` reads the environment.
    #[must_use]
    pub fn or_kept(self, url: &str, read: impl Fn(&str) -> Option<OsString>) -> Self {
        match self {
            Self::None => TokenFile::at_url(url, read).map_or(Self::None, Self::Kept),
            given => given,
        }
    }

    /// The token as it is now.
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

/// A variable of the environment. Where `HOME` is not set, the home that the system knows of this user stands for it, as
/// `~` does in a shell: services and containers often start without.
pub fn variable(name: &str) -> Option<OsString> {
    match name {
        "HOME" => std::env::home_dir().map(PathBuf::into_os_string),
        name => std::env::var_os(name),
    }
}

/// The file in which a control plane keeps its own token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFile(PathBuf);

impl TokenFile {
    /// That of a port of this machine: in `$XDG_STATE_HOME/gleitzeit`, else in `~/.local/state/gleitzeit`. `None` if the
    /// environment, which `read` reads, names neither.
    pub fn of_port(port: u16, read: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let absolute = |name: &str| read(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")))?;
        Some(Self(state.join("gleitzeit").join(format!("token-{port}"))))
    }

    /// That of the control plane at an address; `None` if it is not on this machine.
    pub fn at_url(url: &str, read: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let url = url.trim();
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let uri: Uri = url.parse().ok()?;
        let host = uri.host()?.trim_matches(['[', ']']);
        let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let usual = if uri.scheme_str() == Some("https") { HTTPS_PORT } else { HTTP_PORT };
        if is_here { Self::of_port(uri.port_u16().unwrap_or(usual), read) } else { None }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Its token, if a control plane of this user holds it now.
    pub fn of_living(&self) -> Option<String> {
        let file = OpenOptions::new().read(true).custom_flags(NOFOLLOW | NONBLOCK).open(&self.0).ok()?;
        check_private(&file).ok()?;
        match file.try_lock() {
            // Given back when it is closed.
            Ok(()) | Err(TryLockError::Error(_)) => None,
            Err(TryLockError::WouldBlock) => read_token(&file).ok().flatten(),
        }
    }
}

/// Whether a file is one that only this user can read and write.
///
/// # Errors
/// If it is another's, others have rights, or it is no regular file.
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
    fn only_addresses_of_this_machine_have_a_file() {
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
    fn a_token_is_shown_only_to_a_control_plane_of_the_same_user_that_lives() {
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
