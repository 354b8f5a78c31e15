//! What the parts count by themselves, as Prometheus metrics, and the state of the whole for `/health`.
//!
//! The fates of mail balance, by record: `in = out + held + refused + dead + queued`, where a mail that was
//! split per recipient counts each part. `queued` is what lies before `deliver` and on the retry topics.

use super::{Parts, StartError};
use crate::web::metrics::Health;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGaugeVec, Opts, Registry};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tidegate_actors::ingest;
use tidegate_topology::log::Log;
use tidegate_topology::running::Running;

/// Where figures come from.
pub(super) struct Sources {
    pub(super) smtp: Arc<ingest::Counters>,
    parts: Arc<Parts>,
    running: Arc<Running>,
}

impl Sources {
    /// Registers collectors over the parts.
    pub(super) fn register(
        registry: &Registry,
        parts: &Arc<Parts>,
        running: &Arc<Running>,
    ) -> Result<Arc<Sources>, StartError> {
        let sources =
            Arc::new(Sources { smtp: Arc::default(), parts: parts.clone(), running: running.clone() });
        let figures = Figures::new(sources.clone()).map_err(wrong)?;
        registry.register(Box::new(figures)).map_err(wrong)?;
        Ok(sources)
    }

    /// For `/health`.
    pub(super) fn health(self: &Arc<Sources>) -> Health {
        let sources = self.clone();
        Arc::new(move || {
            let stats = sources.parts.log.stats();
            let lanes: Vec<_> = sources
                .running
                .health()
                .iter()
                .map(|l| json!({"lane": l.lane, "topic": l.topic, "partition": l.partition, "state": l.state.word(), "why": l.why}))
                .collect();
            let well = sources.running.is_well() && !stats.broken;
            (well, json!({"log": {"broken": stats.broken, "full": stats.full}, "lanes": lanes}))
        })
    }
}

#[allow(clippy::needless_pass_by_value, reason = "map_err passes it so")]
fn wrong(error: prometheus::Error) -> StartError {
    StartError::Config(format!("metrics: {error}"))
}

/// The histogram of the time from the final dot to delivery, for `deliver`'s hook.
pub(super) fn latency(registry: &Registry) -> Result<Histogram, StartError> {
    let buckets =
        vec![0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3_600.0, 86_400.0];
    let options = HistogramOpts::new("tidegate_delivery_seconds", "From the final dot to the next hop's 250")
        .buckets(buckets);
    let histogram = Histogram::with_opts(options).map_err(wrong)?;
    registry.register(Box::new(histogram.clone())).map_err(wrong)?;
    Ok(histogram)
}

/// Metrics that are read off the parts when asked for.
struct Figures {
    sources: Arc<Sources>,
    mails: IntCounterVec,
    smtp: IntCounterVec,
    smtp_refused: IntCounterVec,
    delivery: IntCounterVec,
    log: IntCounterVec,
    gauges: IntGaugeVec,
    lag: IntGaugeVec,
}

impl Figures {
    fn new(sources: Arc<Sources>) -> prometheus::Result<Figures> {
        let counter =
            |name: &str, help: &str, label: &str| IntCounterVec::new(Opts::new(name, help), &[label]);
        Ok(Figures {
            sources,
            mails: counter(
                "tidegate_mails_total",
                "Recipients by fate since the start: in, out, held, refused, dead",
                "fate",
            )?,
            smtp: counter(
                "tidegate_smtp_total",
                "Connections, accepted records, recipients and octets, replies by class",
                "what",
            )?,
            smtp_refused: counter("tidegate_smtp_refused_total", "What SMTP refused, by reason", "reason")?,
            delivery: counter(
                "tidegate_delivery_total",
                "Recipients by outcome of an attempt, and reports made",
                "outcome",
            )?,
            log: counter(
                "tidegate_log_total",
                "Work of the log: fsyncs, groups, frames, records, bytes",
                "what",
            )?,
            gauges: IntGaugeVec::new(
                Opts::new("tidegate_log_state", "State of the log: segments, disk_bytes, broken, full, ..."),
                &["what"],
            )?,
            lag: IntGaugeVec::new(
                Opts::new("tidegate_topic_lag_records", "Records that a lane has not committed yet"),
                &["lane", "topic", "partition"],
            )?,
        })
    }

    fn all(&self) -> [&dyn Collector; 7] {
        [&self.mails, &self.smtp, &self.smtp_refused, &self.delivery, &self.log, &self.gauges, &self.lag]
    }

    fn read(&self) {
        let smtp = &self.sources.smtp;
        let delivered = &self.sources.parts.delivered;
        let tallies = &self.sources.parts.tallies;
        let set = |vec: &IntCounterVec, label: &str, value: u64| {
            let counter = vec.with_label_values(&[label]);
            counter.inc_by(value.saturating_sub(counter.get()));
        };
        set(&self.mails, "in", smtp.recipients.load(Relaxed));
        set(&self.mails, "out", delivered.delivered.load(Relaxed));
        set(&self.mails, "refused", delivered.failed.load(Relaxed));
        set(&self.mails, "held", tallies.held.load(Relaxed));
        set(&self.smtp, "connections", smtp.connections.load(Relaxed));
        set(&self.smtp, "records", smtp.mails.load(Relaxed));
        set(&self.smtp, "recipients", smtp.recipients.load(Relaxed));
        set(&self.smtp, "bytes", smtp.bytes.load(Relaxed));
        for (class, label) in [(2, "replies_2xx"), (3, "replies_3xx"), (4, "replies_4xx"), (5, "replies_5xx")]
        {
            set(&self.smtp, label, smtp.replies[class].load(Relaxed));
        }
        for (reason, count) in smtp.refused() {
            set(&self.smtp_refused, reason, count);
        }
        set(&self.delivery, "delivered", delivered.delivered.load(Relaxed));
        set(&self.delivery, "deferred", delivered.deferred.load(Relaxed));
        set(&self.delivery, "failed", delivered.failed.load(Relaxed));
        set(&self.delivery, "reports", delivered.reports.load(Relaxed));
        self.read_log(&set);
    }

    fn read_log(&self, set: &dyn Fn(&IntCounterVec, &str, u64)) {
        let stats = self.sources.parts.log.stats();
        let counts = [
            ("fsyncs", stats.fsyncs),
            ("groups", stats.groups),
            ("frames", stats.frames),
            ("records", stats.records),
            ("bytes", stats.bytes),
            ("moved", stats.moved),
        ];
        for (label, value) in counts {
            set(&self.log, label, value);
        }
        let states = [
            ("segments", stats.segments),
            ("disk_bytes", stats.disk_bytes),
            ("oldest_ms", stats.oldest_ms),
            ("cache_bytes", stats.cache_bytes),
            ("store_waiting_bytes", stats.store_waiting_bytes),
            ("broken", u64::from(stats.broken)),
            ("full", u64::from(stats.full)),
            ("smtp_sessions", self.sources.smtp.sessions.load(Relaxed)),
        ];
        for (label, value) in states {
            self.gauges.with_label_values(&[label]).set(value as i64);
        }
        for lag in self.sources.parts.log.lags() {
            let partition = lag.seat.partition.to_string();
            let gauge = self.lag.with_label_values(&[&lag.seat.consumer, &lag.seat.topic, &partition]);
            gauge.set(lag.end.saturating_sub(lag.position) as i64);
        }
    }
}

impl Collector for Figures {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read();
        self.all().into_iter().flat_map(|c| c.collect()).collect()
    }
}
