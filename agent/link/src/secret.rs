//! A token in a file, as systemd, Kubernetes and Docker hand out secrets. It appears neither in the environment, which
//! child processes inherit, nor in the list of processes, and its owner may change it while everything runs.

use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};

/// A longer text is not a token.
const MAX_TOKEN_BYTES: usize = 4_096;

pub(crate) const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

/// A file that holds only a token, possibly with spaces and line ends around it. Clones share the cached content.
#[derive(Clone)]
pub struct SecretFile {
    path: Arc<Path>,
    last: Arc<Mutex<Last>>,
}

/// The content that was read last.
struct Last {
    /// The file from which it was read; `None` once the file could not be read, so that the failure is logged only
    /// once.
    read_from: Option<Stamp>,
    token: Arc<str>,
}

/// Identifies a file and its version, so that a replacement or a change is noticed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl From<&Metadata> for Stamp {
    fn from(of: &Metadata) -> Self {
        Self {
            device: of.dev(),
            inode: of.ino(),
            bytes: of.len(),
            modified: (of.mtime(), of.mtime_nsec()),
            changed: (of.ctime(), of.ctime_nsec()),
        }
    }
}

impl SecretFile {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// If the file cannot be read, is not a regular file, holds no token, or holds anything besides one.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let (stamp, token) = read(&path)?;
        let last = Last { read_from: Some(stamp), token: token.into() };
        Ok(Self { path: path.into(), last: Arc::new(Mutex::new(last)) })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The token, read again if the file has changed. While the file cannot be read, this returns the token that was
    /// read last: secrets are often replaced by removing them first.
    pub fn current(&self) -> Arc<str> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = std::fs::metadata(&self.path).map(|metadata| Stamp::from(&metadata));
        if now.as_ref().ok().is_some_and(|now| Some(*now) == last.read_from) {
            return last.token.clone();
        }
        match now.and_then(|_| read(&self.path)) {
            Ok((stamp, token)) => {
                if *token != *last.token {
                    info!(file = %self.path.display(), "the token has changed");
                }
                *last = Last { read_from: Some(stamp), token: token.into() };
            }
            Err(error) => {
                if last.read_from.take().is_some() {
                    warn!(file = %self.path.display(), %error, "the token cannot be read again; the last one stays");
                }
            }
        }
        last.token.clone()
    }
}

/// Reads the token, and the stamp of the file that holds it.
fn read(path: &Path) -> io::Result<(Stamp, String)> {
    // Links are followed: Kubernetes updates secrets by switching one. Without `NONBLOCK`, opening a pipe would block.
    let file = OpenOptions::new().read(true).custom_flags(NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file, so it cannot be read again"));
    }
    let token = read_token(&file)?;
    let token = token.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it holds no token"))?;
    Ok((Stamp::from(&metadata), token))
}

/// The token in a file; `None` if it holds none.
///
/// # Errors
/// If it cannot be read, is not text, or holds a [`TokenProblem`] other than none at all.
pub fn read_token(mut file: &File) -> io::Result<Option<String>> {
    let mut text = String::new();
    (&mut file).take(MAX_TOKEN_BYTES as u64 + 1).read_to_string(&mut text)?;
    // What was not read could be spaces, but a file of that size was not meant to hold a token.
    let checked = if text.len() > MAX_TOKEN_BYTES { Err(TokenProblem::TooLong) } else { check_token(&text) };
    match checked {
        Ok(token) => Ok(Some(token.to_owned())),
        Err(TokenProblem::Empty) => Ok(None),
        Err(problem) => Err(io::Error::new(io::ErrorKind::InvalidData, format!("it {problem}"))),
    }
}

/// Why a text is not a token. Its text is the end of a sentence about the text's origin, and does not show the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenProblem {
    /// Nothing is left without the spaces and line ends around it.
    Empty,
    /// It has more than 4,096 bytes.
    TooLong,
    /// It has a character that no header can carry as part of a token.
    Characters,
}

impl fmt::Display for TokenProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::TooLong => write!(f, "is longer than {MAX_TOKEN_BYTES} bytes, the limit for a token"),
            Self::Characters => {
                f.write_str("contains spaces, more than one line, or characters that are not allowed in a token")
            }
        }
    }
}

impl std::error::Error for TokenProblem {}

/// The token in a text, without the spaces and line ends around it: 1 to 4,096 visible ASCII characters.
///
/// # Errors
/// If the text holds none, or anything besides one.
pub fn check_token(text: &str) -> Result<&str, TokenProblem> {
    let token = text.trim();
    if token.is_empty() {
        Err(TokenProblem::Empty)
    } else if token.len() > MAX_TOKEN_BYTES {
        Err(TokenProblem::TooLong)
    } else if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err(TokenProblem::Characters)
    } else {
        Ok(token)
    }
}

/// Never shows the token.
impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecretFile").field(&self.path).finish()
    }
}

impl PartialEq for SecretFile {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for SecretFile {}

#[cfg(test)]
mod tests {
    use super::*;

    /// A temporary folder, removed on drop.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("gleitzeit-secret-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_token_is_visible_ascii_of_bounded_length_with_any_spaces_around_it() {
        let longest = "x".repeat(MAX_TOKEN_BYTES);
        let (too_long, padded) = (format!("{longest}x"), format!("\n {longest} "));
        for (text, expected) in [
            (" a~!\r\n", Ok("a~!")),
            (&padded, Ok(&*longest)),
            (&too_long, Err(TokenProblem::TooLong)),
            ("\n", Err(TokenProblem::Empty)),
            ("a b", Err(TokenProblem::Characters)),
            ("a\u{7f}", Err(TokenProblem::Characters)),
            ("t\u{f6}ken", Err(TokenProblem::Characters)),
        ] {
            assert_eq!(check_token(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_token_is_read_again_when_its_file_changes() {
        let folder = Folder::new("changes");
        let path = folder.0.join("token");
        std::fs::write(&path, " first\n").expect("written");
        let secret = SecretFile::open(&path).expect("a token");
        let other = secret.clone();
        assert_eq!(&*secret.current(), "first");
        std::fs::write(&path, "second").expect("written");
        assert_eq!((&*secret.current(), &*other.current()), ("second", "second"));
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(&*secret.current(), "second", "it is being replaced");
        std::fs::write(&path, "\n").expect("written");
        assert_eq!(&*secret.current(), "second", "an empty file is none");
        std::fs::write(&path, "third").expect("written");
        assert_eq!(&*secret.current(), "third");
        assert_eq!(format!("{secret:?}"), format!("SecretFile({path:?})"));
    }

    #[test]
    fn a_changed_symbolic_link_leads_to_the_new_token() {
        let folder = Folder::new("link");
        let link = folder.0.join("token");
        for (name, token) in [("a", "one"), ("b", "two")] {
            std::fs::write(folder.0.join(name), token).expect("written");
        }
        std::os::unix::fs::symlink("a", &link).expect("linked");
        let secret = SecretFile::open(&link).expect("a token");
        assert_eq!(&*secret.current(), "one");
        std::os::unix::fs::symlink("b", folder.0.join("new")).expect("linked");
        std::fs::rename(folder.0.join("new"), &link).expect("turned");
        assert_eq!(&*secret.current(), "two");
    }

    #[test]
    fn a_file_without_a_token_is_refused_without_blocking() {
        let folder = Folder::new("none");
        let path = folder.0.join("token");
        let refused = |path: &Path| SecretFile::open(path).expect_err("refused").to_string();
        assert!(refused(&path).contains("No such file"), "{}", refused(&path));
        std::fs::write(&path, " \n").expect("written");
        assert_eq!(refused(&path), "it holds no token");
        for content in ["one\ntwo\n", "one two", "\u{feff}one", "o\x1bne", "t\u{f6}ken"] {
            std::fs::write(&path, content).expect("written");
            let said = "it contains spaces, more than one line, or characters that are not allowed in a token";
            assert_eq!(refused(&path), said, "{content:?}");
        }
        let pipe = folder.0.join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("it is there").success());
        assert!(refused(&pipe).contains("no regular file"), "{}", refused(&pipe));
        assert!(refused(&folder.0).contains("no regular file"), "{}", refused(&folder.0));
        let long = "x".repeat(5_000);
        std::fs::write(&path, long).expect("written");
        assert!(refused(&path).contains("longer than 4096"), "{}", refused(&path));
    }
}
