//! `tidegate-storm`: load from one end to the other, and an account of every mail.
//!
//! ```text
//! tidegate-storm --count 40000                          # against a running server on 127.0.0.1:2525
//! tidegate-storm --count 40000 --start "target/release/tidegate run --config bench/gateway.toml --data /tmp/d"
//! tidegate-storm --seconds 60 --start "..." --kill-every 5
//! ```
//! Prints one JSON object; exit code 1 when a mail was lost or damaged.

use anyhow::Result;
use clap::Parser;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegate_bench::gateway::{self, Gateway};
use tidegate_bench::mail::Maker;
use tidegate_bench::sink::{self, Manner, Mood};
use tidegate_bench::source::{self, Plan};
use tidegate_bench::tally::Tally;

/// Load driver.
#[derive(Debug, Parser)]
struct Args {
    /// SMTP server under test
    #[arg(long, default_value = "127.0.0.1:2525")]
    target: SocketAddr,
    /// Where the sink listens
    #[arg(long, default_value = "127.0.0.1:2526")]
    sink: SocketAddr,
    /// Connections
    #[arg(long, default_value_t = 20)]
    connections: usize,
    /// Mails to send at most
    #[arg(long, default_value_t = 1_000_000)]
    count: usize,
    /// Seconds to send at most
    #[arg(long, default_value_t = 3_600)]
    seconds: u64,
    /// Mails a second; 0 = as fast as answered
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// Octets of a mail
    #[arg(long, default_value_t = 27_000)]
    bytes: usize,
    /// Links of a mail
    #[arg(long, default_value_t = 60)]
    links: usize,
    /// Recipient
    #[arg(long, default_value = "reader@example.test")]
    to: String,
    /// Command that starts the server under test
    #[arg(long)]
    start: Option<String>,
    /// Process to measure instead (CPU, RSS)
    #[arg(long)]
    pid: Vec<u32>,
    /// kill -9 and restart it so often, seconds
    #[arg(long)]
    kill_every: Option<u64>,
    /// How the sink behaves at first
    #[arg(long, value_enum, default_value = "ok")]
    manner: Manner,
    /// Seconds after which the sink behaves well
    #[arg(long, default_value_t = 0)]
    mend_after: u64,
    /// Give up waiting when nothing arrived for so many seconds
    #[arg(long, default_value_t = 30)]
    settle: u64,
    /// Send refused mails again
    #[arg(long)]
    persistent: bool,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(storm(args))
}

async fn storm(args: Args) -> Result<ExitCode> {
    let maker = Arc::new(Maker::new(args.bytes, args.links, &args.to));
    let tally = Arc::new(Tally::new(args.count, maker.checksum()));
    let mood = Arc::new(Mood::default());
    mood.set(args.manner);
    let listener = tokio::net::TcpListener::bind(args.sink).await?;
    tokio::spawn(sink::serve(listener, tally.clone(), mood.clone()));
    let mut child = args.start.as_deref().map(Gateway::start).transpose()?;
    let opened = gateway::ready(args.target, Duration::from_secs(60)).await?;
    let pids: Vec<u32> = child.as_ref().map(|c| vec![c.pid()]).unwrap_or_else(|| args.pid.clone());
    let cpu_before: f64 = pids.iter().map(|p| gateway::cpu_seconds(*p)).sum();

    let started = Instant::now();
    let until = started + Duration::from_secs(args.seconds);
    let plan = Plan { target: args.target, maker, rate: args.rate, until, persistent: args.persistent };
    let sources: Vec<_> = (0..args.connections)
        .map(|_| tokio::spawn(source::run(plan.clone(), tally.clone(), started)))
        .collect();
    let mut mender = tokio::time::interval(Duration::from_millis(100));
    let mut last_kill = Instant::now();
    let mut kills = 0;
    while sources.iter().any(|s| !s.is_finished()) {
        mender.tick().await;
        if args.mend_after > 0 && started.elapsed().as_secs() >= args.mend_after {
            mood.set(Manner::Ok);
        }
        if let (Some(every), Some(child)) = (args.kill_every, child.as_mut())
            && last_kill.elapsed().as_secs() >= every
        {
            child.kill_and_restart()?;
            kills += 1;
            last_kill = Instant::now();
        }
    }
    mood.set(Manner::Ok);
    settle(&tally, args.settle).await;

    let mut report = tally.report();
    let pids: Vec<u32> = child.as_ref().map(|c| vec![c.pid()]).unwrap_or(pids);
    let cpu: f64 = pids.iter().map(|p| gateway::cpu_seconds(*p)).sum::<f64>() - cpu_before;
    report["kills"] = kills.into();
    report["open_seconds"] = opened.as_secs_f64().into();
    if kills == 0 && !pids.is_empty() {
        report["cpu_ms_per_mail"] = (cpu * 1e3 / tally.delivered().max(1) as f64).into();
        report["peak_rss_mib"] = pids.iter().map(|p| gateway::peak_rss_mib(*p)).sum::<f64>().into();
    }
    print(&report);
    let clean = report["lost"] == 0 && report["damaged"] == 0;
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits until every accepted mail arrived, or nothing has for a while.
async fn settle(tally: &Tally, patience: u64) {
    let mut last = (tally.delivered(), Instant::now());
    while tally.missing() > 0 && last.1.elapsed().as_secs() < patience {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let delivered = tally.delivered();
        if delivered != last.0 {
            last = (delivered, Instant::now());
        }
    }
    // Doubles come late, if at all.
    tokio::time::sleep(Duration::from_millis(500)).await;
}

#[allow(clippy::print_stdout, reason = "the report is this program's result")]
fn print(report: &serde_json::Value) {
    println!("{report:#}");
}
