//! Deferred mail goes back to its queue when it is due.
//!
//! Each retry topic has one length of wait, so that its mail comes due in the order it was appended: the
//! lane holds the few next mails, sleeps until the first of them is due, and never looks at the rest. What
//! is not yet due is a `Retry` with just the wait that is left.

use crate::ports::{Store, get_row};
use crate::stage::{Stage, Step, Trouble};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;
use tidegate_schemas::Record;
use tidegate_schemas::rows::MarkRow;

/// The stage `requeue`.
pub struct Requeue {
    store: Arc<dyn Store>,
    clock: fn() -> u64,
}

impl Requeue {
    /// Goes by the system's clock.
    pub fn new(store: Arc<dyn Store>) -> Requeue {
        Requeue::with_clock(store, tidegate_schemas::now_ms)
    }

    /// Goes by another clock, milliseconds UTC.
    pub fn with_clock(store: Arc<dyn Store>, clock: fn() -> u64) -> Requeue {
        Requeue { store, clock }
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
        // An operator removed it, or sent a copy on its way already: here is where it ends.
        let marked = get_row::<MarkRow>(&*self.store, &mail.id, "").await;
        let marked =
            marked.map_err(|e| Trouble::Retry { after: Duration::from_secs(1), why: e.to_string() })?;
        if marked.is_some() {
            return Ok(Step::done());
        }
        Ok(Step::next(*mail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::fakes::MemoryStore;
    use crate::stage::Port;
    use tidegate_schemas::{Mail, Row, Signal, SignalKind, Write};

    fn at_noon() -> u64 {
        43_200_000
    }

    fn due(due_ms: u64) -> Record {
        Mail { id: "m".into(), due_ms, ..Mail::default() }.into()
    }

    #[tokio::test]
    async fn a_due_mail_goes_on_unchanged() {
        for due_ms in [0, 43_199_999, 43_200_000] {
            let step = Requeue::with_clock(Arc::new(MemoryStore::default()), at_noon)
                .work(due(due_ms))
                .await
                .unwrap();
            assert_eq!(step.out, vec![(Port::Next, due(due_ms))]);
            assert!(step.writes.is_empty());
        }
    }

    #[tokio::test]
    async fn a_mail_not_yet_due_waits_just_as_long_as_is_left() {
        let trouble = Requeue::with_clock(Arc::new(MemoryStore::default()), at_noon)
            .work(due(43_200_250))
            .await
            .unwrap_err();
        assert!(matches!(trouble, Trouble::Retry { after, .. } if after == Duration::from_millis(250)));
    }

    #[tokio::test]
    async fn a_signal_is_refused() {
        let signal = Signal::new(SignalKind::Click, "t");
        let trouble = Requeue::new(Arc::new(MemoryStore::default())).work(signal.into()).await.unwrap_err();
        assert!(matches!(trouble, Trouble::Refuse { .. }));
    }

    #[tokio::test]
    async fn a_mail_that_an_operator_marked_ends_here() {
        let store = Arc::new(MemoryStore::default());
        let mark = MarkRow { id: "m".into(), action: "removed".into(), at_ms: 0 };
        store.apply(vec![Write::Put(mark.raw(0))]).await.unwrap();
        let step = Requeue::with_clock(store, at_noon).work(due(0)).await.unwrap();
        assert!(step.out.is_empty());
    }
}
