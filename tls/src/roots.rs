//! The trusted roots and where they come from.

use std::ffi::OsString;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use thiserror::Error;

/// The variable that names a file of further roots, as `--ca` does.
pub const CA_VARIABLE: &str = "GLEITZEIT_CA";
const FILE_VARIABLE: &str = "SSL_CERT_FILE";
const FOLDER_VARIABLE: &str = "SSL_CERT_DIR";

/// The usual files of a machine's roots: Debian, Fedora, SUSE, and Alpine or macOS.
const USUAL: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The largest certificate file that is read, in bytes; those of machines have some 250 KB.
const MOST_BYTES: u64 = 16 << 20;
/// The most files that are read from a folder; those of machines have some 300, each under two names.
const MOST_FILES: usize = 10_000;

const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

/// The roots of a process: what is trusted when a server shows a certificate. Cheap to clone; clones share what was read.
/// Its method `config` stands in the module of that name.
#[derive(Clone)]
pub struct Trust(Arc<Inner>);

struct Inner {
    machine: Machine,
    added: Vec<Added>,
    /// Built when it is first needed. A failure is not kept, since the file may be repaired while the process runs.
    verifier: Mutex<Option<Arc<WebPkiServerVerifier>>>,
}

/// The source of the machine's own roots.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Machine {
    /// The first of the usual files that exists; that none exists is not an error.
    Usual,
    /// What the environment names instead.
    Named { file: Option<PathBuf>, folders: Vec<PathBuf> },
}

/// A file of further roots, and the setting that names it, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Added {
    named: &'static str,
    path: PathBuf,
}

/// Configured roots that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CaError {
    /// A file or folder cannot be read.
    #[error("`{}`, which {named} names, cannot be read: {why}", path.display())]
    Unreadable {
        /// The setting that names it: an option, a variable or a field.
        named: &'static str,
        /// The path of the file or folder.
        path: PathBuf,
        /// The system's reason.
        why: String,
    },
    /// A file holds no certificate.
    #[error(
        "`{}`, which {named} names, holds no certificate: expected PEM (`-----BEGIN CERTIFICATE-----`); \
         `openssl x509 -inform der` makes it from DER", path.display()
    )]
    Empty {
        /// The setting that names it: an option, a variable or a field.
        named: &'static str,
        /// The path of the file.
        path: PathBuf,
    },
    /// The roots cannot be used at all.
    #[error("the roots cannot be used: {0}")]
    Unusable(String),
}

/// The bundled roots and the machine's own, whatever the environment says.
impl Default for Trust {
    fn default() -> Self {
        Self::of(Machine::Usual, Vec::new())
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("machine", &self.0.machine).field("added", &self.0.added).finish_non_exhaustive()
    }
}

impl Trust {
    /// The bundled roots, and those that `SSL_CERT_FILE` (a file) and `SSL_CERT_DIR` (folders, separated as in `PATH`)
    /// name or else the machine's own, and those of the file that `GLEITZEIT_CA` names. `read` reads the environment;
    /// an empty variable counts as unset.
    pub fn of_environment(read: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| read(name).filter(|value| !value.is_empty());
        let (file, folders) = (set(FILE_VARIABLE).map(PathBuf::from), set(FOLDER_VARIABLE));
        let machine = match (file, folders) {
            (None, None) => Machine::Usual,
            (file, folders) => {
                let folders = folders.map(|all| std::env::split_paths(&all).filter(|it| it != Path::new("")).collect());
                Machine::Named { file, folders: folders.unwrap_or_default() }
            }
        };
        let trust = Self::of(machine, Vec::new());
        set(CA_VARIABLE).map_or(trust.clone(), |path| trust.with(CA_VARIABLE, PathBuf::from(path)))
    }

    /// Adds the roots of another file; `named` is the setting that names it, for error messages.
    #[must_use]
    pub fn with(&self, named: &'static str, path: impl Into<PathBuf>) -> Self {
        let added = self.0.added.iter().cloned().chain([Added { named, path: path.into() }]).collect();
        Self::of(self.0.machine.clone(), added)
    }

    /// Reads the added files now, so that a mistake in one is an error before anything connects.
    ///
    /// # Errors
    /// If one cannot be read or holds no certificate.
    pub fn check(&self) -> Result<(), CaError> {
        let mut store = RootCertStore::empty();
        self.0.added.iter().try_for_each(|it| add_file(&mut store, it.named, &it.path))
    }

    /// What checks certificates; read once, at the first handshake for which the roots can be used.
    pub(crate) fn verifier(&self) -> Result<Arc<WebPkiServerVerifier>, CaError> {
        // The lock is held while the roots are read, so that concurrent handshakes do not all read them.
        let mut kept = self.0.verifier.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(verifier) = &*kept {
            return Ok(verifier.clone());
        }
        Ok(kept.insert(self.0.read()?).clone())
    }

    fn of(machine: Machine, added: Vec<Added>) -> Self {
        Self(Arc::new(Inner { machine, added, verifier: Mutex::default() }))
    }
}

impl Inner {
    fn read(&self) -> Result<Arc<WebPkiServerVerifier>, CaError> {
        let mut store = RootCertStore::empty();
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        match &self.machine {
            Machine::Usual => {
                // Without such a file, the bundled roots remain.
                let usual = USUAL.iter().map(Path::new).find(|path| path.is_file());
                usual.map_or(Ok(()), |path| add_file(&mut store, "the machine", path)).ok();
            }
            Machine::Named { file, folders } => {
                file.iter().try_for_each(|path| add_file(&mut store, FILE_VARIABLE, path))?;
                folders.iter().try_for_each(|path| add_folder(&mut store, path))?;
            }
        }
        self.added.iter().try_for_each(|it| add_file(&mut store, it.named, &it.path))?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider())
            .build()
            .map_err(|error| CaError::Unusable(error.to_string()))
    }
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Adds the certificates of a file. If there are several, those that cannot be parsed are skipped, as every machine's
/// list has old ones.
fn add_file(store: &mut RootCertStore, named: &'static str, path: &Path) -> Result<(), CaError> {
    let text = read(path).map_err(|error| unreadable(named, path, &error))?;
    let certificates = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok);
    let (added, _) = store.add_parsable_certificates(certificates);
    if added == 0 { Err(CaError::Empty { named, path: path.to_owned() }) } else { Ok(()) }
}

/// Adds the certificates in the files of a folder; other files may be there too.
fn add_folder(store: &mut RootCertStore, path: &Path) -> Result<(), CaError> {
    let failed = |error: io::Error| unreadable(FOLDER_VARIABLE, path, &error);
    for entry in std::fs::read_dir(path).map_err(failed)?.take(MOST_FILES) {
        let file = entry.map_err(failed)?.path();
        if file.is_file() {
            add_file(store, FOLDER_VARIABLE, &file).ok();
        }
    }
    Ok(())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Without `NONBLOCK`, opening a pipe would wait for a writer; and a device has no end.
    let file = OpenOptions::new().read(true).custom_flags(NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MOST_BYTES {
        return Err(io::Error::other(format!("it has more than {MOST_BYTES} bytes")));
    }
    Ok(text)
}

fn unreadable(named: &'static str, path: &Path, error: &io::Error) -> CaError {
    CaError::Unreadable { named, path: path.to_owned(), why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust(variables: &[(&str, &str)]) -> Trust {
        Trust::of_environment(|name| variables.iter().find(|it| it.0 == name).map(|it| it.1.into()))
    }

    #[test]
    fn the_environment_names_files_and_folders_and_an_empty_variable_nothing() {
        let named = |file: Option<&str>, folders: &[&str]| Machine::Named {
            file: file.map(PathBuf::from),
            folders: folders.iter().map(PathBuf::from).collect(),
        };
        for (variables, machine, added) in [
            (&[][..], Machine::Usual, 0),
            (&[(FILE_VARIABLE, ""), (FOLDER_VARIABLE, ""), (CA_VARIABLE, "")], Machine::Usual, 0),
            (&[(FILE_VARIABLE, "/a")], named(Some("/a"), &[]), 0),
            (&[(FOLDER_VARIABLE, "/a::/b"), (CA_VARIABLE, "/c")], named(None, &["/a", "/b"]), 1),
        ] {
            let trust = trust(variables);
            assert_eq!((&trust.0.machine, trust.0.added.len()), (&machine, added), "{variables:?}");
        }
    }

    #[test]
    fn nothing_is_read_before_it_is_needed_and_then_what_is_wrong_has_its_place() {
        for (variables, told) in [
            (
                &[(FILE_VARIABLE, "/nowhere/roots.pem")][..],
                "`/nowhere/roots.pem`, which SSL_CERT_FILE names, cannot be read: No",
            ),
            (&[(FOLDER_VARIABLE, "/nowhere")], "`/nowhere`, which SSL_CERT_DIR names, cannot be read: No"),
            (
                &[(CA_VARIABLE, "/dev/null")],
                "`/dev/null`, which GLEITZEIT_CA names, cannot be read: it is no regular file",
            ),
            (
                &[(CA_VARIABLE, "Cargo.toml")],
                "`Cargo.toml`, which GLEITZEIT_CA names, holds no certificate: expected PEM",
            ),
        ] {
            let trust = trust(variables);
            drop(trust.config(&[b"h2"]));
            let error = trust.verifier().expect_err("they cannot be used").to_string();
            assert!(error.contains(told), "{error}");
        }
        assert!(trust(&[(CA_VARIABLE, "Cargo.toml")]).check().is_err());
        assert!(trust(&[(FILE_VARIABLE, "/nowhere")]).check().is_ok(), "only what the user of this program named");
        assert!(Trust::default().verifier().is_ok(), "the bundled roots are there everywhere");
    }

    #[test]
    fn roots_that_could_not_be_used_are_read_again_and_others_are_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.pem");
        let trust = Trust::default().with("--ca", &path);
        assert!(trust.verifier().is_err(), "there is no file yet");
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(["a.example".to_owned()]).expect("a name");
        std::fs::write(&path, params.self_signed(&key).expect("a certificate").pem()).expect("written");
        let read = trust.verifier().expect("now there is one");
        std::fs::remove_file(&path).expect("removed");
        assert!(Arc::ptr_eq(&read, &trust.clone().verifier().expect("it is kept")));
    }

    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("it is there").success());
        let error = Trust::default().with("--ca", &pipe).check().expect_err("it is a pipe").to_string();
        assert!(error.ends_with("which --ca names, cannot be read: it is no regular file"), "{error}");
    }
}
