//! What stages and services share, opened once.

use super::{StartError, judging, keys};
use crate::backends::directory::StoreDirectory;
use crate::backends::intake::LogIntake;
use crate::backends::log::{Embedded, OpenError, Options, TopicSpec};
use crate::backends::relay;
use crate::config::Config;
use parking_lot::RwLock;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tidegate_actors::check_dns::{self, Lists};
use tidegate_actors::deliver::{self, Deliver};
use tidegate_actors::detect_sender::Today;
use tidegate_actors::hold::Tallies;
use tidegate_actors::ports::{Directory, Dns, Intake, Store};
use tidegate_actors::score_spam::classifier::{Model, SharedModel};
use tidegate_actors::score_spam::reputation::Reputation;
use tidegate_schemas::link::LinkKeys;
use tidegate_topology::log::Seat;
use tidegate_topology::plan::Plan;

/// The shared parts.
pub struct Parts {
    /// The configuration.
    pub config: Config,
    /// The data directory.
    pub data: PathBuf,
    /// Log and store.
    pub log: Arc<Embedded>,
    /// The store, as a port.
    pub store: Arc<dyn Store>,
    /// The way into the log.
    pub intake: Arc<dyn Intake>,
    /// Tenants.
    pub directory: Arc<dyn Directory>,
    /// DNS.
    pub dns: Arc<dyn Dns>,
    /// DNS lists, with their health.
    pub lists: Arc<Lists>,
    /// Settings of `check_dns`.
    pub checks: check_dns::Settings,
    /// Link keys.
    pub keys: keys::SharedKeys,
    /// The classifier.
    pub model: SharedModel,
    /// What is known of sites that links lead to.
    pub reputation: Arc<Reputation>,
    /// New senders of today.
    pub today: Arc<Today>,
    /// What stages count for the balance of fates.
    pub tallies: Arc<Tallies>,
    /// What outlives a generation of `deliver`.
    pub delivered: Arc<deliver::Shared>,
    delivery: deliver::Settings,
    relay: Arc<dyn deliver::relay::Relay>,
}

impl Parts {
    /// Opens everything of a data directory.
    pub async fn open(
        config: Config,
        data: PathBuf,
        plan: &Plan,
        latency: prometheus::Histogram,
    ) -> Result<Arc<Parts>, StartError> {
        std::fs::create_dir_all(&data)?;
        let log = open_log(&config, &data, plan)?;
        let store: Arc<dyn Store> = log.clone();
        if let Some(file) = &config.server.tenants {
            apply_tenants(&config.base.join(file), &store).await?;
        }
        let keys = open_keys(&data, &store).await?;
        let model = open_model(&model_path(&data)).map_err(|e| StartError::Data(format!("{e:#}")))?;
        let dns = judging::dns(&config)?;
        let checks = judging::checks(&config)?;
        let hook: deliver::OnDelivered = Arc::new(move |_, took| latency.observe(took.as_secs_f64()));
        Ok(Arc::new(Parts {
            intake: Arc::new(LogIntake::new(log.clone())),
            directory: Arc::new(StoreDirectory::new(store.clone())),
            lists: Arc::new(Lists::new(dns.clone(), &checks)),
            keys: Arc::new(RwLock::new(Arc::new(keys))),
            model: Arc::new(RwLock::new(model)),
            reputation: Arc::new(Reputation::new(store.clone())),
            today: Arc::default(),
            delivered: Arc::new(deliver::Shared::with_hook(hook)),
            tallies: Arc::default(),
            delivery: delivery(&config)?,
            relay: Arc::new(relay::Network::new(relay_options(&config))),
            config,
            data,
            log,
            store,
            dns,
            checks,
        }))
    }

    /// A fresh `deliver`.
    pub fn deliver(&self) -> Deliver {
        Deliver::new(
            self.relay.clone(),
            self.directory.clone(),
            self.dns.clone(),
            self.delivered.clone(),
            self.delivery.clone(),
        )
    }

    /// Finishes what is queued and closes log and store.
    pub fn close(&self) {
        self.log.close();
    }
}

/// Where the classifier's model of a data directory is.
pub fn model_path(data: &Path) -> PathBuf {
    data.join("model.bin")
}

/// The model of a file; an empty one when there is none yet.
pub fn open_model(path: &Path) -> anyhow::Result<Model> {
    let (model, damaged) = Model::load_or_new(path);
    if let Some(error) = damaged {
        // A filter that forgot is better than a gateway that stands still; the file is kept beside.
        tracing::error!(%error, "the classifier starts empty");
    }
    Ok(model)
}

fn open_log(config: &Config, data: &Path, plan: &Plan) -> Result<Arc<Embedded>, StartError> {
    let topics = plan.topics.iter().map(|t| TopicSpec { name: t.name.clone(), partitions: t.partitions });
    let seats = plan.lanes.iter().flat_map(|lane| {
        let seat = |partition| Seat { consumer: lane.name.clone(), topic: lane.topic.clone(), partition };
        (0..lane.partitions).map(seat)
    });
    let options = Options {
        topics: topics.collect(),
        consumers: seats.collect(),
        segment_bytes: config.log.segment_bytes,
        retain_bytes: config.log.retain_bytes,
        retain_age: Duration::from_secs(config.log.retain_hours * 3_600),
        fsync: config.log.fsync,
        min_free_bytes: config.log.min_free_bytes,
        ..Options::default()
    };
    Embedded::open(data, options).map_err(|error| match error {
        OpenError::Locked { .. } => StartError::Away(error.to_string()),
        OpenError::Io(e) => StartError::Io(e),
        other => StartError::Data(other.to_string()),
    })
}

async fn apply_tenants(file: &Path, store: &Arc<dyn Store>) -> Result<(), StartError> {
    let told = |why: String| StartError::Config(format!("{}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|e| told(e.to_string()))?;
    let tenants = crate::tenants::parse(&text).map_err(|e| told(e.to_string()))?;
    let changes =
        crate::tenants::apply(store, &tenants).await.map_err(|e| StartError::Away(e.to_string()))?;
    for change in changes {
        tracing::info!("tenants: {change}");
    }
    Ok(())
}

/// The link keys. Fresh ones are made only for a fresh store: over an old store they would quietly break every
/// link that was ever delivered.
async fn open_keys(data: &Path, store: &Arc<dyn Store>) -> Result<LinkKeys, StartError> {
    let used = store.partitions("traces", "", 1).await.map_err(|e| StartError::Away(e.to_string()))?;
    if !used.is_empty() && !keys::path(data).exists() {
        let path = keys::path(data);
        let why =
            format!("{} is missing, and links were made with it: restore it from a copy", path.display());
        return Err(StartError::Data(why));
    }
    keys::open(data).map_err(|e| StartError::Data(format!("{e:#}")))
}

fn relay_options(config: &Config) -> relay::Options {
    relay::Options {
        hostname: config.server.hostname.clone(),
        connect_timeout: Duration::from_millis(config.deliver.connect_timeout_ms),
        concurrency: config.deliver.concurrency,
        ..relay::Options::default()
    }
}

/// The settings of `deliver`.
pub(super) fn delivery(config: &Config) -> Result<deliver::Settings, StartError> {
    let route =
        |text: &str| deliver::route::Route::parse(text).map_err(|e| StartError::Config(e.to_string()));
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    let mut keys = Vec::new();
    for key in &config.deliver.dkim {
        let path = config.base.join(&key.key);
        let pem = std::fs::read(&path).map_err(|e| StartError::Config(format!("{}: {e}", path.display())))?;
        keys.push((key.domain.clone(), key.selector.clone(), pem));
    }
    Ok(deliver::Settings {
        hostname: config.server.hostname.clone(),
        default_route: route(&config.deliver.default_route)?,
        outbound_route: route(&config.deliver.outbound_route)?,
        retry_delays: config.deliver.retry_seconds.map(Duration::from_secs),
        expire_after: hours(config.deliver.expire_hours),
        delay_notice_after: hours(config.deliver.delay_notice_hours),
        keys: deliver::dkim::Keys::from_pem(&keys).map_err(|e| StartError::Config(e.to_string()))?,
        ..deliver::Settings::default()
    })
}
