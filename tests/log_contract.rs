//! The log port's contract, on the embedded log. A further backend gets a file of its own that includes
//! `contract/log.rs` and calls its suite.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's own helpers fail the test"
)]

#[path = "contract/log.rs"]
mod contract;

use std::sync::Arc;
use tidegate::backends::log::{Embedded, Options, TopicSpec};
use tidegate_topology::log::Log;

fn options() -> Options {
    let topic = |name: &str| TopicSpec { name: name.into(), partitions: 2 };
    let seats = ["a", "b"].into_iter().flat_map(|name| [contract::seat(name, 0), contract::seat(name, 1)]);
    Options {
        topics: vec![topic("in"), topic("out")],
        consumers: seats.collect(),
        segment_bytes: 1 << 20,
        min_free_bytes: 0,
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_log_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &'static str| {
        let log: Arc<dyn Log> = Embedded::open(&folder.path().join(name), options()).unwrap();
        async move { log }
    };
    contract::suite(open).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_log_keeps_the_contract_without_its_cache() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &'static str| {
        let options = Options { cache_bytes: 0, ..options() };
        let log: Arc<dyn Log> = Embedded::open(&folder.path().join(name), options).unwrap();
        async move { log }
    };
    contract::suite(open).await;
}
