//! Mistakes are all told at once, with their lines.

use super::*;

const TEN: &str = "\
[server]
hostname = \"not a host\"
hostnam = \"x\"
[listen]
smtp = [\"127.0.0.1\"]
[smtp]
max_recipients = \"many\"
proxy_protocol = true
[tls]
key = \"k.pem\"
[deliver]
default_route = \"pigeon:home\"
retry_seconds = [1, 2]
[site]
base = \"ftp://links.test\"
[telemtry]
level = \"info\"
[log]
segment_bytes = 12
";

#[test]
fn a_config_with_ten_mistakes_reports_ten_with_their_lines() {
    let mistakes = parse(TEN).unwrap_err();
    let lines: Vec<usize> = mistakes.iter().map(|m| m.line).collect();
    assert_eq!(lines, [2, 3, 5, 7, 8, 10, 12, 13, 15, 16, 19], "{mistakes:#?}");
    let text = Mistakes { file: "t.toml".into(), mistakes }.to_string();
    assert!(text.contains("t.toml:3: unknown key `hostnam` in [server]; did you mean `hostname`?"), "{text}");
    assert!(text.contains("t.toml:16: unknown section `telemtry`; did you mean `telemetry`?"), "{text}");
}

#[test]
fn an_empty_config_is_all_defaults() {
    let config = parse("").unwrap();
    assert_eq!(config.smtp.max_message_bytes, 50 << 20);
}

#[test]
fn broken_syntax_is_told_with_its_line() {
    let mistakes = parse("[server]\nhostname = \"mx.test\"\nhostname = \n").unwrap_err();
    assert!(mistakes.iter().any(|m| m.line == 3), "{mistakes:?}");
}
