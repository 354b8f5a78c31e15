//! What the lanes measure, for Prometheus.
//!
//! Labels are names of stages, lanes and topics and partition numbers, all from the plan, so their number is
//! bounded. Each lane resolves its labels once: the hot path only adds to atomics.

use crate::plan::LanePlan;
use prometheus::{
    Error, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

/// From half a hash look-up to a slow peer, seconds.
const SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0,
    120.0,
];
const RECORDS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0];

/// The collectors of all lanes.
#[derive(Clone)]
pub struct Metrics {
    stage_seconds: HistogramVec,
    stage_records: IntCounterVec,
    generations: IntCounterVec,
    deaths: IntCounterVec,
    dead: IntCounterVec,
    batch_records: HistogramVec,
    commit_seconds: HistogramVec,
    log_errors: IntCounterVec,
    state: IntGaugeVec,
}

impl Metrics {
    /// Makes the collectors and registers them; fails when the registry has any of their names already.
    pub fn register(registry: &Registry) -> Result<Metrics, Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let made = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, Error>(made)
        };
        let histogram = |name: &str, help: &str, buckets: &[f64], label: &str| {
            let made = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), &[label])?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, Error>(made)
        };
        let state = IntGaugeVec::new(
            Opts::new(
                "tidegate_lane_state",
                "0 starting, 1 running, 2 backing off after a death, 3 the log is away or full, 4 draining, \
                 5 stopped, 6 failed, 7 stuck",
            ),
            &["lane", "topic", "partition"],
        )?;
        registry.register(Box::new(state.clone()))?;
        Ok(Metrics {
            stage_seconds: histogram(
                "tidegate_stage_seconds",
                "Time of a stage for one record, its waits included",
                SECONDS,
                "stage",
            )?,
            stage_records: counter(
                "tidegate_stage_records_total",
                "Records by what the stage made of them: next, divert, done, retry, refuse, died",
                &["stage", "outcome"],
            )?,
            generations: counter("tidegate_lane_generation_total", "Generations of stages begun", &["lane"])?,
            deaths: counter("tidegate_lane_deaths_total", "Generations that died", &["lane", "stage"])?,
            dead: counter("tidegate_dead_total", "Records that went to dead", &["stage"])?,
            batch_records: histogram(
                "tidegate_lane_batch_records",
                "Records of a batch read",
                RECORDS,
                "lane",
            )?,
            commit_seconds: histogram("tidegate_lane_commit_seconds", "Time of a commit", SECONDS, "lane")?,
            log_errors: counter(
                "tidegate_lane_log_errors_total",
                "Calls of the log that failed: retry, full, broken",
                &["lane", "kind"],
            )?,
            state,
        })
    }

    /// The labels of one lane, resolved.
    pub(crate) fn lane(&self, plan: &LanePlan, partition: u32) -> LaneMeters {
        let lane = plan.name.as_str();
        let stages = plan.stages.iter().map(|s| self.stage(lane, &s.name)).collect();
        let state = self.state.with_label_values(&[lane, plan.topic.as_str(), &partition.to_string()]);
        let log_error = |kind: &str| self.log_errors.with_label_values(&[lane, kind]);
        LaneMeters {
            stages,
            undecodable: self.dead.with_label_values(&["decode"]),
            generations: self.generations.with_label_values(&[lane]),
            batch_records: self.batch_records.with_label_values(&[lane]),
            commit_seconds: self.commit_seconds.with_label_values(&[lane]),
            log_away: log_error("retry"),
            log_full: log_error("full"),
            log_broken: log_error("broken"),
            state,
        }
    }

    fn stage(&self, lane: &str, stage: &str) -> StageMeters {
        let outcome = |word: &str| self.stage_records.with_label_values(&[stage, word]);
        StageMeters {
            seconds: self.stage_seconds.with_label_values(&[stage]),
            next: outcome("next"),
            divert: outcome("divert"),
            done: outcome("done"),
            retry: outcome("retry"),
            refuse: outcome("refuse"),
            died: outcome("died"),
            deaths: self.deaths.with_label_values(&[lane, stage]),
            dead: self.dead.with_label_values(&[stage]),
        }
    }
}

pub(crate) struct LaneMeters {
    pub(crate) stages: Vec<StageMeters>,
    pub(crate) undecodable: IntCounter,
    pub(crate) generations: IntCounter,
    pub(crate) batch_records: Histogram,
    pub(crate) commit_seconds: Histogram,
    pub(crate) log_away: IntCounter,
    pub(crate) log_full: IntCounter,
    pub(crate) log_broken: IntCounter,
    pub(crate) state: IntGauge,
}

pub(crate) struct StageMeters {
    pub(crate) seconds: Histogram,
    pub(crate) next: IntCounter,
    pub(crate) divert: IntCounter,
    pub(crate) done: IntCounter,
    pub(crate) retry: IntCounter,
    pub(crate) refuse: IntCounter,
    pub(crate) died: IntCounter,
    pub(crate) deaths: IntCounter,
    pub(crate) dead: IntCounter,
}
