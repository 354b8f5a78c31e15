//! MAIL, RCPT, DATA, BDAT: who may send what to whom, and the handing over to the log.
//!
//! A sender in submission must be the login itself, or the login with a `+detail`: a login that may use any
//! address of its domain lets one stolen password speak for the director.

use super::super::address::Mailbox;
use super::super::command::{MailParams, RcptParams};
use super::super::data::{self, Bounds, Data};
use super::super::net::spellings;
use super::super::wire::WireError;
use super::super::{Mode, received};
use super::envelope::Envelope;
use super::{Flow, Session};
use crate::ports::{Dns, DomainFacts, IntakeError, ListHit, StoreError};
use bytes::Bytes;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tidegate_schemas::{Mail, Recipient, Signal, SignalKind, now_ms};

/// How long the end of a mail waits for the client's name, and RCPT for the lists.
const FACTS_PATIENCE: Duration = Duration::from_secs(2);
/// Refusals of a session that become signals; a dictionary attack is not worth a record each.
const MOST_REFUSALS: u32 = 10;

const AWAY: &str = "451 4.3.0 Try again later";

/// What was found out about the client while the dialogue ran.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) ptr: String,
    pub(super) hits: Vec<ListHit>,
}

async fn confirmed_name(dns: &dyn Dns, ip: IpAddr) -> String {
    let Ok(names) = dns.ptr(ip).await else { return String::new() };
    for name in names.into_iter().take(3) {
        if dns.addresses(&name).await.is_ok_and(|all| all.iter().any(|a| a.to_canonical() == ip)) {
            return name;
        }
    }
    String::new()
}

impl Session {
    /// Starts looking the client up; answers are asked for when they are needed.
    pub(super) fn look_up(&mut self) {
        let (dns, lists, ip) = (self.server.dns.clone(), self.server.lists.clone(), self.ip);
        let task = tokio::spawn(async move {
            let name = async {
                match &dns {
                    Some(dns) => confirmed_name(&**dns, ip).await,
                    None => String::new(),
                }
            };
            let hits = async {
                match &lists {
                    Some(lists) => lists.hits(ip).await,
                    None => Vec::new(),
                }
            };
            let (ptr, hits) = futures::join!(name, hits);
            Facts { ptr, hits }
        });
        if let Some(old) = self.facts.replace(task) {
            old.abort();
        }
        self.known = None;
        self.waited = false;
    }

    async fn known(&mut self) -> Arc<Facts> {
        if let Some(known) = &self.known {
            return known.clone();
        }
        let Some(task) = self.facts.as_mut() else { return Arc::default() };
        // Waited for once; DNS that is silent must not cost every mail of the session its time.
        let patience = if self.waited { Duration::ZERO } else { FACTS_PATIENCE };
        match tokio::time::timeout(patience, task).await {
            Ok(facts) => {
                let facts = Arc::new(facts.unwrap_or_default());
                self.facts = None;
                self.known = Some(facts.clone());
                facts
            }
            // Not known yet; a later mail of the session may have it.
            Err(_) => {
                self.waited = true;
                Arc::default()
            }
        }
    }

    pub(super) fn mail(&mut self, sender: Option<Mailbox>, params: &MailParams) -> Flow {
        let limits = &self.server.settings.limits;
        if !self.greeted {
            return self.wrong("503 5.5.1 EHLO first");
        }
        if self.envelope.is_some() {
            return self.wrong("503 5.5.1 One transaction at a time");
        }
        if params.size.is_some_and(|size| size > limits.max_message_bytes as u64) {
            return self.fine("552 5.3.4 The message is too large");
        }
        if self.transactions >= limits.max_transactions {
            return self.fine("421 4.7.0 Enough for one session");
        }
        let (sender, sender_domain) = sender.map_or_else(Default::default, |m| (m.address(), m.domain));
        if self.server.settings.mode == Mode::Submission {
            if self.client.login.is_empty() {
                return self.wrong("530 5.7.0 AUTH first");
            }
            if !sender.is_empty() && !is_own(&self.client.login, &sender) {
                self.server.counters.refuse("sender");
                return self.wrong("553 5.7.1 The sender is not the login's own address");
            }
        }
        if !self.server.within_rate(self.ip) {
            self.server.counters.refuse("rate");
            return self.fine("450 4.7.1 Too many messages a minute");
        }
        self.transactions += 1;
        let params = params.clone();
        self.envelope = Some(Envelope {
            sender,
            sender_domain,
            params,
            groups: Vec::new(),
            chunks: None,
            spoiled: false,
        });
        self.fine("250 2.1.0 OK")
    }

    pub(super) async fn rcpt(&mut self, recipient: &Mailbox, params: RcptParams) -> Flow {
        let most = self.server.settings.limits.max_recipients;
        let Some(envelope) = &self.envelope else { return self.wrong("503 5.5.1 MAIL first") };
        if envelope.chunks.is_some() {
            return self.wrong("503 5.5.1 Not between BDAT pieces");
        }
        if envelope.count() >= most {
            return self.fine("452 4.5.3 Too many recipients");
        }
        if !envelope.params.smtputf8 && !recipient.local.is_ascii() {
            return self.wrong("553 5.6.7 Non-ASCII addresses need SMTPUTF8");
        }
        match self.place(recipient, params).await {
            Ok(Ok(())) => self.fine("250 2.1.5 OK"),
            Ok(Err(refusal)) => {
                self.server.counters.refuse(refusal.word);
                self.tell(&refusal).await;
                self.wrong(&refusal.reply)
            }
            Err(_) => self.fine(AWAY),
        }
    }

    /// Puts a recipient into the envelope, or says why not.
    async fn place(&mut self, to: &Mailbox, params: RcptParams) -> Result<Result<(), Refusal>, StoreError> {
        let server = self.server.clone();
        // RFC 5321, 4.5.1: postmaster without a domain is ours; it goes to the sender's tenant or nowhere.
        let domain = if to.domain.is_empty() { server.settings.hostname.clone() } else { to.domain.clone() };
        let address = format!("{}@{domain}", to.local);
        let recipient =
            Recipient { address, notify: params.notify, orcpt: params.orcpt, reply: String::new() };
        if let Some(facts) = server.directory.domain(&domain).await? {
            if to.hides_a_route() {
                return Ok(Err(Refusal::new("relay", &facts.tenant, "550 5.7.1 Relaying denied")));
            }
            let known = to.local.eq_ignore_ascii_case("postmaster")
                || server.directory.user_exists(&domain, &to.local).await?;
            if !known {
                return Ok(Err(Refusal::new("unknown_user", &facts.tenant, "550 5.1.1 No such user here")));
            }
            if let Some(refusal) = self.by_policy(&facts).await? {
                return Ok(Err(refusal));
            }
            if let Some(envelope) = &mut self.envelope {
                envelope.add_inbound(&facts, recipient);
            }
            return Ok(Ok(()));
        }
        let Some(tenant) = self.outbound_tenant().await? else {
            return Ok(Err(Refusal::new("relay", "", "550 5.7.1 Relaying denied")));
        };
        if let Some(envelope) = &mut self.envelope {
            envelope.add_outbound(&tenant, recipient);
        }
        Ok(Ok(()))
    }

    /// The tenant for which this client may send to the world, if any.
    async fn outbound_tenant(&self) -> Result<Option<String>, StoreError> {
        let server = &self.server;
        let domain = if !self.client.login.is_empty() {
            tidegate_schemas::mail::domain_of(&self.client.login)
        } else if server.settings.relay_hosts.iter().any(|net| net.contains(self.ip)) {
            self.envelope.as_ref().map(|e| e.sender_domain.clone()).unwrap_or_default()
        } else {
            return Ok(None);
        };
        Ok(server.directory.domain(&domain).await?.map(|facts| facts.tenant.clone()))
    }

    /// Refusals at RCPT time; the tenant's exemptions come first.
    async fn by_policy(&mut self, facts: &DomainFacts) -> Result<Option<Refusal>, StoreError> {
        if !self.client.login.is_empty() {
            return Ok(None);
        }
        let directory = self.server.directory.clone();
        let sender = self.envelope.as_ref().map(|e| (e.sender.to_lowercase(), e.sender_domain.clone()));
        if let Some((address, domain)) = sender.filter(|(address, _)| !address.is_empty())
            && let Some(listed) = directory.listed(&facts.tenant, "sender", &[address, domain]).await?
            && !listed.allow
        {
            let reply = format!("550 5.7.1 The sender is blocked by the {} of this recipient", listed.level);
            return Ok(Some(Refusal::new("sender_list", &facts.tenant, &reply)));
        }
        if let Some(listed) = directory.listed(&facts.tenant, "ip", &spellings(self.ip)).await? {
            let reply =
                format!("550 5.7.1 [{}] is blocked by the {} of this recipient", self.ip, listed.level);
            return Ok((!listed.allow).then(|| Refusal::new("ip_list", &facts.tenant, &reply)));
        }
        let limit = facts.policy.refuse_listed_at;
        if limit == 0 {
            return Ok(None);
        }
        let known = self.known().await;
        let hits: Vec<&ListHit> = known.hits.iter().filter(|h| h.weight > 0.0).collect();
        if (hits.len() as u32) < limit {
            return Ok(None);
        }
        let names: Vec<&str> = hits.iter().map(|h| h.list.as_str()).take(3).collect();
        let contact = if facts.policy.contact.is_empty() { "postmaster" } else { &facts.policy.contact };
        let reply = format!(
            "550 5.7.1 [{}] is listed by {}; if that is wrong, ask {contact}",
            self.ip,
            names.join(", ")
        );
        Ok(Some(Refusal::new("listed", &facts.tenant, &reply)))
    }

    /// Lets the tenant know of a refusal; failing to does not change the reply.
    async fn tell(&mut self, refusal: &Refusal) {
        if refusal.tenant.is_empty() || self.refusals_told >= MOST_REFUSALS {
            return;
        }
        self.refusals_told += 1;
        let signal = Signal {
            ip: self.client.ip.clone(),
            sender: self.envelope.as_ref().map(|e| e.sender.clone()).unwrap_or_default(),
            reason: refusal.reply.clone(),
            decision: refusal.word.to_owned(),
            ..Signal::new(SignalKind::Refused, &refusal.tenant)
        };
        if let Err(error) = self.server.intake.signal(vec![signal]).await {
            tracing::warn!(%error, "a refusal is not on record");
        }
    }

    pub(super) async fn data(&mut self) -> Result<Flow, WireError> {
        match &self.envelope {
            None => return Ok(self.wrong("503 5.5.1 MAIL first")),
            Some(e) if e.chunks.is_some() => return Ok(self.wrong("503 5.5.1 BDAT was begun")),
            Some(e) if e.count() == 0 => return Ok(self.wrong("554 5.5.1 No valid recipients")),
            Some(_) => {}
        }
        self.say("354 End data with <CR><LF>.<CR><LF>");
        let limits = &self.server.settings.limits;
        let bounds = Bounds {
            max: limits.max_message_bytes,
            pause: limits.data_timeout,
            whole: limits.message_timeout,
        };
        let envelope = self.envelope.take();
        let data = data::read(&mut self.wire, bounds).await?;
        Ok(match (data, envelope) {
            (Data::Message(raw), Some(envelope)) => self.take(envelope, raw).await,
            (Data::TooLarge, _) => self.refuse_data("size", "552 5.3.4 The message is too large"),
            (Data::BareLineEnd, _) => {
                self.refuse_data("bare_line_end", "550 5.6.11 A bare CR or LF is in the message");
                // What follows may be what somebody tried to hide in the message; it is not read.
                Flow::End
            }
            (Data::Message(_), None) => self.wrong("503 5.5.1 MAIL first"),
        })
    }

    fn refuse_data(&mut self, word: &'static str, reply: &str) -> Flow {
        self.server.counters.refuse(word);
        self.fine(reply)
    }

    pub(super) async fn bdat(&mut self, size: usize, last: bool) -> Result<Flow, WireError> {
        let limits = self.server.settings.limits.clone();
        let ready = self.envelope.as_ref().is_some_and(|e| e.count() > 0);
        let so_far = self.envelope.as_ref().and_then(|e| e.chunks.as_ref()).map_or(0, Vec::len);
        let too_large = size.saturating_add(so_far) > limits.max_message_bytes;
        if !ready || too_large || self.envelope.as_ref().is_some_and(|e| e.spoiled) {
            // The octets are on their way whatever is answered (RFC 3030, 4.2).
            self.wire.skip(size, limits.data_timeout).await?;
            if !ready {
                return Ok(self.wrong("503 5.5.1 MAIL and RCPT first"));
            }
            match &mut self.envelope {
                Some(envelope) if !last => envelope.spoiled = true,
                _ => self.envelope = None,
            }
            return Ok(self.refuse_data("size", "552 5.3.4 The message is too large"));
        }
        let piece = self.wire.exactly(size, limits.data_timeout).await?;
        let Some(envelope) = &mut self.envelope else { return Ok(Flow::Go) };
        envelope.chunks.get_or_insert_default().extend_from_slice(&piece);
        if !last {
            return Ok(self.fine(&format!("250 2.0.0 {size} octets")));
        }
        let Some(mut envelope) = self.envelope.take() else { return Ok(Flow::Go) };
        let raw = Bytes::from(envelope.chunks.take().unwrap_or_default());
        if data::has_bare_line_end(&raw) {
            return Ok(self.refuse_data("bare_line_end", "550 5.6.11 A bare CR or LF is in the message"));
        }
        Ok(self.take(envelope, raw).await)
    }

    /// Hands a whole message over; 250 only once the log has it.
    async fn take(&mut self, envelope: Envelope, raw: Bytes) -> Flow {
        if received::count(received::header_block(&raw), "Received") > self.server.settings.limits.max_hops {
            return self.refuse_data("loop", "554 5.4.6 Too many hops: the mail runs in a loop");
        }
        let known = self.known().await;
        self.client.ptr.clone_from(&known.ptr);
        let trace = tidegate_schemas::new_id();
        let (count, size) = (envelope.count() as u64, raw.len() as u64);
        let mails = self.mails(envelope, &raw, &trace);
        let records = mails.len() as u64;
        match self.server.intake.accept(mails).await {
            Ok(()) => {
                let counters = &self.server.counters;
                counters.mails.fetch_add(records, Relaxed);
                counters.recipients.fetch_add(count, Relaxed);
                counters.bytes.fetch_add(size, Relaxed);
                self.fine(&format!("250 2.0.0 Accepted as {trace}"))
            }
            Err(IntakeError::Away(why)) => {
                tracing::error!(%why, "mail is not taken: the log is away");
                self.refuse_data("log_away", AWAY)
            }
            Err(IntakeError::Full(why)) => {
                tracing::error!(%why, "mail is not taken: the disk is full");
                self.refuse_data("disk_full", "452 4.3.1 No room for mail, try again later")
            }
        }
    }

    /// The records of a transaction: one per group of recipients.
    fn mails(&self, envelope: Envelope, raw: &Bytes, trace: &str) -> Vec<Mail> {
        let now = now_ms();
        let hostname = &self.server.settings.hostname;
        let only = (envelope.count() == 1).then(|| envelope.groups[0].recipients[0].address.clone());
        let mut added = received::received(&self.client, hostname, trace, only.as_deref(), now);
        if self.server.settings.mode == Mode::Submission {
            let block = received::header_block(raw);
            if received::count(block, "Date") == 0 {
                added.push_str(&format!("Date: {}\r\n", received::date(now)));
            }
            if received::count(block, "Message-ID") == 0 {
                added.push_str(&format!("Message-ID: <{trace}@{hostname}>\r\n"));
            }
        }
        let eight_bit = envelope.params.eight_bit || !raw.is_ascii();
        let one = |group: super::envelope::Group| Mail {
            id: tidegate_schemas::new_id(),
            trace: trace.to_owned(),
            tenant: group.tenant,
            direction: group.direction as i32,
            received_ms: now,
            client: self.client.clone(),
            mail_from: envelope.sender.clone(),
            recipients: group.recipients,
            raw: raw.clone(),
            added_headers: added.clone(),
            spam_probability: -1.0,
            eight_bit,
            smtputf8: envelope.params.smtputf8,
            ret: envelope.params.ret.clone(),
            envid: envelope.params.envid.clone(),
            ..Mail::default()
        };
        envelope.groups.into_iter().map(one).collect()
    }
}

/// Why a recipient is refused.
struct Refusal {
    word: &'static str,
    tenant: String,
    reply: String,
}

impl Refusal {
    fn new(word: &'static str, tenant: &str, reply: &str) -> Refusal {
        Refusal { word, tenant: tenant.to_owned(), reply: reply.to_owned() }
    }
}

/// Whether a sender is the login's own address, `+detail` aside.
fn is_own(login: &str, sender: &str) -> bool {
    let (login, sender) = (login.to_lowercase(), sender.to_lowercase());
    let Some((local, domain)) = sender.rsplit_once('@') else { return false };
    let base = local.split_once('+').map_or(local, |(base, _)| base);
    login == sender || login == format!("{base}@{domain}")
}
