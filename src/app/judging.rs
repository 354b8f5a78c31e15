//! What judging needs, put together the same way for the pipeline, `judge` and `replay`.

use super::StartError;
use crate::backends::dns::{system, zone};
use crate::config::Config;
use std::sync::Arc;
use std::time::Duration;
use tidegate_actors::check_dns::{CheckDns, ListSpec, Lists, Settings};
use tidegate_actors::ports::{Directory, Dns, Store};
use tidegate_actors::score_spam::ScoreSpam;
use tidegate_actors::score_spam::classifier::SharedModel;
use tidegate_actors::score_spam::reputation::Reputation;

/// DNS as configured: a zone file and nothing else, or servers.
pub fn dns(config: &Config) -> Result<Arc<dyn Dns>, StartError> {
    let Some(file) = &config.dns.zone else {
        let timeout = Duration::from_millis(config.dns.timeout_ms);
        let options =
            system::Options { servers: config.dns.servers.clone(), timeout, ..system::Options::default() };
        let system = system::System::new(&options).map_err(|e| StartError::Config(e.to_string()))?;
        return Ok(Arc::new(system));
    };
    let path = config.base.join(file);
    let text =
        std::fs::read_to_string(&path).map_err(|e| StartError::Config(format!("{}: {e}", path.display())))?;
    let zone = zone::Zone::parse(&text).map_err(|mistakes| {
        let lines: Vec<String> =
            mistakes.iter().map(|m| format!("{}:{}: {}", path.display(), m.line, m.what)).collect();
        StartError::Config(lines.join("\n"))
    })?;
    Ok(Arc::new(zone))
}

/// The settings of `check_dns`.
pub fn checks(config: &Config) -> Result<Settings, StartError> {
    let authserv_id = match config.checks.authserv_id.as_str() {
        "" => config.server.hostname.clone(),
        id => id.to_owned(),
    };
    Ok(Settings {
        authserv_id,
        client_lists: list_specs("checks.client_lists", &config.checks.client_lists)?,
        domain_lists: list_specs("checks.domain_lists", &config.checks.domain_lists)?,
        trusted_arc_sealers: config.checks.trusted_arc_sealers.clone(),
        deadline: Duration::from_millis(config.checks.deadline_ms),
    })
}

fn list_specs(key: &str, tables: &[toml::Value]) -> Result<Vec<ListSpec>, StartError> {
    let one = |table: &toml::Value| table.clone().try_into::<ListSpec>();
    let specs: Result<Vec<ListSpec>, _> = tables.iter().map(one).collect();
    specs.map_err(|e| StartError::Config(format!("`{key}`: {}", e.message())))
}

/// The judging stages for `judge` and `replay`.
pub fn judge(
    config: &Config,
    dns: Arc<dyn Dns>,
    directory: Arc<dyn Directory>,
    store: Arc<dyn Store>,
    model: SharedModel,
) -> Result<crate::admin::Judge, StartError> {
    let checks = checks(config)?;
    let lists = Arc::new(Lists::new(dns.clone(), &checks));
    let check = CheckDns::new(dns, directory.clone(), lists, checks);
    let score = ScoreSpam::new(directory.clone(), Arc::new(Reputation::new(store)), model);
    Ok(crate::admin::Judge { stages: vec![Arc::new(check), Arc::new(score)], directory })
}
