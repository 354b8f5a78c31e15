//! The embedded store: redb behind the embedded log.
//!
//! Store writes ride in the log's frames and are durable with them; this part makes them visible at once,
//! brings them to redb in batches, and answers reads. Why so: one sync serves records and rows alike, and
//! redb's own sync comes a few times a second instead of at every commit.
//!
//! * `key`: rows' keys as octets, in order.
//! * `rows`: redb and the overlay over it.

pub(crate) mod key;
pub(crate) mod rows;

use crate::backends::log::Embedded;
use async_trait::async_trait;
use bytes::Bytes;
use rows::{Rows, RowsError, live};
use std::sync::Arc;
use tidegate_actors::ports::{Scan, Store, StoreError};
use tidegate_schemas::{RawRow, Write, now_ms};
use tidegate_topology::log::{Batch, Log};

fn failed(error: &RowsError) -> StoreError {
    StoreError(error.to_string())
}

/// Runs a read that may wait for the disk where it stalls nobody.
async fn off_thread<T: Send + 'static>(
    rows: Arc<Rows>,
    read: impl FnOnce(&Rows) -> Result<T, RowsError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(move || read(&rows)).await;
    done.map_err(|e| StoreError(format!("read was ended: {e}")))?.map_err(|e| failed(&e))
}

#[async_trait]
impl Store for Embedded {
    async fn get(
        &self,
        table: &'static str,
        partition: &str,
        sort: &str,
    ) -> Result<Option<Bytes>, StoreError> {
        let key = key::row(table, partition, sort);
        let rows = self.rows();
        let state = match rows.overlaid(&key) {
            Some(state) => state,
            None => off_thread(rows, move |rows| rows.get(&key)).await?,
        };
        Ok(state.filter(|(expires_ms, _)| live(*expires_ms, now_ms())).map(|(_, value)| value))
    }

    async fn scan(&self, scan: Scan<'_>) -> Result<Vec<RawRow>, StoreError> {
        let prefix = key::row(scan.table, scan.partition, scan.prefix);
        let Some(to) = key::past(&prefix) else { return Ok(Vec::new()) };
        let mut from = prefix;
        if !scan.after.is_empty() {
            let mut after = key::row(scan.table, scan.partition, scan.after);
            after.push(0);
            from = from.max(after);
        }
        let limit = scan.limit;
        let found = off_thread(self.rows(), move |rows| collect(rows, from, &to, limit)).await?;
        let row = |(key, expires_ms, value): (Vec<u8>, u64, Bytes)| {
            let (partition, sort) = key::split(&key)?;
            Some(RawRow { table: scan.table, partition, sort, value, expires_ms })
        };
        Ok(found.into_iter().filter_map(row).collect())
    }

    async fn apply(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let batch = Batch { outputs: Vec::new(), writes };
        self.append(batch).await.map_err(|e| StoreError(e.to_string()))
    }

    async fn partitions(
        &self,
        table: &'static str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let from = key::past(&key::row(table, after, ""));
        let (Some(from), Some(to)) = (from, key::past(&key::table(table))) else { return Ok(Vec::new()) };
        off_thread(self.rows(), move |rows| partition_names(rows, table, from, &to, limit)).await
    }
}

/// Live rows of a range, up to a limit.
fn collect(
    rows: &Rows,
    from: Vec<u8>,
    to: &[u8],
    limit: usize,
) -> Result<Vec<(Vec<u8>, u64, Bytes)>, RowsError> {
    let mut found = Vec::new();
    let mut next = Some(from);
    let now = now_ms();
    while let Some(from) = next
        && found.len() < limit
    {
        let wanted = (limit - found.len()).clamp(16, 1024);
        let page = rows.page(&from, to, wanted, now)?;
        found.extend(page.rows);
        next = page.next;
    }
    found.truncate(limit);
    Ok(found)
}

/// Names of partitions with a live row: finds one row, then seeks past its partition.
fn partition_names(
    rows: &Rows,
    table: &str,
    from: Vec<u8>,
    to: &[u8],
    limit: usize,
) -> Result<Vec<String>, RowsError> {
    let mut names = Vec::new();
    let mut next = Some(from);
    let now = now_ms();
    while let Some(from) = next
        && names.len() < limit
    {
        let page = rows.page(&from, to, 16, now)?;
        next = page.next;
        let Some((key, _, _)) = page.rows.first() else { continue };
        let Some((name, _)) = key::split(key) else { continue };
        next = key::past(&key::row(table, &name, ""));
        names.push(name);
    }
    Ok(names)
}
