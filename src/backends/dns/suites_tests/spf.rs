//! The suites of RFC 7208 and RFC 4408: their zones become master-file text, their cases go through
//! [`spf::check`].

use super::super::zone::Zone;
use super::{corpora, quoted};
use saphyr::{LoadableYamlNode, Yaml};
use std::fmt::Write as _;
use tidegate_actors::check_dns::spf;

fn text<'y>(node: &'y Yaml<'_>, key: &str) -> Option<&'y str> {
    node.as_mapping_get(key).and_then(|value| value.as_str())
}

fn list(node: &Yaml<'_>) -> Vec<String> {
    match node.as_sequence() {
        Some(items) => items.iter().flat_map(list).collect(),
        None => node
            .as_str()
            .map(str::to_owned)
            .or_else(|| node.as_integer().map(|n| n.to_string()))
            .into_iter()
            .collect(),
    }
}

/// A name as master-file text: octets that the format reads otherwise are escaped.
fn name(text: &str) -> String {
    let mut out = String::new();
    for c in text.strip_suffix('.').unwrap_or(text).chars() {
        if c.is_ascii_alphanumeric() || "-_.*".contains(c) {
            out.push(c);
        } else {
            let _ = write!(out, "\\{:03}", u32::from(c));
        }
    }
    out.push('.');
    out
}

fn zone_text(zone: &Yaml<'_>) -> String {
    let mut out = String::new();
    for (owner, records) in zone.as_mapping().unwrap() {
        let owner = name(owner.as_str().unwrap());
        let records = records.as_sequence().unwrap();
        let kinds: Vec<(&str, &Yaml<'_>)> = records
            .iter()
            .filter_map(|record| record.as_mapping())
            .flat_map(|record| record.iter().map(|(kind, value)| (kind.as_str().unwrap(), value)))
            .collect();
        let has_txt = kinds.iter().any(|(kind, _)| *kind == "TXT");
        // An SPF record stands for a TXT record too, unless the case says what TXT does.
        let silent = records.iter().any(|record| record.as_str() == Some("TIMEOUT"));
        let has_txt = has_txt || silent;
        for (kind, value) in &kinds {
            let values = list(value);
            match *kind {
                "SPF" if has_txt => {}
                "SPF" | "TXT" if values == ["TIMEOUT"] => writeln!(out, "{owner} TIMEOUT TXT").unwrap(),
                "TXT" if values == ["NONE"] => {}
                "SPF" | "TXT" => {
                    let mut parts: Vec<String> = values.iter().map(|part| quoted(part)).collect();
                    // A record of no strings at all cannot be written; one of an empty string says the same.
                    if parts.is_empty() {
                        parts.push(quoted(""));
                    }
                    writeln!(out, "{owner} TXT {}", parts.join(" ")).unwrap();
                }
                "MX" => writeln!(out, "{owner} MX {} {}", values[0], name(&values[1])).unwrap(),
                "CNAME" | "PTR" | "NS" => writeln!(out, "{owner} {kind} {}", name(&values[0])).unwrap(),
                kind => writeln!(out, "{owner} {kind} {}", values[0]).unwrap(),
            }
        }
        if silent {
            // A bare TIMEOUT is for the types that the name does not have.
            let known = |kinds_of: &[&str]| {
                let given =
                    |(kind, value): &(&str, &Yaml<'_>)| kinds_of.contains(kind) && list(value) != ["NONE"];
                kinds.iter().any(given)
            };
            let mut missing = Vec::new();
            for (asked, kinds_of) in
                [("TXT", &["TXT"][..]), ("A", &["A", "AAAA"]), ("MX", &["MX"]), ("PTR", &["PTR"])]
            {
                if !known(kinds_of) {
                    missing.push(asked);
                }
            }
            writeln!(out, "{owner} TIMEOUT {}", missing.join(" ")).unwrap();
        }
    }
    out
}

struct Score {
    passed: usize,
    failed: Vec<String>,
}

async fn run(file: &str) -> Option<Score> {
    let source = std::fs::read_to_string(corpora()?.join("auth/spf").join(file)).unwrap();
    let mut score = Score { passed: 0, failed: Vec::new() };
    for section in &Yaml::load_from_str(&source).unwrap() {
        let zone = zone_text(section.as_mapping_get("zonedata").unwrap());
        let zone = Zone::parse(&zone).unwrap_or_else(|mistakes| panic!("{mistakes:?} in\n{zone}"));
        for (case, test) in section.as_mapping_get("tests").unwrap().as_mapping().unwrap() {
            let query = spf::Query {
                ip: text(test, "host").unwrap().parse().unwrap(),
                helo: text(test, "helo").unwrap_or_default(),
                mail_from: text(test, "mailfrom").unwrap_or_default(),
                receiver: "receiver.example",
            };
            let outcome = spf::check(&zone, &query).await;
            let wanted = list(test.as_mapping_get("result").unwrap());
            let right = wanted.iter().any(|word| word == outcome.result.word());
            let explained = match text(test, "explanation") {
                None | Some("DEFAULT") => true,
                Some(wanted) => outcome.explanation == wanted,
            };
            if right && explained {
                score.passed += 1;
            } else {
                score.failed.push(format!(
                    "{}: wanted {wanted:?} {:?}, got {} {:?} ({})",
                    case.as_str().unwrap(),
                    text(test, "explanation"),
                    outcome.result.word(),
                    outcome.explanation,
                    outcome.problem
                ));
            }
        }
    }
    println!("{file}: {} of {} cases", score.passed, score.passed + score.failed.len());
    Some(score)
}

#[tokio::test]
async fn every_case_of_the_suite_of_rfc_7208_passes() {
    let Some(score) = run("rfc7208-tests.yml").await else { return };
    assert!(score.failed.is_empty(), "{:#?}", score.failed);
    assert_eq!(score.passed, 203);
}

#[tokio::test]
async fn every_case_of_the_suite_of_rfc_4408_passes_too() {
    let Some(score) = run("rfc4408-tests.yml").await else { return };
    assert!(score.failed.is_empty(), "{:#?}", score.failed);
    assert_eq!(score.passed, 191);
}
