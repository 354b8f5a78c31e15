//! The program as it runs: what is opened in which order, and how it stops.
//!
//! Start: log and store, keys, tenants, DNS, model, lanes, then what takes things in (admin, site, SMTP last),
//! so that nothing arrives before it can be worked on. Stop is the reverse: SMTP stops taking mail first, then
//! the site, then the lanes commit what is in flight, then the log closes. Mail that is not through by then
//! lies in the log and goes on at the next start.

pub mod judging;
pub mod keys;
mod listeners;
mod metrics;
mod parts;
mod tls;
#[cfg(feature = "trap")]
pub mod trap;

pub use listeners::Listening;
pub use parts::{Parts, model_path, open_model};

use crate::config::Config;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tidegate_topology::plan::Plan;
use tidegate_topology::running::Running;

/// How long lanes may take to finish what they have in hand.
const DRAIN: Duration = Duration::from_secs(30);

/// Why the program does not start, or did not stop well.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration does not work: 78.
    #[error("{0}")]
    Config(String),
    /// An address or service is not to be had: 69.
    #[error("{0}")]
    Away(String),
    /// The data directory is damaged or in use: 65.
    #[error("{0}")]
    Data(String),
    /// A file could not be read or written: 74.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// The topology that this configuration asks for; `only` keeps some of its stages.
pub fn plan(config: &Config, only: &[String]) -> Result<Plan, StartError> {
    let text = match &config.server.topology {
        Some(file) => std::fs::read_to_string(config.base.join(file))?,
        None => tidegate_topology::spec::MAIL_TOML.to_owned(),
    };
    let told = |mistakes: Vec<tidegate_topology::spec::Mistake>| {
        let lines: Vec<String> = mistakes.iter().map(|m| format!("topology: {m}")).collect();
        StartError::Config(lines.join("\n"))
    };
    let plan = tidegate_topology::plan::plan(&text, &crate::registry::all_known()).map_err(told)?;
    let stages: Vec<&str> =
        only.iter().map(String::as_str).filter(|s| !listeners::NAMES.contains(s)).collect();
    if only.is_empty() {
        return Ok(plan);
    }
    plan.only(&stages).map_err(told)
}

/// Everything that can be checked without running.
pub fn check(config: &Config) -> Result<(), StartError> {
    plan(config, &[])?;
    judging::dns(config)?;
    judging::checks(config)?;
    parts::delivery(config)?;
    Ok(())
}

/// A running gateway.
pub struct Gateway {
    parts: Arc<Parts>,
    running: Arc<Running>,
    listeners: listeners::Listeners,
}

/// Starts everything; returns when it listens.
pub async fn start(config: Config, data: PathBuf, only: &[String]) -> Result<Gateway, StartError> {
    let plan = plan(&config, only)?;
    let registry = prometheus::Registry::new();
    let latency = metrics::latency(&registry)?;
    let parts = Parts::open(config, data, &plan, latency).await?;
    let factories = crate::registry::factories(&parts);
    let wrong = |e: String| StartError::Config(e);
    let meters = tidegate_topology::Metrics::register(&registry).map_err(|e| wrong(e.to_string()))?;
    let log: Arc<dyn tidegate_topology::log::Log> = parts.log.clone();
    let running = Running::start(&plan, log, &factories, &meters).map_err(|e| wrong(e.to_string()))?;
    let running = Arc::new(running);
    let sources = metrics::Sources::register(&registry, &parts, &running)?;
    let listeners = listeners::open(&parts, &sources, registry, only).await?;
    Ok(Gateway { parts, running, listeners })
}

impl Gateway {
    /// Where it listens.
    pub fn listening(&self) -> &Listening {
        &self.listeners.listening
    }

    /// Resolves when a lane gave up or the log broke, with the reason.
    pub async fn broken(&self) -> String {
        self.running.stopped().await.to_string()
    }

    /// Stops in order; what is in flight is finished or stays in the log.
    pub async fn stop(self) -> Result<(), StartError> {
        self.listeners.stop().await;
        for late in self.running.drain(DRAIN).await {
            tracing::warn!(lane = %late.lane, partition = late.partition, "did not drain in time; its batch is worked again at the next start");
        }
        self.parts.close();
        Ok(())
    }
}
