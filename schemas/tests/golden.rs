//! One pinned encoding per version: what was written by any version must be read by all later ones, to the
//! same values. A change that breaks this loses mail that lies in somebody's log.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use tidegate_schemas::mail::{Auth, Client, Death, Mail, Recipient};
use tidegate_schemas::{Evidence, Record, Signal, SignalKind};

fn mail() -> Mail {
    Mail {
        id: "01JDP0000000000000000000M1".into(),
        trace: "01JDP0000000000000000000T1".into(),
        tenant: "isp/msp/example.test".into(),
        direction: 1,
        received_ms: 1_795_737_600_000,
        client: Client {
            ip: "192.0.2.1".into(),
            helo: "mail.example.org".into(),
            ptr: "mail.example.org".into(),
            tls: "TLSv1.3".into(),
            login: "ann@example.test".into(),
            esmtp: true,
        },
        mail_from: "a@example.org".into(),
        recipients: vec![Recipient {
            address: "b@example.test".into(),
            notify: "FAILURE".into(),
            orcpt: "rfc822;b@example.test".into(),
            reply: "451 later".into(),
        }],
        raw: "Subject: x\r\n\r\n\u{fc}\r\n".into(),
        added_headers: "Received: y\r\n".into(),
        evidence: vec![Evidence { code: "SPF_FAIL".into(), weight: 2.5, why: "no".into() }],
        verdict: Some(1),
        score: 2.5,
        spam_probability: 0.75,
        auth: Auth {
            iprev: "pass".into(),
            spf: "fail".into(),
            dkim: "none".into(),
            dmarc: "fail".into(),
            arc: "none".into(),
            dkim_domains: vec!["example.org".into()],
            from_domain: "example.org".into(),
            dmarc_policy: "reject".into(),
        },
        attempts: 3,
        due_ms: 7,
        hold_reason: "spam".into(),
        released_by: "ops".into(),
        death: Some(Death {
            stage: "deliver".into(),
            why: "panic".into(),
            topic: "outbound".into(),
            offset: 9,
            partition: 1,
            at_ms: 8,
        }),
        eight_bit: true,
        smtputf8: true,
        ret: "HDRS".into(),
        envid: "e".into(),
        links_rewritten: 60,
        delay_told: true,
    }
}

fn signal() -> Signal {
    Signal {
        id: "01JDP0000000000000000000S1".into(),
        at_ms: 1_795_737_600_000,
        kind: SignalKind::Proceed as i32,
        tenant: "isp/msp/example.test".into(),
        user: "0123456789abcdef".into(),
        mail: "01JDP0000000000000000000T1".into(),
        domain: "example.org".into(),
        host: "www.example.org".into(),
        url: "https://www.example.org/".into(),
        decision: "warned".into(),
        reason: "unknown".into(),
        client: "human".into(),
        sender: "a@example.org".into(),
        raw: "x".into(),
        ip: "192.0.2.9".into(),
        scope: "user".into(),
    }
}

fn unhex(text: &str) -> bytes::Bytes {
    hex::decode(text.trim()).unwrap().into()
}

#[test]
fn a_mail_of_version_1_still_reads_and_is_written_the_same() {
    let pinned = unhex(include_str!("../golden/mail-v1.hex"));
    assert_eq!(Record::decode(&pinned).unwrap(), Record::from(mail()));
    assert_eq!(Record::from(mail()).encode(), pinned);
}

#[test]
fn a_signal_of_version_1_still_reads_and_is_written_the_same() {
    let pinned = unhex(include_str!("../golden/signal-v1.hex"));
    assert_eq!(Record::decode(&pinned).unwrap(), Record::from(signal()));
    assert_eq!(Record::from(signal()).encode(), pinned);
}

#[test]
fn a_newer_version_is_refused_by_name_and_garbage_never_panics() {
    let newer = bytes::Bytes::from_static(b"\x02M");
    assert!(Record::decode(&newer).unwrap_err().to_string().contains("version 2"));
    for length in 0..pinned().len() {
        let cut = pinned().slice(..length);
        let _ = Record::decode(&cut);
    }
}

fn pinned() -> bytes::Bytes {
    unhex(include_str!("../golden/mail-v1.hex"))
}

#[test]
fn a_field_that_a_newer_writer_added_does_not_stop_an_older_reader() {
    let mut octets = Record::from(mail()).encode().to_vec();
    // Field 100, varint 1: tag (100 << 3) | 0 = 800.
    octets.extend_from_slice(&[0xa0, 0x06, 0x01]);
    assert_eq!(Record::decode(&octets.into()).unwrap(), Record::from(mail()));
}

#[test]
#[ignore = "writes the pinned files; run by hand when a version is added"]
fn write_pinned_files() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/golden");
    std::fs::write(format!("{folder}/mail-v1.hex"), hex::encode(Record::from(mail()).encode()) + "\n")
        .unwrap();
    std::fs::write(format!("{folder}/signal-v1.hex"), hex::encode(Record::from(signal()).encode()) + "\n")
        .unwrap();
}
