//! The public conformance suites, run through a zone file and the stage's own evaluators.

mod spf;

use std::fmt::Write as _;
use std::path::PathBuf;

/// The folder of the corpora, or `None` (with a word about it) where there is none and nobody insists.
fn corpora() -> Option<PathBuf> {
    let beside = |dir: &std::path::Path| {
        [dir.join("../shared/corpora"), dir.join("shared/corpora")].into_iter().find(|d| d.is_dir())
    };
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let found = std::env::var_os("TIDEGATE_CORPORA").map(PathBuf::from).or_else(|| root.ancestors().find_map(beside));
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI has to run the suites: set TIDEGATE_CORPORA");
        println!("passed over: no corpora here (TIDEGATE_CORPORA)");
    }
    found
}

/// A string as master-file text, quoted, cut where the format cuts.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            c => {
                let _ = write!(out, "\\{:03}", u32::from(c).min(255));
            }
        }
    }
    out.push('"');
    out
}
