//! Stage name -> factory: the one list of stages in the program.
//!
//! Adding a stage is one file in `actors`, one entry here, one row in `mail.toml`. What the planner knows of a
//! stage and how it is made stand in the same entry, so that they cannot part.

use crate::app::Parts;
use std::collections::HashMap;
use std::sync::Arc;
use tidegate_actors::check_dns::CheckDns;
use tidegate_actors::detect_sender::DetectSender;
use tidegate_actors::hold::Hold;
use tidegate_actors::keep_ledger::KeepLedger;
use tidegate_actors::learn_whitelist::LearnWhitelist;
use tidegate_actors::rate_reputation::RateReputation;
use tidegate_actors::requeue::Requeue;
use tidegate_actors::rewrite_links::RewriteLinks;
use tidegate_actors::score_spam::ScoreSpam;
use tidegate_actors::stage::{Factory, Stage};
use tidegate_actors::train_filter::TrainFilter;
use tidegate_topology::plan::Known;

/// One stage: what the planner knows of it, and how it is made.
pub struct Entry {
    /// Name and ways out.
    pub known: Known,
    make: fn(&Arc<Parts>) -> Arc<dyn Stage>,
}

const fn known(name: &'static str, next: bool, diverts: &'static [&'static str]) -> Known {
    Known { name, next, diverts }
}

/// All stages.
pub const STAGES: &[Entry] = &[
    Entry {
        known: known("check_dns", true, &[]),
        make: |p| {
            Arc::new(CheckDns::new(p.dns.clone(), p.directory.clone(), p.lists.clone(), p.checks.clone()))
        },
    },
    Entry {
        known: known("score_spam", true, &["held"]),
        make: |p| {
            let score = ScoreSpam::new(p.directory.clone(), p.reputation.clone(), p.model.clone());
            Arc::new(score.with_keys(p.keys.read().clone()))
        },
    },
    Entry {
        known: known("detect_sender", true, &["held", "signals"]),
        make: |p| Arc::new(DetectSender::new(p.directory.clone(), p.store.clone(), p.today.clone())),
    },
    Entry {
        known: known("rewrite_links", true, &[]),
        make: |p| {
            Arc::new(RewriteLinks::new(p.keys.clone(), p.directory.clone(), p.config.site.base.clone()))
        },
    },
    Entry {
        known: known("deliver", false, &["retry-1m", "retry-5m", "retry-30m", "retry-2h", "outbound"]),
        make: |p| Arc::new(p.deliver()),
    },
    Entry { known: known("requeue", true, &[]), make: |p| Arc::new(Requeue::new(p.store.clone())) },
    Entry {
        known: known("hold", false, &[]),
        make: |p| Arc::new(Hold::new(p.directory.clone(), p.tallies.clone())),
    },
    Entry {
        known: known("learn_whitelist", false, &[]),
        make: |p| Arc::new(LearnWhitelist::new(p.store.clone())),
    },
    Entry {
        known: known("rate_reputation", false, &[]),
        make: |p| Arc::new(RateReputation::new(p.store.clone())),
    },
    Entry {
        known: known("train_filter", false, &[]),
        make: |p| Arc::new(TrainFilter::new(p.model.clone(), Some(crate::app::model_path(&p.data)))),
    },
    Entry { known: known("keep_ledger", false, &[]), make: |_| Arc::new(KeepLedger) },
];

/// What the planner knows of all stages.
pub fn all_known() -> Vec<Known> {
    STAGES.iter().map(|entry| entry.known).collect()
}

/// A factory for every stage.
pub fn factories(parts: &Arc<Parts>) -> HashMap<&'static str, Factory> {
    let factory = |entry: &'static Entry| -> Factory {
        let parts = parts.clone();
        let make = entry.make;
        #[cfg(feature = "trap")]
        return Arc::new(move || Arc::new(crate::app::trap::Trapped::new(make(&parts))));
        #[cfg(not(feature = "trap"))]
        Arc::new(move || make(&parts))
    };
    STAGES.iter().map(|entry| (entry.known.name, factory(entry))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_topology_plans_with_the_stages_there_are_and_uses_all_of_them() {
        let plan = tidegate_topology::plan::plan(tidegate_topology::spec::MAIL_TOML, &all_known()).unwrap();
        let used: Vec<&str> =
            plan.lanes.iter().flat_map(|l| l.stages.iter().map(|s| s.name.as_str())).collect();
        for entry in STAGES {
            assert!(used.contains(&entry.known.name), "{} is not in mail.toml", entry.known.name);
        }
    }
}
