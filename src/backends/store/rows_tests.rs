use super::*;

fn changes(rows: &[(&str, u64, &str)]) -> Vec<(Vec<u8>, State)> {
    let change = |(key, expires_ms, value): &(&str, u64, &str)| {
        (key.as_bytes().to_vec(), Some((*expires_ms, Bytes::copy_from_slice(value.as_bytes()))))
    };
    rows.iter().map(change).collect()
}

fn keys(rows: &Rows, now_ms: u64, count: usize) -> Vec<String> {
    let mut out = Vec::new();
    let mut next = Some(Vec::new());
    while let Some(from) = next {
        let page = rows.page(&from, b"\xff", count, now_ms).unwrap();
        out.extend(page.rows.into_iter().map(|(key, _, _)| String::from_utf8(key).unwrap()));
        next = page.next;
    }
    out
}

#[test]
fn a_page_merges_what_is_written_with_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let rows = Rows::open(&folder.path().join("rows")).unwrap();
    rows.take(1, changes(&[("a", 0, "1"), ("c", 0, "1"), ("e", 0, "1"), ("g", 0, "1")]));
    rows.flush().unwrap();
    rows.take(2, changes(&[("b", 0, "2"), ("c", 0, "2"), ("d", 5, "2")]));
    rows.take(3, vec![(b"e".to_vec(), None)]);
    for count in 1..6 {
        assert_eq!(keys(&rows, 4, count), ["a", "b", "c", "d", "g"], "pages of {count}");
        assert_eq!(keys(&rows, 5, count), ["a", "b", "c", "g"], "d has expired");
    }
    assert_eq!(rows.get(b"c").unwrap().unwrap().1, "2");
    assert_eq!(rows.get(b"e").unwrap(), None);
}

#[test]
fn what_was_flushed_is_there_after_opening_with_how_far_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows");
    let rows = Rows::open(&path).unwrap();
    rows.take(7, changes(&[("a", 0, "1")]));
    assert_eq!(rows.applied(), 0);
    rows.flush().unwrap();
    rows.take(8, changes(&[("b", 0, "1")]));
    drop(rows);
    let rows = Rows::open(&path).unwrap();
    assert_eq!((rows.applied(), rows.waiting()), (7, 0));
    assert_eq!(keys(&rows, 1, 10), ["a"]);
}

#[test]
fn a_sweep_removes_what_expired_and_nothing_that_was_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let rows = Rows::open(&folder.path().join("rows")).unwrap();
    rows.take(
        1,
        changes(&[("gone", 10, "1"), ("longer", 10, "1"), ("for good", 10, "1"), ("later", 90, "1")]),
    );
    rows.flush().unwrap();
    rows.take(2, changes(&[("longer", 90, "2"), ("for good", 0, "2")]));
    rows.flush().unwrap();
    assert_eq!(rows.sweep(50).unwrap(), 1);
    assert_eq!(rows.sweep(50).unwrap(), 0);
    assert_eq!(keys(&rows, 1, 10), ["for good", "later", "longer"]);
    assert_eq!(rows.sweep(100).unwrap(), 2);
    assert_eq!(keys(&rows, 1, 10), ["for good"]);
}

#[test]
fn what_waits_is_counted_and_freed() {
    let folder = tempfile::tempdir().unwrap();
    let rows = Rows::open(&folder.path().join("rows")).unwrap();
    for sequence in 1..50 {
        rows.take(sequence, changes(&[("same key", 0, "value"), ("other", 0, "v")]));
    }
    assert_eq!(rows.waiting(), "same key".len() + "value".len() + "other".len() + "v".len() + 2 * OVERHEAD);
    rows.flush().unwrap();
    assert_eq!(rows.waiting(), 0);
}
