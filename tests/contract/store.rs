//! The contract of the store port, to run on every backend.
//!
//! A backend calls [`suite`] with a function that opens its store; every name means fresh data.

use bytes::Bytes;
use std::future::Future;
use std::sync::Arc;
use tidegate_actors::ports::{Scan, Store};
use tidegate_schemas::{RawRow, Write, now_ms};

const TABLE: &str = "clicks";

fn row(partition: &str, sort: &str, value: &str, expires_ms: u64) -> RawRow {
    let value = Bytes::copy_from_slice(value.as_bytes());
    RawRow { table: TABLE, partition: partition.into(), sort: sort.into(), value, expires_ms }
}

fn put(partition: &str, sort: &str, value: &str) -> Write {
    Write::Put(row(partition, sort, value, 0))
}

fn absent(partition: &str, sort: &str, value: &str) -> Write {
    Write::PutIfAbsent(row(partition, sort, value, 0))
}

fn delete(partition: &str, sort: &str) -> Write {
    Write::Delete { table: TABLE, partition: partition.into(), sort: sort.into() }
}

async fn get(store: &Arc<dyn Store>, partition: &str, sort: &str) -> Option<String> {
    let value = store.get(TABLE, partition, sort).await.unwrap();
    value.map(|value| String::from_utf8_lossy(&value).into_owned())
}

async fn sorts(
    store: &Arc<dyn Store>,
    partition: &str,
    prefix: &str,
    after: &str,
    limit: usize,
) -> Vec<String> {
    let rows = store.scan(Scan { table: TABLE, partition, prefix, after, limit }).await.unwrap();
    rows.into_iter().map(|row| row.sort).collect()
}

/// All scenarios.
pub(crate) async fn suite<F, Opening>(open: F)
where
    F: Fn(&'static str) -> Opening,
    Opening: Future<Output = Arc<dyn Store>>,
{
    a_write_is_seen_at_once_and_the_last_one_counts(open("writes").await).await;
    only_the_first_of_racing_inserts_wins(open("race").await).await;
    an_expired_row_is_as_good_as_gone(open("expiry").await).await;
    a_scan_stays_in_its_partition_and_goes_in_octet_order(open("scan").await).await;
    scans_page_by_the_last_key(open("paging").await).await;
    partitions_are_named_once_and_only_with_live_rows(open("partitions").await).await;
    names_may_hold_any_octet(open("names").await).await;
}

async fn a_write_is_seen_at_once_and_the_last_one_counts(store: Arc<dyn Store>) {
    store.apply(vec![put("p", "s", "1"), put("p", "s", "2"), put("p", "t", "3")]).await.unwrap();
    assert_eq!(get(&store, "p", "s").await.as_deref(), Some("2"));
    store.apply(vec![delete("p", "s"), delete("p", "never there")]).await.unwrap();
    assert_eq!(get(&store, "p", "s").await, None);
    assert_eq!(get(&store, "p", "t").await.as_deref(), Some("3"));
    assert_eq!(store.get("lists", "p", "t").await.unwrap(), None, "another table");
    store.apply(vec![delete("p", "t"), absent("p", "t", "4"), absent("p", "t", "5")]).await.unwrap();
    assert_eq!(get(&store, "p", "t").await.as_deref(), Some("4"), "in order within a batch");
}

async fn only_the_first_of_racing_inserts_wins(store: Arc<dyn Store>) {
    let racers = (0..8).map(|racer| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for number in 0..20 {
                let (sort, value) = (number.to_string(), racer.to_string());
                let marks = format!("{number} {racer}");
                store.apply(vec![absent("race", &sort, &value), put("done", &marks, "")]).await.unwrap();
            }
        })
    });
    for racer in racers.collect::<Vec<_>>() {
        racer.await.unwrap();
    }
    for number in 0..20 {
        let winner = get(&store, "race", &number.to_string()).await.unwrap();
        store.apply(vec![absent("race", &number.to_string(), "late")]).await.unwrap();
        assert_eq!(get(&store, "race", &number.to_string()).await, Some(winner));
    }
    assert_eq!(sorts(&store, "done", "", "", 1_000).await.len(), 160);
}

async fn an_expired_row_is_as_good_as_gone(store: Arc<dyn Store>) {
    let later = now_ms() + 3_600_000;
    let writes = vec![Write::Put(row("p", "gone", "1", 1)), Write::Put(row("p", "here", "2", later))];
    store.apply(writes).await.unwrap();
    assert_eq!(get(&store, "p", "gone").await, None);
    assert_eq!(get(&store, "p", "here").await.as_deref(), Some("2"));
    let rows =
        store.scan(Scan { table: TABLE, partition: "p", prefix: "", after: "", limit: 10 }).await.unwrap();
    assert_eq!(rows, [row("p", "here", "2", later)]);
    store.apply(vec![absent("p", "gone", "new")]).await.unwrap();
    assert_eq!(get(&store, "p", "gone").await.as_deref(), Some("new"), "an expired row does not count");
    store.apply(vec![put("p", "here", "for good")]).await.unwrap();
    assert_eq!(get(&store, "p", "here").await.as_deref(), Some("for good"));
}

async fn a_scan_stays_in_its_partition_and_goes_in_octet_order(store: Arc<dyn Store>) {
    let names = ["b", "a", "aa", "", "a\u{e9}", "Z", "a:1", "a:10", "a:2"];
    let mut writes: Vec<Write> = names.iter().map(|name| put("p", name, name)).collect();
    writes.extend([put("p2", "a", "x"), put("", "a", "x"), put("o", "a", "x")]);
    store.apply(writes).await.unwrap();
    let mut sorted = names.map(String::from);
    sorted.sort();
    assert_eq!(sorts(&store, "p", "", "", 100).await, sorted);
    assert_eq!(sorts(&store, "p", "a:", "", 100).await, ["a:1", "a:10", "a:2"]);
    assert_eq!(sorts(&store, "p", "a:", "", 2).await, ["a:1", "a:10"]);
    assert_eq!(sorts(&store, "p", "", "", 0).await, Vec::<String>::new());
    assert_eq!(sorts(&store, "nobody", "", "", 100).await, Vec::<String>::new());
}

async fn scans_page_by_the_last_key(store: Arc<dyn Store>) {
    let names: Vec<String> = (0..100).map(|number| format!("{number:03}")).collect();
    store.apply(names.iter().map(|name| put("p", name, name)).collect()).await.unwrap();
    store.apply((0..100).step_by(3).map(|number| delete("p", &names[number])).collect()).await.unwrap();
    let left: Vec<String> =
        (0..100).filter(|number| number % 3 != 0).map(|number| names[number].clone()).collect();
    let mut seen: Vec<String> = Vec::new();
    loop {
        let after = seen.last().cloned().unwrap_or_default();
        let page = sorts(&store, "p", "", &after, 7).await;
        if page.is_empty() {
            break;
        }
        seen.extend(page);
    }
    assert_eq!(seen, left);
    assert_eq!(sorts(&store, "p", "05", "051", 100).await, ["052", "053", "055", "056", "058", "059"]);
}

async fn partitions_are_named_once_and_only_with_live_rows(store: Arc<dyn Store>) {
    let mut writes = Vec::new();
    for number in 0..30 {
        for sort in 0..20 {
            writes.push(put(&format!("p{number:02}"), &sort.to_string(), "v"));
        }
    }
    writes.push(Write::Put(RawRow { table: "lists", ..row("other", "s", "v", 0) }));
    writes.push(Write::Put(row("p05x", "s", "expired", 1)));
    store.apply(writes).await.unwrap();
    store.apply((0..20).map(|sort| delete("p07", &sort.to_string())).collect()).await.unwrap();
    let expected: Vec<String> =
        (0..30).filter(|number| *number != 7).map(|number| format!("p{number:02}")).collect();
    assert_eq!(store.partitions(TABLE, "", 100).await.unwrap(), expected);
    assert_eq!(store.partitions(TABLE, "p06", 3).await.unwrap(), ["p08", "p09", "p10"]);
    assert_eq!(store.partitions(TABLE, "p29", 3).await.unwrap(), Vec::<String>::new());
    assert_eq!(store.partitions("lists", "", 3).await.unwrap(), ["other"]);
}

async fn names_may_hold_any_octet(store: Arc<dyn Store>) {
    let names = ["\0", "a\0", "a", "a\0b", "a\u{1}", "\u{10ffff}"];
    let mut writes = Vec::new();
    for partition in names {
        for sort in names {
            writes.push(put(partition, sort, &format!("{partition}|{sort}")));
        }
    }
    store.apply(writes).await.unwrap();
    let mut sorted = names.map(String::from);
    sorted.sort();
    assert_eq!(store.partitions(TABLE, "", 100).await.unwrap(), sorted);
    for partition in names {
        assert_eq!(sorts(&store, partition, "", "", 100).await, sorted);
        for sort in names {
            assert_eq!(get(&store, partition, sort).await, Some(format!("{partition}|{sort}")));
        }
    }
}
