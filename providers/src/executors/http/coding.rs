//! Decompresses the body of an answer (`Content-Encoding`). The invariant: at most the limit, one buffer and one window
//! (16 MiB at most) are ever decompressed, however much a small body claims to contain.

use std::io::{self, Read};

use brotli_decompressor::{BrotliDecoderParameter, Decompressor};
use flate2::bufread::{DeflateDecoder, GzDecoder, ZlibDecoder};
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use ruzstd::decoding::StreamingDecoder;
use thiserror::Error;

use super::text::header_text;

/// The encodings that servers are told to use.
pub(super) const ACCEPTED: &str = "gzip, deflate, br, zstd";

/// The most encodings in sequence; servers and proxies use two at most.
const MAX_CODINGS: usize = 4;
/// The largest window that a server may use (RFC 9659), in bytes.
const MAX_WINDOW: u64 = 8 << 20;
const BUFFER: usize = 16 * 1024;
const GZIP: &[u8] = &[0x1f, 0x8b];

/// One encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// Why a body cannot be decompressed.
#[derive(Debug, Error)]
pub(super) enum Unreadable {
    #[error(
        "its content-encoding `{0}` is not supported; request one of {ACCEPTED}, or identity, with the header `accept-encoding`"
    )]
    Unknown(String),
    #[error("it has more than {MAX_CODINGS} content-encodings")]
    TooMany,
    #[error("its content-encoding is {coding}, but its bytes are not")]
    Broken {
        coding: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("it decompresses to more than the limit")]
    TooLarge,
}

impl Coding {
    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}

/// The encodings that were applied to a body, in the order of application.
///
/// # Errors
/// If one is unknown, or there are too many.
pub(super) fn of(headers: &HeaderMap) -> Result<Vec<Coding>, Unreadable> {
    let mut codings = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        for name in header_text(value).split(',').map(|name| name.trim().to_ascii_lowercase()) {
            codings.push(match name.as_str() {
                "" | "identity" => continue,
                "gzip" | "x-gzip" => Coding::Gzip,
                "deflate" => Coding::Deflate,
                "br" => Coding::Brotli,
                "zstd" => Coding::Zstd,
                _ => return Err(Unreadable::Unknown(name.chars().take(40).collect())),
            });
        }
    }
    if codings.len() > MAX_CODINGS { Err(Unreadable::TooMany) } else { Ok(codings) }
}

/// How many compressed bytes `limit` bytes may need at most: incompressible data becomes a little larger.
pub(super) fn packed_most(limit: usize) -> usize {
    limit.saturating_add(limit / 8 + 1024)
}

/// Decompresses a whole body. May take long for a large limit, so it needs a blocking thread.
///
/// # Errors
/// If the body is not encoded as declared, or has more bytes than `limit`.
pub(super) fn unpack(bytes: Vec<u8>, codings: &[Coding], limit: usize) -> Result<Vec<u8>, Unreadable> {
    let mut bytes = bytes;
    for (at, coding) in codings.iter().enumerate().rev() {
        let most = if at == 0 { limit } else { packed_most(limit) };
        let (unpacked, ended) = step(*coding, &bytes, most);
        ended.map_err(|source| Unreadable::Broken { coding: coding.name(), source })?;
        if unpacked.len() > most {
            return Err(Unreadable::TooLarge);
        }
        bytes = unpacked;
    }
    Ok(bytes)
}

/// As much of a body's start as can be decompressed, at most `most` bytes.
pub(super) fn unpack_start(bytes: &[u8], codings: &[Coding], most: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for coding in codings.iter().rev() {
        // Only the start is there, so decompressing ends early.
        bytes = step(*coding, &bytes, most).0;
    }
    bytes.truncate(most);
    bytes
}

/// Applies one decoder. Returns what came out, more than `limit` bytes if there was more, and how it ended.
fn step(coding: Coding, bytes: &[u8], limit: usize) -> (Vec<u8>, io::Result<()>) {
    let mut unpacked = Vec::new();
    let ended = match coding {
        Coding::Gzip => gzip(bytes, limit, &mut unpacked),
        // Many servers omit the zlib frame that the standard requires (RFC 9110, 8.4.1.2).
        Coding::Deflate if is_zlib(bytes) => copy(ZlibDecoder::new(bytes), limit, &mut unpacked),
        Coding::Deflate => copy(DeflateDecoder::new(bytes), limit, &mut unpacked),
        Coding::Brotli => {
            let mut reader = Decompressor::new(bytes, BUFFER);
            // Larger windows are not part of the content-encoding (RFC 7932 allows 16 MiB at most).
            reader.set_parameter(BrotliDecoderParameter::BROTLI_DECODER_PARAM_LARGE_WINDOW, 0);
            copy(reader, limit, &mut unpacked)
        }
        Coding::Zstd => zstd(bytes, limit, &mut unpacked),
    };
    (unpacked, ended)
}

fn copy(mut reader: impl Read, limit: usize, unpacked: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    while unpacked.len() <= limit {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => unpacked.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Decompresses one member after the other. Trailing bytes that are no member are ignored, as other clients do.
fn gzip(bytes: &[u8], limit: usize, unpacked: &mut Vec<u8>) -> io::Result<()> {
    let mut rest = bytes;
    loop {
        let mut member = GzDecoder::new(rest);
        copy(&mut member, limit, unpacked)?;
        rest = member.into_inner();
        if !rest.starts_with(GZIP) || unpacked.len() > limit {
            return Ok(());
        }
    }
}

/// Whether the bytes begin with a zlib header (RFC 1950).
fn is_zlib(bytes: &[u8]) -> bool {
    matches!(bytes, [first, second, ..] if first & 0x0f == 8 && u16::from_be_bytes([*first, *second]) % 31 == 0)
}

/// Decompresses one frame after the other.
fn zstd(bytes: &[u8], limit: usize, unpacked: &mut Vec<u8>) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() && unpacked.len() <= limit {
        if let [0x50..=0x5f, 0x2a, 0x4d, 0x18, a, b, c, d, after @ ..] = rest {
            // A skippable frame, with its length.
            let length = usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
            rest = after.get(length..).ok_or(io::ErrorKind::UnexpectedEof)?;
            continue;
        }
        let frame = StreamingDecoder::new_with_max_window_size(&mut rest, MAX_WINDOW).map_err(io::Error::other)?;
        copy(frame, limit, unpacked)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).expect("written");
        encoder.finish().expect("ended")
    }

    /// A stream of uncompressed blocks, which is how `brotli` writes incompressible data.
    fn brotli(bytes: &[u8]) -> Vec<u8> {
        assert!(bytes.len() <= 1 << 16, "one block");
        let length = u32::try_from(bytes.len() - 1).expect("short");
        // WBITS 16 (0), not the last (0), four nibbles (00), the length, not packed (1); then the last, empty block
        // (11).
        let head = (length << 4) | (1 << 20);
        let mut packed = head.to_le_bytes()[..3].to_vec();
        packed.extend_from_slice(bytes);
        packed.push(3);
        packed
    }

    fn packed(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        match coding {
            Coding::Gzip => gzipped(bytes),
            Coding::Deflate => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(bytes).expect("written");
                encoder.finish().expect("ended")
            }
            Coding::Brotli => brotli(bytes),
            Coding::Zstd => compress_to_vec(bytes, CompressionLevel::Fastest),
        }
    }

    const ALL: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];

    #[test]
    fn all_codings_and_chains_of_them_are_decompressed() {
        let text = b"Zo\xc3\xab costs 5 \xe2\x82\xac, ".repeat(500);
        for coding in ALL {
            let bytes = packed(coding, &text);
            assert_eq!(unpack(bytes.clone(), &[coding], text.len()).expect("unpacked"), text, "{coding:?}");
            let chain = packed(Coding::Gzip, &bytes);
            assert_eq!(unpack(chain, &[coding, Coding::Gzip], text.len()).expect("unpacked"), text, "{coding:?}");
            let start = unpack_start(&bytes[..bytes.len() - 5], &[coding], 10);
            assert!(text.starts_with(&start), "{coding:?}");
        }
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&text).expect("written");
        let raw = encoder.finish().expect("ended");
        assert_eq!(unpack(raw, &[Coding::Deflate], text.len()).expect("unpacked"), text);
        let members = [gzipped(b"a"), gzipped(b"b"), b"\0\0padding".to_vec()].concat();
        assert_eq!(unpack(members, &[Coding::Gzip], 10).expect("unpacked"), b"ab");
        let skipped = b"\x50\x2a\x4d\x18\x02\0\0\0xx".to_vec();
        let frames = [packed(Coding::Zstd, b"a"), skipped, packed(Coding::Zstd, b"b")].concat();
        assert_eq!(unpack(frames, &[Coding::Zstd], 10).expect("unpacked"), b"ab");
    }

    #[test]
    fn a_truncated_or_wrongly_coded_body_is_an_error() {
        let text = b"text".repeat(1000);
        for coding in ALL {
            let bytes = packed(coding, &text);
            for wrong in [bytes[..bytes.len() - 4].to_vec(), b"<html>plain</html>".to_vec()] {
                let error = unpack(wrong, &[coding], 1 << 20).expect_err("broken");
                assert!(matches!(error, Unreadable::Broken { .. }), "{coding:?}: {error}");
            }
        }
    }

    #[test]
    fn a_decompression_bomb_is_stopped_at_the_limit() {
        let limit = 100_000;
        let zeros = vec![0; 50_000_000];
        for coding in [Coding::Gzip, Coding::Deflate, Coding::Zstd] {
            let bytes = packed(coding, &zeros);
            let (unpacked, ended) = step(coding, &bytes, limit);
            assert!(ended.is_ok() && unpacked.len() <= limit + BUFFER, "{coding:?}: {}", unpacked.len());
            let twice = packed(Coding::Gzip, &bytes);
            assert!(matches!(unpack(twice, &[coding, Coding::Gzip], limit), Err(Unreadable::TooLarge)), "{coding:?}");
        }
    }

    #[test]
    fn codings_are_read_from_all_headers_in_their_order() {
        let read = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, value.parse().expect("a value"));
            }
            of(&headers).map_err(|error| error.to_string())
        };
        assert_eq!(read(&[]), Ok(vec![]));
        assert_eq!(read(&["identity, X-GZIP", "br ,"]), Ok(vec![Coding::Gzip, Coding::Brotli]));
        assert!(read(&["gzip, compress"]).is_err_and(|it| it.contains("`compress`") && it.contains("accept-encoding")));
        assert!(read(&["gzip,gzip,gzip,gzip,gzip"]).is_err());
    }
}
