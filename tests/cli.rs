//! The command line: exit codes of sysexits, mistakes with lines, offline commands by their octets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

mod common;

use common::tidegate;
use std::process::Output;

fn run(words: &[&str]) -> Output {
    tidegate().args(words).output().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

#[test]
fn a_config_with_mistakes_is_told_line_by_line_with_exit_code_78() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.toml");
    std::fs::write(&file, "[server]\nhostnam = \"x\"\n[smtp]\nmax_recipients = 1\n").unwrap();
    let output = run(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    let told = text(&output.stderr);
    assert!(
        told.contains(":2: unknown key `hostnam`") && told.contains(":4: `smtp.max_recipients`"),
        "{told}"
    );
}

#[test]
fn the_shipped_configuration_has_no_mistakes() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/gateway.toml");
    let output = run(&["check", "--config", file]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn wrong_usage_is_64_and_a_missing_file_66() {
    assert_eq!(run(&["frobnicate"]).status.code(), Some(64));
    assert_eq!(run(&["rewrite", "--rcpt", "a@b.test", "/nonexistent.eml"]).status.code(), Some(66));
    let folder = tempfile::tempdir().unwrap();
    let away = run(&["queue", "list", "--data", folder.path().to_str().unwrap()]);
    assert_eq!(away.status.code(), Some(69), "{}", text(&away.stderr));
}

#[test]
fn the_plan_prints_in_three_forms() {
    for (format, sign) in [("text", "check_dns"), ("dot", "digraph"), ("mermaid", "flowchart")] {
        let output = run(&["plan", "--format", format]);
        assert!(
            output.status.success() && text(&output.stdout).contains(sign),
            "{format}: {}",
            text(&output.stdout)
        );
    }
}

#[test]
fn rewrite_then_restore_gives_the_file_back() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let original =
        "Subject: x\r\nContent-Type: text/html\r\n\r\n<a href='http://a.test/?x=1&amp;y'>a</a>\r\n";
    let file = folder.path().join("mail.eml");
    std::fs::write(&file, original).unwrap();
    let rewritten = run(&["rewrite", "--rcpt", "b@example.test", "--data", data, file.to_str().unwrap()]);
    assert!(text(&rewritten.stdout).contains("/u/1."), "{}", text(&rewritten.stderr));
    std::fs::write(&file, &rewritten.stdout).unwrap();
    let restored = run(&["restore", "--data", data, file.to_str().unwrap()]);
    assert_eq!(text(&restored.stdout), original);
}

#[test]
fn a_link_is_made_and_read_offline_and_a_damaged_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let made = run(&["link", "encode", "--rcpt", "b@example.test", "--data", data, "https://a.test/x"]);
    let link = text(&made.stdout).trim().to_owned();
    let read = run(&["link", "decode", "--data", data, &link]);
    assert!(text(&read.stdout).contains("\"url\":\"https://a.test/x\""), "{}", text(&read.stdout));
    let damaged = link.replacen("/u/1.a1.", "/u/1.a1.A", 1);
    assert_eq!(run(&["link", "decode", "--data", data, &damaged]).status.code(), Some(65));
    assert_eq!(run(&["link", "encode", "--rcpt", "b@example.test", "javascript:x"]).status.code(), Some(65));
}

#[test]
fn judge_prints_one_json_line_a_message_and_dns_is_the_zone_alone() {
    let folder = tempfile::tempdir().unwrap();
    let zone = folder.path().join("zone.txt");
    std::fs::write(&zone, "news.test. 60 IN TXT \"v=spf1 ip4:192.0.2.1 -all\"\n").unwrap();
    let mails = folder.path().join("mails");
    std::fs::create_dir(&mails).unwrap();
    for n in 0..3 {
        std::fs::write(mails.join(format!("{n}.eml")), format!("From: a@news.test\nSubject: {n}\n\nhello\n"))
            .unwrap();
    }
    let judged = run(&[
        "judge",
        "--zone",
        zone.to_str().unwrap(),
        "--ip",
        "192.0.2.1",
        "--mail-from",
        "a@news.test",
        mails.to_str().unwrap(),
    ]);
    assert!(judged.status.success(), "{}", text(&judged.stderr));
    let lines: Vec<serde_json::Value> =
        text(&judged.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    for line in &lines {
        assert_eq!(line["auth"]["spf"], "pass", "{line}");
        assert!(
            line["verdict"].is_string() && line["score"].is_number() && line["evidence"].is_array(),
            "{line}"
        );
    }
}

#[test]
fn training_offline_makes_judge_give_a_probability() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    for (kind, words) in
        [("spam", "cheap pills winner lottery claim"), ("ham", "meeting agenda project review lunch")]
    {
        let sub = folder.path().join(kind);
        std::fs::create_dir(&sub).unwrap();
        for n in 0..40 {
            let message = format!("From: p{n}@x.test\nSubject: {kind} number {n}\n\n{words} {n} {words}\n");
            std::fs::write(sub.join(format!("{n}.eml")), message).unwrap();
        }
        let trained = run(&["train", "--data", data, &format!("--{kind}"), sub.to_str().unwrap()]);
        assert!(trained.status.success(), "{}", text(&trained.stderr));
    }
    let probability = |kind: &str| {
        let file = folder.path().join(kind).join("7.eml");
        let zone = folder.path().join("empty.zone");
        std::fs::write(&zone, "$TTL 60\n").unwrap();
        let words = ["judge", "--data", data, "--zone", zone.to_str().unwrap(), file.to_str().unwrap()];
        let line: serde_json::Value = serde_json::from_str(&text(&run(&words).stdout)).unwrap();
        line["spam_probability"].as_f64().unwrap_or_else(|| panic!("{line}"))
    };
    assert!(probability("spam") > 0.8 && probability("ham") < 0.2);
}

#[test]
fn completions_and_manual_page_are_printed() {
    assert!(text(&run(&["completions", "bash"]).stdout).contains("tidegate"));
    assert!(text(&run(&["man"]).stdout).contains(".TH"));
}

#[test]
fn the_demo_runs_through_and_leaves() {
    let output = run(&["demo", "--once"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    assert!(told.contains("arrived") && told.contains("/u/1."), "{told}");
}
