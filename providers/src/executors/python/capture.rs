//! Reads a stream to its end and keeps only its beginning, so that a gigabyte of output costs no memory.

use tokio::io::{AsyncRead, AsyncReadExt};

/// What was kept.
#[derive(Debug, Default)]
pub(in crate::executors) struct Captured {
    bytes: Vec<u8>,
    total: u64,
    complete: bool,
}

impl Captured {
    /// Reads until the end, an error, or nobody writes any more. What was read stays if the future is dropped.
    pub(in crate::executors) async fn read(&mut self, mut stream: impl AsyncRead + Unpin, limit: usize) {
        // Grows to a pipe's size only for those who write much.
        let mut buffer = vec![0; 1024];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            self.total = self.total.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
            let room = limit.saturating_sub(self.bytes.len()).min(read);
            self.bytes.extend_from_slice(&buffer[..room]);
            if read == buffer.len() && read < 64 * 1024 {
                buffer.resize(64 * 1024, 0);
            }
        }
        self.complete = true;
    }

    /// As text; says so if something is missing.
    pub(in crate::executors) fn into_text(self) -> String {
        let kept = self.bytes.len();
        let mut text = String::from_utf8(self.bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        if u64::try_from(kept).is_ok_and(|kept| kept < self.total) {
            text.push_str(&format!("\n[output cut: {kept} of {} bytes kept, see `max_output_bytes`]\n", self.total));
        }
        if !self.complete {
            text.push_str("\n[output lost: a process that outlived the call still holds it]\n");
        }
        text
    }
}
