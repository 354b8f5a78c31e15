//! Header fields that ingest adds, and what it looks for in the header block of a message.

use std::fmt::Write as _;
use tidegate_schemas::Client;

/// The date of RFC 5322, 3.3, in UTC.
pub(super) fn date(ms: u64) -> String {
    mail_parser::DateTime::from_timestamp((ms / 1_000) as i64).to_rfc822()
}

/// The Received field (RFC 5321, 4.4), whole lines. `only` is the recipient when there is just one: with more,
/// naming them would tell each of the others.
pub(super) fn received(client: &Client, hostname: &str, trace: &str, only: Option<&str>, ms: u64) -> String {
    let protocol = match (client.esmtp, client.tls.is_empty(), client.login.is_empty()) {
        (false, true, _) => "SMTP",
        (_, true, true) => "ESMTP",
        (_, true, false) => "ESMTPA",
        (_, false, true) => "ESMTPS",
        (_, false, false) => "ESMTPSA",
    };
    let name = if client.ptr.is_empty() { "unknown" } else { &client.ptr };
    let ip = if client.ip.contains(':') { format!("IPv6:{}", client.ip) } else { client.ip.clone() };
    let mut out = format!(
        "Received: from {} ({name} [{ip}])\r\n\tby {hostname} with {protocol} id {trace}",
        safe(&client.helo)
    );
    if let Some(only) = only.filter(|o| o.is_ascii()) {
        // Writing to a String cannot fail.
        let _infallible = write!(out, "\r\n\tfor <{only}>");
    }
    let _infallible = write!(out, ";\r\n\t{}\r\n", date(ms));
    out
}

/// A name given by the client, without what could end a comment or line.
fn safe(text: &str) -> String {
    let fine = |c: char| if c.is_ascii_alphanumeric() || "-._:[]".contains(c) { c } else { '?' };
    text.chars().take(128).map(fine).collect()
}

/// The header block: up to the empty line.
pub(super) fn header_block(message: &[u8]) -> &[u8] {
    if message.starts_with(b"\r\n") {
        return &[];
    }
    memchr::memmem::find(message, b"\r\n\r\n").map_or(message, |at| &message[..at + 2])
}

/// How often a field stands in a header block.
pub(super) fn count(block: &[u8], name: &str) -> usize {
    let is = |line: &[u8]| {
        line.get(..name.len()).is_some_and(|n| n.eq_ignore_ascii_case(name.as_bytes()))
            && line.get(name.len()..).is_some_and(|rest| rest.trim_ascii_start().starts_with(b":"))
    };
    block.split(|b| *b == b'\n').filter(|line| is(line)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_received_field_names_protocol_and_the_only_recipient() {
        let client = Client {
            ip: "2001:db8::1".into(),
            helo: "a(b".into(),
            tls: "TLSv1.3 X".into(),
            esmtp: true,
            ..Client::default()
        };
        let field = received(&client, "mx.test", "01T", Some("a@b.test"), 0);
        assert_eq!(
            field,
            "Received: from a?b (unknown [IPv6:2001:db8::1])\r\n\tby mx.test with ESMTPS id 01T\r\n\tfor <a@b.test>;\r\n\tThu, 1 Jan 1970 00:00:00 +0000\r\n"
        );
    }

    #[test]
    fn fields_are_counted_in_the_header_block_only() {
        let message = b"Received: a\r\nreceived : b\r\nReceivedX: c\r\n\r\nReceived: d\r\n";
        assert_eq!(count(header_block(message), "Received"), 2);
        assert_eq!(header_block(b"\r\nbody"), b"");
    }
}
