//! `run`, `check` and `plan`.

use super::args::{PlanFormat, Run};
use super::{Failure, exit, output};
use crate::app::{self, StartError};
use crate::config::{self, Config};
use std::path::Path;
use tidegate_topology::plan::Plan;

pub(super) fn run(args: &Run) -> Result<(), Failure> {
    let config = config::load(&args.config).map_err(|e| Failure::new(exit::CONFIG, e))?;
    crate::telemetry::start(&config.telemetry);
    let data = args.data.clone().unwrap_or_else(|| config.base.join(&config.server.data));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let gateway = app::start(config, data, &args.only).await.map_err(failed)?;
        tracing::info!(listening = ?gateway.listening(), "ready");
        tokio::select! {
            () = wait_for_signal() => {
                tracing::info!("stopping: draining what is in flight");
                gateway.stop().await.map_err(failed)
            }
            why = gateway.broken() => {
                let _drained = gateway.stop().await;
                Err(Failure::text(exit::SOFTWARE, why))
            }
        }
    })
}

/// SIGTERM or SIGINT.
pub(super) async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut term) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = term.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// The exit code of an error of starting or stopping.
pub(super) fn failed(error: StartError) -> Failure {
    let code = match &error {
        StartError::Config(_) => exit::CONFIG,
        StartError::Away(_) => exit::UNAVAILABLE,
        StartError::Data(_) => exit::DATA,
        StartError::Io(_) => exit::IO,
    };
    Failure::new(code, error)
}

pub(super) fn check(path: &Path) -> Result<(), Failure> {
    let config = config::load(path).map_err(|e| Failure::new(exit::CONFIG, e))?;
    app::check(&config).map_err(failed)?;
    output::line(&format!("{}: no mistakes", path.display()));
    Ok(())
}

pub(super) fn plan(path: Option<&Path>, format: PlanFormat, only: &[String]) -> Result<(), Failure> {
    let config = match path {
        Some(path) => config::load(path).map_err(|e| Failure::new(exit::CONFIG, e))?,
        None => Config::default(),
    };
    let plan: Plan = app::plan(&config, only).map_err(failed)?;
    let text = match format {
        PlanFormat::Text => plan.text(),
        PlanFormat::Dot => plan.dot(),
        PlanFormat::Mermaid => plan.mermaid(),
    };
    output::line(text.trim_end());
    Ok(())
}
