//! The store port's contract, on the embedded store and on the fake that other tests use. A further backend
//! gets a file of its own that includes `contract/store.rs` and calls its suite.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's own helpers fail the test"
)]

#[path = "contract/store.rs"]
mod contract;

use std::sync::Arc;
use tidegate::backends::log::{Embedded, Options};
use tidegate_actors::ports::Store;
use tidegate_actors::ports::fakes::MemoryStore;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &'static str| {
        let options = Options { segment_bytes: 1 << 20, min_free_bytes: 0, ..Options::default() };
        let store: Arc<dyn Store> = Embedded::open(&folder.path().join(name), options).unwrap();
        async move { store }
    };
    contract::suite(open).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fake_store_keeps_the_contract() {
    let open = |_name: &'static str| async {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        store
    };
    contract::suite(open).await;
}
