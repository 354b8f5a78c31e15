//! What takes things in: SMTP, the site, the admin API, and `/metrics`.

use super::metrics::Sources;
use super::{Parts, StartError, tls};
use crate::admin::{self, Access, Desk};
use crate::web::{metrics, site};
use serde::Serialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tidegate_actors::ingest;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Names that `--only` takes beside those of stages.
pub(super) const NAMES: &[&str] = &["smtp", "site"];

/// How long open SMTP sessions and requests may take at the end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a gateway listens; also written to `listening.json` in the data directory.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Listening {
    /// SMTP.
    pub smtp: Vec<SocketAddr>,
    /// Submission.
    pub submission: Vec<SocketAddr>,
    /// Submission over implicit TLS.
    pub submissions: Vec<SocketAddr>,
    /// The site.
    pub site: Option<SocketAddr>,
    /// `/metrics` and `/health`.
    pub metrics: Option<SocketAddr>,
    /// The admin API.
    pub admin: Option<SocketAddr>,
    /// The data directory.
    pub data: Option<PathBuf>,
}

/// Running listeners.
pub(super) struct Listeners {
    pub(super) listening: Listening,
    smtp: (watch::Sender<bool>, JoinSet<()>),
    web: (watch::Sender<bool>, JoinSet<()>),
}

impl Listeners {
    /// SMTP first, so that nothing new comes; then the rest.
    pub(super) async fn stop(self) {
        for (stop, mut tasks) in [self.smtp, self.web] {
            stop.send_replace(true);
            let all = async { while tasks.join_next().await.is_some() {} };
            if tokio::time::timeout(PATIENCE, all).await.is_err() {
                tracing::warn!("open connections are cut: they did not end in {PATIENCE:?}");
            }
        }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|e| StartError::Away(format!("cannot listen on {address}: {e}")))
}

/// Opens all that the configuration and `--only` name.
pub(super) async fn open(
    parts: &Arc<Parts>,
    sources: &Arc<Sources>,
    registry: prometheus::Registry,
    only: &[String],
) -> Result<Listeners, StartError> {
    let wanted = |name: &str| only.is_empty() || only.iter().any(|o| o == name);
    let mut listening = Listening { data: Some(parts.data.clone()), ..Listening::default() };
    let smtp = watch::channel(false);
    let web = watch::channel(false);
    let (mut smtp_tasks, mut web_tasks) = (JoinSet::new(), JoinSet::new());
    open_admin(parts, &mut listening, &mut web_tasks, web.1.clone()).await?;
    if let Some(address) = parts.config.listen.metrics {
        let listener = bind(address).await?;
        listening.metrics = Some(listener.local_addr()?);
        web_tasks.spawn(metrics::serve(registry.clone(), sources.health(), listener, web.1.clone()));
    }
    if wanted("site")
        && let Some(address) = parts.config.listen.site
    {
        let listener = bind(address).await?;
        listening.site = Some(listener.local_addr()?);
        let site = open_site(parts, &registry)?;
        let stop = web.1.clone();
        web_tasks.spawn(async move { site.serve(listener, stop).await });
    }
    if wanted("smtp") {
        open_smtp(parts, sources, &mut listening, &mut smtp_tasks, &smtp.1).await?;
    }
    web_tasks.spawn(follow_keys(parts.clone(), web.1.clone()));
    let json = serde_json::to_vec_pretty(&listening).map_err(std::io::Error::other)?;
    crate::files::write_private(&parts.data.join("listening.json"), &json)?;
    Ok(Listeners { listening, smtp: (smtp.0, smtp_tasks), web: (web.0, web_tasks) })
}

async fn follow_keys(parts: Arc<Parts>, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = super::keys::follow(parts.data.clone(), parts.keys.clone()) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

async fn open_admin(
    parts: &Arc<Parts>,
    listening: &mut Listening,
    tasks: &mut JoinSet<()>,
    stop: watch::Receiver<bool>,
) -> Result<(), StartError> {
    let listener = bind(parts.config.listen.admin.unwrap_or_else(|| ([127, 0, 0, 1], 0).into())).await?;
    let address = listener.local_addr()?;
    let access = Access::new(address)?;
    access.save(&parts.data)?;
    listening.admin = Some(address);
    let judge = super::judging::judge(
        &parts.config,
        parts.dns.clone(),
        parts.directory.clone(),
        parts.store.clone(),
        parts.model.clone(),
    )?;
    let desk = Arc::new(Desk { log: parts.log.clone(), store: parts.store.clone(), judge });
    tasks.spawn(admin::serve(desk, listener, access.token, stop));
    Ok(())
}

fn open_site(parts: &Arc<Parts>, registry: &prometheus::Registry) -> Result<Arc<site::Site>, StartError> {
    let counters = site::Counters::new(registry).map_err(|e| StartError::Config(e.to_string()))?;
    let settings = site::Settings {
        base: parts.config.site.base.clone(),
        connections: parts.config.site.max_connections,
        ..site::Settings::default()
    };
    let site = site::Site::new(
        parts.keys.clone(),
        parts.directory.clone(),
        parts.store.clone(),
        parts.intake.clone(),
        settings,
        Arc::new(counters),
    );
    Ok(Arc::new(site.map_err(|e| StartError::Config(e.to_string()))?))
}

async fn open_smtp(
    parts: &Arc<Parts>,
    sources: &Arc<Sources>,
    listening: &mut Listening,
    tasks: &mut JoinSet<()>,
    stop: &watch::Receiver<bool>,
) -> Result<(), StartError> {
    let tls = tls::server_config(&parts.config, &parts.data)?;
    let listen = &parts.config.listen;
    let services = [
        (&listen.smtp, ingest::Mode::Inbound, false, &mut listening.smtp),
        (&listen.submission, ingest::Mode::Submission, false, &mut listening.submission),
        (&listen.submissions, ingest::Mode::Submission, true, &mut listening.submissions),
    ];
    for (addresses, mode, implicit_tls, bound) in services {
        for address in addresses {
            let listener = bind(*address).await?;
            bound.push(listener.local_addr()?);
            let settings = smtp_settings(parts, mode, implicit_tls, tls.clone())?;
            let server = Arc::new(ingest::Server::new(
                settings,
                parts.intake.clone(),
                parts.directory.clone(),
                Some(parts.dns.clone()),
                Some(parts.lists.clone()),
                sources.smtp.clone(),
            ));
            let stop = stop.clone();
            tasks.spawn(async move { server.serve(listener, stop).await });
        }
    }
    Ok(())
}

fn smtp_settings(
    parts: &Parts,
    mode: ingest::Mode,
    implicit_tls: bool,
    tls: Arc<rustls::ServerConfig>,
) -> Result<ingest::Settings, StartError> {
    let smtp = &parts.config.smtp;
    let nets = |key: &str, texts: &[String]| -> Result<Vec<ingest::IpNet>, StartError> {
        let one = |text: &String| {
            text.parse()
                .map_err(|_| StartError::Config(format!("`smtp.{key}`: `{text}` is no address or prefix")))
        };
        texts.iter().map(one).collect()
    };
    Ok(ingest::Settings {
        hostname: parts.config.server.hostname.clone(),
        mode,
        tls: Some(tls),
        implicit_tls,
        proxy_protocol: smtp.proxy_protocol,
        trusted_proxies: nets("trusted_proxies", &smtp.trusted_proxies)?,
        xclient_hosts: nets("xclient_hosts", &smtp.xclient_hosts)?,
        relay_hosts: nets("relay_hosts", &smtp.relay_hosts)?,
        refuse_early_talkers: smtp.refuse_early_talkers,
        limits: ingest::Limits {
            max_message_bytes: smtp.max_message_bytes,
            max_recipients: smtp.max_recipients,
            max_connections: smtp.max_connections,
            max_connections_per_ip: smtp.max_connections_per_client,
            messages_per_minute_per_ip: smtp.messages_per_minute_per_client,
            greet_delay: Duration::from_millis(smtp.greet_delay_ms),
            ..ingest::Limits::default()
        },
    })
}
