//! Policy, recipients and evidence around the rewriting.
//!
//! Inbound mail with live links becomes one record a recipient, since a token names its user; the links are
//! located once, and each recipient costs only tokens and one copy. Released mail is inbound mail like any
//! other: whoever let it out did not vouch for its links for ever. Outbound mail gets the old links back, so
//! that no token of ours reaches the world. Our own notices pass. Nothing is kept between records.

use super::{Options, locate, render, restore};
use crate::ports::{Directory, DomainFacts};
use crate::stage::{Port, Stage, Step, Trouble};
use async_trait::async_trait;
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::Duration;
use tidegate_schemas::link::{Link, LinkKeys};
use tidegate_schemas::mail::domain_of;
use tidegate_schemas::{Direction, Mail, Policy, Record};

/// The stage `rewrite_links`.
pub struct RewriteLinks {
    keys: Arc<RwLock<Arc<LinkKeys>>>,
    directory: Arc<dyn Directory>,
    default_site: String,
}

impl RewriteLinks {
    /// `default_site` is the base address of the redirect site (`https://links.example.net`) for tenants whose
    /// policy names none. Keys are taken afresh for each record, so a rotation needs no restart.
    pub fn new(
        keys: Arc<RwLock<Arc<LinkKeys>>>,
        directory: Arc<dyn Directory>,
        default_site: String,
    ) -> RewriteLinks {
        RewriteLinks { keys, directory, default_site }
    }

    async fn inbound(&self, mail: Mail) -> Result<Step, Trouble> {
        let first = mail.recipients.first().map_or("", |r| r.address.as_str());
        let facts = self.directory.domain(&domain_of(first)).await;
        let facts =
            facts.map_err(|e| Trouble::Retry { after: Duration::from_secs(1), why: e.to_string() })?;
        // A domain taken away while its mail was on the way: still no reason to let links through bare.
        let policy = facts.as_ref().map_or_else(|| Arc::new(Policy::default()), |f| f.policy.clone());
        if !policy.rewrite {
            return Ok(Step::next(mail));
        }
        let keys = self.keys.read().clone();
        Ok(self.for_each_recipient(mail, facts.as_deref(), &policy, &keys))
    }

    fn for_each_recipient(
        &self,
        mut mail: Mail,
        facts: Option<&DomainFacts>,
        policy: &Policy,
        keys: &LinkKeys,
    ) -> Step {
        let options = Options { rewrite_text: policy.rewrite_text, rewrite_signed: policy.rewrite_signed };
        let mut own = |link: &str| opened(keys, link);
        let mut search = locate::Search { options, found: false, own: &mut own };
        let raw = mail.raw.clone();
        let located = locate::locate(&raw, &mut search);
        for (code, why) in &located.oddities {
            mail.add(code, 0.0, why.as_str());
        }
        if located.pages.is_empty() {
            return Step::next(mail);
        }
        let site = match policy.redirect_base.as_str() {
            "" => self.default_site.as_str(),
            base => base,
        };
        let tenant = facts.map_or(mail.tenant.as_str(), |f| f.tenant.as_str()).to_owned();
        let recipients = std::mem::take(&mut mail.recipients);
        let alone = recipients.len() == 1;
        let mut step = Step::done();
        for recipient in recipients {
            let user = keys.pseudonym(&tenant, &recipient.address);
            let mut link =
                Link { url: String::new(), tenant: tenant.clone(), user, mail: mail.trace.clone() };
            let mut encode = |address: &str| {
                address.clone_into(&mut link.url);
                keys.encode(site, &link).ok()
            };
            let (octets, rewritten) = render(&raw, &located, &mut encode);
            let mut copy = if alone {
                Mail { recipients: vec![recipient], ..mail.clone() }
            } else {
                mail.split(vec![recipient])
            };
            copy.raw = octets;
            copy.links_rewritten = rewritten;
            if rewritten > 0 {
                copy.prepend_header("X-Tidegate-Links", &rewritten.to_string());
            }
            step.out.push((Port::Next, copy.into()));
        }
        step
    }

    fn outbound(&self, mut mail: Mail) -> Step {
        let keys = self.keys.read().clone();
        let octets = restore(&mail.raw, &mut |link| opened(&keys, link));
        if octets != mail.raw {
            mail.eight_bit = mail.eight_bit || !octets.is_ascii();
            mail.raw = octets;
        }
        Step::next(mail)
    }
}

fn opened(keys: &LinkKeys, link: &str) -> Option<String> {
    keys.decode(link).ok().map(|link| link.url)
}

/// The link for an address at a site, to the recipient that `to` names. An address that is a link of ours
/// already is opened first, so that it is wrapped once.
pub fn wrap(keys: &LinkKeys, site: &str, to: &Link, address: &str) -> Option<String> {
    let url = opened(keys, address).unwrap_or_else(|| address.to_owned());
    keys.encode(site, &Link { url, ..to.clone() }).ok()
}

#[async_trait]
impl Stage for RewriteLinks {
    fn name(&self) -> &'static str {
        "rewrite_links"
    }

    async fn work(&self, record: Record) -> Result<Step, Trouble> {
        let mail = match record {
            Record::Mail(mail) => *mail,
            Record::Signal(_) => return Ok(Step::next(record)),
        };
        match mail.direction() {
            Direction::Inbound => self.inbound(mail).await,
            Direction::Outbound => Ok(self.outbound(mail)),
            Direction::Own => Ok(Step::next(mail)),
        }
    }
}

#[cfg(test)]
#[path = "stage_tests.rs"]
mod tests;
