//! What a stage is: one actor's work on one record.
//!
//! A stage knows neither its neighbours nor the log. It gets a record and says what follows from it, as a
//! [`Step`]; wiring, offsets, retries, supervision and metrics live around it. A stage that panics or hangs
//! is thrown away and made afresh by its factory, so it keeps nothing in memory that matters.
//!
//! Errors say what to do ([`Trouble`]); nobody reads their text to decide.

use async_trait::async_trait;
use std::time::Duration;
use tidegate_schemas::{Record, Write};

/// Where a record goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Port {
    /// To the next stage of the lane, or to the lane's `writes` topic when this is the last one.
    Next,
    /// To the topic that the stage's row of the topology gives this name (`divert = { held = "held" }`).
    Divert(&'static str),
}

/// What follows from one record. Everything in it happens in one atomic commit with the record's offset.
#[derive(Debug, Default)]
pub struct Step {
    /// Records that go on, and where to.
    pub out: Vec<(Port, Record)>,
    /// Changes of the store, idempotent.
    pub writes: Vec<Write>,
}

impl Step {
    /// The record goes on.
    pub fn next(record: impl Into<Record>) -> Step {
        Step { out: vec![(Port::Next, record.into())], writes: Vec::new() }
    }

    /// The record ends here.
    pub fn done() -> Step {
        Step::default()
    }

    /// The record leaves by a named way.
    pub fn divert(port: &'static str, record: impl Into<Record>) -> Step {
        Step { out: vec![(Port::Divert(port), record.into())], writes: Vec::new() }
    }

    /// Also sends a record by a named way.
    pub fn and_divert(mut self, port: &'static str, record: impl Into<Record>) -> Step {
        self.out.push((Port::Divert(port), record.into()));
        self
    }

    /// Also changes the store.
    pub fn and_write(mut self, write: Write) -> Step {
        self.writes.push(write);
        self
    }
}

/// Why a stage could not work on a record, as what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Something outside is away; the same record again, after this long.
    #[error("retry in {after:?}: {why}")]
    Retry {
        /// How long to wait.
        after: Duration,
        /// For the log.
        why: String,
    },
    /// This record will never work: it goes to `dead`, the rest go on.
    #[error("refused: {why}")]
    Refuse {
        /// For the operator.
        why: String,
    },
    /// The stage itself can't go on: a fresh one is made, and this counts as a death.
    #[error("broken: {why}")]
    Broken {
        /// For the operator.
        why: String,
    },
}

/// One stage.
#[async_trait]
pub trait Stage: Send + Sync + 'static {
    /// Its one name: file, type, TOML key, metric label, log field.
    fn name(&self) -> &'static str;

    /// Works on one record. Records of a batch are worked on at the same time, in no order.
    async fn work(&self, record: Record) -> Result<Step, Trouble>;
}

/// Makes a fresh stage for each generation of a lane.
pub type Factory = std::sync::Arc<dyn Fn() -> std::sync::Arc<dyn Stage> + Send + Sync>;
