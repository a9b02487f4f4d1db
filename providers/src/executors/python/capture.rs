//! Reads a stream to its end and keeps only its beginning, so that a gigabyte of output costs no memory.

use tokio::io::{AsyncRead, AsyncReadExt};

/// What was kept.
#[derive(Debug, Default)]
pub(super) struct Captured {
    bytes: Vec<u8>,
    total: u64,
}

impl Captured {
    /// As text; says so if something is missing.
    pub(super) fn into_text(self) -> String {
        let kept = self.bytes.len();
        let mut text = String::from_utf8_lossy(&self.bytes).into_owned();
        if u64::try_from(kept).is_ok_and(|kept| kept < self.total) {
            text.push_str(&format!("\n[output cut: {kept} of {} bytes kept, see `max_output_bytes`]\n", self.total));
        }
        text
    }
}

/// Reads until the end, an error, or nobody writes any more.
pub(super) async fn capture(mut stream: impl AsyncRead + Unpin, limit: usize) -> Captured {
    let mut captured = Captured::default();
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        captured.total = captured.total.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        let room = limit.saturating_sub(captured.bytes.len()).min(read);
        captured.bytes.extend_from_slice(&buffer[..room]);
    }
    captured
}
