//! The token that a control plane makes for itself when it listens on this machine only and was given none: without one
//! any user of the machine could run code as its user.
//!
//! It is kept in a file of the user's, so that commands, agents and programs of the same user find it, and stays the same
//! from start to start, so that whoever was given it once may stay. See [`gleitzeit_link::TokenFile`] for who reads it.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use gleitzeit_link::{TokenFile, check_private, read_token};

use crate::cli::HubArgs;
use crate::error::CommandError;
use crate::place::{self, Denied};

/// A control plane's own token, from its making until the control plane ends.
#[derive(Debug)]
pub(crate) struct OwnToken {
    token: String,
    /// Locked, once the port is known, for as long as the control plane lives.
    held: Option<File>,
}

impl OwnToken {
    /// The token of a control plane that is set so; `None` if it has one already, or is to have none.
    ///
    /// # Errors
    /// If the file of its port cannot be used.
    pub(crate) fn of(args: &HubArgs) -> Result<Option<Self>, CommandError> {
        if args.token.is_some() || args.no_auth || !args.host.is_loopback() {
            return Ok(None);
        }
        // A port that the system chooses is known later.
        if args.port == 0 {
            return Ok(Some(Self { token: new_token(), held: None }));
        }
        let (token, file) = hold(args.port, None)?;
        Ok(Some(Self { token, held: Some(file) }))
    }

    /// What is asked of everybody who connects.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Lets others of this user find it, now that it listens at this port.
    ///
    /// # Errors
    /// If the file of that port cannot be used.
    pub(crate) fn publish(&mut self, port: u16) -> Result<(), CommandError> {
        if self.held.is_none() {
            let (_, file) = hold(port, Some(&self.token))?;
            self.held = Some(file);
        }
        Ok(())
    }
}

/// The same for a token that there may not be.
///
/// # Errors
/// If the file of that port cannot be used.
pub(crate) fn publish(own: &mut Option<OwnToken>, address: SocketAddr) -> Result<(), CommandError> {
    own.as_mut().map_or(Ok(()), |own| own.publish(address.port()))
}

/// The token in the file of a port, which holds the wanted one afterwards, or the one that it held, or a new one.
fn hold(port: u16, wanted: Option<&str>) -> Result<(String, File), CommandError> {
    let Some(file) = TokenFile::of_port(port, gleitzeit_link::variable) else {
        let error = CommandError::usage("there is no place for the control plane's token: HOME is not set");
        return Err(error.hint("set HOME or XDG_STATE_HOME, give a token in GLEITZEIT_TOKEN, or say `--no-auth`"));
    };
    let path = file.path();
    let instead = "name another with XDG_STATE_HOME, or give a token in GLEITZEIT_TOKEN or with --token-file";
    place::make_folder(path.parent().unwrap_or(Path::new("/")), instead)?;
    open(path).and_then(|file| token_in(file, wanted)).map_err(|error| {
        let message = format!("cannot use the control plane's token in `{}`: {error}", path.display());
        let instead = "give a token in GLEITZEIT_TOKEN or with --token-file, or say `--no-auth`";
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
    // Alone while it is made. Where that cannot be had, another control plane lives at this port, of another address or by
    // mistake: its token is shared. Who only looks holds it for a moment.
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

/// 244 random bits.
pub(crate) fn new_token() -> String {
    let half = || uuid::Uuid::new_v4().simple().to_string();
    half() + &half()
}
