//! A private authority, and the certificates that it issues.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// An authority with its files in a folder.
pub(crate) struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// The files of a server's certificate and its key.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) pem: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("a certificate");
        let this = Self { folder: folder.to_owned(), issuer: Issuer::new(params, key) };
        std::fs::write(this.file(), root.pem()).expect("writable");
        this
    }

    /// The file with its root.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A certificate for these names; `change` may modify it.
    pub(crate) fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let mut params = params(names);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        self.keep(&certificate.pem(), &key)
    }

    /// A self-signed certificate that claims to be an authority, as `openssl req -x509` makes it.
    pub(crate) fn quick(&self, names: &[&str]) -> Certificate {
        let mut params = params(names);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        self.keep(&certificate.pem(), &key)
    }

    fn keep(&self, pem: &str, key: &KeyPair) -> Certificate {
        let number = std::fs::read_dir(&self.folder).expect("a folder").count();
        let file = |kind: &str| self.folder.join(format!("{number}.{kind}"));
        let certificate = Certificate { pem: file("pem"), key: file("key") };
        std::fs::write(&certificate.pem, pem).expect("writable");
        std::fs::write(&certificate.key, key.serialize_pem()).expect("writable");
        certificate
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let mut params =
        CertificateParams::new(names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()).expect("names");
    params.distinguished_name.push(DnType::CommonName, "server");
    params
}
