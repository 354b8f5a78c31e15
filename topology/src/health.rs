//! How the lanes are, for `/health` and the gauge.

use parking_lot::Mutex;
use prometheus::IntGauge;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// State of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LaneState {
    /// Its thread has not come up yet.
    Starting,
    /// Reading, working, committing.
    Running,
    /// Waiting after a death.
    BackingOff,
    /// Waiting for the log, which is away or full.
    LogAway,
    /// Finishing what is in hand.
    Draining,
    /// Ended as told.
    Stopped,
    /// Gave up, or the log broke: the process has to end.
    Failed,
    /// Its thread does not move: a stage spins. The process has to end.
    Stuck,
}

impl LaneState {
    /// For people and the health page.
    pub fn word(self) -> &'static str {
        match self {
            LaneState::Starting => "starting",
            LaneState::Running => "running",
            LaneState::BackingOff => "backing off",
            LaneState::LogAway => "waiting for the log",
            LaneState::Draining => "draining",
            LaneState::Stopped => "stopped",
            LaneState::Failed => "failed",
            LaneState::Stuck => "stuck",
        }
    }

    fn number(self) -> i64 {
        match self {
            LaneState::Starting => 0,
            LaneState::Running => 1,
            LaneState::BackingOff => 2,
            LaneState::LogAway => 3,
            LaneState::Draining => 4,
            LaneState::Stopped => 5,
            LaneState::Failed => 6,
            LaneState::Stuck => 7,
        }
    }

    /// Whether a lane in this state goes on, or will by itself. A lane that waits for the log or backs off is
    /// well in this sense: to restart the process would not help it.
    pub fn is_well(self) -> bool {
        !matches!(self, LaneState::Stopped | LaneState::Failed | LaneState::Stuck)
    }
}

/// How one lane is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneHealth {
    /// Name of the lane (its first stage).
    pub lane: String,
    /// Topic it reads.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Its state.
    pub state: LaneState,
    /// Why, empty when all is well.
    pub why: String,
}

/// Where a lane writes how it is.
pub(crate) struct Board {
    state: Mutex<(LaneState, String)>,
    gauge: IntGauge,
    born: Instant,
    /// Milliseconds from `born` to the last sign of life of the lane's thread.
    beat_ms: AtomicU64,
}

impl Board {
    pub(crate) fn new(gauge: IntGauge) -> Board {
        gauge.set(LaneState::Starting.number());
        let state = Mutex::new((LaneState::Starting, String::new()));
        Board { state, gauge, born: Instant::now(), beat_ms: AtomicU64::new(0) }
    }

    pub(crate) fn set(&self, state: LaneState, why: &str) {
        let mut now = self.state.lock();
        if now.0 == state && now.1 == why {
            return;
        }
        *now = (state, why.to_owned());
        self.gauge.set(state.number());
    }

    pub(crate) fn get(&self) -> (LaneState, String) {
        self.state.lock().clone()
    }

    /// The lane's thread lives.
    pub(crate) fn beat(&self) {
        self.beat_ms.store(self.born.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// How long ago the last sign of life was.
    pub(crate) fn silent(&self) -> Duration {
        self.born.elapsed().saturating_sub(Duration::from_millis(self.beat_ms.load(Ordering::Relaxed)))
    }
}
