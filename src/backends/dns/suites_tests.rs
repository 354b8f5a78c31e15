//! The public conformance suites, run through a zone file and the stage's own evaluators.

mod messages;
mod spf;

use super::zone::Zone;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use tidegate_actors::check_dns::{CheckDns, Lists, Settings};
use tidegate_actors::ports::fakes::FixedDirectory;
use tidegate_actors::stage::Stage as _;
use tidegate_schemas::{Client, Mail, Policy, Recipient, Record};

/// Runs a message through the stage; an empty `ip` is a file judged offline.
async fn judge(zone: Arc<Zone>, message: &str, ip: &str) -> Mail {
    let settings = Settings { authserv_id: "mx.receiver.example".into(), ..Settings::default() };
    let lists = Arc::new(Lists::new(zone.clone(), &settings));
    let directory = FixedDirectory::of("receiver.example", Policy::default());
    let stage = CheckDns::new(zone, Arc::new(directory), lists, settings);
    let mail = Mail {
        tenant: "isp/msp/receiver.example".into(),
        client: Client { ip: ip.into(), ..Client::default() },
        recipients: vec![Recipient { address: "a@receiver.example".into(), ..Recipient::default() }],
        raw: message.to_owned().into(),
        ..Mail::default()
    };
    let step = stage.work(mail.into()).await.unwrap();
    match step.out.into_iter().next() {
        Some((_, Record::Mail(mail))) => *mail,
        other => panic!("{other:?}"),
    }
}

/// Files of an archive of the corpora below a folder, by name.
fn archive(path: &str, below: &str) -> Option<Vec<(String, Vec<u8>)>> {
    let packed = std::fs::File::open(corpora()?.join(path)).unwrap();
    let mut archive = tar::Archive::new(zstd::Decoder::new(packed).unwrap());
    let mut files = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        if entry.header().entry_type().is_file() && name.contains(below) {
            entry.read_to_end(&mut bytes).unwrap();
            files.push((name, bytes));
        }
    }
    assert!(!files.is_empty(), "{path} has nothing below {below}");
    Some(files)
}

/// The folder of the corpora, or `None` (with a word about it) where there is none and nobody insists.
fn corpora() -> Option<PathBuf> {
    let beside = |dir: &std::path::Path| {
        [dir.join("../shared/corpora"), dir.join("shared/corpora")].into_iter().find(|d| d.is_dir())
    };
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let found =
        std::env::var_os("TIDEGATE_CORPORA").map(PathBuf::from).or_else(|| root.ancestors().find_map(beside));
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
