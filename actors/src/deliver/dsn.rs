//! Delivery status notifications (RFC 3464, asked for by RFC 3461).
//!
//! A DSN goes to the sender only where the sender is real: outbound mail of our own users, and inbound mail that
//! passed SPF, DKIM or DMARC. Anything else would be backscatter: a report to somebody whose name was forged.

use std::fmt::Write as _;
use tidegate_schemas::{Direction, Mail, Recipient, now_ms};

/// Octets of the returned message at most; beyond, only its header block goes back.
const MOST_RETURNED: usize = 64 << 10;

/// What is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It will not arrive.
    Failed,
    /// It has not arrived yet.
    Delayed,
    /// It was handed over to a server that reports no further.
    Relayed,
}

impl Kind {
    fn action(self) -> &'static str {
        match self {
            Kind::Failed => "failed",
            Kind::Delayed => "delayed",
            Kind::Relayed => "relayed",
        }
    }

    fn keyword(self) -> &'static str {
        match self {
            Kind::Failed => "FAILURE",
            Kind::Delayed => "DELAY",
            Kind::Relayed => "SUCCESS",
        }
    }

    fn text(self) -> (&'static str, &'static str) {
        match self {
            Kind::Failed => ("Undelivered mail", "Your message could not be delivered to:"),
            Kind::Delayed => (
                "Delayed mail (still being tried)",
                "Your message has not been delivered yet; it is still being tried. You need not send it again. Recipients:",
            ),
            Kind::Relayed => (
                "Mail handed over",
                "Your message was handed over to a server that will not report any further. Recipients:",
            ),
        }
    }
}

/// Whether a recipient's NOTIFY asks for this report; without NOTIFY failures and delays are told.
pub(super) fn is_wanted(kind: Kind, notify: &str) -> bool {
    if notify.is_empty() {
        return kind != Kind::Relayed;
    }
    notify.split(',').any(|word| word == kind.keyword())
}

/// Whether the sender of a mail is known to be real.
pub(super) fn sender_is_real(mail: &Mail) -> bool {
    if mail.mail_from.is_empty() {
        return false;
    }
    match mail.direction() {
        Direction::Outbound => true,
        Direction::Inbound => mail.auth.spf == "pass" || mail.auth.dmarc == "pass",
        Direction::Own => false,
    }
}

/// The report on these recipients (each with its last reply), as a mail of our own.
pub(super) fn report(kind: Kind, mail: &Mail, recipients: &[&Recipient], hostname: &str) -> Mail {
    let id = tidegate_schemas::new_id();
    let boundary = format!("=_{id}");
    let date = mail_parser::DateTime::from_timestamp((now_ms() / 1_000) as i64).to_rfc822();
    let (subject, explanation) = kind.text();
    let mut raw = format!(
        "From: Mail delivery <postmaster@{hostname}>\r\nTo: <{}>\r\nSubject: {subject}\r\nDate: {date}\r\n\
         Message-ID: <{id}@{hostname}>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"{boundary}\"\r\n\r\n\
         --{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{explanation}\r\n\r\n",
        mail.mail_from
    );
    // Writing to a String cannot fail.
    for recipient in recipients {
        let _infallible = write!(raw, "  {}\r\n    {}\r\n", recipient.address, one_line(&recipient.reply));
    }
    let _infallible = write!(
        raw,
        "\r\n--{boundary}\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; {hostname}\r\n"
    );
    if !mail.envid.is_empty() {
        let _infallible = write!(raw, "Original-Envelope-Id: {}\r\n", mail.envid);
    }
    let arrival = mail_parser::DateTime::from_timestamp((mail.received_ms / 1_000) as i64).to_rfc822();
    let _infallible = write!(raw, "Arrival-Date: {arrival}\r\n");
    for recipient in recipients {
        raw.push_str("\r\n");
        if !recipient.orcpt.is_empty() {
            let _infallible = write!(raw, "Original-Recipient: {}\r\n", recipient.orcpt);
        }
        let reply = one_line(&recipient.reply);
        let status = status_of(kind, &reply);
        let _infallible = write!(
            raw,
            "Final-Recipient: rfc822; {}\r\nAction: {}\r\nStatus: {status}\r\nDiagnostic-Code: smtp; {reply}\r\n",
            recipient.address,
            kind.action()
        );
    }
    let whole = kind == Kind::Failed && mail.ret != "HDRS" && mail.raw.len() <= MOST_RETURNED;
    let (media, part) = if whole {
        ("message/rfc822", &mail.raw[..])
    } else {
        ("text/rfc822-headers", header_block(&mail.raw))
    };
    let _infallible = write!(raw, "\r\n--{boundary}\r\nContent-Type: {media}\r\n\r\n");
    let mut raw = raw.into_bytes();
    raw.extend_from_slice(part);
    raw.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    Mail {
        trace: id.clone(),
        id,
        tenant: mail.tenant.clone(),
        direction: Direction::Own as i32,
        received_ms: now_ms(),
        eight_bit: !raw.is_ascii(),
        smtputf8: mail.smtputf8,
        recipients: vec![Recipient {
            address: mail.mail_from.clone(),
            notify: "NEVER".into(),
            ..Recipient::default()
        }],
        raw: raw.into(),
        spam_probability: -1.0,
        ..Mail::default()
    }
}

fn header_block(raw: &[u8]) -> &[u8] {
    memchr::memmem::find(raw, b"\r\n\r\n").map_or(raw, |at| &raw[..at + 2])
}

fn one_line(reply: &str) -> String {
    reply.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect()
}

/// The enhanced code of a reply, or the class alone.
fn status_of(kind: Kind, reply: &str) -> String {
    let class = match kind {
        Kind::Failed => "5.0.0",
        Kind::Delayed => "4.0.0",
        Kind::Relayed => "2.0.0",
    };
    let second = reply.split([' ', '-']).nth(1).unwrap_or_default();
    let parts: Vec<&str> = second.split('.').collect();
    let numeric = |p: &&str| !p.is_empty() && p.len() <= 3 && p.bytes().all(|b| b.is_ascii_digit());
    let fits = parts.len() == 3 && parts.iter().all(numeric) && second.starts_with(&class[..1]);
    if fits { second.to_owned() } else { class.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail() -> Mail {
        Mail {
            mail_from: "a@b.test".into(),
            envid: "e1".into(),
            raw: "Subject: x\r\n\r\nsecret body\r\n".into(),
            direction: Direction::Outbound as i32,
            ..Mail::default()
        }
    }

    #[test]
    fn a_failure_report_has_three_parts_and_the_codes_of_the_reply() {
        let recipient = Recipient {
            address: "x@y.test".into(),
            orcpt: "rfc822;x@y.test".into(),
            reply: "550 5.1.1 no such\r\nuser".into(),
            ..Recipient::default()
        };
        let report = report(Kind::Failed, &mail(), &[&recipient], "mx.test");
        let text = String::from_utf8(report.raw.to_vec()).unwrap();
        for part in [
            "report-type=delivery-status",
            "Original-Envelope-Id: e1",
            "Original-Recipient: rfc822;x@y.test",
            "Action: failed",
            "Status: 5.1.1",
            "Diagnostic-Code: smtp; 550 5.1.1 no such  user",
            "secret body",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert_eq!((report.mail_from.as_str(), report.recipients[0].address.as_str()), ("", "a@b.test"));
        let parsed = mail_parser::MessageParser::default().parse(&report.raw[..]).unwrap();
        assert_eq!(parsed.parts.len(), 4);
    }

    #[test]
    fn headers_only_come_back_when_asked_or_when_it_is_no_failure() {
        let recipient = Recipient::default();
        for (kind, ret) in [(Kind::Failed, "HDRS"), (Kind::Delayed, "FULL")] {
            let report = report(kind, &Mail { ret: ret.into(), ..mail() }, &[&recipient], "mx.test");
            assert!(!String::from_utf8_lossy(&report.raw).contains("secret body"));
        }
    }

    #[test]
    fn notify_decides_and_without_it_failures_are_told() {
        assert!(is_wanted(Kind::Failed, "") && !is_wanted(Kind::Relayed, ""));
        assert!(!is_wanted(Kind::Failed, "NEVER") && is_wanted(Kind::Relayed, "SUCCESS,FAILURE"));
    }

    #[test]
    fn forged_senders_get_no_report() {
        let inbound = Mail { direction: Direction::Inbound as i32, ..mail() };
        assert!(!sender_is_real(&inbound));
        let mut passed = inbound;
        passed.auth.spf = "pass".into();
        assert!(sender_is_real(&passed));
        assert!(!sender_is_real(&Mail { mail_from: String::new(), ..mail() }));
    }
}
