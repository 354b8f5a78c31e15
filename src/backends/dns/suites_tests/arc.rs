//! The validation suite of ARC, through the whole stage.

use super::super::zone::Zone;
use super::{corpora, judge, quoted};
use saphyr::{LoadableYamlNode, Yaml};
use std::fmt::Write as _;

/// Cases whose outcome we do not share, and why.
const NOT_SHARED: &[(&str, &str)] = &[];

fn text<'y>(node: &'y Yaml<'_>, key: &str) -> &'y str {
    node.as_mapping_get(key).and_then(|value| value.as_str()).unwrap_or_default()
}

fn zone(section: &Yaml<'_>) -> Zone {
    let mut out = String::new();
    for (name, record) in section.as_mapping_get("txt-records").unwrap().as_mapping().unwrap() {
        writeln!(out, "{}. TXT {}", name.as_str().unwrap(), quoted(record.as_str().unwrap())).unwrap();
    }
    Zone::parse(&out).unwrap()
}

#[tokio::test]
async fn every_case_of_the_arc_validation_suite_passes_but_those_explained() {
    let Some(folder) = corpora() else { return };
    let source = std::fs::read_to_string(folder.join("auth/arc/arc-draft-validation-tests.yml")).unwrap();
    let (mut passed, mut failed) = (0, Vec::new());
    for section in &Yaml::load_from_str(&source).unwrap() {
        let zone = std::sync::Arc::new(zone(section));
        for (case, test) in section.as_mapping_get("tests").unwrap().as_mapping().unwrap() {
            let case = case.as_str().unwrap();
            let message = text(test, "message").replace('\n', "\r\n");
            let mail = judge(zone.clone(), &message, "").await;
            let wanted = match text(test, "cv").trim().to_lowercase() {
                // Left open by the suite: the chain is invalid before its cv can be told.
                word if word.is_empty() => "fail".to_owned(),
                word => word,
            };
            if mail.auth.arc == wanted {
                passed += 1;
            } else {
                failed.push(format!(
                    "{case}: wanted {wanted}, got {} ({})",
                    mail.auth.arc,
                    text(test, "description")
                ));
            }
        }
    }
    println!("arc-draft-validation-tests.yml: {passed} of {} cases", passed + failed.len());
    let explained = |line: &&String| NOT_SHARED.iter().any(|(case, _)| line.starts_with(&format!("{case}:")));
    let unexplained: Vec<&String> = failed.iter().filter(|line| !explained(line)).collect();
    assert!(unexplained.is_empty(), "{unexplained:#?}");
    assert_eq!(failed.len(), NOT_SHARED.len(), "the list of exceptions is out of date");
}
