//! A real process that works on the embedded log is killed (SIGKILL), several times in a row, on one folder.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's own helpers fail the test"
)]

use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tidegate::backends::log::{Embedded, Options, TopicSpec, verify};
use tidegate_actors::ports::Store;
use tidegate_schemas::{RawRow, Write};
use tidegate_topology::log::{Batch, From, Log, Output, Seat, Want};

const CHILD: &str = "TIDEGATE_LOG_KILL_FOLDER";
const ROUND: &str = "TIDEGATE_LOG_KILL_ROUND";
const PRODUCERS: usize = 8;

fn open(folder: &Path) -> Arc<Embedded> {
    let topic = |name: &str| TopicSpec { name: name.into(), partitions: 1 };
    let options = Options {
        topics: vec![topic("in"), topic("out")],
        consumers: vec![seat()],
        segment_bytes: 1 << 20,
        min_free_bytes: 0,
        ..Options::default()
    };
    Embedded::open(folder, options).unwrap()
}

fn seat() -> Seat {
    Seat { consumer: "lane".into(), topic: "in".into(), partition: 0 }
}

fn output(topic: &str, name: &str) -> Output {
    let mut value = format!("{name}|").into_bytes();
    value.resize(3_000, b'x');
    Output { topic: topic.into(), key: Bytes::new(), value: Bytes::from(value) }
}

fn name(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    text.split('|').next().unwrap_or_default().to_owned()
}

fn row(name: &str) -> Write {
    let (table, partition) = ("clicks", "kill".to_owned());
    Write::Put(RawRow { table, partition, sort: name.into(), value: Bytes::from_static(b"v"), expires_ms: 0 })
}

async fn produce(log: Arc<Embedded>, producer: usize, round: String) {
    for number in 0.. {
        let name = format!("{round}-{producer}-{number}");
        log.append(Batch { outputs: vec![output("in", &name)], writes: vec![row(&name)] }).await.unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nack {name}").and_then(|()| out.flush()).unwrap();
    }
}

/// Not a test by itself: the process that [`a_kill_loses_nothing_and_doubles_nothing`] starts and kills.
#[test]
fn child() {
    let Ok(folder) = std::env::var(CHILD) else { return };
    let round = std::env::var(ROUND).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let log = open(Path::new(&folder));
        for producer in 0..PRODUCERS {
            tokio::spawn(produce(Arc::clone(&log), producer, round.clone()));
        }
        loop {
            let want = Want { records: 16, bytes: 1 << 20, wait: Duration::from_secs(60) };
            let entries = log.read(&seat(), want).await.unwrap();
            let Some(last) = entries.last() else { continue };
            let outputs = entries.iter().map(|entry| output("out", &name(&entry.value))).collect();
            log.commit(&seat(), last.offset + 1, Batch { outputs, writes: vec![] }).await.unwrap();
        }
    });
}

/// Lets a child work until it has acknowledged so many, kills it, and gives what it acknowledged.
fn work_and_kill(folder: &Path, round: usize, enough: usize) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, folder)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = Vec::new();
    while acknowledged.len() < enough {
        let line = lines.next().expect("the child ended by itself").unwrap();
        acknowledged.extend(line.strip_prefix("ack ").map(str::to_owned));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it still said before it died counts, save a line cut in the middle.
    let rest = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("ack ").map(str::to_owned));
    let mut rest: Vec<String> = rest.collect();
    rest.pop();
    acknowledged.extend(rest);
    acknowledged
}

#[test]
fn a_kill_loses_nothing_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        acknowledged.extend(work_and_kill(folder.path(), round, 100 + 150 * round));
        runtime.block_on(async {
            let log = open(folder.path());
            let entries = log.browse("in", 0, From::Offset(0), 1_000_000).await.unwrap();
            let names: Vec<String> = entries.iter().map(|entry| name(&entry.value)).collect();
            let there: BTreeMap<&str, usize> =
                names.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
            assert_eq!(there.len(), names.len(), "a record is there twice");
            for name in &acknowledged {
                assert!(there.contains_key(name.as_str()), "{name} was acknowledged and is lost");
            }
            for name in &names {
                let row = log.get("clicks", "kill", name).await.unwrap();
                assert!(row.is_some(), "{name} is there without its row");
                let (producer, number) = name.rsplit_once('-').unwrap();
                let before = number
                    .parse::<usize>()
                    .unwrap()
                    .checked_sub(1)
                    .map(|number| format!("{producer}-{number}"));
                assert!(
                    before.is_none_or(|before| there[before.as_str()] < there[name.as_str()]),
                    "a gap before {name}"
                );
            }
            let position = log.lags()[0].position as usize;
            let out = log.browse("out", 0, From::Offset(0), 1_000_000).await.unwrap();
            let out: Vec<String> = out.iter().map(|entry| name(&entry.value)).collect();
            assert_eq!(out, names[..position], "outputs and position came apart");
        });
    }
    assert!(verify(folder.path()).unwrap().whole());
}
