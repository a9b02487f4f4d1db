//! Real handshakes with servers whose certificates are good, and bad in each way that is told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gleitzeit_tls::{ConnectError, Connector, Fault, Trust, Untrusted};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const LIMIT: Duration = Duration::from_secs(20);

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Lab Root");
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Shown {
        let (mut params, key) = (params(names), KeyPair::generate().expect("a key"));
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Shown { certificate: certificate.der().clone(), key: key.into(), pem: certificate.pem() }
    }

    fn kept(&self, folder: &TempDir) -> PathBuf {
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, &self.pem).expect("a file");
        path
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let mut params =
        CertificateParams::new(names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()).expect("names");
    params.distinguished_name.push(DnType::CommonName, "server");
    params
}

struct Shown {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    pem: String,
}

/// A server that shows this certificate and answers one byte with another.
async fn server(shown: &Shown, protocols: &[&[u8]]) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![shown.certificate.clone()], shown.key.clone_key())
        .expect("a certificate");
    config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                let byte = stream.read_u8().await?;
                stream.write_u8(byte + 1).await?;
                stream.flush().await
            });
        }
    });
    address
}

async fn echo(trust: &Trust, host: &str, address: SocketAddr) -> Result<u8, ConnectError> {
    let talk = async {
        let stream = TcpStream::connect(address).await.expect("it listens");
        let mut stream = Connector::http1(trust).connect(host, stream).await?;
        stream.write_u8(7).await.map_err(ConnectError::Io)?;
        stream.flush().await.map_err(ConnectError::Io)?;
        stream.read_u8().await.map_err(ConnectError::Io)
    };
    tokio::time::timeout(LIMIT, talk).await.expect("in time")
}

async fn refused(trust: &Trust, host: &str, shown: &Shown) -> Untrusted {
    match echo(trust, host, server(shown, &[]).await).await {
        Err(ConnectError::Untrusted(untrusted)) => untrusted,
        other => panic!("not refused for its certificate: {other:?}"),
    }
}

#[tokio::test]
async fn a_private_root_is_trusted_where_it_is_named() {
    let (authority, folder) = (Authority::new(), TempDir::new().expect("a folder"));
    let shown = authority.issue(&["localhost", "127.0.0.1"], |_| {});
    let ca = authority.kept(&folder);
    let address = server(&shown, &[]).await;
    let by_variable = |name: &'static str, value: PathBuf| {
        Trust::of_environment(move |asked| (asked == name).then(|| value.clone().into_os_string()))
    };
    for trust in [
        Trust::default().with("--ca", &ca),
        by_variable("GLEITZEIT_CA", ca.clone()),
        by_variable("SSL_CERT_FILE", ca.clone()),
        by_variable("SSL_CERT_DIR", folder.path().to_owned()),
    ] {
        for host in ["localhost", "127.0.0.1"] {
            assert_eq!(echo(&trust, host, address).await.expect("trusted"), 8, "{trust:?}");
        }
    }
    let own = authority.issue(&["localhost"], |_| {});
    std::fs::write(folder.path().join("own.pem"), own.pem.as_bytes()).expect("a file");
    let trust = Trust::default().with("--ca", folder.path().join("own.pem"));
    assert!(matches!(refused(&trust, "localhost", &shown).await.fault, Fault::UnknownIssuer { is_own: false }));
}

#[tokio::test]
async fn each_bad_certificate_is_told_apart() {
    let (authority, folder) = (Authority::new(), TempDir::new().expect("a folder"));
    let trust = Trust::default().with("--ca", authority.kept(&folder));

    let strange = Authority::new().issue(&["localhost"], |_| {});
    let untrusted = refused(&Trust::default(), "localhost", &strange).await;
    assert_eq!((untrusted.issuer.as_str(), untrusted.host.as_str()), ("Lab Root", "localhost"));
    assert_eq!(untrusted.fault, Fault::UnknownIssuer { is_own: false });

    let expired = authority.issue(&["localhost"], |params| {
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2020, 2, 1));
    });
    let fault = refused(&trust, "localhost", &expired).await.fault;
    assert!(
        matches!(&fault, Fault::Expired { at, since } if at == "2020-02-01T00:00:00Z" && since.ends_with("days")),
        "{fault:?}"
    );

    let early = authority.issue(&["localhost"], |params| {
        (params.not_before, params.not_after) = (date_time_ymd(4000, 1, 1), date_time_ymd(4000, 2, 1));
    });
    let fault = refused(&trust, "localhost", &early).await.fault;
    assert!(matches!(&fault, Fault::NotYet { at, .. } if at == "4000-01-01T00:00:00Z"), "{fault:?}");

    let never = authority.issue(&["localhost"], |params| {
        (params.not_before, params.not_after) = (date_time_ymd(2020, 2, 1), date_time_ymd(2020, 1, 1));
    });
    assert_eq!(refused(&trust, "localhost", &never).await.fault, Fault::Never);

    let other = authority.issue(&["hub.example", "10.0.0.7"], |_| {});
    let names = vec!["hub.example".to_owned(), "10.0.0.7".to_owned()];
    assert_eq!(refused(&trust, "localhost", &other).await.fault, Fault::OtherName { names });

    let nameless = authority.issue(&[], |_| {});
    assert_eq!(refused(&trust, "localhost", &nameless).await.fault, Fault::OtherName { names: Vec::new() });
}

/// As `openssl req -x509` makes them: their own issuer, and an authority unless that is said otherwise.
#[tokio::test]
async fn what_signs_itself_is_told_with_what_to_do() {
    let folder = TempDir::new().expect("a folder");
    let own = |is_ca: IsCa, file: &str| {
        let (mut params, key) = (params(&["localhost"]), KeyPair::generate().expect("a key"));
        params.is_ca = is_ca;
        let certificate = params.self_signed(&key).expect("a certificate");
        let path = folder.path().join(file);
        std::fs::write(&path, certificate.pem()).expect("a file");
        (Shown { certificate: certificate.der().clone(), key: key.into(), pem: certificate.pem() }, path)
    };
    let (authority, path) = own(IsCa::Ca(BasicConstraints::Unconstrained), "authority.pem");
    for trust in [Trust::default(), Trust::default().with("--ca", path)] {
        assert_eq!(refused(&trust, "localhost", &authority).await.fault, Fault::Authority);
    }
    let (leaf, path) = own(IsCa::ExplicitNoCa, "leaf.pem");
    assert_eq!(refused(&Trust::default(), "localhost", &leaf).await.fault, Fault::UnknownIssuer { is_own: true });
    let trusted = echo(&Trust::default().with("--ca", path), "localhost", server(&leaf, &[]).await).await;
    assert_eq!(trusted.expect("it is given itself"), 8);
}

#[tokio::test]
async fn roots_that_cannot_be_read_are_told_at_the_handshake() {
    let shown = Authority::new().issue(&["localhost"], |_| {});
    let trust = Trust::of_environment(|name| (name == "SSL_CERT_FILE").then(|| "/nowhere.pem".into()));
    let untrusted = refused(&trust, "localhost", &shown).await;
    assert!(matches!(&untrusted.fault, Fault::Roots(why) if why.contains("/nowhere.pem")), "{untrusted:?}");
}

#[tokio::test]
async fn a_server_without_http2_and_one_without_tls_are_told_apart() {
    let (authority, folder) = (Authority::new(), TempDir::new().expect("a folder"));
    let trust = Trust::default().with("--ca", authority.kept(&folder));
    let shown = authority.issue(&["localhost"], |_| {});
    let connect = async |address: SocketAddr| {
        let stream = TcpStream::connect(address).await.expect("it listens");
        tokio::time::timeout(LIMIT, Connector::http2(&trust).connect("localhost", stream)).await.expect("in time")
    };
    for protocols in [&[][..], &[&b"http/1.1"[..]]] {
        let answer = connect(server(&shown, protocols).await).await;
        assert!(matches!(&answer, Err(ConnectError::Protocol(it)) if it == "h2"), "{answer:?}");
    }
    assert!(connect(server(&shown, &[b"h2"]).await).await.is_ok());

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        stream.read_u8().await?;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await
    });
    assert!(matches!(connect(address).await, Err(ConnectError::NotTls)));
}
