//! The W3C trace context: the value of a `traceparent` header.

use std::fmt;

/// The flag of a caller that wants its trace kept.
pub const SAMPLED: u8 = 1;

/// A trace, and the span in it that is the parent of the receiver's own spans.
///
/// [`fmt::Display`] gives the header in version `00`, the only one that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent<'a> {
    /// 32 hexadecimal digits.
    pub trace_id: &'a str,
    /// 16 hexadecimal digits.
    pub span_id: &'a str,
    /// The lowest bit is [`SAMPLED`].
    pub flags: u8,
}

impl<'a> TraceParent<'a> {
    /// Parses a header. Later versions may have further fields behind those of the first; they are ignored.
    pub fn parse(header: &'a str) -> Option<Self> {
        let mut parts = header.split('-');
        let (version, trace_id, span_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_zero = |text: &str| text.bytes().all(|byte| byte == b'0');
        let is_valid = is_hex(version, 2)
            && version != "ff"
            && is_hex(trace_id, 32)
            && is_hex(span_id, 16)
            && is_hex(flags, 2)
            && !is_zero(trace_id)
            && !is_zero(span_id);
        if !is_valid {
            return None;
        }
        Some(Self { trace_id, span_id, flags: u8::from_str_radix(flags, 16).ok()? })
    }

    /// Whether the caller wants the trace kept.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED == SAMPLED
    }
}

impl fmt::Display for TraceParent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_trace_context_is_read() {
        let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = TraceParent::parse(header).expect("valid");
        assert_eq!((parent.trace_id, parent.span_id), ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"));
        assert!(parent.is_sampled());
        assert_eq!(parent.to_string(), header);
        for wrong in [
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "garbage",
            "",
        ] {
            assert_eq!(TraceParent::parse(wrong), None, "{wrong}");
        }
    }
}
