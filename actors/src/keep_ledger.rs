//! Keeps what was refused at the door, so that a tenant can see mail that never came in.
//!
//! One row a refusal, keyed by the signal's id: reading the topic twice changes nothing. Rows go after 30
//! days. All other signals end here without a trace; other stages read the same topic by themselves.

use crate::stage::{Stage, Step, Trouble};
use async_trait::async_trait;
use tidegate_schemas::rows::RefusedRow;
use tidegate_schemas::{Record, Row, Signal, SignalKind, Write};

/// How long a refusal is kept, milliseconds.
const KEPT_MS: u64 = 30 * 86_400_000;

/// The stage `keep_ledger`.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeepLedger;

fn row_of(signal: &Signal) -> RefusedRow {
    RefusedRow {
        tenant: signal.tenant.clone(),
        id: signal.id.clone(),
        ip: signal.ip.clone(),
        sender: signal.sender.clone(),
        reply: signal.reason.clone(),
        at_ms: signal.at_ms,
    }
}

#[async_trait]
impl Stage for KeepLedger {
    fn name(&self) -> &'static str {
        "keep_ledger"
    }

    async fn work(&self, record: Record) -> Result<Step, Trouble> {
        let Record::Signal(signal) = record else {
            return Err(Trouble::Refuse { why: "keep_ledger reads signals, this is a mail".into() });
        };
        if signal.kind() != SignalKind::Refused {
            return Ok(Step::done());
        }
        Ok(Step::done().and_write(Write::Put(row_of(&signal).raw(signal.at_ms + KEPT_MS))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::fakes::MemoryStore;
    use crate::ports::{Store, scan_rows};

    fn refused() -> Signal {
        Signal {
            ip: "192.0.2.1".into(),
            sender: "a@b.test".into(),
            reason: "550 5.7.1 listed".into(),
            ..Signal::new(SignalKind::Refused, "isp/msp/a.test")
        }
    }

    #[tokio::test]
    async fn a_refusal_is_kept_once_though_it_is_read_twice() {
        let store = MemoryStore::default();
        let signal = refused();
        for _ in 0..2 {
            let step = KeepLedger.work(Record::from(signal.clone())).await.unwrap();
            assert!(step.out.is_empty());
            store.apply(step.writes).await.unwrap();
        }
        let rows: Vec<RefusedRow> = scan_rows(&store, "isp/msp/a.test", "", 10).await.unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].reply.as_str(), rows[0].ip.as_str()), ("550 5.7.1 listed", "192.0.2.1"));
    }

    #[tokio::test]
    async fn a_refusal_goes_after_thirty_days() {
        let signal = refused();
        let step = KeepLedger.work(Record::from(signal.clone())).await.unwrap();
        let [Write::Put(row)] = &step.writes[..] else { panic!("one row expected") };
        assert_eq!(row.expires_ms, signal.at_ms + 30 * 86_400_000);
    }

    #[tokio::test]
    async fn other_signals_leave_nothing() {
        for kind in [SignalKind::Judged, SignalKind::Click, SignalKind::PolicyEdit] {
            let step = KeepLedger.work(Record::from(Signal::new(kind, "a"))).await.unwrap();
            assert!(step.out.is_empty() && step.writes.is_empty());
        }
    }

    #[tokio::test]
    async fn a_mail_is_not_swallowed() {
        let mail = tidegate_schemas::Mail::default();
        assert!(matches!(KeepLedger.work(Record::from(mail)).await, Err(Trouble::Refuse { .. })));
    }
}
