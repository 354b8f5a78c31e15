//! Rows' keys as octets whose order is the order of (table, partition, sort).
//!
//! Table and partition end with two zero octets, and a zero inside them is written as `00 FF`: so no name is
//! a prefix of another's key, and a shorter name sorts before a longer one. The sort key stands as it is.

const END: [u8; 2] = [0, 0];
const ESCAPED: [u8; 2] = [0, 0xFF];

fn put(out: &mut Vec<u8>, name: &str) {
    for octet in name.as_bytes() {
        match octet {
            0 => out.extend_from_slice(&ESCAPED),
            other => out.push(*other),
        }
    }
    out.extend_from_slice(&END);
}

fn take(key: &[u8]) -> Option<(String, &[u8])> {
    let mut name = Vec::new();
    let mut rest = key;
    loop {
        let (octet, after) = rest.split_first()?;
        rest = after;
        if *octet != 0 {
            name.push(*octet);
            continue;
        }
        let (mark, after) = rest.split_first()?;
        rest = after;
        match mark {
            0 => return Some((String::from_utf8(name).ok()?, rest)),
            0xFF => name.push(0),
            _ => return None,
        }
    }
}

/// A row's key.
pub(crate) fn row(table: &str, partition: &str, sort: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(table.len() + partition.len() + sort.len() + 4);
    put(&mut out, table);
    put(&mut out, partition);
    out.extend_from_slice(sort.as_bytes());
    out
}

/// First key of a table.
pub(crate) fn table(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 2);
    put(&mut out, name);
    out
}

/// First key after all that begin with `prefix`; `None` when there is no such key.
pub(crate) fn past(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut out = prefix.to_vec();
    while let Some(last) = out.pop() {
        if last < 0xFF {
            out.push(last + 1);
            return Some(out);
        }
    }
    None
}

/// Partition and sort key of a row's key.
pub(crate) fn split(key: &[u8]) -> Option<(String, String)> {
    let (_table, rest) = take(key)?;
    let (partition, sort) = take(rest)?;
    Some((partition, String::from_utf8(sort.to_vec()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::Config;

    fn config() -> Config {
        Config { cases: 256, failure_persistence: None, ..Config::default() }
    }

    fn name() -> impl Strategy<Value = String> {
        proptest::collection::vec(
            prop_oneof![Just('\0'), Just('\u{1}'), Just('a'), Just('\u{ff}'), any::<char>()],
            0..5,
        )
        .prop_map(|chars| chars.into_iter().collect())
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn keys_sort_as_their_names_do(a in (name(), name(), name()), b in (name(), name(), name())) {
            let (left, right) = (row(&a.0, &a.1, &a.2), row(&b.0, &b.1, &b.2));
            prop_assert_eq!(left.cmp(&right), a.cmp(&b));
        }

        #[test]
        fn names_come_back_from_their_key(t in name(), p in name(), s in name()) {
            prop_assert_eq!(split(&row(&t, &p, &s)), Some((p, s)));
        }

        #[test]
        fn the_key_past_a_partition_lies_between_it_and_the_next(p in name(), s in name(), q in name()) {
            let past_p = past(&row("t", &p, "")).unwrap();
            prop_assert!(row("t", &p, &s) < past_p);
            if q > p {
                prop_assert!(row("t", &q, "") >= past_p);
            }
        }
    }
}
