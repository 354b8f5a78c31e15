//! Rates sites and senders by what people did: reports and spam marks speak against a domain, going on and
//! releasing speak for it.
//!
//! A fact is a row `(domain, day, sign, source)`, so that a replay, or one person saying the same thing all
//! day, counts once. Only people count: a scanner that presses buttons says nothing. Rows go after 60 days.
//! The table is shared by all tenants; a tenant whose policy says `share_learning = false` adds nothing.

use crate::learn_whitelist::{Policies, is_person};
use crate::ports::{Scan, Store, StoreError};
use crate::stage::{Stage, Step, Trouble};
use async_trait::async_trait;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tidegate_schemas::rows::{ReputationRow, day_of};
use tidegate_schemas::{Record, Row, Signal, SignalKind, Write};

/// How long a fact counts, milliseconds.
const KEPT_MS: u64 = 60 * 86_400_000;
/// Most rows read for one standing; beyond it the counts are lower bounds.
const MOST_ROWS: usize = 2_000;

/// The stage `rate_reputation`.
pub struct RateReputation {
    policies: Policies,
}

impl RateReputation {
    /// `store` says which tenants share what they learn.
    pub fn new(store: Arc<dyn Store>) -> RateReputation {
        RateReputation { policies: Policies::new(store) }
    }
}

/// What is known of a domain: how many sources spoke for and against it in the last 60 days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Distinct sources for it.
    pub good: usize,
    /// Distinct sources against it.
    pub bad: usize,
}

/// The standing of a registered domain at a moment. Fails when the store is away.
pub async fn standing(store: &dyn Store, domain: &str, now_ms: u64) -> Result<Standing, StoreError> {
    let oldest = day_of(now_ms.saturating_sub(KEPT_MS));
    let scan =
        Scan { table: ReputationRow::TABLE, partition: domain, prefix: "", after: &oldest, limit: MOST_ROWS };
    let (mut good, mut bad) = (HashSet::new(), HashSet::new());
    for raw in store.scan(scan).await? {
        let row = ReputationRow::from_value(&raw.value).map_err(|e| StoreError(e.to_string()))?;
        match row.sign.as_str() {
            "good" => good.insert(row.source),
            "bad" => bad.insert(row.source),
            _ => false,
        };
    }
    Ok(Standing { good: good.len(), bad: bad.len() })
}

/// Which way a signal speaks, if it speaks of a domain at all.
fn sign_of(signal: &Signal) -> Option<&'static str> {
    if signal.domain.is_empty() {
        return None;
    }
    match signal.kind() {
        SignalKind::Report if is_person(signal) => Some("bad"),
        SignalKind::MarkSpam => Some("bad"),
        SignalKind::Proceed if is_person(signal) && signal.decision != "overridden" => Some("good"),
        SignalKind::Release => Some("good"),
        _ => None,
    }
}

/// Who says so: the person where known, else the mail, else this one signal.
fn source_of(signal: &Signal) -> String {
    let who = [&signal.user, &signal.mail].into_iter().find(|s| !s.is_empty()).unwrap_or(&signal.id);
    format!("{}|{who}", signal.tenant)
}

#[async_trait]
impl Stage for RateReputation {
    fn name(&self) -> &'static str {
        "rate_reputation"
    }

    async fn work(&self, record: Record) -> Result<Step, Trouble> {
        let Record::Signal(signal) = record else {
            return Err(Trouble::Refuse { why: "rate_reputation reads signals, this is a mail".into() });
        };
        let Some(sign) = sign_of(&signal) else { return Ok(Step::done()) };
        let policy = self.policies.of(&signal.tenant).await;
        let policy =
            policy.map_err(|e| Trouble::Retry { after: Duration::from_secs(1), why: e.to_string() })?;
        if !policy.share_learning {
            return Ok(Step::done());
        }
        let row = ReputationRow {
            domain: signal.domain.clone(),
            day: day_of(signal.at_ms),
            sign: sign.to_owned(),
            source: source_of(&signal),
        };
        Ok(Step::done().and_write(Write::Put(row.raw(signal.at_ms + KEPT_MS))))
    }
}

#[cfg(test)]
#[path = "rate_reputation_tests.rs"]
mod tests;
