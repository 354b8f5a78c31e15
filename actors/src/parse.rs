//! Parsing a message without trusting the parser: whatever octets come, the answer is a message or nothing.
//!
//! mail-parser is careful, and still has assertions that torture messages reach. A panic in a stage would cost
//! that mail its delivery after three tries; here it costs the evidence that a parsed message would have given.

use mail_parser::{Message, MessageParser};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The whole message, decoded; `None` when it has no header or the parser gave up.
pub fn message(raw: &[u8]) -> Option<Message<'_>> {
    guarded(|| MessageParser::default().parse(raw))
}

/// The header alone.
pub fn headers(raw: &[u8]) -> Option<Message<'_>> {
    guarded(|| MessageParser::default().parse_headers(raw))
}

/// The few fields that lists and envelopes want: addresses, Subject, Date, Message-ID.
pub fn few_headers(raw: &[u8]) -> Option<Message<'_>> {
    guarded(|| MessageParser::new().with_minimal_headers().parse_headers(raw))
}

fn guarded<'x>(parse: impl FnOnce() -> Option<Message<'x>>) -> Option<Message<'x>> {
    catch_unwind(AssertUnwindSafe(parse)).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parser_that_panics_is_a_message_that_cannot_be_read() {
        assert!(guarded(|| panic!("assertion")).is_none());
        assert!(message(b"Subject: x\r\n\r\ny").is_some());
    }
}
