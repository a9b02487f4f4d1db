//! The token that a control plane generates when it listens on this machine only and was given none: without a token
//! any user of the machine could run code as the control plane's user.
//!
//! It is stored in a file of the user, where commands, agents and programs of the same user find it. It stays the same
//! across restarts, so that clients that were given it keep their access. See [`gleitzeit_link::TokenFile`] for how it
//! is read.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use gleitzeit_link::{TokenFile, check_private, read_token};

use crate::cli::HubArgs;
use crate::denied::Denied;
use crate::error::CommandError;
use crate::folders;

/// A control plane's own token, from its creation until the control plane ends.
#[derive(Debug)]
pub(crate) struct OwnToken {
    token: String,
    /// Locked, once the port is known, while the control plane runs.
    held: Option<File>,
}

impl OwnToken {
    /// The own token of a control plane with these arguments; `None` if a token was given, or none is wanted.
    ///
    /// # Errors
    /// If the token file of its port cannot be used.
    pub(crate) fn of(args: &HubArgs) -> Result<Option<Self>, CommandError> {
        if args.token.is_some() || args.no_auth || !args.host.is_loopback() {
            return Ok(None);
        }
        // A port that the system chooses is known only later.
        if args.port == 0 {
            return Ok(Some(Self { token: new_token(), held: None }));
        }
        let (token, file) = hold(args.port, None)?;
        Ok(Some(Self { token, held: Some(file) }))
    }

    /// The token that every client must present.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Stores the token for others of this user, now that the control plane listens at this port.
    ///
    /// # Errors
    /// If the token file of that port cannot be used.
    pub(crate) fn publish(&mut self, port: u16) -> Result<(), CommandError> {
        if self.held.is_none() {
            let (_, file) = hold(port, Some(&self.token))?;
            self.held = Some(file);
        }
        Ok(())
    }
}

/// Stores the token if there is one.
///
/// # Errors
/// If the token file of that port cannot be used.
pub(crate) fn publish(own: &mut Option<OwnToken>, address: SocketAddr) -> Result<(), CommandError> {
    own.as_mut().map_or(Ok(()), |own| own.publish(address.port()))
}

/// Opens the token file of a port and makes sure that it holds a token: the wanted one, or else the one already there,
/// or else a new one. Returns the token and the open file.
fn hold(port: u16, wanted: Option<&str>) -> Result<(String, File), CommandError> {
    let Some(file) = TokenFile::of_port(port, gleitzeit_link::variable) else {
        let error = CommandError::usage("there is no folder for the control plane's token: HOME is not set");
        return Err(error.hint("set HOME or XDG_STATE_HOME, give a token in GLEITZEIT_TOKEN, or give `--no-auth`"));
    };
    let path = file.path();
    let instead = "name another with XDG_STATE_HOME, or give a token in GLEITZEIT_TOKEN or with --token-file";
    folders::make_private(path.parent().unwrap_or(Path::new("/")), instead)?;
    open(path).and_then(|file| token_in(file, wanted)).map_err(|error| {
        let message = format!("cannot use the control plane's token in `{}`: {error}", path.display());
        let instead = "give a token in GLEITZEIT_TOKEN or with --token-file, or give `--no-auth`";
        match Denied::of(path.parent().unwrap_or(Path::new("/"))) {
            Some(denied) => CommandError::internal(format!("{message}; {denied}")).hint(denied.remedy(instead)),
            None => CommandError::internal(message).hint(format!("remove it if it is not needed, {instead}")),
        }
    })
}

fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = OpenOptions::new().read(true).write(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
    check_private(&file)?;
    Ok(file)
}

fn token_in(mut file: File, wanted: Option<&str>) -> io::Result<(String, File)> {
    // Exclusive while the token is written. If the exclusive lock is not available, another control plane already uses
    // this port's file, on another address or by mistake: its token is shared. A mere reader holds the lock only for a
    // moment.
    let is_alone = file.try_lock().is_ok();
    if !is_alone {
        file.lock_shared()?;
    }
    let token = match (wanted, read_token(&file)?) {
        (None, Some(kept)) => kept,
        _ if !is_alone => return Err(io::Error::other("another control plane holds it")),
        (wanted, _) => {
            let token = wanted.map_or_else(new_token, str::to_owned);
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(token.as_bytes())?;
            file.sync_data()?;
            token
        }
    };
    file.lock_shared()?;
    Ok((token, file))
}

/// Generates a token with 244 random bits.
pub(crate) fn new_token() -> String {
    let half = || uuid::Uuid::new_v4().simple().to_string();
    half() + &half()
}
