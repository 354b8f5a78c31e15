//! The main job, end to end: the real binary, real SMTP in, real SMTP out, real HTTP; judged by what arrives.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

mod common;

use common::sink::{Manner, Sink};
use common::{Gateway, corpora, get, post, smtp, wait_for};

const HTML: &str = "From: Letters <a@news.test>\r\nTo: <b@example.test>\r\nSubject: a letter\r\n\
Date: Fri, 27 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@news.test>\r\nMIME-Version: 1.0\r\n\
Content-Type: text/html; charset=utf-8\r\n\r\n<html><body><p>Gr\u{fc}\u{df}e</p>\r\n\
<a href=\"https://shop.example.org/path?a=1&amp;b=2\">shop</a>\r\n<a href=\"mailto:x@y.test\">mail</a></body></html>\r\n";

/// GTUBE, put together here so that this file is not spam itself.
fn gtube() -> String {
    let line = ["XJS*C4JDBQADN1.NSBN3*2IDNEN", "*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL", "*C.34X"].concat();
    HTML.replace("a letter", "an offer").replace("<p>", &format!("<p>{line} "))
}

fn first_link(text: &str) -> String {
    let at = text.find("href=\"").unwrap() + 6;
    text[at..].split('"').next().unwrap().to_owned()
}

fn path_of(link: &str) -> String {
    format!("/{}", link.splitn(4, '/').nth(3).unwrap())
}

#[test]
fn html_mail_comes_out_with_its_links_rewritten_and_the_click_is_answered() {
    let sink = Sink::start();
    let gateway = Gateway::start(sink.address, "[site]\nbase = \"http://links.test\"\n");
    let reply = smtp::send(gateway.smtp(), "a@news.test", &["b@example.test"], HTML);
    assert!(reply.starts_with("250 "), "{reply}");
    let mail = &sink.wait(1)[0];
    let text = mail.text();
    let link = first_link(&text);
    assert!(link.starts_with("http://links.test/u/1."), "{link}");
    assert!(text.contains("href=\"mailto:x@y.test\"") && text.contains("Gr\u{fc}\u{df}e"), "{text}");
    let sent_body = HTML.split_once("\r\n\r\n").unwrap().1;
    let expected = sent_body.replace("https://shop.example.org/path?a=1&amp;b=2", &link);
    assert_eq!(String::from_utf8_lossy(&mail.body()), expected, "octets outside of the link changed");
    assert!(text.contains("Authentication-Results: mx.example.test"), "{text}");

    let (status, page, head) = get(gateway.site(), &path_of(&link));
    assert_eq!(status, 200, "{page}");
    assert!(page.contains("shop.example.org") && !head.to_lowercase().contains("location:"), "{head}");
    let proof = form_value(&page, "go");
    let (status, _, head) = post(gateway.site(), &proof.0, &proof.1);
    assert!((302..=303).contains(&status), "{status} {head}");
    assert!(head.contains("https://shop.example.org/path?a=1&b=2"), "{head}");
}

/// Action and fields of the form that ends in `/ACTION`.
fn form_value(page: &str, action: &str) -> (String, String) {
    let form = page
        .split("<form")
        .find(|f| f.split('>').next().is_some_and(|tag| tag.contains(&format!("/{action}\""))))
        .unwrap_or_else(|| panic!("no form for {action} in {page}"));
    let attribute = |text: &str, name: &str| {
        let at = text.find(&format!("{name}=\"")).unwrap() + name.len() + 2;
        text[at..].split('"').next().unwrap().to_owned()
    };
    let path = attribute(form, "action");
    let inputs = form.split("<input").skip(1).filter(|i| i.contains("hidden"));
    let fields = inputs.map(|i| format!("{}={}", attribute(i, "name"), attribute(i, "value")));
    (path, fields.collect::<Vec<_>>().join("&"))
}

#[test]
fn spam_is_held_shown_and_after_release_delivered_with_links_rewritten() {
    let sink = Sink::start();
    let gateway = Gateway::start(sink.address, "");
    let reply = smtp::send(gateway.smtp(), "a@news.test", &["b@example.test"], &gtube());
    assert!(reply.starts_with("250 "), "{reply}");
    let held = wait_for("a held mail", || gateway.list(&["held", "list"]).into_iter().next());
    let id = held["id"].as_str().unwrap();
    assert_eq!(held["subject"], "an offer");
    assert!(gateway.command(&["held", "show", id]).contains("GTUBE"));
    assert!(sink.all().is_empty());
    gateway.command(&["held", "release", id]);
    let mail = sink.wait_for("an offer");
    assert!(first_link(&mail.text()).contains("/u/1."), "{}", mail.text());
    assert!(gateway.list(&["held", "list"]).is_empty());
    let trace = gateway.command(&["trace", &smtp::trace_of(&reply)]);
    assert!(trace.contains("held") && trace.contains("released") && trace.contains("GTUBE"), "{trace}");
}

#[test]
fn a_deferred_mail_waits_in_the_queue_and_goes_out_when_the_sink_is_well_again() {
    let sink = Sink::start();
    sink.set(Manner::Later);
    let gateway = Gateway::start(sink.address, "");
    smtp::send(gateway.smtp(), "a@news.test", &["b@example.test"], HTML);
    let queued = wait_for("a queued mail with a reply", || {
        gateway.list(&["queue", "list"]).into_iter().find(|m| m["attempts"].as_u64() > Some(0))
    });
    assert!(queued["reply"].as_str().unwrap().contains("451"), "{queued}");
    sink.set(Manner::Take);
    sink.wait(1);
    wait_for("an empty queue", || gateway.list(&["queue", "list"]).is_empty().then_some(()));
}

#[test]
fn a_sink_that_closes_in_mid_data_loses_nothing() {
    let sink = Sink::start();
    sink.set(Manner::Close);
    let gateway = Gateway::start(sink.address, "");
    smtp::send(gateway.smtp(), "a@news.test", &["b@example.test"], HTML);
    wait_for("an attempt", || {
        gateway.list(&["queue", "list"]).into_iter().find(|m| m["attempts"].as_u64() > Some(0))
    });
    sink.set(Manner::Take);
    assert!(sink.wait(1)[0].text().contains("a letter"));
}

#[test]
fn mail_queued_for_hours_can_be_retried_or_removed_by_hand() {
    let sink = Sink::start();
    sink.set(Manner::Later);
    let gateway = Gateway::start(sink.address, "");
    let config = std::fs::read_to_string(gateway.folder.path().join("tidegate.toml")).unwrap();
    let mut gateway = gateway;
    gateway.terminate();
    let patient = config.replace("retry_seconds = [1, 1, 1, 1]", "retry_seconds = [3600, 3600, 3600, 3600]");
    std::fs::write(gateway.folder.path().join("tidegate.toml"), patient).unwrap();
    gateway.spawn();
    for subject in ["first one", "second one"] {
        smtp::send(gateway.smtp(), "a@news.test", &["b@example.test"], &HTML.replace("a letter", subject));
    }
    let queued = wait_for("two deferred mails", || {
        let all = gateway.list(&["queue", "list"]);
        (all.iter().filter(|m| m["attempts"].as_u64() > Some(0)).count() == 2).then_some(all)
    });
    let shown = gateway.command(&["queue", "show", queued[0]["id"].as_str().unwrap()]);
    let (now, never) = if shown.contains("first one") { ("first one", 1) } else { ("second one", 1) };
    sink.set(Manner::Take);
    gateway.command(&["queue", "retry", queued[0]["id"].as_str().unwrap()]);
    gateway.command(&["queue", "remove", queued[never]["id"].as_str().unwrap()]);
    sink.wait_for(now);
    wait_for("an empty queue", || gateway.list(&["queue", "list"]).is_empty().then_some(()));
    assert_eq!(sink.all().len(), 1);
}

#[test]
fn kill_minus_nine_under_load_loses_nothing() {
    let sink = Sink::start();
    let mut gateway = Gateway::start(sink.address, "");
    let mut accepted = Vec::new();
    for round in 0..4 {
        let address = gateway.smtp();
        let senders: Vec<_> = (0..4)
            .map(|thread| {
                std::thread::spawn(move || {
                    let mut accepted = Vec::new();
                    let Ok(mut client) = smtp::Client::connect(address) else { return accepted };
                    if client.say("EHLO news.test").is_err() {
                        return accepted;
                    }
                    for n in 0..10_000 {
                        let name = format!("mail-{round}-{thread}-{n}-");
                        let message = HTML.replace("a letter", &name);
                        match client.send("a@news.test", &["b@example.test"], message.as_bytes()) {
                            Ok(reply) if reply.starts_with("250 ") => accepted.push(name),
                            Ok(_) => {}
                            Err(_) => break,
                        }
                    }
                    accepted
                })
            })
            .collect();
        let before = sink.all().len();
        wait_for("mail to flow", || (sink.all().len() > before + 30).then_some(()));
        gateway.kill();
        for sender in senders {
            accepted.extend(sender.join().unwrap());
        }
        gateway.spawn();
    }
    assert!(accepted.len() > 100, "{}", accepted.len());
    wait_for("every accepted mail", || {
        let arrived: String = sink.all().iter().map(|m| m.text()).collect();
        accepted.iter().all(|name| arrived.contains(name.as_str())).then_some(())
    });
}

#[cfg(feature = "trap")]
#[test]
fn a_mail_that_kills_its_stage_is_dead_after_three_tries_and_a_replay_brings_it_through_after_the_fix() {
    let sink = Sink::start();
    let mut gateway = Gateway::start(sink.address, "");
    let trapped = format!("X-Tidegate-Trap: panic score_spam\r\n{}", HTML.replace("a letter", "trapped one"));
    smtp::send(gateway.smtp(), "a@news.test", &["b@example.test"], &trapped);
    for n in 0..5 {
        smtp::send(
            gateway.smtp(),
            "a@news.test",
            &["b@example.test"],
            &HTML.replace("letter", &format!("l{n}")),
        );
    }
    sink.wait(5);
    let dead = wait_for("a dead record", || gateway.list(&["dead", "list"]).into_iter().next());
    assert_eq!(dead["stage"], "score_spam");
    assert!(dead["why"].as_str().unwrap().contains("trapped in score_spam"), "{dead}");
    assert_eq!(get(gateway.metrics(), "/health").0, 200);
    gateway.terminate();
    gateway.set_env("TIDEGATE_TRAP", "off");
    gateway.spawn();
    gateway.command(&["dead", "replay", dead["id"].as_str().unwrap()]);
    sink.wait_for("trapped one");
    assert!(gateway.list(&["dead", "list"]).is_empty());
    assert_eq!(sink.all().len(), 6);
}

#[test]
fn a_terminated_gateway_drains_and_ends_well() {
    let sink = Sink::start();
    let mut gateway = Gateway::start(sink.address, "");
    for n in 0..20 {
        let reply = smtp::send(
            gateway.smtp(),
            "a@news.test",
            &["b@example.test"],
            &HTML.replace("letter", &format!("l{n}")),
        );
        assert!(reply.starts_with("250 "));
    }
    assert_eq!(gateway.terminate(), Some(0), "{}", gateway.log());
    gateway.spawn();
    assert_eq!(sink.wait(20).len(), 20, "a clean stop must not double");
}

#[test]
fn nobody_relays_and_the_codes_are_those_of_the_rfc() {
    let sink = Sink::start();
    let gateway = Gateway::start(sink.address, "");
    let mut client = smtp::Client::connect(gateway.smtp()).unwrap();
    assert!(client.say("RCPT TO:<b@example.test>").unwrap().starts_with("503 "));
    assert!(client.say("FROB").unwrap().starts_with("500 "));
    assert!(client.say("EHLO x.test").unwrap().contains("PIPELINING"));
    for to in ["x@elsewhere.test", "x%elsewhere.test@mx.example.test", "@a.test:x@elsewhere.test"] {
        client.say("MAIL FROM:<a@news.test>").unwrap();
        let reply = client.say(&format!("RCPT TO:<{to}>")).unwrap();
        assert!(reply.starts_with('5'), "{to}: {reply}");
        client.say("RSET").unwrap();
    }
}

#[test]
fn a_second_gateway_on_the_same_data_is_told_so() {
    let sink = Sink::start();
    let gateway = Gateway::start(sink.address, "");
    let config = gateway.folder.path().join("tidegate.toml");
    let second =
        common::tidegate().arg("run").arg("--config").arg(config).arg("--data").arg(gateway.data()).output();
    let second = second.unwrap();
    assert!(!second.status.success());
    let told = String::from_utf8_lossy(&second.stderr).to_lowercase();
    assert!(told.contains("in use") || told.contains("another process") || told.contains("locked"), "{told}");
}

#[test]
fn health_is_well_and_the_fates_of_mail_balance() {
    let sink = Sink::start();
    let gateway = Gateway::start(sink.address, "");
    assert_eq!(get(gateway.metrics(), "/health").0, 200);
    for n in 0..5 {
        smtp::send(
            gateway.smtp(),
            "a@news.test",
            &["b@example.test"],
            &HTML.replace("letter", &format!("l{n}")),
        );
    }
    smtp::send(gateway.smtp(), "a@news.test", &["b@example.test"], &gtube());
    sink.wait(5);
    wait_for("a balance", || {
        let fate = |name: &str| gateway.metric("tidegate_mails_total", &format!("fate=\"{name}\""));
        (fate("in") == 6.0 && fate("out") == 5.0 && fate("held") == 1.0).then_some(())
    });
}

#[test]
fn low_disk_means_452_and_with_room_again_mail_is_taken() {
    let sink = Sink::start();
    let mut gateway = Gateway::start(sink.address, "");
    gateway.terminate();
    let file = gateway.folder.path().join("tidegate.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{config}\n[log]\nmin_free_bytes = {}\n", 1_u64 << 60)).unwrap();
    gateway.spawn();
    let reply = smtp::send(gateway.smtp(), "a@news.test", &["b@example.test"], HTML);
    assert!(reply.starts_with("452 "), "{reply}");
    gateway.terminate();
    std::fs::write(&file, config).unwrap();
    gateway.spawn();
    assert!(smtp::send(gateway.smtp(), "a@news.test", &["b@example.test"], HTML).starts_with("250 "));
    sink.wait(1);
}

#[test]
fn rotated_keys_are_taken_while_running_and_old_links_still_open() {
    let sink = Sink::start();
    let gateway = Gateway::start(sink.address, "");
    smtp::send(gateway.smtp(), "a@news.test", &["b@example.test"], HTML);
    let old = first_link(&sink.wait(1)[0].text());
    gateway.command(&["keys", "rotate"]);
    wait_for("a link with the new key", || {
        smtp::send(gateway.smtp(), "a@news.test", &["b@example.test"], HTML);
        sink.all().iter().any(|m| first_link(&m.text()).contains("/u/1.a2.")).then_some(())
    });
    assert!(get(gateway.site(), &path_of(&old)).1.contains("shop.example.org"));
    let decoded = gateway.command(&["link", "decode", &old]);
    assert!(decoded.contains("https://shop.example.org/path?a=1&b=2"), "{decoded}");
}

#[test]
fn torture_messages_pass_and_none_is_dropped() {
    let Some(corpora) = corpora() else { return };
    let sink = Sink::start();
    let gateway = Gateway::start(sink.address, "");
    let mut client = smtp::Client::connect(gateway.smtp()).unwrap();
    client.say("EHLO news.test").unwrap();
    let mut accepted = 0;
    let archives: Vec<_> =
        std::fs::read_dir(corpora.join("mime")).unwrap().map(|e| e.unwrap().path()).collect();
    for archive in archives.iter().filter(|p| p.to_string_lossy().ends_with(".tar.zst")) {
        for message in messages(archive) {
            let reply = client.send("a@news.test", &["b@example.test"], &message).unwrap();
            accepted += usize::from(reply.starts_with("250 "));
        }
    }
    assert!(accepted > 500, "{accepted}");
    wait_for("every message to be delivered or held", || {
        let held = gateway.list(&["held", "list"]).len();
        (sink.all().len() + held == accepted).then_some(())
    });
    assert_eq!(gateway.list(&["dead", "list"]).len(), 0);
}

/// Messages of an archive, CRLF lines, no bare CR or LF, no leading mbox line.
fn messages(archive: &std::path::Path) -> Vec<Vec<u8>> {
    let plain = zstd::decode_all(std::fs::File::open(archive).unwrap()).unwrap();
    let mut tar = tar::Archive::new(plain.as_slice());
    let mut all = Vec::new();
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        if !entry.header().entry_type().is_file() || entry.size() > 5_000_000 {
            continue;
        }
        let mut raw = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut raw).unwrap();
        if raw.starts_with(b"From ") {
            raw.drain(..=raw.iter().position(|b| *b == b'\n').unwrap_or(0));
        }
        raw.retain(|b| *b != b'\r' && *b != 0);
        let crlf: Vec<u8> =
            raw.iter().flat_map(|b| if *b == b'\n' { vec![b'\r', b'\n'] } else { vec![*b] }).collect();
        all.push(crlf);
    }
    all
}
