//! Rows of `dead`: a record that no stage could work on, with its octets, so that an operator can look at it
//! and put it back.
//!
//! The row's id is the place the record was read from. A replayed topic so writes the same row again.

use crate::log::Seat;
use bytes::Bytes;
use std::fmt::Write as _;
use tidegate_schemas::rows::DeadRow;
use tidegate_schemas::{Record, Row, Write};

/// A panic may print whole mails; of its text so many characters are kept.
const WHY: usize = 1_000;

/// The row for a record that was read at this offset.
pub(crate) fn row(seat: &Seat, offset: u64, value: &Bytes, stage: &str, why: &str) -> DeadRow {
    let tenant = Record::decode(value).map(|r| r.tenant().to_owned()).unwrap_or_default();
    DeadRow {
        id: format!("{}-{}-{offset}", seat.topic, seat.partition),
        topic: seat.topic.clone(),
        partition: seat.partition,
        offset,
        stage: stage.to_owned(),
        why: why.chars().take(WHY).collect(),
        at_ms: tidegate_schemas::now_ms(),
        tenant,
        record: hex(value),
    }
}

/// The row as a change of the store; kept until an operator removes it.
pub(crate) fn write(row: &DeadRow) -> Write {
    Write::Put(row.raw(0))
}

fn hex(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len() * 2);
    for octet in octets {
        let _infallible = write!(text, "{octet:02x}");
    }
    text
}
