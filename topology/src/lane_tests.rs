//! Lanes on a log in memory, in paused time: waits cost nothing and nothing hangs on the machine's speed.

use super::*;
use crate::log::Output;
use crate::memory::MemoryLog;
use crate::metrics::Metrics;
use crate::plan::StagePlan;
use crate::supervise::Rules;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::future::Future;
use tidegate_actors::ports::fakes::MemoryStore;
use tidegate_actors::requeue::Requeue;
use tidegate_actors::stage::{Port, Stage, Step, Trouble};
use tidegate_schemas::rows::{DeadRow, SentRow};
use tidegate_schemas::{Mail, Row, Signal, SignalKind, Write};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, LocalSet};

/// Runs a test on one thread in paused time; a day of it without an end is a hang.
fn paused<F: Future>(test: F) -> F::Output {
    let test =
        async { tokio::time::timeout(Duration::from_secs(86_400), test).await.expect("the test hangs") };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

/// A record that tells the stages what to do.
fn told(word: &str) -> Record {
    Signal {
        reason: word.to_owned(),
        tenant: "isp/msp/example.test".into(),
        ..Signal::new(SignalKind::Click, "t")
    }
    .into()
}

fn word(record: &Record) -> String {
    match record {
        Record::Signal(signal) => signal.reason.clone(),
        Record::Mail(mail) => mail.id.clone(),
    }
}

/// What the stages share over all generations: how often each word was worked, and a gate.
#[derive(Default)]
struct Book {
    worked: Mutex<BTreeMap<String, usize>>,
    gate: Notify,
    turn: tokio::sync::Mutex<()>,
}

impl Book {
    fn count(&self, word: &str) -> usize {
        self.worked.lock().get(word).copied().unwrap_or(0)
    }
}

/// Does what the record tells it, where the record names it or nobody (`NAME:WORD` or `WORD`).
struct Obedient {
    name: &'static str,
    book: Arc<Book>,
}

#[async_trait]
impl Stage for Obedient {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn work(&self, record: Record) -> Result<Step, Trouble> {
        let text = word(&record);
        let times = {
            let mut worked = self.book.worked.lock();
            let times = worked.entry(format!("{}:{text}", self.name)).or_default();
            *times += 1;
            *times
        };
        // Every record waits once, so that a batch is really worked at the same time.
        tokio::task::yield_now().await;
        let Some(order) = text.strip_prefix(self.name).and_then(|t| t.strip_prefix(':')) else {
            return Ok(Step::next(record));
        };
        match order.split(' ').next().unwrap_or_default() {
            "panic" => panic!("poison: {text}"),
            "panic-once" if times == 1 => panic!("stumbled"),
            "hang" => std::future::pending::<()>().await,
            "gate" => self.book.gate.notified().await,
            "turn" => {
                let _turn = self.book.turn.lock().await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            "slow" => tokio::time::sleep(Duration::from_secs(20)).await,
            "retry" if times <= 3 => {
                return Err(Trouble::Retry { after: Duration::from_secs(7), why: "store is away".into() });
            }
            "refuse" => return Err(Trouble::Refuse { why: "no use".into() }),
            "broken" => return Err(Trouble::Broken { why: "lost my mind".into() }),
            "held" => return Ok(Step::divert("held", record)),
            "lost" => return Ok(Step::divert("nowhere", record)),
            "done" => return Ok(Step::done()),
            "write" => return Ok(Step::next(record).and_write(write(&text))),
            "split" => {
                let mut step = Step::next(told("part one"));
                step.out.push((Port::Next, told("second:retry part")));
                return Ok(step);
            }
            _ => {}
        }
        Ok(Step::next(record))
    }
}

fn write(text: &str) -> Write {
    Write::Put(
        SentRow { mail: text.to_owned(), recipient: String::new(), reply: String::new(), at_ms: 0 }.raw(0),
    )
}

/// A lane at work on topic `in`, which writes to `out` and may divert to `held`.
struct Bench {
    log: Arc<MemoryLog>,
    book: Arc<Book>,
    orders: watch::Sender<Order>,
    board: Arc<Board>,
    lane: JoinHandle<Ended>,
}

fn stage_plan(name: &str) -> StagePlan {
    let diverts = [("held".to_owned(), "held".to_owned())].into();
    StagePlan { name: name.to_owned(), deadline: Duration::from_secs(60), diverts }
}

fn parts(log: &Arc<MemoryLog>, stages: &[(&str, Factory)], batch: usize) -> (Parts, watch::Sender<Order>) {
    let plan = Arc::new(LanePlan {
        name: stages[0].0.to_owned(),
        topic: "in".into(),
        partitions: 1,
        stages: stages.iter().map(|(name, _)| stage_plan(name)).collect(),
        writes: Some("out".into()),
        batch,
        batch_bytes: 1 << 20,
    });
    let (orders, told) = watch::channel(Order::Run);
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let meters = metrics.lane(&plan, 0);
    let parts = Parts {
        plan,
        partition: 0,
        log: log.clone(),
        factories: stages.iter().map(|(_, factory)| factory.clone()).collect(),
        board: Arc::new(Board::new(meters.state.clone())),
        meters,
        supervision: Supervision::new(Rules::default()),
        orders: told,
    };
    (parts, orders)
}

fn obedient(name: &'static str, book: &Arc<Book>) -> (&'static str, Factory) {
    let book = book.clone();
    (name, Arc::new(move || Arc::new(Obedient { name, book: book.clone() }) as Arc<dyn Stage>))
}

fn memory() -> Arc<MemoryLog> {
    Arc::new(MemoryLog::new([("in", 1), ("out", 1), ("held", 1)]))
}

impl Bench {
    /// A lane of these stages, with these records on its topic before it starts.
    async fn start(stages: &[&'static str], words: &[&str]) -> Bench {
        let (log, book) = (memory(), Arc::new(Book::default()));
        put(&log, words).await;
        let stages: Vec<(&str, Factory)> = stages.iter().map(|name| obedient(name, &book)).collect();
        Bench::on(log, book, &stages)
    }

    fn on(log: Arc<MemoryLog>, book: Arc<Book>, stages: &[(&str, Factory)]) -> Bench {
        let (parts, orders) = parts(&log, stages, 128);
        let board = parts.board.clone();
        let lane = tokio::task::spawn_local(Lane::new(parts).run());
        Bench { log, book, orders, board, lane }
    }

    /// Waits until so many records of the topic are committed.
    async fn committed(&self, next: u64) {
        self.log.until(|log| log.commits().last().is_some_and(|(_, to)| *to >= next)).await;
    }

    async fn drained(self) -> Ended {
        self.orders.send_replace(Order::Drain);
        self.lane.await.unwrap()
    }
}

async fn put(log: &MemoryLog, words: &[&str]) {
    let output = |w: &&str| Output { topic: "in".into(), key: Bytes::new(), value: told(w).encode() };
    log.append(Batch { outputs: words.iter().map(output).collect(), writes: Vec::new() }).await.unwrap();
}

fn on(log: &MemoryLog, topic: &str) -> Vec<String> {
    let entries = log.entries(topic);
    let mut words: Vec<String> = entries.iter().map(|e| word(&Record::decode(&e.value).unwrap())).collect();
    words.sort();
    words
}

fn dead(log: &MemoryLog) -> Vec<DeadRow> {
    let writes = log.writes();
    let rows = writes.iter().filter_map(|w| match w {
        Write::Put(row) if row.table == "dead" => Some(DeadRow::from_value(&row.value).unwrap()),
        _ => None,
    });
    rows.collect()
}

#[test]
fn a_batch_is_one_commit_with_all_it_led_to() {
    paused(async {
        let words = ["a", "first:held b", "second:write c", "first:done d"];
        let bench = Bench::start(&["first", "second"], &words).await;
        bench.committed(4).await;
        assert_eq!(bench.log.commits().len(), 1);
        assert_eq!(on(&bench.log, "out"), ["a", "second:write c"]);
        assert_eq!(on(&bench.log, "held"), ["first:held b"]);
        assert_eq!(bench.log.writes(), [write("second:write c")]);
        assert_eq!(bench.book.count("second:first:held b"), 0, "a diverted record leaves the lane");
        assert_eq!(bench.drained().await, Ended::Drained);
    });
}

#[test]
fn a_mail_that_kills_its_stage_goes_to_dead_and_the_rest_go_on() {
    paused(async {
        let words = ["a", "b", "second:panic x", "c", "d"];
        let bench = Bench::start(&["first", "second"], &words).await;
        bench.committed(5).await;
        assert_eq!(on(&bench.log, "out"), ["a", "b", "c", "d"]);
        let rows = dead(&bench.log);
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].id.as_str(), rows[0].stage.as_str()), ("in-0-2", "second"));
        assert_eq!(rows[0].why, "poison: second:panic x");
        assert_eq!(rows[0].tenant, "isp/msp/example.test");
        let octets: String = bench.log.entries("in")[2].value.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(rows[0].record, octets);
        assert_eq!(bench.book.count("second:second:panic x"), 4, "once in the batch, three times alone");
        put(&bench.log, &["later"]).await;
        bench.committed(6).await;
        assert_eq!(on(&bench.log, "out"), ["a", "b", "c", "d", "later"]);
    });
}

#[test]
fn a_stage_that_panics_once_loses_and_doubles_nothing() {
    paused(async {
        let bench = Bench::start(&["first"], &["a", "first:panic-once", "b"]).await;
        bench.committed(3).await;
        assert_eq!(on(&bench.log, "out"), ["a", "b", "first:panic-once"]);
        assert!(dead(&bench.log).is_empty());
    });
}

#[test]
fn a_stuck_stage_is_aborted_and_its_mail_goes_to_dead_after_three_times() {
    paused(async {
        let bench = Bench::start(&["first", "second"], &["a", "second:hang x", "b"]).await;
        bench.committed(3).await;
        assert_eq!(on(&bench.log, "out"), ["a", "b"]);
        assert_eq!(dead(&bench.log)[0].why, "no answer in 60 s");
        assert_eq!(bench.book.count("second:second:hang x"), 3);
        assert_eq!(bench.book.count("second:a"), 1, "what was finished is not worked again");
        assert_eq!(bench.book.count("second:b"), 1, "what was finished is not worked again");
    });
}

#[test]
fn a_long_batch_that_moves_is_not_taken_for_stuck() {
    paused(async {
        let words: Vec<String> = (0..100).map(|n| format!("first:turn {n}")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let bench = Bench::start(&["first"], &words).await;
        bench.committed(100).await;
        assert!(words.iter().all(|word| bench.book.count(&format!("first:{word}")) == 1));
    });
}

#[test]
fn a_stage_that_calls_itself_broken_three_times_over_one_mail_buries_it() {
    paused(async {
        let bench = Bench::start(&["first"], &["a", "first:broken x"]).await;
        bench.committed(2).await;
        assert_eq!(on(&bench.log, "out"), ["a"]);
        assert_eq!(dead(&bench.log)[0].why, "lost my mind");
    });
}

#[test]
fn a_refused_mail_goes_to_dead_at_once() {
    paused(async {
        let bench = Bench::start(&["first"], &["first:refuse x", "a"]).await;
        bench.committed(2).await;
        assert_eq!(bench.book.count("first:first:refuse x"), 1);
        assert_eq!((dead(&bench.log)[0].why.as_str(), on(&bench.log, "out").len()), ("no use", 1));
    });
}

#[test]
fn a_way_out_that_the_topology_does_not_name_loses_nothing() {
    paused(async {
        let bench = Bench::start(&["first"], &["first:lost x"]).await;
        bench.committed(1).await;
        assert!(dead(&bench.log)[0].why.contains("nowhere"), "{}", dead(&bench.log)[0].why);
    });
}

#[test]
fn garbage_on_a_topic_goes_to_dead_and_the_rest_go_on() {
    paused(async {
        let (log, book) = (memory(), Arc::new(Book::default()));
        for value in
            [told("a").encode(), Bytes::from_static(b"\x01Mgarbage"), Bytes::new(), told("b").encode()]
        {
            let outputs = vec![Output { topic: "in".into(), key: Bytes::new(), value }];
            log.append(Batch { outputs, writes: Vec::new() }).await.unwrap();
        }
        let stages = [obedient("first", &book)];
        let bench = Bench::on(log, book, &stages);
        bench.committed(4).await;
        assert_eq!(on(&bench.log, "out"), ["a", "b"]);
        let rows = dead(&bench.log);
        let ids: Vec<&str> = rows.iter().map(|r| r.id.as_str()).collect();
        assert_eq!(ids, ["in-0-1", "in-0-2"]);
        assert!(rows.iter().all(|r| r.stage == "decode" && r.tenant.is_empty()));
        assert_eq!(rows[0].record, "014d67617262616765");
    });
}

#[test]
fn a_batch_of_nothing_but_garbage_is_committed() {
    paused(async {
        let (log, book) = (memory(), Arc::new(Book::default()));
        let outputs = vec![Output { topic: "in".into(), key: Bytes::new(), value: Bytes::new() }; 3];
        log.append(Batch { outputs, writes: Vec::new() }).await.unwrap();
        let stages = [obedient("first", &book)];
        let bench = Bench::on(log, book, &stages);
        bench.committed(3).await;
        assert_eq!(dead(&bench.log).len(), 3);
    });
}

#[test]
fn while_one_record_retries_the_prefix_is_committed_and_nothing_is_worked_twice() {
    paused(async {
        let bench = Bench::start(&["first"], &["a", "b", "first:retry x", "c"]).await;
        bench.committed(2).await;
        assert_eq!(on(&bench.log, "out"), ["a", "b"]);
        bench.committed(4).await;
        assert_eq!(on(&bench.log, "out"), ["a", "b", "c", "first:retry x"]);
        assert_eq!(bench.log.commits().iter().map(|(_, next)| *next).collect::<Vec<_>>(), [2, 4]);
        assert_eq!(bench.book.count("first:first:retry x"), 4);
        for word in ["first:a", "first:b", "first:c"] {
            assert_eq!(bench.book.count(word), 1);
        }
    });
}

#[test]
fn while_one_record_works_long_the_prefix_is_committed() {
    paused(async {
        let bench = Bench::start(&["first"], &["a", "first:slow x", "c"]).await;
        bench.committed(1).await;
        assert_eq!(on(&bench.log, "out"), ["a"]);
        bench.committed(3).await;
        assert_eq!(on(&bench.log, "out"), ["a", "c", "first:slow x"]);
        assert_eq!(bench.log.commits().len(), 2, "a commit only when there is something new to commit");
    });
}

#[test]
fn a_split_record_that_has_to_wait_takes_back_its_other_half() {
    paused(async {
        let bench = Bench::start(&["first", "second"], &["first:split"]).await;
        bench.committed(1).await;
        assert_eq!(on(&bench.log, "out"), ["part one", "second:retry part"]);
    });
}

#[test]
fn a_broken_log_stops_the_lane() {
    paused(async {
        let bench = Bench::start(&["first"], &[]).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        put(&bench.log, &["a"]).await;
        bench.log.fail([LogError::Broken("fsync failed".into())]);
        assert_eq!(bench.lane.await.unwrap(), Ended::Broken("log: fsync failed".into()));
        assert_eq!(bench.board.get().0, LaneState::Failed);
        assert!(bench.log.commits().is_empty());
    });
}

#[test]
fn a_full_log_is_waited_for_and_the_same_commit_made() {
    paused(async {
        let bench = Bench::start(&["first"], &["first:write a", "b"]).await;
        let away = LogError::Retry("broker is away".into());
        bench.log.fail([LogError::Full("no space".into()), away, LogError::Full("no space".into())]);
        bench.committed(2).await;
        assert_eq!(on(&bench.log, "out"), ["b", "first:write a"]);
        assert_eq!(bench.log.writes(), [write("first:write a")]);
        assert_eq!(bench.book.count("first:b"), 1, "waiting for the log is no reason to work again");
        assert_eq!(bench.drained().await, Ended::Drained);
    });
}

#[test]
fn drain_commits_what_is_in_flight_and_reads_no_more() {
    paused(async {
        let bench = Bench::start(&["first"], &["a", "first:gate x"]).await;
        bench.committed(1).await;
        bench.orders.send_replace(Order::Drain);
        put(&bench.log, &["too late"]).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!bench.lane.is_finished(), "a drain waits for what is in the stages");
        bench.book.gate.notify_waiters();
        assert_eq!(bench.lane.await.unwrap(), Ended::Drained);
        assert_eq!(on(&bench.log, "out"), ["a", "first:gate x"]);
        assert_eq!(bench.log.commits().last().map(|(_, next)| *next), Some(2));
    });
}

#[test]
fn drain_does_not_wait_for_a_record_that_waits() {
    paused(async {
        let bench = Bench::start(&["first"], &["a", "first:retry x", "c"]).await;
        bench.committed(1).await;
        assert_eq!(bench.drained().await, Ended::Drained);
    });
}

#[test]
fn drain_commits_what_is_finished_before_a_record_that_waits() {
    paused(async {
        let bench = Bench::start(&["first"], &["a", "first:gate x", "first:retry y"]).await;
        bench.committed(1).await;
        bench.book.gate.notify_waiters();
        bench.orders.send_replace(Order::Drain);
        assert_eq!(bench.lane.await.unwrap(), Ended::Drained);
        assert_eq!(bench.log.commits().last().map(|(_, next)| *next), Some(2));
        assert_eq!(on(&bench.log, "out"), ["a", "first:gate x"]);
    });
}

#[test]
fn an_idle_lane_drains_at_once() {
    paused(async {
        let bench = Bench::start(&["first"], &[]).await;
        tokio::task::yield_now().await;
        let begun = Instant::now();
        assert_eq!(bench.drained().await, Ended::Drained);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    });
}

#[test]
fn two_lanes_read_one_topic_each_at_its_own_pace() {
    paused(async {
        let (log, book) = (memory(), Arc::new(Book::default()));
        put(&log, &["a", "first:refuse b", "second:slow c"]).await;
        let (one, two) = ([obedient("first", &book)], [obedient("second", &book)]);
        let first = Bench::on(log.clone(), book.clone(), &one);
        let second = Bench::on(log.clone(), book.clone(), &two);
        let at = |log: &MemoryLog, who: &str| {
            let commits = log.commits();
            commits.iter().filter(|(seat, _)| seat.consumer == who).map(|(_, next)| *next).max().unwrap_or(0)
        };
        log.until(|log| at(log, "first") == 3 && at(log, "second") == 3).await;
        assert_eq!(on(&log, "out"), ["a", "a", "first:refuse b", "second:slow c", "second:slow c"]);
        assert_eq!(dead(&log).len(), 1);
        assert_eq!(first.drained().await, Ended::Drained);
        assert_eq!(second.drained().await, Ended::Drained);
    });
}

#[test]
fn a_stage_that_kills_every_mail_gives_up_after_few_burials() {
    paused(async {
        let words: Vec<String> = (0..100).map(|n| format!("first:panic {n}")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let bench = Bench::start(&["first"], &words).await;
        let Ended::GaveUp(why) = bench.lane.await.unwrap() else { panic!("it must give up") };
        assert!(why.contains("first") && why.contains("poison"), "{why}");
        assert!(dead(&bench.log).len() <= 6, "{} buried", dead(&bench.log).len());
        assert_eq!(bench.board.get().0, LaneState::Failed);
        let committed = bench.log.commits().last().map_or(0, |(_, next)| *next);
        assert_eq!(committed as usize, dead(&bench.log).len(), "only what is in dead has left the topic");
    });
}

#[test]
fn a_burst_of_poisoned_mail_does_not_stop_a_lane() {
    paused(async {
        let mut words: Vec<String> = (0..20).map(|n| format!("first:panic {n}")).collect();
        words.extend((0..20).map(|n| format!("good {n}")));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let bench = Bench::start(&["first"], &words).await;
        bench.committed(40).await;
        assert_eq!((dead(&bench.log).len(), on(&bench.log, "out").len()), (20, 20));
        assert_eq!(bench.drained().await, Ended::Drained);
    });
}

#[test]
fn a_factory_that_panics_buries_nothing() {
    paused(async {
        let (log, book) = (memory(), Arc::new(Book::default()));
        put(&log, &["a"]).await;
        let factory: Factory = Arc::new(|| panic!("no model file"));
        let bench = Bench::on(log, book, &[("first", factory)]);
        let ended = bench.lane.await.unwrap();
        assert_eq!(ended, Ended::GaveUp("stage first died too often: no model file".into()));
        assert!(dead(&bench.log).is_empty() && bench.log.commits().is_empty());
    });
}

std::thread_local! {
    /// The test's clock: when paused time was zero.
    static NOON: std::cell::Cell<Option<Instant>> = const { std::cell::Cell::new(None) };
}

fn paused_ms() -> u64 {
    NOON.get().map_or(0, |noon| noon.elapsed().as_millis() as u64)
}

#[test]
fn fifty_thousand_deferred_mails_cost_nothing_and_come_back_when_due() {
    paused(async {
        NOON.set(Some(Instant::now()));
        let log = memory();
        let mail =
            |n: u64| Record::from(Mail { id: format!("{n:05}"), due_ms: 600_000 + n, ..Mail::default() });
        let output = |n| Output { topic: "in".into(), key: Bytes::new(), value: mail(n).encode() };
        log.append(Batch { outputs: (0..50_000).map(output).collect(), writes: Vec::new() }).await.unwrap();
        let store = Arc::new(MemoryStore::default());
        let factory: Factory = Arc::new(move || Arc::new(Requeue::with_clock(store.clone(), paused_ms)));
        let (parts, orders) = parts(&log, &[("requeue", factory)], 64);
        let worked = parts.meters.stages[0].retry.clone();
        let lane = tokio::task::spawn_local(Lane::new(parts).run());

        tokio::time::sleep(Duration::from_millis(599_000)).await;
        assert_eq!(log.reads(), 1, "what is not due is not read");
        assert!(worked.get() <= 64 * 21, "looked {} times at 64 mails in ten minutes", worked.get());
        assert!(log.commits().is_empty());

        // All are due within 50 s from now on; each must be back within a second of its moment.
        for step in 0..50 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let due = (paused_ms() - 600_000).min(50_000);
            let back = log.entries("out").len() as u64;
            assert!(back <= due + 1, "at {step}: {back} came back but {due} were due");
            assert!(back + 1_000 >= due, "at {step}: {back} of {due} came back");
        }
        log.until(|log| log.entries("out").len() == 50_000).await;
        orders.send_replace(Order::Drain);
        assert_eq!(lane.await.unwrap(), Ended::Drained);
    });
}
