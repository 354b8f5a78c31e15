//! What the embedded log does when things are not as they should be: damage, a second process, full and
//! read-only disks, stalled consumers, parts of the folder missing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's own helpers fail the test"
)]

#[allow(dead_code, reason = "each test file uses a part of it")]
#[path = "contract/faulty.rs"]
mod faulty;

use bytes::Bytes;
use faulty::Faulty;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tidegate::backends::log::{Embedded, OpenError, Options, TopicSpec, verify};
use tidegate_actors::ports::Store;
use tidegate_schemas::{RawRow, Write};
use tidegate_topology::log::{Batch, Entry, From, Log, LogError, Output, Seat};

fn seat(topic: &str) -> Seat {
    Seat { consumer: "lane".into(), topic: topic.into(), partition: 0 }
}

/// Topics `flow` and `stall` have a consumer, `loose` has none. Nothing is retained once consumed.
fn options() -> Options {
    let topic = |name: &str| TopicSpec { name: name.into(), partitions: 1 };
    Options {
        topics: vec![topic("flow"), topic("stall"), topic("loose")],
        consumers: vec![seat("flow"), seat("stall")],
        segment_bytes: 64 << 10,
        retain_bytes: 0,
        retain_age: Duration::from_secs(3600),
        min_free_bytes: 0,
        cache_bytes: 0,
        ..Options::default()
    }
}

fn open(folder: &Path) -> Arc<Embedded> {
    Embedded::open(folder, options()).unwrap()
}

fn batch(topic: &str, value: &str, length: usize) -> Batch {
    let mut value = value.as_bytes().to_vec();
    value.resize(value.len().max(length), b'.');
    let output = Output { topic: topic.into(), key: Bytes::new(), value: Bytes::from(value) };
    Batch { outputs: vec![output], writes: vec![] }
}

fn insert(value: &str) -> Batch {
    let (value, sort) = (Bytes::copy_from_slice(value.as_bytes()), "s".to_owned());
    let row = RawRow { table: "clicks", partition: "p".into(), sort, value, expires_ms: 0 };
    Batch { outputs: vec![], writes: vec![Write::PutIfAbsent(row)] }
}

async fn append(log: &Embedded, topic: &str, count: usize, length: usize) {
    for number in 0..count {
        log.append(batch(topic, &format!("{topic} {number}"), length)).await.unwrap();
    }
}

async fn all(log: &Embedded, topic: &str) -> Vec<Entry> {
    log.browse(topic, 0, From::Offset(0), 1_000_000).await.unwrap()
}

async fn consume_all(log: &Embedded, topic: &str) {
    let end = log.lags().into_iter().find(|lag| lag.seat == seat(topic)).unwrap().end;
    log.commit(&seat(topic), end, Batch::default()).await.unwrap();
}

async fn keep_house(log: &Arc<Embedded>) {
    let log = Arc::clone(log);
    tokio::task::spawn_blocking(move || log.keep_house()).await.unwrap();
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let items = std::fs::read_dir(folder.join("log")).unwrap().map(|item| item.unwrap().path());
    let mut paths: Vec<PathBuf> =
        items.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    paths.sort();
    paths
}

/// Flips a bit of the first place where `text` stands in a file.
fn flip(path: &Path, text: &str) {
    let mut octets = std::fs::read(path).unwrap();
    let at = octets.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    octets[at] ^= 4;
    std::fs::write(path, octets).unwrap();
}

#[tokio::test]
async fn a_second_process_is_told_who_has_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let _log = open(folder.path());
    let Err(error) = Embedded::open(folder.path(), options()) else { panic!("opened twice") };
    let pid = std::process::id().to_string();
    assert!(matches!(&error, OpenError::Locked { pid: owner, .. } if *owner == pid), "{error}");
}

#[tokio::test]
async fn damage_under_later_records_is_refused_and_named() {
    for segment in [0, 1] {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path());
        append(&log, "flow", 12, 8_000).await;
        drop(log);
        let path = files(folder.path(), "seg")[segment].clone();
        // The first segment has an index file, so nobody reads it at opening unless that is gone too.
        for index in files(folder.path(), "idx") {
            std::fs::remove_file(index).unwrap();
        }
        assert!(verify(folder.path()).unwrap().whole());
        flip(&path, if segment == 0 { "flow 2" } else { "flow 8" });
        let before = std::fs::read(&path).unwrap();
        let Err(error) = Embedded::open(folder.path(), options()) else { panic!("opened") };
        assert!(matches!(&error, OpenError::Damaged { file, .. } if *file == path), "{error}");
        assert!(error.to_string().contains("tidegate log verify"), "{error}");
        let report = verify(folder.path()).unwrap();
        let damaged: Vec<bool> = report.segments.iter().map(|checked| checked.damage.is_some()).collect();
        assert_eq!((damaged[segment], report.whole()), (true, false));
        assert_eq!(std::fs::read(&path).unwrap(), before, "nothing was changed");
    }
}

#[tokio::test]
async fn a_damaged_record_is_not_handed_out() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    append(&log, "flow", 3, 100).await;
    flip(&files(folder.path(), "seg")[0], "flow 1");
    let error = log.browse("flow", 0, From::Offset(0), 9).await.unwrap_err();
    assert!(matches!(&error, LogError::Broken(why) if why.contains("log verify")), "{error}");
    assert_eq!(log.browse("flow", 0, From::Offset(2), 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_bad_end_is_cut_at_the_last_whole_frame() {
    for style in ["flipped", "zeroed", "cut"] {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path());
        append(&log, "flow", 5, 1_000).await;
        let before = all(&log, "flow").await;
        drop(log);
        let path = files(folder.path(), "seg")[0].clone();
        let mut octets = std::fs::read(&path).unwrap();
        let end = octets.len();
        match style {
            "flipped" => octets[end - 1] ^= 1,
            "zeroed" => octets[end - 500..].fill(0),
            _ => octets.truncate(end - 500),
        }
        std::fs::write(&path, octets).unwrap();
        let log = open(folder.path());
        assert_eq!(all(&log, "flow").await, before[..4], "{style}");
        append(&log, "flow", 1, 10).await;
        drop(log);
        assert_eq!(all(&open(folder.path()), "flow").await.len(), 5, "{style}");
    }
}

#[tokio::test]
async fn missing_and_damaged_index_files_are_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    append(&log, "stall", 30, 8_000).await;
    let before = all(&log, "stall").await;
    drop(log);
    let indexes = files(folder.path(), "idx");
    assert!(indexes.len() >= 3, "{indexes:?}");
    std::fs::remove_file(&indexes[0]).unwrap();
    std::fs::write(&indexes[1], b"").unwrap();
    let mut octets = std::fs::read(&indexes[2]).unwrap();
    octets[60] ^= 1;
    std::fs::write(&indexes[2], octets).unwrap();
    assert_eq!(all(&open(folder.path()), "stall").await, before);
    assert_eq!(files(folder.path(), "idx"), indexes);
    assert_eq!(all(&open(folder.path()), "stall").await, before);
}

#[tokio::test]
async fn a_segment_of_a_newer_version_asks_for_an_upgrade() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let path = files(folder.path(), "seg")[0].clone();
    let mut octets = std::fs::read(&path).unwrap();
    octets[4] = 2;
    let crc = crc32c::crc32c(&octets[..24]);
    octets[24..28].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, octets).unwrap();
    let Err(error) = Embedded::open(folder.path(), options()) else { panic!("opened") };
    assert!(matches!(error, OpenError::Newer { .. }) && error.to_string().contains("upgrade"), "{error}");
}

#[tokio::test]
async fn consumed_segments_go_and_queued_ones_stay() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    append(&log, "flow", 40, 8_000).await;
    let before = log.stats().segments;
    assert!(before >= 5);
    keep_house(&log).await;
    assert_eq!(log.stats().segments, before, "all is queued");
    log.commit(&seat("flow"), 20, Batch::default()).await.unwrap();
    keep_house(&log).await;
    assert!(log.stats().segments < before);
    let left: Vec<u64> = all(&log, "flow").await.iter().map(|entry| entry.offset).collect();
    assert!(left[0] <= 20 && left.ends_with(&(20..40).collect::<Vec<_>>()), "{left:?}");
    consume_all(&log, "flow").await;
    keep_house(&log).await;
    assert_eq!(
        (log.stats().segments, files(folder.path(), "seg").len(), files(folder.path(), "idx").len()),
        (1, 1, 0)
    );
    drop(log);
    let log = open(folder.path());
    let lag = log.lags().into_iter().find(|lag| lag.seat == seat("flow")).unwrap();
    assert_eq!((lag.position, lag.end), (40, 40), "positions and ends outlive the segments that held them");
}

#[tokio::test]
async fn what_is_retained_and_what_nobody_consumes_goes_by_the_retention() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Options { retain_bytes: 200 << 10, ..options() };
    let log = Embedded::open(folder.path(), kept).unwrap();
    append(&log, "loose", 80, 8_000).await;
    append(&log, "flow", 10, 8_000).await;
    consume_all(&log, "flow").await;
    keep_house(&log).await;
    let bytes = log.stats().disk_bytes;
    assert!((200 << 10..350 << 10).contains(&bytes), "{bytes}");
    let loose = all(&log, "loose").await;
    assert_eq!(loose.last().unwrap().offset, 79);
    assert!(loose.len() < 80 && loose.len() > 10, "{}", loose.len());
}

#[tokio::test]
async fn a_consumer_that_is_not_in_the_options_keeps_its_records_until_it_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    append(&log, "stall", 20, 8_000).await;
    log.commit(&seat("stall"), 1, Batch::default()).await.unwrap();
    drop(log);
    let fewer = Options { consumers: vec![seat("flow")], ..options() };
    let log = Embedded::open(folder.path(), fewer).unwrap();
    keep_house(&log).await;
    assert!(all(&log, "stall").await.len() >= 19);
    log.forget(&seat("stall")).await.unwrap();
    keep_house(&log).await;
    assert!(all(&log, "stall").await.len() < 19);
}

#[tokio::test]
async fn a_stalled_topic_does_not_pin_what_flows_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    for _ in 0..20 {
        append(&log, "stall", 1, 2_000).await;
        append(&log, "flow", 7, 8_000).await;
    }
    consume_all(&log, "flow").await;
    let queued = all(&log, "stall").await;
    let before = log.stats();
    // The first round writes again, the second deletes; a kill in between must not matter.
    keep_house(&log).await;
    assert!(log.stats().moved > 0);
    assert_eq!(all(&log, "stall").await, queued);
    drop(log);
    let log = open(folder.path());
    assert_eq!(all(&log, "stall").await, queued);
    for _ in 0..4 {
        keep_house(&log).await;
    }
    let after = log.stats();
    assert!(after.segments <= before.segments / 2 + 2, "{} of {}", after.segments, before.segments);
    assert_eq!(all(&log, "stall").await, queued, "under their old offsets");
    drop(log);
    let log = open(folder.path());
    assert_eq!(all(&log, "stall").await, queued);
    consume_all(&log, "stall").await;
    keep_house(&log).await;
    assert_eq!(log.stats().segments, 1);
    assert!(verify(folder.path()).unwrap().whole());
}

#[tokio::test]
async fn calls_that_wait_share_one_sync_and_the_first_insert_of_a_group_wins() {
    let folder = tempfile::tempdir().unwrap();
    let files = Faulty::default();
    let log = Embedded::open_on(folder.path(), options(), Arc::new(files.clone())).unwrap();
    files.hold();
    let mut calls: Vec<_> = (0..40).map(|number| log.append(insert(&number.to_string()))).collect();
    calls.push(log.append(batch("flow", "last", 10)));
    for (number, call) in calls.iter_mut().enumerate() {
        assert!(futures::poll!(call).is_pending());
        if number == 0 {
            let files = files.clone();
            tokio::task::spawn_blocking(move || files.wait_for_sync()).await.unwrap();
        }
    }
    assert_eq!(all(&log, "flow").await, [], "nothing is shown before its sync");
    assert_eq!(log.get("clicks", "p", "s").await.unwrap(), None);
    files.release();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!((log.stats().groups, log.stats().frames), (2, 41));
    assert_eq!(log.get("clicks", "p", "s").await.unwrap().unwrap(), "0");
}

#[tokio::test]
async fn the_first_insert_wins_within_one_group_too() {
    let folder = tempfile::tempdir().unwrap();
    let files = Faulty::default();
    let log = Embedded::open_on(folder.path(), options(), Arc::new(files.clone())).unwrap();
    files.hold();
    let mut plug = log.append(batch("flow", "plug", 10));
    assert!(futures::poll!(&mut plug).is_pending());
    let own = files.clone();
    tokio::task::spawn_blocking(move || own.wait_for_sync()).await.unwrap();
    let mut calls: Vec<_> = (0..10).map(|number| log.append(insert(&number.to_string()))).collect();
    for call in &mut calls {
        assert!(futures::poll!(call).is_pending());
    }
    files.release();
    plug.await.unwrap();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(log.stats().groups, 2);
    assert_eq!(log.get("clicks", "p", "s").await.unwrap().unwrap(), "0");
}

#[tokio::test]
async fn no_room_for_a_segment_is_full_and_a_read_only_folder_is_retry_and_both_pass() {
    let folder = tempfile::tempdir().unwrap();
    let files = Faulty::default();
    let log = Embedded::open_on(folder.path(), options(), Arc::new(files.clone())).unwrap();
    for kind in [ErrorKind::StorageFull, ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied] {
        files.fail_creates(Some(kind));
        let refused = loop {
            if let Err(error) = log.append(batch("flow", "v", 20_000)).await {
                break error;
            }
        };
        let full = kind == ErrorKind::StorageFull;
        assert!(
            matches!((&refused, full), (LogError::Full(_), true) | (LogError::Retry(_), false)),
            "{refused}"
        );
        files.fail_creates(None);
        append(&log, "flow", 5, 20_000).await;
    }
    let offsets: Vec<u64> = all(&log, "flow").await.iter().map(|entry| entry.offset).collect();
    assert_eq!(offsets, (0..offsets.len() as u64).collect::<Vec<_>>(), "refused records used up no offset");
}

#[tokio::test]
async fn rows_come_back_from_the_log_when_the_store_never_got_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store.redb");
    drop(open(folder.path()));
    let before = std::fs::read(&store).unwrap();
    let log = open(folder.path());
    log.append(insert("first")).await.unwrap();
    append(&log, "flow", 20, 8_000).await;
    log.append(insert("second")).await.unwrap();
    drop(log);
    // As if killed before the rows reached the store.
    std::fs::write(&store, &before).unwrap();
    let log = open(folder.path());
    assert_eq!(log.get("clicks", "p", "s").await.unwrap().unwrap(), "first");
}

#[tokio::test]
async fn a_store_that_lacks_what_the_log_has_let_go_of_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    log.append(insert("first")).await.unwrap();
    keep_house(&log).await;
    append(&log, "flow", 20, 8_000).await;
    drop(log);
    std::fs::remove_file(folder.path().join("store.redb")).unwrap();
    let Err(error) = Embedded::open(folder.path(), options()) else { panic!("opened") };
    assert!(matches!(error, OpenError::StoreBehind { applied: 0, .. }), "{error}");
}

#[tokio::test]
async fn a_log_that_begins_anew_beside_an_old_store_loses_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    append(&log, "flow", 5, 100).await;
    log.append(insert("first")).await.unwrap();
    drop(log);
    std::fs::remove_dir_all(folder.path().join("log")).unwrap();
    let store = folder.path().join("store.redb");
    let before = std::fs::read(&store).unwrap();
    let log = open(folder.path());
    let (sort, value) = ("t".to_owned(), Bytes::from_static(b"new"));
    let row = RawRow { table: "clicks", partition: "p".into(), sort, value, expires_ms: 0 };
    log.append(Batch { outputs: vec![], writes: vec![Write::Put(row)] }).await.unwrap();
    drop(log);
    // As if killed before the row reached the store, which has taken in frames of the old log's numbers.
    std::fs::write(&store, &before).unwrap();
    let log = open(folder.path());
    assert_eq!(log.get("clicks", "p", "s").await.unwrap().unwrap(), "first");
    assert_eq!(log.get("clicks", "p", "t").await.unwrap().unwrap(), "new");
}

#[tokio::test]
async fn partitions_with_queued_records_cannot_be_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let two = Options {
        topics: vec![TopicSpec { name: "flow".into(), partitions: 2 }],
        consumers: vec![],
        ..options()
    };
    let log = Embedded::open(folder.path(), two).unwrap();
    let key = (0..)
        .map(|number: u32| number.to_string())
        .find(|key| crc32c::crc32c(key.as_bytes()) % 2 == 1)
        .unwrap();
    let mut batch = batch("flow", "v", 10);
    batch.outputs[0].key = Bytes::from(key);
    log.append(batch).await.unwrap();
    let lane = Seat { partition: 1, ..seat("flow") };
    log.commit(&lane, 0, Batch::default()).await.unwrap();
    drop(log);
    let one = Options {
        topics: vec![TopicSpec { name: "flow".into(), partitions: 1 }],
        consumers: vec![],
        ..options()
    };
    let Err(error) = Embedded::open(folder.path(), one) else { panic!("opened") };
    assert!(matches!(&error, OpenError::Options(why) if why.contains("shrink")), "{error}");
}

#[tokio::test]
async fn a_wrong_call_breaks_nothing_but_itself() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    assert!(matches!(log.append(batch("nowhere", "v", 1)).await, Err(LogError::Broken(_))));
    assert!(matches!(log.commit(&seat("flow"), 7, Batch::default()).await, Err(LogError::Broken(_))));
    append(&log, "flow", 1, 10).await;
    assert!(!log.stats().broken);
    log.close();
    assert!(matches!(log.append(batch("flow", "v", 1)).await, Err(LogError::Broken(_))));
}
