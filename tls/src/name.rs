//! Reads the subject and the issuer of a certificate, and only as much of X.509 as that needs. Any input is read
//! without a panic, and never beyond its end.

/// Object identifiers (X.520) of the parts of a name that are shown: the common name and the organization.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ORGANIZATION: &[u8] = &[0x55, 4, 10];

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const INTEGER: u8 = 0x02;
/// The tag of the first field of a certificate, absent in version 1.
const VERSION: u8 = 0xa0;
/// Tags of text types: UTF-8, printable, teletex, IA5.
const TEXTS: [u8; 4] = [0x0c, 0x13, 0x14, 0x16];
/// The tag of text with two bytes a character.
const WIDE_TEXT: u8 = 0x1e;

/// How many characters of each part are shown.
const SHOWN: usize = 64;

/// The names of a certificate, in their encoded form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Names<'a> {
    pub(crate) issuer: &'a [u8],
    pub(crate) subject: &'a [u8],
}

/// Reads the names from a certificate's DER; `None` if it is not a certificate.
pub(crate) fn names(certificate: &[u8]) -> Option<Names<'_>> {
    let (whole, _) = of_kind(certificate, SEQUENCE)?;
    let (fields, _) = of_kind(whole, SEQUENCE)?;
    let fields = of_kind(fields, VERSION).map_or(fields, |(_, rest)| rest);
    let (_serial, fields) = of_kind(fields, INTEGER)?;
    let (_algorithm, fields) = of_kind(fields, SEQUENCE)?;
    let (issuer, fields) = of_kind(fields, SEQUENCE)?;
    let (_validity, fields) = of_kind(fields, SEQUENCE)?;
    let (subject, _) = of_kind(fields, SEQUENCE)?;
    Some(Names { issuer, subject })
}

/// A name for people: the common name, and the organization if it differs. Contains nothing that a terminal interprets.
pub(crate) fn shown(name: &[u8]) -> String {
    let common = part(name, COMMON_NAME);
    let organization = part(name, ORGANIZATION).filter(|it| Some(it) != common.as_ref());
    match (common, organization) {
        (Some(common), Some(organization)) => format!("{common} ({organization})"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "an issuer without a name".to_owned(),
    }
}

fn part(mut name: &[u8], id: &[u8]) -> Option<String> {
    while let Some((mut set, rest)) = of_kind(name, SET) {
        name = rest;
        while let Some((pair, more)) = of_kind(set, SEQUENCE) {
            set = more;
            if let Some((found, value)) = of_kind(pair, OBJECT_ID)
                && found == id
                && let Some((kind, value, _)) = field(value)
            {
                return text(kind, value);
            }
        }
    }
    None
}

fn text(kind: u8, value: &[u8]) -> Option<String> {
    let text = match kind {
        WIDE_TEXT => {
            let units: Vec<u16> = value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            String::from_utf16_lossy(&units)
        }
        kind if TEXTS.contains(&kind) => String::from_utf8_lossy(value).into_owned(),
        _ => return None,
    };
    let clean: String = text.trim().chars().take(SHOWN).flat_map(printable).collect();
    (!clean.is_empty()).then_some(clean)
}

/// The character, or its escape if a terminal would interpret it or it would change the order of what is shown.
pub(crate) fn printable(c: char) -> Vec<char> {
    if matches!(c, '"' | '\'' | '\\') { vec![c] } else { c.escape_debug().collect() }
}

/// The content of a field with this tag, and the bytes after it.
fn of_kind(input: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    field(input).filter(|(found, ..)| *found == kind).map(|(_, content, rest)| (content, rest))
}

/// The first field: its tag, its content, and the bytes after it.
fn field(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&kind, input) = input.split_first()?;
    let (&first, input) = input.split_first()?;
    let (length, input) = match first {
        0..=0x7f => (usize::from(first), input),
        // The length is in the bytes that follow.
        0x81..=0x84 => {
            let (bytes, input) = input.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0_usize, |length, byte| (length << 8) | usize::from(*byte)), input)
        }
        _ => return None,
    };
    let (content, rest) = input.split_at_checked(length)?;
    Some((kind, content, rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(parts: &[(DnType, &str)]) -> Vec<u8> {
        let mut params = CertificateParams::new(["a.example".to_owned()]).expect("a name");
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate").der().to_vec()
    }

    #[test]
    fn a_certificate_says_who_issued_it() {
        for (parts, expected) in [
            (&[(DnType::CommonName, "Lab Root")][..], "Lab Root"),
            (&[(DnType::OrganizationName, "Lab"), (DnType::CommonName, "Root")], "Root (Lab)"),
            (&[(DnType::OrganizationName, "Lab"), (DnType::CommonName, "Lab")], "Lab"),
            (&[(DnType::CommonName, "a\x1b[2Jb")], "a\\u{1b}[2Jb"),
            (&[], "an issuer without a name"),
        ] {
            let certificate = certificate(parts);
            let names = names(&certificate).expect("a certificate");
            assert_eq!((shown(names.issuer).as_str(), names.issuer), (expected, names.subject));
        }
    }

    #[test]
    fn what_is_cut_off_or_broken_is_no_certificate_and_no_panic() {
        let whole = certificate(&[(DnType::CommonName, "Lab")]);
        for end in 0..whole.len() {
            if let Some(names) = names(&whole[..end]) {
                shown(names.issuer);
            }
        }
        for at in 0..whole.len() {
            for value in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut broken = whole.clone();
                broken[at] = value;
                if let Some(names) = names(&broken) {
                    shown(names.issuer);
                    shown(names.subject);
                }
            }
        }
    }
}
