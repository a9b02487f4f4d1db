//! Control planes that run on this machine. Each one leaves a marker file in the data folder while it runs, so that
//! `stop` finds it; `--background` starts one that outlives the command.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gleitzeit_workflow::ErrorCode;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::cli::DEFAULT_PORT;
use crate::error::{CommandError, Exit};
use crate::{folders, hub_url, output, trust};

/// How long a control plane may take to become ready: a large journal is read first.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long a control plane that already has its port may take to write its marker.
const MARKER_LIMIT: Duration = Duration::from_secs(3);
/// How often to check whether a process has ended.
const POLL: Duration = Duration::from_millis(20);
/// A larger log is rotated at the next start.
const MAX_LOG_BYTES: u64 = 16 << 20;
/// How many bytes of the log are shown if a start fails.
const LOG_TAIL: u64 = 2_000;
/// The hint if the data folder cannot be created.
const DATA_FOLDER: &str = "name a folder in XDG_DATA_HOME that you may write to";
/// What a control plane prints on stdout once it is ready.
const READY: &str = "ready at ";

/// Announces on stdout that a control plane is ready, to people and to the process that started it in the background.
/// Uses a blocking thread, since it may have to wait for a reader.
///
/// # Errors
/// If stdout cannot be written.
pub(crate) async fn announce(address: SocketAddr) -> Result<(), CommandError> {
    let text = format!("{READY}{}\n", hub_url::local_url(address));
    let printed = tokio::task::spawn_blocking(move || output::print(&text).map(drop)).await;
    printed.unwrap_or_else(|error| Err(CommandError::internal(format!("cannot write to stdout: {error}"))))
}

/// The content of a marker; it is valid while its file is locked.
#[derive(Debug, Deserialize, Serialize)]
struct Marked {
    pid: u32,
    /// Whether the control plane was asked to stop: a second signal would end it at once.
    #[serde(default)]
    asked: bool,
}

/// The marker of a control plane that runs in this process.
#[derive(Debug)]
pub(crate) struct Marker {
    path: PathBuf,
    /// The lock on this file ends with the process, however that ends.
    _file: File,
}

impl Marker {
    /// Writes the marker of a control plane on this port. Without a marker `stop` does not find the control plane, but
    /// everything else works, so errors are only logged.
    pub(crate) fn hold(port: u16) -> Option<Self> {
        let made = marker_path(port).and_then(|path| {
            folders::make_private(path.parent().unwrap_or(Path::new("/")), DATA_FOLDER)?;
            let write = || {
                let mut file = open(&path, true)?;
                file.try_lock().map_err(io::Error::from)?;
                file.set_len(0)?;
                file.write_all(&serde_json::to_vec(&Marked { pid: std::process::id(), asked: false })?)?;
                Ok::<_, io::Error>(file)
            };
            let file = write().map_err(|error| {
                CommandError::internal(format!("cannot write the marker `{}`: {error}", path.display()))
            })?;
            Ok(Self { path, _file: file })
        });
        made.inspect_err(|error| tracing::warn!(%error, "`gleitzeit stop` will not find this control plane")).ok()
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(asking_path(&self.path));
    }
}

fn marker_path(port: u16) -> Result<PathBuf, CommandError> {
    Ok(folders::data_folder()?.join(format!("hub-{port}.json")))
}

/// Locked while a process asks the control plane of this marker to stop.
fn asking_path(marker: &Path) -> PathBuf {
    marker.with_extension("asking")
}

fn open(path: &Path, create: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(create).truncate(false).mode(0o600).open(path)
}

/// Asks the control plane on this port to stop and waits until it has; `None` if there is none. The control plane may
/// finish its work however often it is asked, unless `force` ends it at once.
///
/// # Errors
/// If it does not stop in time.
pub(crate) async fn stop(port: u16, limit: Duration, force: bool) -> Result<Option<u32>, CommandError> {
    let path = marker_path(port)?;
    let until = Instant::now() + limit;
    let mut asked = None;
    loop {
        let Ok(mut file) = open(&path, false) else { return Ok(asked) };
        match file.try_lock() {
            // A control plane that was killed left this marker behind.
            Ok(()) => {
                let _ = fs::remove_file(&path);
                let _ = fs::remove_file(asking_path(&path));
                return Ok(asked);
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                return Err(CommandError::internal(format!("cannot lock `{}`: {error}", path.display())));
            }
        }
        // The lock covers reading and writing the marker; another process that asks meanwhile tries again a little
        // later. A marker that cannot be parsed is being written at the moment.
        if asked.is_none()
            && let Some(_alone) = alone_with(&path)?
            && let Some(marked) = read(&mut file)
        {
            if !marked.asked {
                signal(marked.pid)?;
                write(&mut file, &Marked { asked: true, ..marked })?;
            }
            if force {
                signal(marked.pid)?;
            }
            asked = Some(marked.pid);
        }
        if Instant::now() >= until {
            let who = asked.map_or_else(String::new, |pid| format!(" (pid {pid})"));
            let message = format!("the control plane on port {port}{who} did not stop within {limit:?}");
            return Err(CommandError::internal(message)
                .hint("it still finishes work: wait, give a longer --timeout, or --force"));
        }
        sleep(POLL).await;
    }
}

/// The lock for asking; `None` while another process holds it.
fn alone_with(marker: &Path) -> Result<Option<File>, CommandError> {
    let path = asking_path(marker);
    let failed = |error: io::Error| CommandError::internal(format!("cannot lock `{}`: {error}", path.display()));
    let file = open(&path, true).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn read(file: &mut File) -> Option<Marked> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(1_000).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn write(file: &mut File, marked: &Marked) -> Result<(), CommandError> {
    let text = serde_json::to_string(marked).map_err(|error| CommandError::internal(error.to_string()))?;
    let written =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| io::Write::write_all(file, text.as_bytes()));
    written.map_err(|error| CommandError::internal(format!("cannot write the marker: {error}")))
}

fn signal(pid: u32) -> Result<(), CommandError> {
    let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Err(CommandError::internal(format!("the marker names process {pid}, which is not a valid process id")));
    };
    match kill_process(id, Signal::TERM) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(CommandError::internal(format!("cannot stop process {pid}: {error}"))),
    }
}

/// A control plane that was started and is ready.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) pid: u32,
    pub(crate) url: String,
    pub(crate) log: PathBuf,
}

/// Starts control plane and worker at the default address, with this process's TLS roots.
///
/// # Errors
/// If it does not become ready.
pub(crate) async fn start_default() -> Result<Started, CommandError> {
    let ca = trust::ca().map(|path| [OsString::from("--ca"), path.into_os_string()]);
    start([OsString::from("start")].into_iter().chain(ca.into_iter().flatten()).collect(), DEFAULT_PORT).await
}

/// Starts this program with the arguments of `start`, and returns once it is ready.
///
/// # Errors
/// If it ends or is not ready in time; the process is not left running then.
pub(crate) async fn start(arguments: Vec<OsString>, port: u16) -> Result<Started, CommandError> {
    let folder = folders::data_folder()?;
    folders::make_private(&folder, DATA_FOLDER)?;
    let log = folder.join(format!("hub-{port}.log"));
    let cannot = |what: &str, error: io::Error| CommandError::internal(format!("cannot {what}: {error}"));
    let file = open_log(&log).map_err(|error| cannot(&format!("write the log `{}`", log.display()), error))?;
    let begins_at = file.metadata().map_or(0, |metadata| metadata.len());
    let program = std::env::current_exe().map_err(|error| cannot("find this program", error))?;
    let mut child = Command::new(program)
        .args(arguments)
        .arg("--in-background")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(file)
        // A Ctrl-C on the terminal must not reach the new process.
        .process_group(0)
        .spawn()
        .map_err(|error| cannot("start the control plane", error))?;
    match timeout(START_LIMIT, ready(&mut child)).await {
        Ok(Some(url)) => Ok(Started { pid: child.id(), url, log }),
        Ok(None) => {
            let _ = child.wait();
            if let Some(pid) = other(port).await {
                let message = format!("a control plane of yours already runs on port {port} (pid {pid})");
                let error = CommandError::new(Exit::Failed, ErrorCode::ConfigurationError, message);
                return Err(
                    error.hint(format!("use it, end it with `gleitzeit stop --port {port}`, or choose another --port"))
                );
            }
            Err(CommandError::internal(format!("the control plane did not start:\n{}", tail(&log, begins_at))))
        }
        Err(_) => {
            let _ = child.kill();
            let _ = child.wait();
            let message = format!("the control plane was not ready within {START_LIMIT:?}");
            Err(CommandError::internal(message).hint(format!("its log is `{}`", log.display())))
        }
    }
}

/// The pid of this user's control plane that has the port, if there is one. It may still be starting, so this waits for
/// its marker.
async fn other(port: u16) -> Option<u32> {
    let path = marker_path(port).ok()?;
    let until = Instant::now() + MARKER_LIMIT;
    loop {
        if let Ok(mut file) = open(&path, false)
            && matches!(file.try_lock(), Err(TryLockError::WouldBlock))
            && let Some(marked) = read(&mut file)
        {
            return Some(marked.pid);
        }
        let is_taken = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok();
        if !is_taken || Instant::now() >= until {
            return None;
        }
        sleep(POLL).await;
    }
}

/// Waits for the child's first line of output; `None` if it ends without one.
async fn ready(child: &mut Child) -> Option<String> {
    let mut stdout = io::BufReader::new(child.stdout.take()?);
    let first = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        io::BufRead::read_line(&mut stdout, &mut line).map(|_| line)
    });
    let line = first.await.ok()?.ok()?;
    line.trim_end().strip_prefix(READY).map(str::to_owned)
}

fn open_log(path: &Path) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() > MAX_LOG_BYTES) {
        fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// The end of what was appended to a log after offset `from`.
fn tail(path: &Path, from: u64) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(io::SeekFrom::Start(from.max(length.saturating_sub(LOG_TAIL))))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL).read_to_end(&mut bytes)?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    };
    read().unwrap_or_else(|error| format!("(its log `{}` cannot be read: {error})", path.display()))
}
