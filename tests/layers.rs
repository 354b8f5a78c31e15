//! Dependencies run one way, and the inner crates never learn which log, store or web server is behind the ports.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

use std::process::Command;

fn dependencies(package: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "-p",
            package,
            "-e",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn inner_crates_name_no_engine_and_no_web_server() {
    for package in ["tidegate-schemas", "tidegate-actors", "tidegate-topology"] {
        let all = dependencies(package);
        for banned in ["redb", "warp", "rdkafka", "scylla", "handlebars", "hyper"] {
            assert!(!all.iter().any(|name| name == banned), "{package} depends on {banned}");
        }
    }
}

#[test]
fn dependencies_run_one_way() {
    let order = ["tidegate-schemas", "tidegate-actors", "tidegate-topology", "tidegate"];
    for (place, package) in order.iter().enumerate() {
        let all = dependencies(package);
        for later in &order[place + 1..] {
            assert!(!all.iter().any(|name| name == later), "{package} depends on {later}");
        }
    }
}
