//! What the site counts, for Prometheus. Tenants are labels; users, hosts and links never are.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

/// Counters of the site.
pub struct Counters {
    clicks: IntCounterVec,
    actions: IntCounterVec,
    refused: IntCounterVec,
    pub(super) connections: IntGauge,
}

impl Counters {
    /// Makes the counters and registers them. Fails when names are taken already.
    pub fn new(registry: &Registry) -> prometheus::Result<Counters> {
        let clicks =
            Opts::new("tidegate_site_clicks_total", "Links opened, by what was decided and who opened them");
        let actions = Opts::new("tidegate_site_actions_total", "Buttons pressed: go, trust, block, report");
        let refused = Opts::new(
            "tidegate_site_refused_total",
            "Requests that did not get what they asked for, and why",
        );
        let counters = Counters {
            clicks: IntCounterVec::new(clicks, &["tenant", "decision", "client"])?,
            actions: IntCounterVec::new(actions, &["tenant", "action", "client"])?,
            refused: IntCounterVec::new(refused, &["why"])?,
            connections: IntGauge::new("tidegate_site_connections", "Open connections")?,
        };
        registry.register(Box::new(counters.clicks.clone()))?;
        registry.register(Box::new(counters.actions.clone()))?;
        registry.register(Box::new(counters.refused.clone()))?;
        registry.register(Box::new(counters.connections.clone()))?;
        Ok(counters)
    }

    pub(super) fn click(&self, tenant: &str, decision: &str, client: &str) {
        self.clicks.with_label_values(&[tenant, decision, kind_of(client)]).inc();
    }

    pub(super) fn action(&self, tenant: &str, action: &str, client: &str) {
        self.actions.with_label_values(&[tenant, action, kind_of(client)]).inc();
    }

    pub(super) fn refused(&self, why: &str) {
        self.refused.with_label_values(&[why]).inc();
    }
}

/// `human`, `machine` or `unknown`, without the sign.
fn kind_of(client: &str) -> &str {
    client.split(':').next().unwrap_or_default()
}
