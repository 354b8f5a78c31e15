//! The message after DATA: where it ends, and whether it is sound.
//!
//! The end is CRLF.CRLF and nothing else. A bare CR or LF, which another server might take for a line end and
//! so see an end of data where we saw none, refuses the whole message after its true end was read.

use super::wire::{Wire, WireError};
use bytes::Bytes;
use std::time::{Duration, Instant};

/// Limits of one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Octets.
    pub max: usize,
    /// Between two pieces.
    pub pause: Duration,
    /// For the whole, beyond which it must come at 1 kB/s.
    pub whole: Duration,
}

/// What came.
#[derive(Debug)]
pub(super) enum Data {
    /// A sound message, dots unstuffed.
    Message(Bytes),
    /// Read to its end and too large.
    TooLarge,
    /// Read to its end; it has a bare CR or LF.
    BareLineEnd,
}

/// Reads up to the end of data.
pub(super) async fn read(wire: &mut Wire, bounds: Bounds) -> Result<Data, WireError> {
    let start = Instant::now();
    let mut looked = 0;
    let mut thrown = 0_usize;
    loop {
        if thrown == 0 && wire.buffer.starts_with(b".\r\n") {
            let _end = wire.buffer.split_to(3);
            return Ok(Data::Message(Bytes::new()));
        }
        if let Some(at) = memchr::memmem::find(&wire.buffer[looked..], b"\r\n.\r\n").map(|at| looked + at) {
            let message = wire.buffer.split_to(at + 2).freeze();
            let _end = wire.buffer.split_to(3);
            return Ok(judge(message, thrown, bounds.max));
        }
        // The end can begin in the last four octets.
        looked = wire.buffer.len().saturating_sub(4);
        if wire.buffer.len() > bounds.max.saturating_add(4 << 10) {
            thrown = thrown.saturating_add(looked);
            let _too_much = wire.buffer.split_to(looked);
            looked = 0;
        }
        let due = bounds.whole + Duration::from_millis((thrown + wire.buffer.len()) as u64);
        if start.elapsed() > due {
            return Err(WireError::Timeout);
        }
        wire.fill(bounds.pause).await?;
    }
}

fn judge(message: Bytes, thrown: usize, max: usize) -> Data {
    if thrown > 0 || message.len() > max {
        return Data::TooLarge;
    }
    if has_bare_line_end(&message) {
        return Data::BareLineEnd;
    }
    Data::Message(unstuffed(message))
}

/// Whether a CR stands without LF or an LF without CR.
pub(super) fn has_bare_line_end(message: &[u8]) -> bool {
    let mut from = 0;
    while let Some(at) = memchr::memchr2(b'\r', b'\n', &message[from..]).map(|at| from + at) {
        if message[at] != b'\r' || message.get(at + 1) != Some(&b'\n') {
            return true;
        }
        from = at + 2;
    }
    false
}

/// Takes away the dot that the client put before lines beginning with one.
fn unstuffed(message: Bytes) -> Bytes {
    let inner = memchr::memmem::find(&message, b"\r\n.");
    if inner.is_none() && !message.starts_with(b".") {
        return message;
    }
    let mut out = Vec::with_capacity(message.len());
    let mut rest: &[u8] = message.strip_prefix(b".").unwrap_or(&message);
    while let Some(at) = memchr::memmem::find(rest, b"\r\n.") {
        out.extend_from_slice(&rest[..at + 2]);
        rest = &rest[at + 3..];
    }
    out.extend_from_slice(rest);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_unstuffed_and_nothing_else() {
        assert_eq!(
            unstuffed(Bytes::from("..a\r\nb.\r\n...c\r\n.\r\n")),
            ".a\r\nb.\r\n..c\r\n\r\n".as_bytes()
        );
        assert_eq!(unstuffed(Bytes::from("a\r\nb\r\n")), "a\r\nb\r\n".as_bytes());
    }

    #[test]
    fn a_bare_line_end_is_seen_wherever_it_stands() {
        for text in ["a\nb\r\n", "a\rb\r\n", "\n", "\r", "a\r\n\n", "a\r\r\n"] {
            assert!(has_bare_line_end(text.as_bytes()), "{text:?}");
        }
        assert!(!has_bare_line_end(b"a\r\n\r\nb\r\n"));
    }
}
