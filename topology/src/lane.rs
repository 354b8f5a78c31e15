//! The lane: the supervisor of the stages between two durable edges, on one partition.
//!
//! It reads a batch, sends each record through the chain of hosted stages (all records at the same time),
//! keeps what they lead to, and commits outputs, store writes and the offset in one atomic step; then it
//! reads again. Back-pressure is that pull. Invariants:
//!
//! * A record leaves its topic only by a commit that carries all it led to, or its row in `dead`.
//! * While any record of a batch waits or works long, the finished run before it is committed, and what is
//!   finished behind it stays in memory: nothing is worked twice but for a death.
//! * After a death everything that was in the stages is worked again by a fresh generation; what was in the
//!   stage that died is worked one record at a time, so that the one that kills is found.
//! * Nothing is dropped on trouble with the log: the same commit is tried until it works, or the lane ends.

use crate::flight::Flight;
use crate::generation::{Generation, Reply};
use crate::health::{Board, LaneState};
use crate::log::{Batch, Entry, Log, LogError, Seat, Want};
use crate::metrics::LaneMeters;
use crate::plan::LanePlan;
use crate::supervise::{Supervision, backoff};
use futures::StreamExt;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tidegate_actors::stage::Factory;
use tidegate_schemas::Record;
use tokio::sync::watch;
use tokio::time::Instant;

/// How often a lane at work looks at deadlines, and commits what is finished at the front.
const STRIDE: Duration = Duration::from_millis(100);
/// How long a read waits for the first record.
const READ_WAIT: Duration = Duration::from_secs(5);
const LOG_SHORTEST: Duration = Duration::from_millis(50);
const LOG_LONGEST: Duration = Duration::from_secs(5);

/// What a lane is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Work.
    Run,
    /// Finish and commit what is in hand, then end.
    Drain,
    /// End now; what is in hand is worked again at the next start.
    Abort,
}

/// Why a lane ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was told to.
    Drained,
    /// Its stages died too often.
    GaveUp(String),
    /// The log is poisoned.
    Broken(String),
}

/// What a lane is made of.
pub(crate) struct Parts {
    pub(crate) plan: Arc<LanePlan>,
    pub(crate) partition: u32,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) factories: Vec<Factory>,
    pub(crate) meters: LaneMeters,
    pub(crate) supervision: Supervision,
    pub(crate) orders: watch::Receiver<Order>,
    pub(crate) board: Arc<Board>,
}

/// One lane on one partition.
pub(crate) struct Lane {
    pub(crate) parts: Parts,
    pub(crate) seat: Seat,
    pub(crate) deadlines: Vec<Duration>,
    /// When each stage last got something done.
    pub(crate) progress: Vec<Instant>,
    pub(crate) generation: Option<Generation>,
}

/// Records on their way through stages.
pub(crate) type Hops = FuturesUnordered<LocalBoxFuture<'static, Reply>>;

/// The end of a generation.
pub(crate) struct Death {
    pub(crate) stage: usize,
    /// The text when the lane knows it; a panic's comes from the actor's end.
    pub(crate) why: Option<String>,
    /// The records to blame where they are known.
    pub(crate) culprits: Option<Vec<usize>>,
}

impl Lane {
    pub(crate) fn new(parts: Parts) -> Lane {
        let seat = Seat {
            consumer: parts.plan.name.clone(),
            topic: parts.plan.topic.clone(),
            partition: parts.partition,
        };
        let deadlines: Vec<Duration> = parts.plan.stages.iter().map(|s| s.deadline).collect();
        let progress = vec![Instant::now(); deadlines.len()];
        Lane { parts, seat, deadlines, progress, generation: None }
    }

    /// Works until told otherwise, or until it can't. Must run inside a `LocalSet`.
    pub(crate) async fn run(mut self) -> Ended {
        let Err(ended) = self.work().await;
        if let Some(generation) = self.generation.take() {
            generation.end().await;
        }
        match &ended {
            Ended::Drained => self.state(LaneState::Stopped, ""),
            Ended::GaveUp(why) | Ended::Broken(why) => self.state(LaneState::Failed, why),
        }
        ended
    }

    async fn work(&mut self) -> Result<Infallible, Ended> {
        let mut hops = Hops::new();
        loop {
            let entries = self.pull().await?;
            if entries.is_empty() {
                continue;
            }
            self.parts.meters.batch_records.observe(entries.len() as f64);
            self.finish(Flight::new(entries, Instant::now()), &mut hops).await?;
        }
    }

    pub(crate) fn draining(&self) -> bool {
        *self.parts.orders.borrow() != Order::Run
    }

    pub(crate) fn state(&self, state: LaneState, why: &str) {
        self.parts.board.set(state, why);
    }

    /// Reads the next batch; empty when there is none yet.
    async fn pull(&mut self) -> Result<Vec<Entry>, Ended> {
        let want =
            Want { records: self.parts.plan.batch, bytes: self.parts.plan.batch_bytes, wait: READ_WAIT };
        let mut tries = 0;
        loop {
            if self.draining() {
                return Err(Ended::Drained);
            }
            let read = tokio::select! {
                read = self.parts.log.read(&self.seat, want) => read,
                () = told(&mut self.parts.orders) => continue,
            };
            match read {
                Ok(entries) => {
                    self.state(LaneState::Running, "");
                    return Ok(entries);
                }
                Err(error) => {
                    tries += 1;
                    self.log_trouble(&error, tries).await?;
                }
            }
        }
    }

    /// Counts and waits, or ends the lane.
    async fn log_trouble(&mut self, error: &LogError, tries: u32) -> Result<(), Ended> {
        let meters = &self.parts.meters;
        match error {
            LogError::Retry(_) => meters.log_away.inc(),
            LogError::Full(_) => meters.log_full.inc(),
            LogError::Broken(why) => {
                meters.log_broken.inc();
                tracing::error!(lane = %self.seat.consumer, topic = %self.seat.topic, partition = self.seat.partition, %why, "the log is broken, the lane stops");
                return Err(Ended::Broken(format!("log: {why}")));
            }
        }
        if tries == 1 {
            tracing::warn!(lane = %self.seat.consumer, topic = %self.seat.topic, partition = self.seat.partition, %error, "waiting for the log");
        }
        self.state(LaneState::LogAway, &error.to_string());
        self.pause(backoff(tries, LOG_SHORTEST, LOG_LONGEST)).await;
        Ok(())
    }

    /// Sleeps; an order ends the sleep.
    pub(crate) async fn pause(&mut self, wait: Duration) {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = told(&mut self.parts.orders) => {}
        }
    }

    /// Works and commits one batch.
    async fn finish(&mut self, mut flight: Flight, hops: &mut Hops) -> Result<(), Ended> {
        let mut look_at = Instant::now() + STRIDE;
        // Whether a record may have become ready to begin; saves looking at all of them after every answer.
        let mut stirred = true;
        loop {
            if stirred || flight.is_idle() {
                self.begin(&mut flight, hops).await?;
                stirred = false;
            }
            if flight.is_finished() {
                return self.commit(&mut flight).await;
            }
            let mut wake = look_at;
            if flight.is_idle() {
                self.commit(&mut flight).await?;
                if self.draining() {
                    return Err(Ended::Drained);
                }
                wake = flight.next_due().unwrap_or(look_at);
            }
            let mut death = None;
            tokio::select! {
                biased;
                Some(reply) = hops.next(), if !hops.is_empty() => {
                    death = self.answers(reply, &mut flight, hops);
                }
                () = tokio::time::sleep_until(wake) => {}
                () = told(&mut self.parts.orders) => {}
            }
            // Not a branch above: where answers never cease, a branch for the clock would starve.
            if death.is_none() && Instant::now() >= look_at {
                death = self.stuck(&flight);
                self.commit(&mut flight).await?;
                look_at = Instant::now() + STRIDE;
                stirred = true;
            }
            if let Some(death) = death {
                self.died(death, &mut flight, hops).await?;
            }
        }
    }

    /// Sends what is ready into the first stage, with a generation to do it.
    async fn begin(&mut self, flight: &mut Flight, hops: &mut Hops) -> Result<(), Ended> {
        loop {
            if self.generation.is_none() {
                match Generation::begin(&self.parts.factories) {
                    Ok(generation) => {
                        self.parts.meters.generations.inc();
                        self.generation = Some(generation);
                    }
                    Err((stage, why)) => {
                        let death = Death { stage, why: Some(why), culprits: Some(Vec::new()) };
                        self.died(death, flight, hops).await?;
                        if self.draining() {
                            return Ok(());
                        }
                        continue;
                    }
                }
            }
            let mut buried = false;
            for index in flight.start(Instant::now(), self.parts.supervision.is_proven()) {
                let Some((_, value)) = flight.source(index) else { continue };
                match Record::decode(&value) {
                    Ok(record) => self.send(index, 0, record, flight, hops),
                    Err(error) => {
                        self.parts.meters.undecodable.inc();
                        self.bury(index, "decode", &error.to_string(), flight);
                        buried = true;
                    }
                }
            }
            // A buried suspect makes room for the next.
            if !(buried && flight.is_idle()) || flight.is_finished() {
                return Ok(());
            }
        }
    }

    /// Commits the finished run at the front of the batch, however long the log takes.
    pub(crate) async fn commit(&mut self, flight: &mut Flight) -> Result<(), Ended> {
        let Some((next, batch)) = flight.take_finished() else { return Ok(()) };
        let begun = Instant::now();
        let mut tries = 0;
        while let Err(error) = self.try_commit(next, &batch).await {
            tries += 1;
            self.log_trouble(&error, tries).await?;
        }
        self.parts.meters.commit_seconds.observe(begun.elapsed().as_secs_f64());
        if tries > 0 {
            self.state(LaneState::Running, "");
        }
        Ok(())
    }

    async fn try_commit(&self, next: u64, batch: &Batch) -> Result<(), LogError> {
        self.parts.log.commit(&self.seat, next, batch.clone()).await
    }
}

/// Resolves at the next order. When there is nobody left to give one, the lane is ended from outside.
async fn told(orders: &mut watch::Receiver<Order>) {
    if orders.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
