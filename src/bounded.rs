//! Files that arguments name, read within a limit.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// No workflow or file is read beyond this; what a control plane accepts is its own matter and usually less.
pub(crate) const MAX_FILE_BYTES: usize = 64 << 20;

/// The text of a file that an argument names, within the limit of a workflow's file.
///
/// # Errors
/// If it cannot be read, is larger, or is no text.
pub(crate) fn text_of(path: impl AsRef<Path>) -> io::Result<String> {
    let bytes = read(File::open(path)?)?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

/// All that a reader has, within the limit.
///
/// # Errors
/// If it cannot be read, or has more.
pub(crate) fn read(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX);
    reader.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {MAX_FILE_BYTES} bytes")));
    }
    Ok(bytes)
}
