//! The stage `check_dns`: what DNS says about who sent a mail.
//!
//! SPF, DKIM, DMARC and ARC, the name of the client, lists of addresses and domains: all asked at the same time
//! within one deadline. Findings are evidence; a question that gets no answer is evidence of weight 0
//! (`temperror`), never a block. A tenant's exemption of an address comes before what lists say of it.
//!
//! The results are written to `mail.auth` and as Authentication-Results (RFC 8601); fields that pretend to be
//! ours are cut out of the message, after DKIM was verified over it as it came.

mod dmarc;
mod domains;
mod evidence;
mod forged;
mod iprev;
mod keys;
mod lists;
mod results;
pub mod spf;

pub use lists::Lists;

use crate::ports::{ClientLists, Directory, Dns, ListHit, StoreError};
use crate::stage::{Stage, Step, Trouble};
use async_trait::async_trait;
use dmarc::Dmarc;
use evidence::add;
use iprev::Iprev;
use keys::{Signed, Verifier};
use serde::Deserialize;
use spf::SpfResult;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tidegate_schemas::mail::{Direction, Mail};
use tidegate_schemas::{Auth, Record};

/// A DNS list.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListSpec {
    /// Zone, such as `zen.example.org`.
    pub zone: String,
    /// Points of a hit; negative for lists of good senders.
    #[serde(default = "three")]
    pub weight: f32,
    /// Points by answer (`"127.0.0.2" = 4.0`); when given, other answers count nothing.
    #[serde(default)]
    pub codes: BTreeMap<String, f32>,
    /// Whether it is asked about IPv6 addresses.
    #[serde(default = "yes")]
    pub ipv6: bool,
}

fn three() -> f32 {
    3.0
}

fn yes() -> bool {
    true
}

/// Settings of the stage.
#[derive(Clone, Debug)]
pub struct Settings {
    /// authserv-id of Authentication-Results.
    pub authserv_id: String,
    /// Lists of client addresses.
    pub client_lists: Vec<ListSpec>,
    /// Lists of domains.
    pub domain_lists: Vec<ListSpec>,
    /// Domains whose ARC seal excuses a failed DMARC.
    pub trusted_arc_sealers: Vec<String>,
    /// Time for all questions of a mail.
    pub deadline: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            authserv_id: "localhost".into(),
            client_lists: Vec::new(),
            domain_lists: Vec::new(),
            trusted_arc_sealers: Vec::new(),
            deadline: Duration::from_secs(8),
        }
    }
}

/// The stage.
pub struct CheckDns {
    dns: Arc<dyn Dns>,
    directory: Arc<dyn Directory>,
    lists: Arc<Lists>,
    settings: Settings,
    verifier: Verifier,
}

/// Everything found out about one mail.
struct Found {
    iprev: Iprev,
    spf: spf::Outcome,
    signed: Signed,
    dmarc: Dmarc,
    clients: Option<Vec<ListHit>>,
    domains: Option<Vec<ListHit>>,
    parsable: bool,
}

impl CheckDns {
    /// A fresh one; `lists` outlives it.
    pub fn new(dns: Arc<dyn Dns>, directory: Arc<dyn Directory>, lists: Arc<Lists>, settings: Settings) -> CheckDns {
        CheckDns { dns, directory, lists, settings, verifier: Verifier::new() }
    }

    /// A question within the deadline.
    async fn within<T>(&self, question: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(self.settings.deadline, question).await.ok()
    }

    async fn find(&self, mail: &Mail) -> Found {
        let ip: IpAddr = mail.client.ip.parse().unwrap_or(IpAddr::from([0, 0, 0, 0]));
        let parser = mail_parser::MessageParser::default();
        let message = if self.lists.wants_domains() { parser.parse(&mail.raw[..]) } else { parser.parse_headers(&mail.raw[..]) };
        let from = from_domain(message.as_ref());
        let domains = if self.lists.wants_domains() { domains::of(mail, &from, message.as_ref()) } else { Vec::new() };
        let query = spf::Query {
            ip,
            helo: &mail.client.helo,
            mail_from: &mail.mail_from,
            receiver: &self.settings.authserv_id,
        };
        let record = async {
            if from.is_empty() { dmarc::Found::Nothing } else { dmarc::look_up(&*self.dns, &from).await }
        };
        let (iprev, spf, signed, record, clients, domains) = futures::join!(
            self.within(iprev::check(&*self.dns, ip)),
            self.within(spf::check(&*self.dns, &query)),
            self.within(self.verifier.verify(&*self.dns, &mail.raw)),
            self.within(record),
            self.within(self.lists.hits(ip)),
            self.within(self.lists.domain_hits(&domains)),
        );
        let spf = spf.unwrap_or_else(|| late_spf(mail));
        let late = Signed { dkim: "temperror", arc: "none", ..Signed::default() };
        let signed = signed.unwrap_or(late);
        let passing = (spf.result == SpfResult::Pass).then_some(spf.domain.as_str());
        let mut dmarc = dmarc::judge(&from, record.unwrap_or(dmarc::Found::Silent), passing, &signed.domains);
        // What could not be asked must not count against the mail.
        let unsure = spf.result == SpfResult::TempError || signed.dkim == "temperror";
        if dmarc.result == "fail" && unsure {
            dmarc.result = "temperror";
        }
        Found {
            iprev: iprev.unwrap_or(Iprev { result: "temperror", name: String::new() }),
            spf,
            signed,
            dmarc,
            clients,
            domains,
            parsable: message.is_some(),
        }
    }

    async fn check(&self, mut mail: Box<Mail>) -> Result<Mail, StoreError> {
        let found = self.find(&mail).await;
        let exempt = self.exemption(&mail).await?;
        self.note_auth(&mut mail, &found);
        self.note_lists(&mut mail, &found, exempt.as_deref());
        if !found.parsable {
            add(&mut mail, "UNPARSABLE", "the message has no header that can be read");
        }
        mail.raw = forged::remove(&mail.raw, &self.settings.authserv_id);
        let head = results::fields(&self.settings.authserv_id, &mail, &found.spf, &found.iprev, &found.signed);
        mail.added_headers.insert_str(0, &head);
        Ok(*mail)
    }

    /// The level that exempts the client from lists, if any.
    async fn exemption(&self, mail: &Mail) -> Result<Option<String>, StoreError> {
        let listed = self.directory.listed(&mail.tenant, "ip", &spellings(&mail.client.ip)).await?;
        Ok(listed.filter(|l| l.allow).map(|l| format!("{} by the {}", l.value, l.level)))
    }

    fn note_auth(&self, mail: &mut Mail, found: &Found) {
        let spf_word = found.spf.result.word();
        let about = if found.spf.problem.is_empty() { found.spf.mechanism.clone() } else { found.spf.problem.clone() };
        add(mail, &format!("SPF_{}", spf_word.to_uppercase()), format!("{} of {}: {about}", found.spf.identity, found.spf.domain));
        match found.signed.dkim {
            "none" => {}
            "pass" => add(mail, "DKIM_PASS", format!("signed by {}", found.signed.domains.join(", "))),
            word => add(mail, &format!("DKIM_{}", word.to_uppercase()), "no signature of the message verifies"),
        }
        if found.signed.arc != "none" {
            add(mail, &format!("ARC_{}", found.signed.arc.to_uppercase()), format!("sealed by {}", found.signed.sealer));
        }
        self.note_dmarc(mail, found);
        match found.iprev.result {
            "pass" if iprev::is_dynamic(&found.iprev.name, mail.client.ip.parse().unwrap_or(IpAddr::from([0, 0, 0, 0]))) => {
                add(mail, "IPREV_DYNAMIC", format!("{} looks like the name of a line, not of a server", found.iprev.name));
            }
            word => add(mail, &format!("IPREV_{}", word.to_uppercase()), format!("{} is {}", mail.client.ip, found.iprev.name)),
        }
        if found.iprev.result == "pass" {
            mail.client.ptr.clone_from(&found.iprev.name);
        }
        mail.auth = Auth {
            iprev: found.iprev.result.into(),
            spf: spf_word.into(),
            dkim: found.signed.dkim.into(),
            dmarc: found.dmarc.result.into(),
            arc: found.signed.arc.into(),
            dkim_domains: found.signed.domains.clone(),
            from_domain: found.dmarc.domain.clone(),
            dmarc_policy: found.dmarc.policy.clone(),
        };
    }

    fn note_dmarc(&self, mail: &mut Mail, found: &Found) {
        let domain = &found.dmarc.domain;
        let trusted = self.settings.trusted_arc_sealers.iter().any(|s| s.eq_ignore_ascii_case(&found.signed.sealer));
        match (found.dmarc.result, found.dmarc.policy.as_str()) {
            ("none", _) => {}
            ("fail", _) if found.signed.arc == "pass" && trusted => {
                add(mail, "ARC_OVERRIDE", format!("DMARC of {domain} fails, but {} sealed it and is trusted", found.signed.sealer));
            }
            ("fail", "reject") => add(mail, "DMARC_REJECT", format!("{domain} asks for such mail to be rejected")),
            ("fail", "quarantine") => add(mail, "DMARC_QUARANTINE", format!("{domain} asks for such mail to be quarantined")),
            (word, _) => add(mail, &format!("DMARC_{}", word.to_uppercase()), format!("From domain {domain}")),
        }
    }

    fn note_lists(&self, mail: &mut Mail, found: &Found, exempt: Option<&str>) {
        let (Some(clients), Some(domains)) = (&found.clients, &found.domains) else {
            add(mail, "LISTS_TIMEOUT", "some DNS lists did not answer in time");
            return;
        };
        for hit in clients {
            let code = format!("DNSBL_{}", code_of(&hit.list));
            match exempt {
                Some(by) => mail.add(&code, 0.0, format!("{}; exempt: {by}", hit.why)),
                None => mail.add(&code, hit.weight, hit.why.clone()),
            }
        }
        for hit in domains {
            mail.add(&format!("DOMAIN_LIST_{}", code_of(&hit.list)), hit.weight, hit.why.clone());
        }
    }
}

/// A zone's name as part of an evidence code.
fn code_of(zone: &str) -> String {
    zone.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

fn late_spf(mail: &Mail) -> spf::Outcome {
    let identity = if mail.mail_from.is_empty() { "helo" } else { "mailfrom" };
    spf::Outcome {
        result: SpfResult::TempError,
        domain: tidegate_schemas::mail::domain_of(&mail.mail_from),
        identity,
        mechanism: String::new(),
        explanation: String::new(),
        problem: "no answer in time".into(),
    }
}

/// Domain of the only author; several authors, or none, have none.
fn from_domain(message: Option<&mail_parser::Message<'_>>) -> String {
    let Some(from) = message.and_then(mail_parser::Message::from) else { return String::new() };
    let mut domains: Vec<String> =
        from.iter().filter_map(|a| a.address()).map(tidegate_schemas::mail::domain_of).collect();
    domains.dedup();
    match domains.as_slice() {
        [one] => idna::domain_to_ascii(one).unwrap_or_else(|_| one.clone()),
        _ => String::new(),
    }
}

/// The address and the prefixes under which an exemption may be written.
fn spellings(ip: &str) -> Vec<String> {
    let mut all = vec![ip.to_owned()];
    match ip.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => {
            let [a, b, c, _] = v4.octets();
            all.push(format!("{a}.{b}.{c}.0/24"));
        }
        Ok(IpAddr::V6(v6)) => {
            let prefix = std::net::Ipv6Addr::from(u128::from(v6) & !(u128::MAX >> 64));
            all.push(format!("{prefix}/64"));
        }
        Err(_) => {}
    }
    all
}

#[async_trait]
impl Stage for CheckDns {
    fn name(&self) -> &'static str {
        "check_dns"
    }

    async fn work(&self, record: Record) -> Result<Step, Trouble> {
        let Record::Mail(mail) = record else { return Ok(Step::next(record)) };
        if mail.direction() != Direction::Inbound || !mail.released_by.is_empty() {
            return Ok(Step::next(*mail));
        }
        let checked = self.check(mail).await;
        let mail = checked.map_err(|e| Trouble::Retry { after: Duration::from_secs(1), why: e.to_string() })?;
        Ok(Step::next(mail))
    }
}

#[cfg(test)]
mod tests;
