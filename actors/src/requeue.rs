//! Deferred mail goes back to its queue when it is due.
//!
//! Each retry topic has one length of wait, so that its mail comes due in the order it was appended: the
//! lane holds the few next mails, sleeps until the first of them is due, and never looks at the rest. What
//! is not yet due is a `Retry` with just the wait that is left.

use crate::stage::{Stage, Step, Trouble};
use async_trait::async_trait;
use std::time::Duration;
use tidegate_schemas::Record;

/// The stage `requeue`.
pub struct Requeue {
    clock: fn() -> u64,
}

impl Requeue {
    /// Goes by the system's clock.
    pub fn new() -> Requeue {
        Requeue::with_clock(tidegate_schemas::now_ms)
    }

    /// Goes by another clock, milliseconds UTC.
    pub fn with_clock(clock: fn() -> u64) -> Requeue {
        Requeue { clock }
    }
}

impl Default for Requeue {
    fn default() -> Requeue {
        Requeue::new()
    }
}

#[async_trait]
impl Stage for Requeue {
    fn name(&self) -> &'static str {
        "requeue"
    }

    async fn work(&self, record: Record) -> Result<Step, Trouble> {
        let Record::Mail(mail) = record else {
            return Err(Trouble::Refuse { why: "a signal has no business on a retry topic".to_owned() });
        };
        let left = mail.due_ms.saturating_sub((self.clock)());
        if left > 0 {
            let why = format!("attempt {} is due in {left} ms", mail.attempts.saturating_add(1));
            return Err(Trouble::Retry { after: Duration::from_millis(left), why });
        }
        Ok(Step::next(*mail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Port;
    use tidegate_schemas::{Mail, Signal, SignalKind};

    fn at_noon() -> u64 {
        43_200_000
    }

    fn due(due_ms: u64) -> Record {
        Mail { id: "m".into(), due_ms, ..Mail::default() }.into()
    }

    #[tokio::test]
    async fn a_due_mail_goes_on_unchanged() {
        for due_ms in [0, 43_199_999, 43_200_000] {
            let step = Requeue::with_clock(at_noon).work(due(due_ms)).await.unwrap();
            assert_eq!(step.out, vec![(Port::Next, due(due_ms))]);
            assert!(step.writes.is_empty());
        }
    }

    #[tokio::test]
    async fn a_mail_not_yet_due_waits_just_as_long_as_is_left() {
        let trouble = Requeue::with_clock(at_noon).work(due(43_200_250)).await.unwrap_err();
        assert!(matches!(trouble, Trouble::Retry { after, .. } if after == Duration::from_millis(250)));
    }

    #[tokio::test]
    async fn a_signal_is_refused() {
        let signal = Signal::new(SignalKind::Click, "t");
        let trouble = Requeue::new().work(signal.into()).await.unwrap_err();
        assert!(matches!(trouble, Trouble::Refuse { .. }));
    }
}
