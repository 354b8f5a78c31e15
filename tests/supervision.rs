//! Lanes at work on their own threads, over a log in memory: what must hold when stages die, hang or break,
//! and when the log does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails by panicking")]

use async_trait::async_trait;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tidegate_actors::ports::fakes::MemoryStore;
use tidegate_actors::requeue::Requeue;
use tidegate_actors::stage::{Factory, Stage, Step, Trouble};
use tidegate_schemas::rows::DeadRow;
use tidegate_schemas::{Mail, Record, Row, Write};
use tidegate_topology::supervise::Rules;
use tidegate_topology::{
    Batch, Known, LaneState, Log, LogError, MAIL_TOML, MemoryLog, Metrics, Output, Plan, Running, plan,
};
use tokio::sync::Semaphore;

/// Long enough for any machine; no test waits for it to pass.
const LONG: Duration = Duration::from_secs(120);

const KNOWN: &[Known] = &[
    Known { name: "check_dns", next: true, diverts: &[] },
    Known { name: "score_spam", next: true, diverts: &["held"] },
    Known { name: "detect_sender", next: true, diverts: &["held", "signals"] },
    Known { name: "rewrite_links", next: true, diverts: &[] },
    Known {
        name: "deliver",
        next: false,
        diverts: &["retry-1m", "retry-5m", "retry-30m", "retry-2h", "outbound"],
    },
    Known { name: "requeue", next: true, diverts: &[] },
    Known { name: "hold", next: false, diverts: &[] },
    Known { name: "learn_whitelist", next: false, diverts: &[] },
    Known { name: "rate_reputation", next: false, diverts: &[] },
    Known { name: "train_filter", next: false, diverts: &[] },
    Known { name: "keep_ledger", next: false, diverts: &[] },
];

/// Does what a mail's sender says (`panic@STAGE`, `hang@STAGE`, ...) where it names this stage.
struct Told {
    name: &'static str,
    next: bool,
    gate: Arc<Semaphore>,
    worked: Arc<AtomicUsize>,
}

#[async_trait]
impl Stage for Told {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn work(&self, record: Record) -> Result<Step, Trouble> {
        let Record::Mail(mail) = record else { return Ok(Step::done()) };
        let order =
            mail.mail_from.strip_suffix(self.name).and_then(|f| f.strip_suffix('@')).unwrap_or_default();
        match order {
            "panic" => panic!("poison"),
            "hang" => std::future::pending::<()>().await,
            "gate" => drop(self.gate.acquire().await),
            "hold" => return Ok(Step::divert("held", *mail)),
            "defer" if mail.attempts == 0 => {
                let again = Mail { attempts: 1, ..*mail };
                return Ok(Step::divert("retry-1m", again));
            }
            _ => {}
        }
        self.worked.fetch_add(1, SeqCst);
        Ok(if self.next { Step::next(*mail) } else { Step::done() })
    }
}

struct Gateway {
    log: Arc<MemoryLog>,
    running: Running,
    gate: Arc<Semaphore>,
    worked: HashMap<&'static str, Arc<AtomicUsize>>,
    registry: prometheus::Registry,
}

fn shipped() -> Plan {
    plan(MAIL_TOML, KNOWN).unwrap()
}

impl Gateway {
    fn start(plan: &Plan) -> Gateway {
        Gateway::start_on(plan, Arc::new(MemoryLog::of(plan)))
    }

    fn start_on(plan: &Plan, log: Arc<MemoryLog>) -> Gateway {
        let gate = Arc::new(Semaphore::new(0));
        let mut worked = HashMap::new();
        let mut factories: HashMap<&'static str, Factory> = HashMap::new();
        for stage in KNOWN {
            let (name, next, gate) = (stage.name, stage.next, gate.clone());
            let count = Arc::new(AtomicUsize::new(0));
            worked.insert(name, count.clone());
            let factory: Factory = match name {
                "requeue" => Arc::new(|| Arc::new(Requeue::new(Arc::new(MemoryStore::default())))),
                _ => {
                    Arc::new(move || Arc::new(Told { name, next, gate: gate.clone(), worked: count.clone() }))
                }
            };
            factories.insert(name, factory);
        }
        let registry = prometheus::Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let wait = Duration::from_millis(1);
        let rules = Rules { shortest: wait, longest: wait, ..Rules::default() };
        let port: Arc<dyn Log> = log.clone();
        let running = Running::start_with(plan, port, &factories, &metrics, rules).unwrap();
        Gateway { log, running, gate, worked, registry }
    }

    async fn accept(&self, senders: &[&str]) {
        let mail = |(n, sender): (usize, &&str)| {
            Record::from(Mail {
                id: format!("mail-{n}-{sender}"),
                tenant: "isp/msp/example.test".into(),
                mail_from: (*sender).to_owned(),
                ..Mail::default()
            })
        };
        let output = |m: Record| Output { topic: "accepted".into(), key: m.key(), value: m.encode() };
        let outputs = senders.iter().enumerate().map(mail).map(output).collect();
        self.log.append(Batch { outputs, writes: Vec::new() }).await.unwrap();
    }

    /// Waits until the first lane has committed all of `accepted`, and the others what came to them.
    async fn settled(&self) {
        let plan = shipped();
        let settled = |log: &MemoryLog| {
            let commits = log.commits().len();
            let all = plan.lanes.iter().all(|lane| {
                let lags = log.lags();
                let of_lane =
                    lags.iter().filter(|l| l.seat.consumer == lane.name && l.seat.topic == lane.topic);
                of_lane.map(|l| l.position).sum::<u64>() == log.entries(&lane.topic).len() as u64
            });
            // A commit while looking may have put something on a topic looked at before.
            all && commits == log.commits().len()
        };
        tokio::time::timeout(LONG, self.log.until(settled)).await.unwrap();
    }

    fn dead(&self) -> Vec<DeadRow> {
        let writes = self.log.writes();
        let rows = writes.iter().filter_map(|write| match write {
            Write::Put(row) if row.table == DeadRow::TABLE => DeadRow::from_value(&row.value).ok(),
            _ => None,
        });
        rows.collect()
    }

    fn worked(&self, stage: &str) -> usize {
        self.worked[stage].load(SeqCst)
    }

    /// Sum of a counter over the samples that have this label.
    fn counted(&self, name: &str, label: (&str, &str)) -> u64 {
        let families = self.registry.gather();
        let samples = families.iter().filter(|f| f.name() == name).flat_map(|f| f.get_metric());
        let labelled =
            samples.filter(|m| m.get_label().iter().any(|l| l.name() == label.0 && l.value() == label.1));
        labelled.map(|m| m.get_counter().get_value() as u64).sum()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_comes_in_is_delivered_held_or_dead() {
    let gateway = Gateway::start(&shipped());
    let mut senders = vec!["a@example.org"; 300];
    senders.extend(["hold@score_spam"; 7]);
    senders.extend(["hold@detect_sender"; 2]);
    senders.extend(["defer@deliver"; 11]);
    senders.extend(["panic@rewrite_links"; 2]);
    gateway.accept(&senders).await;
    gateway.settled().await;
    assert_eq!(gateway.worked("deliver"), 311);
    assert_eq!(gateway.worked("hold"), 9);
    assert_eq!(gateway.log.entries("retry-1m").len(), 11);
    let dead = gateway.dead();
    assert_eq!(dead.len(), 2);
    assert!(dead.iter().all(|row| row.stage == "rewrite_links" && row.why == "poison"));
    assert!(gateway.running.is_well(), "{:?}", gateway.running.health());
    assert_eq!(gateway.counted("tidegate_dead_total", ("stage", "rewrite_links")), 2);
    assert!(gateway.counted("tidegate_lane_deaths_total", ("lane", "check_dns")) >= 6);
    assert!(gateway.running.drain(LONG).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_mail_that_hangs_its_stage_goes_to_dead() {
    let mut plan = shipped();
    for stage in plan.lanes.iter_mut().flat_map(|l| &mut l.stages) {
        if stage.name == "deliver" {
            stage.deadline = Duration::from_millis(1);
        }
    }
    let gateway = Gateway::start(&plan);
    gateway.accept(&["hang@deliver"]).await;
    gateway.settled().await;
    let dead = gateway.dead();
    assert_eq!((dead.len(), dead[0].stage.as_str(), dead[0].topic.as_str()), (1, "deliver", "outbound"));
    gateway.running.drain(LONG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_broken_log_fails_the_health_and_stops_the_program() {
    let gateway = Gateway::start(&shipped());
    gateway.accept(&["gate@check_dns"]).await;
    gateway.log.fail([LogError::Broken("fsync failed".into())]);
    gateway.gate.add_permits(1);
    let failure = tokio::time::timeout(LONG, gateway.running.stopped()).await.unwrap();
    assert!(failure.why.contains("fsync failed"), "{failure}");
    assert!(!gateway.running.is_well());
    let failed = gateway.running.health();
    assert!(failed.iter().any(|lane| lane.state == LaneState::Failed && lane.why.contains("fsync failed")));
    assert!(gateway.log.commits().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stage_that_never_works_stops_the_program_and_buries_little() {
    let gateway = Gateway::start(&shipped());
    gateway.accept(&["panic@check_dns"; 200]).await;
    let failure = tokio::time::timeout(LONG, gateway.running.stopped()).await.unwrap();
    assert_eq!(failure.lane, "check_dns");
    assert!(failure.why.contains("poison"), "{failure}");
    assert!(gateway.dead().len() <= 12, "{} buried on two partitions", gateway.dead().len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn drain_commits_what_is_in_flight() {
    let gateway = Gateway::start(&shipped());
    gateway.accept(&["gate@check_dns", "a@example.org"]).await;
    let wait = gateway.log.until(|log| log.reads() > 0);
    tokio::time::timeout(LONG, wait).await.unwrap();
    let draining = gateway.running.drain(LONG);
    gateway.gate.add_permits(1);
    assert!(draining.await.is_empty());
    // Whatever was taken up was committed; whatever was not is still there: nothing in between.
    let out = gateway.log.entries("outbound").len() as u64;
    let lags = gateway.log.lags();
    let taken: u64 = lags.iter().filter(|l| l.seat.consumer == "check_dns").map(|l| l.position).sum();
    assert_eq!(out, taken);
    assert!(gateway.running.health().iter().all(|lane| lane.state == LaneState::Stopped));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_does_not_drain_in_time_is_aborted_and_worked_at_the_next_start() {
    let plan = shipped();
    let gateway = Gateway::start(&plan);
    gateway.accept(&["gate@deliver"]).await;
    let seen = |log: &MemoryLog| !log.entries("outbound").is_empty();
    tokio::time::timeout(LONG, gateway.log.until(seen)).await.unwrap();
    gateway.running.drain(Duration::ZERO).await;
    let next = Gateway::start_on(&plan, gateway.log.clone());
    next.gate.add_permits(1);
    next.settled().await;
    assert_eq!(next.worked("deliver"), 1);
    assert_eq!(gateway.worked("deliver"), 0);
    next.running.drain(LONG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_part_of_the_plan_runs_by_itself() {
    let part = shipped().only(&["deliver"]).unwrap();
    let gateway = Gateway::start(&part);
    gateway.accept(&["a@example.org"]).await;
    let mail = Record::from(Mail { id: "direct".into(), ..Mail::default() });
    let outputs = vec![Output { topic: "outbound".into(), key: Bytes::new(), value: mail.encode() }];
    gateway.log.append(Batch { outputs, writes: Vec::new() }).await.unwrap();
    tokio::time::timeout(LONG, gateway.log.until(|log| !log.commits().is_empty())).await.unwrap();
    assert_eq!((gateway.worked("deliver"), gateway.worked("check_dns")), (1, 0));
    assert!(gateway.running.health().iter().all(|lane| lane.lane == "deliver"));
    gateway.running.drain(LONG).await;
}
