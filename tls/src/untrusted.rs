//! Describes a certificate that is not trusted: the host that showed it, who issued it, what is wrong with it, and what
//! to do about it.

use std::error::Error;
use std::fmt;
use std::io;

use rustls::CertificateError;
use rustls::pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::name::{names, printable, shown};

/// How many names of a certificate are shown.
const SHOWN: usize = 5;
const DAY_S: u64 = 86_400;
const HOUR_S: u64 = 3_600;

/// A certificate that is not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untrusted {
    /// The host that should be in the certificate.
    pub host: String,
    /// The issuer, as the certificate names it.
    pub issuer: String,
    /// What is wrong with the certificate.
    pub fault: Fault,
}

/// What is wrong with a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No trusted root leads to it.
    UnknownIssuer {
        /// Whether it names itself as its issuer.
        is_own: bool,
    },
    /// It belongs to an authority, as `openssl req -x509` makes it, and is not valid for a server.
    Authority,
    /// It has expired.
    Expired {
        /// When it expired.
        at: String,
        /// How long ago it expired.
        since: String,
    },
    /// It is not valid yet.
    NotYet {
        /// When it becomes valid.
        at: String,
        /// The time of this machine's clock.
        now: String,
    },
    /// It expires before it becomes valid.
    Never,
    /// It is for other names.
    OtherName {
        /// The names in the certificate.
        names: Vec<String>,
    },
    /// Its version of X.509 has no extensions.
    OldVersion,
    /// The configured roots cannot be used; the string says why.
    Roots(String),
    /// Another fault, in the library's words.
    Other(String),
}

impl Fault {
    pub(crate) fn of(error: &CertificateError, certificate: &CertificateDer<'_>, now: UnixTime) -> Self {
        match error {
            CertificateError::UnknownIssuer => {
                let is_own = names(certificate).is_some_and(|names| names.issuer == names.subject);
                Self::UnknownIssuer { is_own }
            }
            CertificateError::ExpiredContext { time, not_after } => Self::Expired {
                at: instant(*not_after),
                since: span(time.as_secs().saturating_sub(not_after.as_secs())),
            },
            // Rustls gives no times only for certificates that expire before they become valid.
            CertificateError::Expired => Self::Never,
            CertificateError::NotValidYetContext { not_before, .. } => {
                Self::NotYet { at: instant(*not_before), now: instant(now) }
            }
            CertificateError::NotValidForNameContext { presented, .. } => {
                Self::OtherName { names: presented.iter().map(|name| plain(name)).collect() }
            }
            CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
                Some(webpki::Error::CaUsedAsEndEntity) => Self::Authority,
                Some(webpki::Error::UnsupportedCertVersion) => Self::OldVersion,
                _ => Self::Other(other.to_string()),
            },
            other => Self::Other(other.to_string()),
        }
    }
}

impl Untrusted {
    pub(crate) fn new(host: &str, certificate: &CertificateDer<'_>, fault: Fault) -> Self {
        let issuer = names(certificate).map_or_else(|| "an unreadable issuer".to_owned(), |it| shown(it.issuer));
        Self { host: host.to_owned(), issuer, fault }
    }

    /// The untrusted certificate among the causes of an error, including those inside an I/O error.
    pub fn among<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = Self::inside(error) {
                return Some(found);
            }
            next = error.source();
        }
        None
    }

    fn inside<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        if let Some(found) = error.downcast_ref::<Self>() {
            return Some(found);
        }
        if let Some(rustls::Error::InvalidCertificate(CertificateError::Other(other))) = error.downcast_ref() {
            return other.0.downcast_ref();
        }
        // The error inside an I/O error is not among its sources.
        let held = error.downcast_ref::<io::Error>()?.get_ref()?;
        Self::among(held)
    }

    /// What to do about it, on one line; roots are added by `--ca` or the environment.
    pub fn remedy(&self) -> String {
        self.remedy_by("--ca FILE or GLEITZEIT_CA")
    }

    /// The same where roots are added in another way, such as "`ca: FILE` in x".
    pub fn remedy_by(&self, way: &str) -> String {
        let Self { host, issuer, fault } = self;
        match fault {
            Fault::UnknownIssuer { is_own: true } => {
                format!("give that certificate, which the server's owner has, with {way}")
            }
            Fault::UnknownIssuer { is_own: false } => format!(
                "give the root certificate of `{issuer}` with {way}; if it is a public authority, have the \
                 server send the whole chain (nginx: a `ssl_certificate` with the intermediate certificates)"
            ),
            Fault::Authority => format!(
                "have a server's certificate made, with `-addext basicConstraints=critical,CA:FALSE` and `-addext \
                 subjectAltName={}` for `openssl req -x509`, or one that this authority issues",
                alternative(host)
            ),
            Fault::Expired { .. } => {
                "renew it where TLS ends (the proxy), or set this machine's clock if that is wrong".to_owned()
            }
            Fault::NotYet { .. } => "set this machine's clock, or wait until then".to_owned(),
            Fault::Never => "have it made anew, for some days from now on (openssl: `-days`)".to_owned(),
            Fault::OtherName { names } if names.is_empty() => {
                format!(
                    "have it made with `-addext subjectAltName={}`; a common name alone counts for nothing",
                    alternative(host)
                )
            }
            Fault::OtherName { .. } => {
                format!("use an address with one of its names, or have one made for `{host}`")
            }
            Fault::OldVersion => {
                format!(
                    "have it made with extensions (`openssl x509 -req -extfile`), among them subjectAltName={}",
                    alternative(host)
                )
            }
            Fault::Roots(_) => "correct that setting, or leave it out".to_owned(),
            Fault::Other(_) => "have another certificate made for it, or reach it by another way".to_owned(),
        }
    }
}

/// What is wrong with the certificate, on one line; [`Untrusted::remedy`] says what to do.
impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, issuer, fault } = self;
        match fault {
            Fault::UnknownIssuer { is_own: true } => {
                write!(f, "the certificate of `{host}` is self-signed (`{issuer}`) and is not a trusted root")
            }
            Fault::UnknownIssuer { is_own: false } => {
                write!(f, "the certificate of `{host}` is issued by `{issuer}`, and no trusted root issued it")
            }
            Fault::Authority => write!(
                f,
                "the certificate of `{host}`, issued by `{issuer}`, is that of an authority (CA:TRUE, as `openssl req -x509` \
                 makes it) and not of a server"
            ),
            Fault::Expired { at, since } => {
                write!(f, "the certificate of `{host}`, issued by `{issuer}`, expired at {at}, {since} ago")
            }
            Fault::NotYet { at, now } => {
                write!(
                    f,
                    "the certificate of `{host}`, issued by `{issuer}`, is valid only from {at} on; here it is {now}"
                )
            }
            Fault::Never => {
                write!(
                    f,
                    "the certificate of `{host}`, issued by `{issuer}`, is never valid: its time ends before it begins"
                )
            }
            Fault::OtherName { names } if names.is_empty() => {
                write!(f, "the certificate of `{host}`, issued by `{issuer}`, names no host (it has no subjectAltName)")
            }
            Fault::OtherName { names } => {
                let more = names.len().saturating_sub(SHOWN);
                let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                write!(
                    f,
                    "the certificate of `{host}`, issued by `{issuer}`, is for {}{more} and not for `{host}`",
                    shown.join(", ")
                )
            }
            Fault::OldVersion => {
                write!(
                    f,
                    "the certificate of `{host}`, issued by `{issuer}`, is of an old version of X.509 that names no hosts"
                )
            }
            Fault::Roots(why) => write!(f, "the certificate of `{host}` cannot be checked: {why}"),
            Fault::Other(why) => write!(f, "the certificate of `{host}`, issued by `{issuer}`, is not valid: {why}"),
        }
    }
}

impl Error for Untrusted {}

/// The host in the form that certificates use.
fn alternative(host: &str) -> String {
    let kind = if host.parse::<std::net::IpAddr>().is_ok() { "IP" } else { "DNS" };
    format!("{kind}:{host}")
}

/// A name without the library's notation around it (`DnsName("a.example")`) and without anything that a terminal
/// interprets.
fn plain(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"').chars().take(100).flat_map(printable).collect()
}

fn instant(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|time| time.format(&Rfc3339).ok());
    time.unwrap_or_else(|| format!("second {seconds} since 1970"))
}

fn span(seconds: u64) -> String {
    let counted = |n: u64, unit: &str| if n == 1 { format!("1 {unit}") } else { format!("{n} {unit}s") };
    match seconds {
        0..HOUR_S => counted(seconds / 60, "minute"),
        HOUR_S..DAY_S => counted(seconds / HOUR_S, "hour"),
        _ => counted(seconds / DAY_S, "day"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_names_host_issuer_and_remedy_on_one_line() {
        let other = |names: &[&str]| Fault::OtherName { names: names.iter().map(|it| (*it).to_owned()).collect() };
        for (fault, what, remedy) in [
            (
                Fault::UnknownIssuer { is_own: false },
                "no trusted root issued it",
                "the root certificate of `Lab Root` with --ca FILE",
            ),
            (Fault::UnknownIssuer { is_own: true }, "self-signed (`Lab Root`)", "--ca FILE or GLEITZEIT_CA"),
            (Fault::Authority, "CA:TRUE", "-addext subjectAltName=DNS:hub.example"),
            (
                Fault::Expired { at: "2026-01-01T00:00:00Z".into(), since: "3 days".into() },
                "2026-01-01T00:00:00Z, 3 days ago",
                "renew it",
            ),
            (Fault::NotYet { at: "2027".into(), now: "2026".into() }, "from 2027 on; here it is 2026", "clock"),
            (Fault::Never, "never valid", "`-days`"),
            (
                other(&["a.example", "b.example"]),
                "for `a.example`, `b.example` and not for `hub.example`",
                "one of its names",
            ),
            (other(&["a"; 7]), "`a` and 2 more and not", "one of its names"),
            (other(&[]), "no subjectAltName", "common name alone"),
            (Fault::OldVersion, "old version", "-extfile"),
            (Fault::Other("odd".into()), "not valid: odd", "another certificate"),
        ] {
            let untrusted = Untrusted { host: "hub.example".into(), issuer: "Lab Root".into(), fault };
            let (said, advice) = (untrusted.to_string(), untrusted.remedy());
            assert!(said.contains("`hub.example`") && said.contains("`Lab Root`") && said.contains(what), "{said}");
            assert!(advice.contains(remedy), "{advice}");
            assert!(!said.contains('\n') && !advice.contains('\n'));
        }
        let address = Untrusted { host: "10.0.0.7".into(), issuer: String::new(), fault: Fault::Authority };
        assert!(address.remedy().contains("subjectAltName=IP:10.0.0.7"));
    }

    #[test]
    fn it_is_found_however_deep_it_lies() {
        let mine = Untrusted { host: "h".into(), issuer: "i".into(), fault: Fault::OldVersion };
        let refused = rustls::Error::InvalidCertificate(CertificateError::Other(rustls::OtherError(
            std::sync::Arc::new(mine.clone()),
        )));
        let of_io = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, refused));
        assert_eq!(Untrusted::among(&of_io), Some(&mine));
        assert_eq!(Untrusted::among(&io::Error::other("else")), None);
    }

    #[test]
    fn times_and_names_are_for_people() {
        assert_eq!(
            (span(59), span(60), span(7_300), span(86_400 * 3)),
            ("0 minutes".into(), "1 minute".into(), "2 hours".into(), "3 days".into())
        );
        assert_eq!(instant(UnixTime::since_unix_epoch(std::time::Duration::from_secs(86_400))), "1970-01-02T00:00:00Z");
        assert_eq!(
            (plain("DnsName(\"a.example\")"), plain("IpAddress(10.0.0.7)")),
            ("a.example".into(), "10.0.0.7".into())
        );
        assert_eq!(plain("DnsName(\"a\u{202e}\x1b[2J\u{200b}b\")"), "a\\u{202e}\\u{1b}[2J\\u{200b}b");
    }
}
