//! The way into the log for SMTP, the site and the admin API.
//!
//! Which topic a record begins on is said here and nowhere else: mail on `accepted`, reports of our own on
//! `outbound`, signals on `signals`. Everything of one call is one atomic append.

use async_trait::async_trait;
use std::sync::Arc;
use tidegate_actors::ports::{Intake, IntakeError};
use tidegate_schemas::{Direction, Mail, Record, Signal};
use tidegate_topology::log::{Batch, Log, LogError, Output};

/// Topic of mail that was just accepted.
pub const ACCEPTED: &str = "accepted";
/// Topic of mail that is ready for delivery.
pub const OUTBOUND: &str = "outbound";
/// Topic of signals.
pub const SIGNALS: &str = "signals";

/// An [`Intake`] over the log.
pub struct LogIntake {
    log: Arc<dyn Log>,
}

impl LogIntake {
    /// Appends to this log.
    pub fn new(log: Arc<dyn Log>) -> LogIntake {
        LogIntake { log }
    }
}

/// A record as it goes on a topic.
pub fn output(topic: &str, record: &Record) -> Output {
    Output { topic: topic.to_owned(), key: record.key(), value: record.encode() }
}

fn refused(error: LogError) -> IntakeError {
    match error {
        LogError::Full(why) => IntakeError::Full(why),
        LogError::Retry(why) | LogError::Broken(why) => IntakeError::Away(why),
    }
}

#[async_trait]
impl Intake for LogIntake {
    async fn accept(&self, mails: Vec<Mail>) -> Result<(), IntakeError> {
        let mut batch = Batch::default();
        for mail in mails {
            let topic = if mail.direction() == Direction::Own { OUTBOUND } else { ACCEPTED };
            batch.outputs.push(output(topic, &mail.into()));
        }
        self.log.append(batch).await.map_err(refused)
    }

    async fn signal(&self, signals: Vec<Signal>) -> Result<(), IntakeError> {
        let outputs = signals.into_iter().map(|signal| output(SIGNALS, &signal.into())).collect();
        self.log.append(Batch { outputs, writes: Vec::new() }).await.map_err(refused)
    }
}
