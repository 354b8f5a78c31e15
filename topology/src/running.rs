//! A plan at work: one thread for each lane and partition.
//!
//! Each thread runs its lane and its lane's actors; timers and sockets are those of the runtime that started
//! it, so that what stages share (resolvers, connection pools) does not hang on any one lane's life. A lane
//! that gives up or whose log breaks is not restarted in here: the process is to end with an error, and
//! whatever keeps it alive starts it afresh.

use crate::health::{Board, LaneHealth, LaneState};
use crate::lane::{Ended, Lane, Order, Parts};
use crate::log::Log;
use crate::metrics::Metrics;
use crate::plan::{LanePlan, Plan};
use crate::supervise::{Rules, Supervision};
use futures::FutureExt;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tidegate_actors::host::panic_text;
use tidegate_actors::stage::Factory;
use tokio::sync::watch;
use tokio::task::LocalSet;

/// How often a lane's thread shows that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// How much longer than its longest deadline a lane's thread may be silent. A stage that waits too long is
/// aborted by its lane; one that spins can only be seen from outside, and no thread can be ended in Rust.
const GRACE: Duration = Duration::from_secs(30);
/// How long aborted lanes may take to end.
const ABORT: Duration = Duration::from_secs(2);

/// Why a plan cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The plan has a stage the program cannot make.
    #[error("there is no factory for stage `{0}`: add its line to the registry")]
    NoFactory(String),
    /// The system gives no more threads.
    #[error("cannot start a thread for lane `{lane}`: {why}")]
    NoThread {
        /// Which lane.
        lane: String,
        /// The system's words.
        why: std::io::Error,
    },
}

/// A lane that ended by itself: the process has to end with an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("lane {lane} on {topic}/{partition} stopped: {why}")]
pub struct Failure {
    /// Name of the lane.
    pub lane: String,
    /// Topic it reads.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Why.
    pub why: String,
}

/// Lanes at work.
pub struct Running {
    lanes: Vec<Place>,
    orders: watch::Sender<Order>,
    failure: watch::Receiver<Option<Failure>>,
}

/// One lane, seen from outside.
struct Place {
    plan: Arc<LanePlan>,
    partition: u32,
    board: Arc<Board>,
    /// Becomes true, or loses its sender, when the lane's thread is through.
    through: watch::Receiver<bool>,
}

impl Running {
    /// Starts every lane of the plan on every partition. Must be called inside a tokio runtime, which has to
    /// go on running.
    pub fn start(
        plan: &Plan,
        log: Arc<dyn Log>,
        factories: &HashMap<&'static str, Factory>,
        metrics: &Metrics,
    ) -> Result<Running, StartError> {
        Running::start_with(plan, log, factories, metrics, Rules::default())
    }

    /// As [`Running::start`], with other limits of supervision.
    pub fn start_with(
        plan: &Plan,
        log: Arc<dyn Log>,
        factories: &HashMap<&'static str, Factory>,
        metrics: &Metrics,
        rules: Rules,
    ) -> Result<Running, StartError> {
        let (orders, told) = watch::channel(Order::Run);
        let (failed, failure) = watch::channel(None);
        let mut seats = Vec::new();
        for lane in &plan.lanes {
            let lane = Arc::new(lane.clone());
            let stages = lane.stages.iter().map(|stage| {
                let factory = factories.get(stage.name.as_str()).cloned();
                factory.ok_or_else(|| StartError::NoFactory(stage.name.clone()))
            });
            let stages = stages.collect::<Result<Vec<Factory>, StartError>>()?;
            seats.extend((0..lane.partitions).map(|partition| (lane.clone(), stages.clone(), partition)));
        }
        let made =
            seats.into_iter().zip(std::iter::repeat(log)).map(|((plan, factories, partition), log)| {
                let meters = metrics.lane(&plan, partition);
                let board = Arc::new(Board::new(meters.state.clone()));
                let supervision = Supervision::new(rules);
                let orders = told.clone();
                Parts { plan, partition, log, factories, meters, supervision, orders, board }
            });
        // Dropping `orders` on an early return ends the threads that have begun.
        let lanes = made.map(|parts| start_thread(parts, failed.clone()));
        Ok(Running { lanes: lanes.collect::<Result<Vec<Place>, StartError>>()?, orders, failure })
    }

    /// How each lane is.
    pub fn health(&self) -> Vec<LaneHealth> {
        self.lanes.iter().map(Place::health).collect()
    }

    /// Whether all lanes are well.
    pub fn is_well(&self) -> bool {
        self.lanes.iter().all(|place| place.health().state.is_well())
    }

    /// Resolves when a lane gave up, lost its log, or its thread does not move; never otherwise.
    pub async fn stopped(&self) -> Failure {
        let mut failure = self.failure.clone();
        loop {
            if let Some(failure) = failure.borrow_and_update().clone() {
                return failure;
            }
            if let Some(stuck) = self.lanes.iter().find(|p| p.health().state == LaneState::Stuck) {
                return stuck.failure(stuck.health().why);
            }
            tokio::select! {
                // All senders gone means all lanes ended as told; there is nothing to wait for but the caller.
                Ok(()) = failure.changed() => {}
                () = tokio::time::sleep(BEAT) => {}
            }
        }
    }

    /// Lets every lane finish and commit what it has in hand. Gives the lanes that did not make it in time
    /// and were aborted: what they had in hand is worked again at the next start.
    pub async fn drain(&self, deadline: Duration) -> Vec<LaneHealth> {
        for place in self.lanes.iter().filter(|p| p.health().state.is_well()) {
            place.board.set(LaneState::Draining, "");
        }
        self.orders.send_replace(Order::Drain);
        if tokio::time::timeout(deadline, self.all_through()).await.is_ok() {
            return Vec::new();
        }
        let late = self.lanes.iter().filter(|p| !p.is_through()).map(Place::health).collect();
        self.orders.send_replace(Order::Abort);
        // A thread that spins never hears the order; the process ends without it.
        let _spinning = tokio::time::timeout(ABORT, self.all_through()).await;
        late
    }

    async fn all_through(&self) {
        for place in &self.lanes {
            // A lost sender means the thread is gone, which is as good.
            let mut through = place.through.clone();
            let _gone = through.wait_for(|through| *through).await;
        }
    }
}

impl Place {
    fn is_through(&self) -> bool {
        *self.through.borrow() || self.through.has_changed().is_err()
    }

    fn health(&self) -> LaneHealth {
        let (mut state, mut why) = self.board.get();
        let longest = self.plan.stages.iter().map(|s| s.deadline).max().unwrap_or_default();
        let silent = self.board.silent();
        if !self.is_through() && silent > longest + GRACE {
            state = LaneState::Stuck;
            why = format!("its thread has not moved for {} s: a stage spins", silent.as_secs());
        }
        let LanePlan { name, topic, .. } = self.plan.as_ref();
        LaneHealth { lane: name.clone(), topic: topic.clone(), partition: self.partition, state, why }
    }

    fn failure(&self, why: String) -> Failure {
        let LanePlan { name, topic, .. } = self.plan.as_ref();
        Failure { lane: name.clone(), topic: topic.clone(), partition: self.partition, why }
    }
}

fn start_thread(parts: Parts, failed: watch::Sender<Option<Failure>>) -> Result<Place, StartError> {
    let (ending, through) = watch::channel(false);
    let place =
        Place { plan: parts.plan.clone(), partition: parts.partition, board: parts.board.clone(), through };
    let failure = place.failure(String::new());
    let runtime = tokio::runtime::Handle::current();
    let name = format!("{}-{}", parts.plan.name, parts.partition);
    let body = move || {
        let board = parts.board.clone();
        let ended = runtime.block_on(LocalSet::new().run_until(live(parts)));
        if let Some(why) = ended {
            board.set(LaneState::Failed, &why);
            // The first failure is the one to tell; the others mostly follow from it.
            failed.send_if_modified(|first| {
                let is_first = first.is_none();
                first.get_or_insert(Failure { why, ..failure });
                is_first
            });
        }
        ending.send_replace(true);
    };
    let thread = std::thread::Builder::new().name(name).spawn(body);
    thread.map_err(|why| StartError::NoThread { lane: place.plan.name.clone(), why })?;
    Ok(place)
}

/// Runs a lane to its end; `Some` says why when it was not told to end.
async fn live(parts: Parts) -> Option<String> {
    let board = parts.board.clone();
    let mut orders = parts.orders.clone();
    let beating = board.clone();
    tokio::task::spawn_local(async move {
        loop {
            beating.beat();
            tokio::time::sleep(BEAT).await;
        }
    });
    // The lane is ours and should not panic; if it does, that must not pass for a quiet end.
    let run = AssertUnwindSafe(Lane::new(parts).run()).catch_unwind();
    tokio::select! {
        ended = run => match ended {
            Ok(Ended::Drained) => None,
            Ok(Ended::GaveUp(why) | Ended::Broken(why)) => Some(why),
            Err(panic) => Some(format!("the lane itself panicked: {}", panic_text(panic.as_ref()))),
        },
        // An error means that the program dropped `Running`.
        _ = orders.wait_for(|order| *order == Order::Abort) => {
            board.set(LaneState::Stopped, "aborted");
            None
        }
    }
}
