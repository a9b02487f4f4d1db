//! Decodes the bytes of an answer to text: by which charset, and what is reported if the bytes do not fit it.
//!
//! The invariant: `text` is exactly what was sent, or `error` or `bytes` says that it is not.

use encoding_rs::{DecoderResult, Encoding, UTF_8, WINDOWS_1252};
use reqwest::header::HeaderValue;

/// If more than one byte in this many fits no character, the decoded text would be useless, and larger than the bytes.
const MAX_WRONG: usize = 3;

/// A body as text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Text {
    /// The decoded text; empty if the body is not text.
    pub(super) text: String,
    /// Whether the bytes are needed too, because the body is not text, or not entirely.
    pub(super) bytes: bool,
    /// What is wrong with a body that is declared to be text.
    pub(super) error: Option<String>,
}

/// What a media type says about its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    /// Unknown: a charset, if one is given, is trusted.
    Unknown,
    /// Binary: servers often add a charset that means nothing.
    Binary,
}

/// The value of a header: UTF-8, or the charset used before (RFC 9110, 5.5).
pub(super) fn header_text(value: &HeaderValue) -> String {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => text.to_owned(),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(value.as_bytes()).0.into_owned(),
    }
}

/// The media type of a `Content-Type` in lower case, without its parameters; empty if there is none.
pub(super) fn media_type(content_type: &str) -> String {
    content_type.split([';', ',']).next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn kind(media_type: &str) -> Kind {
    const TEXTS: [&str; 14] = [
        "json",
        "xml",
        "javascript",
        "ecmascript",
        "x-javascript",
        "x-www-form-urlencoded",
        "yaml",
        "x-yaml",
        "x-ndjson",
        "ndjson",
        "graphql",
        "sql",
        "toml",
        "jsonl",
    ];
    const BINARIES: [&str; 8] = ["octet-stream", "zip", "gzip", "x-gzip", "pdf", "zstd", "x-tar", "x-protobuf"];
    let (main, sub) = media_type.split_once('/').unwrap_or((media_type, ""));
    let suffix = sub.rsplit_once('+').map_or("", |(_, suffix)| suffix);
    match main {
        "text" => Kind::Text,
        _ if matches!(suffix, "json" | "xml" | "yaml") => Kind::Text,
        "image" | "audio" | "video" | "font" => Kind::Binary,
        "application" if TEXTS.contains(&sub) => Kind::Text,
        "application" if BINARIES.contains(&sub) => Kind::Binary,
        _ => Kind::Unknown,
    }
}

/// The `charset` of a `Content-Type`, without quotes.
fn charset(content_type: &str) -> Option<&str> {
    let parameters = content_type.split(';').skip(1);
    let charset =
        parameters.filter_map(|it| it.split_once('=')).find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    charset.map(|(_, value)| value.trim().trim_matches(['"', '\'']).trim()).filter(|value| !value.is_empty())
}

/// Decodes a body. A byte order mark overrides the declared charset, as in every browser, and is left out.
pub(super) fn read(bytes: &[u8], content_type: &str) -> Text {
    read_as(bytes, content_type, true)
}

/// Decodes the start of a body for an error: whatever is readable, cut anywhere.
pub(super) fn read_start(bytes: &[u8], content_type: &str) -> Text {
    let text = read_as(bytes, content_type, false);
    Text { bytes: text.bytes && text.text.is_empty(), error: None, ..text }
}

/// Decodes a body. If it is not `whole`, its last character may be cut, and is then left out.
fn read_as(bytes: &[u8], content_type: &str, whole: bool) -> Text {
    if bytes.is_empty() {
        return Text::default();
    }
    let kind = kind(&media_type(content_type));
    let declared = charset(content_type).filter(|_| kind != Kind::Binary);
    let marked = Encoding::for_bom(bytes).filter(|(encoding, _)| kind != Kind::Binary || *encoding == UTF_8);
    let (encoding, body, from) = match (marked, declared) {
        (Some((encoding, length)), _) => (encoding, &bytes[length..], "that its byte order mark says"),
        (None, Some(label)) => match Encoding::for_label_no_replacement(label.as_bytes()) {
            Some(encoding) => (encoding, bytes, "that its content-type says"),
            None => return unknown(bytes, label),
        },
        (None, None) => (UTF_8, bytes, "of what names no charset"),
    };
    if let Some(text) = exactly(encoding, body, whole) {
        return Text { text, ..Text::default() };
    }
    // Nothing declares it to be text.
    if kind != Kind::Text && declared.is_none() {
        return Text { bytes: true, ..Text::default() };
    }
    let text = encoding.decode_without_bom_handling(body).0.into_owned();
    let name = encoding.name();
    if text.matches(char::REPLACEMENT_CHARACTER).count() * MAX_WRONG > body.len() {
        let error = format!("most of the body is not {name}, the charset {from}; `body_base64` has its bytes");
        return Text { text: String::new(), bytes: true, error: Some(error) };
    }
    let at = bytes.len() - body.len() + first_wrong(encoding, body);
    let error = format!(
        "the body is not wholly {name}, the charset {from}: the first bytes that do not fit are at {at}; each such place \
         is U+FFFD in `body`, and `body_base64` has the bytes as they were sent"
    );
    Text { text, bytes: true, error: Some(error) }
}

/// The result for a declared charset that does not exist.
fn unknown(bytes: &[u8], label: &str) -> Text {
    let label: String = label.chars().take(40).collect();
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            let error = format!("the charset `{label}` of the content-type is not known; the body was read as UTF-8");
            Text { text: text.to_owned(), bytes: false, error: Some(error) }
        }
        Err(_) => {
            let error = format!(
                "the charset `{label}` of the content-type is not known, and the body is no UTF-8; `body_base64` has its bytes"
            );
            Text { text: String::new(), bytes: true, error: Some(error) }
        }
    }
}

/// The text, if all bytes fit the charset.
fn exactly(encoding: &'static Encoding, bytes: &[u8], whole: bool) -> Option<String> {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut text = String::with_capacity(decoder.max_utf8_buffer_length_without_replacement(bytes.len())?);
    match decoder.decode_to_string_without_replacement(bytes, &mut text, whole) {
        (DecoderResult::InputEmpty, _) => Some(text),
        _ => None,
    }
}

/// The offset of the first bytes that do not fit a charset.
fn first_wrong(encoding: &'static Encoding, bytes: &[u8]) -> usize {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let (mut buffer, mut at) = ([0; 1024], 0);
    loop {
        let (result, read, _) = decoder.decode_to_utf8_without_replacement(&bytes[at..], &mut buffer, true);
        at += read;
        match result {
            DecoderResult::Malformed(length, after) => return at - usize::from(length) - usize::from(after),
            DecoderResult::OutputFull => {}
            DecoderResult::InputEmpty => return at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8], content_type: &str) -> String {
        let Text { text, bytes, error } = read(bytes, content_type);
        format!(
            "{text}{}{}",
            if bytes { " +bytes" } else { "" },
            error.map_or(String::new(), |error| format!(" ({error})"))
        )
    }

    #[test]
    fn every_charset_that_is_declared_or_marked_is_read() {
        for (bytes, content_type, expected) in [
            (&b"Zo\xeb costs 5 \xa4"[..], "text/plain; charset=ISO-8859-15", "Zoë costs 5 €"),
            (b"Zo\xeb costs 5 \x80", "text/html;Charset=\"windows-1252\"", "Zoë costs 5 €"),
            (b"Zo\xeb", "application/json; charset=latin1", "Zoë"),
            (b"\x93\xfa\x96\x7b", "text/csv; header=present; charset=shift_jis", "日本"),
            (b"\xc4\xe3", "application/vnd.x; charset=gbk", "你"),
            (b"\xef\xbb\xbf{}", "application/json", "{}"),
            (b"\xef\xbb\xbfx", "text/plain; charset=iso-8859-1", "x"),
            (b"\xff\xfeZ\0", "text/plain", "Z"),
            (b"\xfe\xff\0Z", "", "Z"),
            (b"\0Z", "text/plain; charset=utf-16be", "Z"),
            ("Zoë".as_bytes(), "", "Zoë"),
            ("Zoë".as_bytes(), "image/svg+xml; charset=utf-8", "Zoë"),
            ("Zoë".as_bytes(), "application/octet-stream", "Zoë"),
            (b"", "text/plain; charset=klingon", ""),
        ] {
            assert_eq!(shown(bytes, content_type), expected, "{content_type}");
        }
    }

    #[test]
    fn bytes_that_are_not_text_stay_bytes_and_partial_text_is_reported() {
        for (bytes, content_type) in [
            (&b"\x89PNG\xff"[..], "image/png; charset=utf-8"),
            (b"\xff\xfb", "application/octet-stream; charset=binary"),
            (b"\xff\xfeZ", "audio/mpeg"),
            (b"\xff\x00", ""),
            (b"\xff\x00", "application/vnd.x"),
        ] {
            assert_eq!(shown(bytes, content_type), " +bytes", "{content_type}");
        }
        for (bytes, content_type, expected) in [
            (
                &b"Zo\xeb!"[..],
                "text/plain; charset=utf-8",
                "Zo\u{fffd}! +bytes (the body is not wholly UTF-8, the charset that its content-type says: the first bytes that do not fit are at 2;",
            ),
            (
                b"\x1f\x8b\xff\xfe\x80\x81",
                "text/plain",
                " +bytes (most of the body is not UTF-8, the charset of what names",
            ),
            (b"Zo\xeb!", "text/plain", "of what names no charset: the first bytes that do not fit are at 2;"),
            (b"\xef\xbb\xbfZo\xeb!", "", " +bytes"),
            (b"abcdef\xff\xff", "text/plain; charset=shift_jis", "are at 6;"),
            (
                b"\xff\xfeZ\0\0\xd8",
                "text/plain",
                "the body is not wholly UTF-16LE, the charset that its byte order mark says",
            ),
            (
                b"\xeb",
                "text/plain; charset=klingon",
                "`klingon` of the content-type is not known, and the body is no UTF-8;",
            ),
            (
                b"x",
                "text/plain; charset=iso-2022-kr",
                "x (the charset `iso-2022-kr` of the content-type is not known; the body was read",
            ),
        ] {
            let told = shown(bytes, content_type);
            assert!(told.contains(expected), "{content_type}: {told}");
        }
    }

    #[test]
    fn the_start_of_a_body_may_end_within_a_character() {
        let text = |bytes: &[u8], content_type: &str| read_start(bytes, content_type).text;
        assert_eq!(text("a€".as_bytes().split_last().expect("bytes").1, "text/plain"), "a");
        assert_eq!(text(b"a\xebb", "text/plain"), "a\u{fffd}b");
        assert!(read_start(b"\x89PNG\xff", "image/png").bytes);
    }
}
