//! Messages between this process and Python's: frames, and single bytes with file handles.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, sendmsg};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::UnixStream;

use crate::platform::{self, Handle};

/// Sends one byte with at most three file handles.
pub(super) async fn send_handles(stream: &UnixStream, byte: u8, handles: &[BorrowedFd<'_>]) -> io::Result<()> {
    let send = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(handles)) {
            return Err(io::Error::other("too many file handles"));
        }
        let sent = sendmsg(stream, &[IoSlice::new(&[byte])], &mut control, platform::send_flags())?;
        if sent == 1 { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    };
    stream.async_io(Interest::WRITABLE, send).await
}

/// Receives one byte with the handle of a process.
pub(super) async fn receive_handle(stream: &UnixStream, byte: u8) -> io::Result<Handle> {
    stream.async_io(Interest::READABLE, || platform::receive_handle(stream, byte)).await
}

/// Writes a length and the bytes.
pub(super) async fn write_sized(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    if bytes.len() <= 16 * 1024 {
        // A single system call wakes the reader only once.
        let mut frame = Vec::with_capacity(bytes.len() + 4);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(bytes);
        return stream.write_all(&frame).await;
    }
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(bytes).await
}

/// Reads a length and that many bytes.
///
/// # Errors
/// `InvalidData` if there are more than `limit` bytes; otherwise as for reading.
pub(super) async fn read_sized(stream: &mut (impl AsyncRead + Unpin), limit: usize) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > limit {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}
