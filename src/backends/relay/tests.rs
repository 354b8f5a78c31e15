//! The client against servers that follow a script.

use super::*;
use parking_lot::Mutex;
use proptest::prelude::*;
use std::net::SocketAddr;
use std::sync::Arc;
use tidegate_schemas::Recipient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a server answers; anything not named is `250 fine`.
#[derive(Clone, Default)]
struct Script {
    offers: Vec<&'static str>,
    /// (line begins with, reply); an empty reply closes the connection.
    replies: Vec<(&'static str, &'static str)>,
    lmtp: bool,
    /// Closes after reading some of the message.
    close_in_data: bool,
    /// Closes after answering a message.
    close_after_message: bool,
}

#[derive(Default)]
struct Seen {
    connections: usize,
    lines: Vec<String>,
    messages: Vec<Vec<u8>>,
}

struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

async fn server(script: Script) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let kept = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            kept.lock().connections += 1;
            tokio::spawn(serve(stream, script.clone(), kept.clone()));
        }
    });
    Server { address, seen }
}

async fn serve(mut stream: TcpStream, script: Script, seen: Arc<Mutex<Seen>>) -> Option<()> {
    stream.write_all(b"220 test ESMTP\r\n").await.ok()?;
    let mut buffer = Vec::new();
    let mut rcpts = 0;
    loop {
        let line = until(&mut stream, &mut buffer, b"\r\n").await?;
        let line = String::from_utf8(line).unwrap().trim_end().to_owned();
        seen.lock().lines.push(line.clone());
        let told = script.replies.iter().find(|(start, _)| line.starts_with(start)).map(|(_, reply)| *reply);
        if told == Some("") {
            return None;
        }
        let mut reply = told.unwrap_or("250 fine").to_owned();
        if line.starts_with("EHLO") || line.starts_with("LHLO") {
            let lines: Vec<String> =
                std::iter::once("test").chain(script.offers.iter().copied()).map(String::from).collect();
            reply = lines.join("\r\n250-");
            reply = format!("250-{reply}\r\n250 HELP");
        }
        if line.starts_with("RCPT") && reply.starts_with('2') {
            rcpts += 1;
        }
        if line == "DATA" && told.is_none() {
            stream.write_all(b"354 go\r\n").await.ok()?;
            if script.close_in_data {
                let mut some = [0; 16];
                stream.read_exact(&mut some).await.ok()?;
                return None;
            }
            let message = message(&mut stream, &mut buffer).await?;
            seen.lock().messages.push(message);
            let end = script
                .replies
                .iter()
                .find(|(start, _)| *start == ".")
                .map_or("250 taken", |(_, reply)| *reply);
            reply = if script.lmtp { vec![end; rcpts].join("\r\n") } else { end.to_owned() };
            rcpts = 0;
        }
        stream.write_all(format!("{reply}\r\n").as_bytes()).await.ok()?;
        if line == "DATA" && script.close_after_message {
            return None;
        }
    }
}

async fn until(stream: &mut TcpStream, buffer: &mut Vec<u8>, end: &[u8]) -> Option<Vec<u8>> {
    loop {
        if let Some(at) = buffer.windows(end.len()).position(|w| w == end) {
            return Some(buffer.drain(..at + end.len()).collect());
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

async fn message(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let line = until(stream, buffer, b"\r\n").await?;
        if line == b".\r\n" {
            return Some(out);
        }
        out.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}

fn job(to: Destination, recipients: &[&str], body: &[u8]) -> Job {
    Job {
        destination: Arc::new(to),
        sender: "a@b.test".into(),
        recipients: recipients
            .iter()
            .map(|a| Recipient { address: (*a).into(), ..Recipient::default() })
            .collect(),
        header: "X: y\r\n".into(),
        body: body.to_vec().into(),
        eight_bit: false,
        smtputf8: false,
        ret: "FULL".into(),
        envid: String::new(),
    }
}

fn smtp(server: &Server) -> Destination {
    Destination::Smtp(vec![server.address])
}

fn network() -> Network {
    Network::new(Options { hostname: "us.test".into(), ..Options::default() })
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered { .. } => "delivered",
        Outcome::Deferred(_) => "deferred",
        Outcome::Failed(_) => "failed",
    }
}

async fn words(script: Script, recipients: &[&str]) -> Vec<&'static str> {
    let server = server(script).await;
    let outcomes = network().send(job(smtp(&server), recipients, b"x\r\n")).await;
    outcomes.iter().map(word).collect()
}

#[tokio::test]
async fn a_message_arrives_octet_for_octet_and_the_connection_is_used_again() {
    let server =
        server(Script { offers: vec!["PIPELINING", "SIZE 1000", "8BITMIME", "DSN"], ..Script::default() })
            .await;
    let network = network();
    for _ in 0..5 {
        let outcomes =
            network.send(job(smtp(&server), &["c@d.test"], b"S: x\r\n\r\n.dot\r\n..two\r\nend")).await;
        assert_eq!(outcomes, [Outcome::Delivered { reply: "250 taken".into(), dsn: true }]);
    }
    let seen = server.seen.lock();
    assert_eq!((seen.connections, seen.messages.len()), (1, 5));
    assert_eq!(seen.messages[0], b"X: y\r\nS: x\r\n\r\n.dot\r\n..two\r\nend\r\n");
    assert!(seen.lines.contains(&"MAIL FROM:<a@b.test> SIZE=30 RET=FULL".to_owned()), "{:?}", seen.lines);
}

#[tokio::test]
async fn replies_at_every_verb_end_as_their_class_says() {
    for offers in [vec![], vec!["PIPELINING"]] {
        for (verb, reply, expected) in [
            ("MAIL", "550 5.7.1 no", "failed"),
            ("MAIL", "451 later", "deferred"),
            ("RCPT", "550 no", "failed"),
            ("RCPT", "450 later", "deferred"),
            ("DATA", "554 no", "failed"),
            ("DATA", "421 bye", "deferred"),
            (".", "554 no", "failed"),
            (".", "452 full", "deferred"),
            ("MAIL", "", "deferred"),
            ("RCPT", "", "deferred"),
            ("DATA", "", "deferred"),
        ] {
            let script = Script { offers: offers.clone(), replies: vec![(verb, reply)], ..Script::default() };
            assert_eq!(words(script, &["c@d.test"]).await, [expected], "{verb} {reply:?} {offers:?}");
        }
    }
}

#[tokio::test]
async fn mixed_recipients_get_their_own_outcome() {
    for offers in [vec![], vec!["PIPELINING"]] {
        let replies = vec![("RCPT TO:<no@", "550 5.1.1 unknown"), ("RCPT TO:<later@", "450 busy")];
        let script = Script { offers, replies, ..Script::default() };
        assert_eq!(
            words(script, &["no@d.test", "yes@d.test", "later@d.test"]).await,
            ["failed", "delivered", "deferred"]
        );
    }
}

#[tokio::test]
async fn a_server_that_closes_in_mid_data_means_later_and_the_next_mail_gets_a_new_connection() {
    let script = Script { offers: vec!["PIPELINING"], close_in_data: true, ..Script::default() };
    let server = server(script).await;
    let network = network();
    for _ in 0..2 {
        let outcomes = network.send(job(smtp(&server), &["c@d.test"], &b"x\r\n".repeat(50_000))).await;
        assert_eq!(word(&outcomes[0]), "deferred");
    }
    assert_eq!(server.seen.lock().connections, 2);
}

#[tokio::test]
async fn a_kept_connection_that_died_is_replaced_without_a_deferral() {
    let script = Script { offers: vec!["PIPELINING"], close_after_message: true, ..Script::default() };
    let server = server(script).await;
    let network = network();
    for _ in 0..3 {
        assert_eq!(word(&network.send(job(smtp(&server), &["c@d.test"], b"x\r\n")).await[0]), "delivered");
    }
    assert_eq!(server.seen.lock().connections, 3);
}

#[tokio::test]
async fn a_dead_host_costs_one_connect_and_the_rest_are_deferred_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let network = network();
    for _ in 0..3 {
        let outcomes = network.send(job(Destination::Smtp(vec![address]), &["c@d.test"], b"x\r\n")).await;
        assert!(
            matches!(&outcomes[0], Outcome::Deferred(why) if why.starts_with("451 4.4.1")),
            "{outcomes:?}"
        );
    }
}

#[tokio::test]
async fn the_second_address_is_tried_when_the_first_is_dead() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = listener.local_addr().unwrap();
    drop(listener);
    let server = server(Script::default()).await;
    let outcomes =
        network().send(job(Destination::Smtp(vec![dead, server.address]), &["c@d.test"], b"x\r\n")).await;
    assert_eq!(word(&outcomes[0]), "delivered");
}

#[tokio::test]
async fn lmtp_answers_for_each_recipient() {
    let replies = vec![("RCPT TO:<no@", "550 unknown")];
    let server =
        server(Script { offers: vec!["PIPELINING"], replies, lmtp: true, ..Script::default() }).await;
    let to = Destination::Lmtp(server.address);
    let outcomes = network().send(job(to, &["one@d.test", "no@d.test", "two@d.test"], b"x\r\n")).await;
    assert_eq!(outcomes.iter().map(word).collect::<Vec<_>>(), ["delivered", "failed", "delivered"]);
    assert!(server.seen.lock().lines[0].starts_with("LHLO us.test"));
}

#[tokio::test]
async fn a_server_that_knows_only_helo_is_served() {
    let script = Script { replies: vec![("EHLO", "502 no")], ..Script::default() };
    let server = server_without_ehlo(script).await;
    let outcomes = network().send(job(smtp(&server), &["c@d.test"], b"x\r\n")).await;
    assert_eq!(word(&outcomes[0]), "delivered");
    assert!(server.seen.lock().lines.iter().any(|l| l == "HELO us.test"));
}

/// `serve` always answers EHLO with offers; this one refuses it.
async fn server_without_ehlo(script: Script) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let kept = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(b"220 old\r\n").await.unwrap();
            let mut buffer = Vec::new();
            let line = until(&mut stream, &mut buffer, b"\r\n").await.unwrap();
            assert!(line.starts_with(b"EHLO"));
            stream.write_all(b"502 what?\r\n").await.unwrap();
            tokio::spawn(serve_after_greeting(stream, script.clone(), kept.clone()));
        }
    });
    Server { address, seen }
}

async fn serve_after_greeting(mut stream: TcpStream, script: Script, seen: Arc<Mutex<Seen>>) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let line = String::from_utf8(until(&mut stream, &mut buffer, b"\r\n").await?).unwrap();
        seen.lock().lines.push(line.trim_end().to_owned());
        if line.starts_with("DATA") {
            stream.write_all(b"354 go\r\n").await.ok()?;
            let message = message(&mut stream, &mut buffer).await?;
            seen.lock().messages.push(message);
        }
        let told =
            script.replies.iter().find(|(start, _)| line.starts_with(start)).map_or("250 fine", |(_, r)| *r);
        stream.write_all(format!("{told}\r\n").as_bytes()).await.ok()?;
    }
}

#[tokio::test]
async fn what_the_server_cannot_take_is_failed_without_trying() {
    let server = server(Script { offers: vec!["SIZE 10"], ..Script::default() }).await;
    let outcomes = network().send(job(smtp(&server), &["c@d.test"], b"more than ten octets\r\n")).await;
    assert!(matches!(&outcomes[0], Outcome::Failed(why) if why.contains("5.3.4")), "{outcomes:?}");
    let utf8 = Job { smtputf8: true, ..job(smtp(&server), &["\u{fc}@d.test"], b"") };
    assert!(matches!(&network().send(utf8).await[0], Outcome::Failed(why) if why.contains("5.6.7")));
}

#[tokio::test]
async fn a_maildir_gets_whole_files_only() {
    let folder = tempfile::tempdir().unwrap();
    let to = Destination::Maildir(folder.path().join("Maildir"));
    let outcomes = network().send(job(to, &["c@d.test", "e@d.test"], b"S: x\r\n\r\n.y\r\n")).await;
    assert_eq!(outcomes.iter().map(word).collect::<Vec<_>>(), ["delivered", "delivered"]);
    let files: Vec<_> =
        std::fs::read_dir(folder.path().join("Maildir/new")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(files.len(), 2);
    let text = std::fs::read_to_string(&files[0]).unwrap();
    assert!(text.starts_with("Return-Path: <a@b.test>\r\nDelivered-To: "), "{text}");
    assert!(text.ends_with("X: y\r\nS: x\r\n\r\n.y\r\n"), "{text}");
    assert_eq!(std::fs::read_dir(folder.path().join("Maildir/tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn no_more_connections_than_allowed_are_open_at_a_time() {
    let server = server(Script { offers: vec!["PIPELINING"], ..Script::default() }).await;
    let network = Arc::new(Network::new(Options { concurrency: 3, ..Options::default() }));
    let sends = (0..40).map(|_| network.send(job(smtp(&server), &["c@d.test"], b"x\r\n")));
    let outcomes = futures::future::join_all(sends).await;
    assert!(outcomes.iter().all(|o| word(&o[0]) == "delivered"));
    assert!(server.seen.lock().connections <= 3);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) })]
    #[test]
    fn any_lines_arrive_the_same(lines in proptest::collection::vec("[.a]{0,4}", 0..20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let body: String = lines.iter().map(|l| format!("{l}\r\n")).collect();
        let arrived = runtime.block_on(async {
            let server = server(Script { offers: vec!["PIPELINING"], ..Script::default() }).await;
            network().send(job(smtp(&server), &["c@d.test"], body.as_bytes())).await;
            server.seen.lock().messages.clone()
        });
        prop_assert_eq!(String::from_utf8(arrived[0].clone()).unwrap(), format!("X: y\r\n{body}"));
    }
}
