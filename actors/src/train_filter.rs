//! Teaches the classifier from what people say: marks of spam and ham, and releases (which say ham).
//!
//! A mark is in the model's journal, synced to disk, before its record is done, so a process killed at any
//! time loses none; a mark read again after such an end is known by its id and changes nothing. Without a
//! path (tests, offline judging) what is learned lives as long as the process.
//!
//! Each process learns what its own lanes read: on several nodes, models differ as the partitions do.

use crate::score_spam::classifier::{Lesson, SharedModel, learn_durably};
use crate::stage::{Stage, Step, Trouble};
use async_trait::async_trait;
use std::path::PathBuf;
use std::time::Duration;
use tidegate_schemas::{Record, Signal, SignalKind};

/// The stage `train_filter`.
pub struct TrainFilter {
    model: SharedModel,
    path: Option<PathBuf>,
}

impl TrainFilter {
    /// `path` is the model's file, the one that `Model::load` read.
    pub fn new(model: SharedModel, path: Option<PathBuf>) -> TrainFilter {
        TrainFilter { model, path }
    }
}

/// What a signal says of the message it carries: spam, ham, or nothing.
fn said(signal: &Signal) -> Option<bool> {
    let spam = match signal.kind() {
        SignalKind::MarkSpam => true,
        SignalKind::MarkHam | SignalKind::Release => false,
        _ => return None,
    };
    (!signal.raw.is_empty()).then_some(spam)
}

#[async_trait]
impl Stage for TrainFilter {
    fn name(&self) -> &'static str {
        "train_filter"
    }

    async fn work(&self, record: Record) -> Result<Step, Trouble> {
        let Record::Signal(signal) = record else { return Ok(Step::done()) };
        let Some(spam) = said(&signal) else { return Ok(Step::done()) };
        let (model, path) = (self.model.clone(), self.path.clone());
        let learned = tokio::task::spawn_blocking(move || {
            let lesson = Lesson::new(&signal.id, &signal.raw, spam);
            match path {
                Some(path) => learn_durably(&model, &path, &lesson),
                None => Ok(model.write().take(&lesson)),
            }
        });
        match learned.await {
            Ok(Ok(_)) => Ok(Step::done()),
            Ok(Err(error)) => Err(Trouble::Retry { after: Duration::from_secs(5), why: error.to_string() }),
            Err(stopped) => Err(Trouble::Broken { why: format!("learning stopped: {stopped}") }),
        }
    }
}

#[cfg(test)]
#[path = "train_filter_tests.rs"]
mod tests;
