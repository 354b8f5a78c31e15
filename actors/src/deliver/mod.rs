//! The stage `deliver`: each recipient is handed to its next hop, or tried again later, or reported.
//!
//! Invariants:
//! * Every recipient ends as delivered, deferred (one record of the remainder on a retry topic), reported to a
//!   sender who is known to be real, or as a row of `dead` that an operator sees. Nothing just stops.
//! * What was handed over is remembered in [`Shared`], which outlives a generation: a batch that is worked again
//!   after a death does not send twice what is known to be sent.
//! * Signing comes last.

pub mod dkim;
mod dsn;
pub mod relay;
mod resolve;
pub mod route;
mod schedule;
mod settle;

pub use schedule::PORTS;

use crate::ports::{Directory, Dns, StoreError};
use crate::stage::{Stage, Step, Trouble};
use async_trait::async_trait;
use bytes::Bytes;
use relay::{Destination, Job, Outcome, Relay};
use resolve::NoWay;
use route::Route;
use settle::Fate;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tidegate_schemas::mail::{Direction, Mail, domain_of};
use tidegate_schemas::{Record, now_ms};

/// How mail is delivered.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our own name.
    pub hostname: String,
    /// Next hop of inbound mail of domains without a route.
    pub default_route: Route,
    /// Next hop of outbound mail and reports.
    pub outbound_route: Route,
    /// The four waits between attempts.
    pub retry_delays: [Duration; 4],
    /// When mail is given up.
    pub expire_after: Duration,
    /// When the sender is told of a delay; zero = never.
    pub delay_notice_after: Duration,
    /// Time of one mail in this stage; what is not through by then is deferred.
    pub patience: Duration,
    /// DKIM keys.
    pub keys: dkim::Keys,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            hostname: "localhost".into(),
            default_route: Route::Mx,
            outbound_route: Route::Mx,
            retry_delays: [60, 300, 1_800, 7_200].map(Duration::from_secs),
            expire_after: Duration::from_secs(5 * 86_400),
            delay_notice_after: Duration::from_secs(4 * 3_600),
            patience: Duration::from_secs(60),
            keys: dkim::Keys::default(),
        }
    }
}

/// Hook for the time from accepted to delivered.
pub type OnDelivered = Arc<dyn Fn(&Mail, Duration) + Send + Sync>;

/// What outlives a generation of the stage.
pub struct Shared {
    sent: moka::sync::Cache<String, ()>,
    /// Recipients handed over.
    pub delivered: AtomicU64,
    /// Attempts that ended in "later", by recipient.
    pub deferred: AtomicU64,
    /// Recipients given up.
    pub failed: AtomicU64,
    /// Reports made.
    pub reports: AtomicU64,
    /// Called for each mail that was handed over whole or in part.
    on_delivered: Option<OnDelivered>,
}

impl Default for Shared {
    fn default() -> Shared {
        let sent = moka::sync::Cache::builder()
            .max_capacity(200_000)
            .time_to_live(Duration::from_secs(3_600))
            .build();
        let (delivered, deferred, failed, reports) = Default::default();
        Shared { sent, delivered, deferred, failed, reports, on_delivered: None }
    }
}

impl Shared {
    /// One that calls this hook.
    pub fn with_hook(hook: OnDelivered) -> Shared {
        Shared { on_delivered: Some(hook), ..Shared::default() }
    }

    fn key(mail: &Mail, recipient: &str) -> String {
        format!("{} {recipient}", mail.id)
    }
}

/// The stage.
pub struct Deliver {
    relay: Arc<dyn Relay>,
    directory: Arc<dyn Directory>,
    dns: Arc<dyn Dns>,
    shared: Arc<Shared>,
    settings: Settings,
}

/// Recipients (by index) of one destination.
struct Group {
    destination: Result<Arc<Destination>, NoWay>,
    recipients: Vec<usize>,
}

impl Deliver {
    /// A fresh one over what outlives it.
    pub fn new(
        relay: Arc<dyn Relay>,
        directory: Arc<dyn Directory>,
        dns: Arc<dyn Dns>,
        shared: Arc<Shared>,
        settings: Settings,
    ) -> Deliver {
        Deliver { relay, directory, dns, shared, settings }
    }

    /// The route for one recipient domain of a mail.
    async fn route(&self, mail: &Mail, domain: &str) -> Result<Route, StoreError> {
        if mail.direction() == Direction::Outbound {
            return Ok(self.settings.outbound_route.clone());
        }
        let Some(facts) = self.directory.domain(domain).await? else {
            // A report to the world, or mail of a domain that was protected when it came.
            let own = mail.direction() == Direction::Own;
            return Ok(if own {
                self.settings.outbound_route.clone()
            } else {
                self.settings.default_route.clone()
            });
        };
        if facts.route.is_empty() {
            return Ok(self.settings.default_route.clone());
        }
        Route::parse(&facts.route).map_err(|e| StoreError(e.to_string()))
    }

    /// Pending recipients by destination; domains that share one share the job.
    async fn groups(&self, mail: &Mail, pending: &[usize]) -> Result<Vec<Group>, StoreError> {
        let mut by_domain: HashMap<String, Vec<usize>> = HashMap::new();
        for index in pending {
            by_domain.entry(domain_of(&mail.recipients[*index].address)).or_default().push(*index);
        }
        let mut groups: Vec<Group> = Vec::new();
        for (domain, recipients) in by_domain {
            let route = self.route(mail, &domain).await?;
            let destination = resolve::resolve(&*self.dns, &route, &domain, &self.settings.hostname).await;
            let same = groups.iter_mut().find(|g| destination.is_ok() && g.destination == destination);
            match same {
                Some(group) => group.recipients.extend(recipients),
                None => groups.push(Group { destination, recipients }),
            }
        }
        Ok(groups)
    }

    /// The header block to send: signed where we have a key of the author's domain.
    fn header(&self, mail: &Mail) -> Bytes {
        let plain = mail.added_headers.clone();
        if mail.direction() == Direction::Inbound {
            return plain.into();
        }
        let domain = author_domain(mail);
        match self.settings.keys.sign(&domain, plain.as_bytes(), &mail.raw) {
            Some(Ok(signature)) => (signature + &plain).into(),
            Some(Err(why)) => {
                tracing::warn!(mail = %mail.id, %why, "sent without a DKIM signature");
                plain.into()
            }
            None => plain.into(),
        }
    }

    async fn send(&self, mail: &Mail, group: &Group, header: &Bytes) -> Vec<Outcome> {
        let all = |outcome: Outcome| vec![outcome; group.recipients.len()];
        let destination = match &group.destination {
            Ok(destination) => destination.clone(),
            Err(NoWay::Later(why)) => return all(Outcome::Deferred(why.clone())),
            Err(NoWay::Never(why)) => return all(Outcome::Failed((*why).to_owned())),
        };
        let job = Job {
            destination,
            sender: mail.mail_from.clone(),
            recipients: group.recipients.iter().map(|i| mail.recipients[*i].clone()).collect(),
            header: header.clone(),
            body: mail.raw.clone(),
            eight_bit: mail.eight_bit,
            smtputf8: mail.smtputf8,
            ret: mail.ret.clone(),
            envid: mail.envid.clone(),
        };
        match tokio::time::timeout(self.settings.patience, self.relay.send(job)).await {
            Ok(outcomes) if outcomes.len() == group.recipients.len() => outcomes,
            Ok(_) => all(Outcome::Deferred("451 4.3.0 The relay lost count".into())),
            Err(_) => all(Outcome::Deferred("451 4.4.1 No answer in time".into())),
        }
    }

    async fn deliver(&self, mut mail: Box<Mail>) -> Result<Step, StoreError> {
        let is_sent = |recipient: &str| self.shared.sent.contains_key(&Shared::key(&mail, recipient));
        let mut fates: Vec<Fate> =
            mail.recipients.iter().map(|r| Fate::before(is_sent(&r.address))).collect();
        let pending: Vec<usize> = (0..fates.len()).filter(|i| fates[*i] == Fate::Pending).collect();
        let groups = self.groups(&mail, &pending).await?;
        let header = if pending.is_empty() { Bytes::new() } else { self.header(&mail) };
        let sends = groups.iter().map(|group| self.send(&mail, group, &header));
        let outcomes = futures::future::join_all(sends).await;
        for (group, outcomes) in groups.iter().zip(outcomes) {
            for (index, outcome) in group.recipients.iter().zip(outcomes) {
                if matches!(outcome, Outcome::Delivered { .. }) {
                    let key = Shared::key(&mail, &mail.recipients[*index].address);
                    self.shared.sent.insert(key, ());
                }
                fates[*index] = Fate::after(outcome);
            }
        }
        let took = Duration::from_millis(now_ms().saturating_sub(mail.received_ms));
        if let Some(hook) = self.shared.on_delivered.as_ref().filter(|_| fates.iter().any(Fate::is_delivered))
        {
            hook(&mail, took);
        }
        mail.attempts += 1;
        Ok(settle::settle(*mail, &fates, &self.settings, &self.shared))
    }
}

/// Domain of the From field, else of the envelope sender.
fn author_domain(mail: &Mail) -> String {
    let message = crate::parse::few_headers(&mail.raw);
    let from = message.as_ref().and_then(|m| m.from()).and_then(|f| f.first()).and_then(|a| a.address());
    domain_of(from.unwrap_or(&mail.mail_from))
}

#[async_trait]
impl Stage for Deliver {
    fn name(&self) -> &'static str {
        "deliver"
    }

    async fn work(&self, record: Record) -> Result<Step, Trouble> {
        let Record::Mail(mail) = record else { return Ok(Step::done()) };
        let done = self.deliver(mail).await;
        done.map_err(|e| Trouble::Retry { after: Duration::from_secs(1), why: e.to_string() })
    }
}

#[cfg(test)]
mod tests;
