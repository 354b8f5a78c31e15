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

use crate::ports::{Directory, Dns, ListHit, StoreError};
use crate::stage::{Stage, Step, Trouble};
use async_trait::async_trait;
use dmarc::{Dmarc, Proofs};
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

/// Author domains that are checked.
const MOST_AUTHORS: usize = 4;

/// A DNS list.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListSpec {
    /// Zone, such as `zen.example.org`.
    pub zone: String,
    /// Points of a hit; negative for lists of good senders.
    #[serde(default = "three")]
    pub weight: f32,
    /// Points by answer; when given, other answers count nothing. An answer is an address whose octets may be
    /// ranges or stars (`"127.0.0.4-7"`, `"127.0.*.3"`), or a bit of the last octet (`"&8"`); the heaviest counts.
    #[serde(default, deserialize_with = "checked_codes")]
    pub codes: BTreeMap<String, f32>,
    /// Whether it is asked about IPv6 addresses.
    #[serde(default = "yes")]
    pub ipv6: bool,
}

fn checked_codes<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, f32>, D::Error> {
    let codes = BTreeMap::<String, f32>::deserialize(deserializer)?;
    match codes.keys().find(|code| !lists::is_pattern(code)) {
        Some(code) => Err(serde::de::Error::custom(format!("`{code}` is no answer of a list"))),
        None => Ok(codes),
    }
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
    clients: lists::Answers,
    domains: lists::Answers,
    parsable: bool,
    /// Domains of authors; one in honest mail.
    authors: usize,
}

impl CheckDns {
    /// A fresh one; `lists` outlives it.
    pub fn new(
        dns: Arc<dyn Dns>,
        directory: Arc<dyn Directory>,
        lists: Arc<Lists>,
        settings: Settings,
    ) -> CheckDns {
        CheckDns { dns, directory, lists, settings, verifier: Verifier::new() }
    }

    /// A question within the deadline.
    async fn within<T>(&self, question: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(self.settings.deadline, question).await.ok()
    }

    async fn find(&self, mail: &Mail) -> Found {
        let ip = mail.client.ip.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
        let with_body = self.lists.wants_domains();
        let message =
            if with_body { crate::parse::message(&mail.raw) } else { crate::parse::headers(&mail.raw) };
        let authors = author_domains(message.as_ref());
        let domains = if with_body { domains::of(mail, &authors, message.as_ref()) } else { Vec::new() };
        // Half of the time for a key, so that what the others say is known before the deadline.
        let patience = self.settings.deadline / 2;
        let (iprev, spf, signed, records, clients, domains) = futures::join!(
            self.iprev(ip),
            self.spf(mail, ip),
            self.verifier.verify(&*self.dns, &mail.raw, patience),
            futures::future::join_all(authors.iter().map(|author| self.policy(author))),
            async {
                match ip {
                    Some(ip) => self.lists.about_client(ip).await,
                    None => lists::Answers::default(),
                }
            },
            self.lists.about_domains(&domains),
        );
        let of_result = |result| (spf.result == result).then_some(spf.domain.as_str());
        let proofs = Proofs {
            spf_pass: of_result(SpfResult::Pass),
            dkim_pass: &signed.domains,
            spf_unsure: of_result(SpfResult::TempError),
            dkim_unsure: signed.unsure_domains().collect(),
        };
        let verdicts =
            authors.iter().zip(records).map(|(author, record)| dmarc::judge(author, record, &proofs));
        let dmarc = verdicts.max_by_key(Dmarc::badness).unwrap_or_else(Dmarc::nothing);
        let (parsable, authors) = (message.is_some(), authors.len());
        Found { iprev, spf, signed, dmarc, clients, domains, parsable, authors }
    }

    async fn iprev(&self, ip: Option<IpAddr>) -> Iprev {
        let Some(ip) = ip else { return Iprev { result: "none", name: String::new() } };
        let found = self.within(iprev::check(&*self.dns, ip)).await;
        found.unwrap_or(Iprev { result: "temperror", name: String::new() })
    }

    async fn spf(&self, mail: &Mail, ip: Option<IpAddr>) -> spf::Outcome {
        // Without a client's address (a file judged offline) there is nothing to check.
        let Some(ip) = ip else { return unknown_spf(mail, SpfResult::None, "no client address") };
        let query = spf::Query {
            ip,
            helo: &mail.client.helo,
            mail_from: &mail.mail_from,
            receiver: &self.settings.authserv_id,
        };
        let found = self.within(spf::check(&*self.dns, &query)).await;
        found.unwrap_or_else(|| unknown_spf(mail, SpfResult::TempError, "no answer in time"))
    }

    async fn policy(&self, author: &str) -> dmarc::Found {
        self.within(dmarc::look_up(&*self.dns, author)).await.unwrap_or(dmarc::Found::Silent)
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
        let head = results::fields(&self.settings.authserv_id, &mail, &found);
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
        match found.signed.dkim {
            "none" => {}
            "pass" => add(mail, "DKIM_PASS", format!("signed by {}", found.signed.domains.join(", "))),
            word => {
                add(mail, &format!("DKIM_{}", word.to_uppercase()), "no signature of the message verifies")
            }
        }
        if found.signed.arc != "none" {
            let sealer = found.signed.seals.first().map_or("", |seal| seal.domain.as_str());
            add(mail, &format!("ARC_{}", found.signed.arc.to_uppercase()), format!("sealed by {sealer}"));
        }
        if found.authors > 1 {
            add(mail, "FROM_SEVERAL", format!("{} domains claim to be the author's", found.authors));
        }
        self.note_dmarc(mail, found);
        if let Ok(ip) = mail.client.ip.parse::<IpAddr>() {
            note_client(mail, found, ip.to_canonical());
        }
        mail.auth = Auth {
            iprev: found.iprev.result.into(),
            spf: spf_word.into(),
            dkim: found.signed.dkim.into(),
            dmarc: found.dmarc.result.into(),
            arc: found.signed.arc.into(),
            dkim_domains: found.signed.domains.clone(),
            from_domain: dmarc::organisational(&found.dmarc.domain),
            dmarc_policy: found.dmarc.policy.clone(),
        };
    }

    fn note_dmarc(&self, mail: &mut Mail, found: &Found) {
        let domain = &found.dmarc.domain;
        let sealer = self.believed_sealer(&found.signed);
        match (found.dmarc.result, found.dmarc.policy.as_str()) {
            ("none", _) => {}
            ("fail", _) if let Some(sealer) = sealer => {
                let why = format!("DMARC of {domain} fails, but {sealer} is trusted and did not see it fail");
                add(mail, "ARC_OVERRIDE", why);
            }
            ("fail", "reject") => {
                add(mail, "DMARC_REJECT", format!("{domain} asks for such mail to be rejected"))
            }
            ("fail", "quarantine") => {
                add(mail, "DMARC_QUARANTINE", format!("{domain} asks for such mail to be quarantined"))
            }
            (word, _) => {
                add(mail, &format!("DMARC_{}", word.to_uppercase()), format!("From domain {domain}"))
            }
        }
    }

    /// The sealer who excuses a failed DMARC: from the newest set down, as long as sealers are trusted, one at
    /// whose hop DMARC had not failed. An untrusted set below a trusted one proves nothing about the author.
    fn believed_sealer<'f>(&self, signed: &'f Signed) -> Option<&'f str> {
        if signed.arc != "pass" {
            return None;
        }
        let is_trusted =
            |domain: &str| self.settings.trusted_arc_sealers.iter().any(|s| s.eq_ignore_ascii_case(domain));
        let mut trusted = signed.seals.iter().take_while(|seal| is_trusted(&seal.domain));
        trusted.find(|seal| !seal.saw_dmarc_fail).map(|seal| seal.domain.as_str())
    }

    fn note_lists(&self, mail: &mut Mail, found: &Found, exempt: Option<&str>) {
        let silent = [found.clients.silent.as_slice(), &found.domains.silent].concat();
        if !silent.is_empty() {
            add(mail, "LISTS_TEMPERROR", format!("no answer from {}", silent.join(", ")));
        }
        for hit in &found.clients.hits {
            let code = format!("DNSBL_{}", code_of(&hit.list));
            match exempt {
                Some(by) => mail.add(&code, 0.0, format!("{}; exempt: {by}", hit.why)),
                None => mail.add(&code, hit.weight, hit.why.clone()),
            }
        }
        for hit in heaviest(&found.domains.hits) {
            mail.add(&format!("DOMAIN_LIST_{}", code_of(&hit.list)), hit.weight, hit.why.clone());
        }
    }
}

/// What the client's address and name say.
fn note_client(mail: &mut Mail, found: &Found, ip: IpAddr) {
    let spf = &found.spf;
    let about = if spf.problem.is_empty() { &spf.mechanism } else { &spf.problem };
    let code = format!("SPF_{}", spf.result.word().to_uppercase());
    add(mail, &code, format!("{} of {}: {about}", spf.identity, spf.domain));
    let name = &found.iprev.name;
    match found.iprev.result {
        "pass" if iprev::is_dynamic(name, ip) => {
            add(mail, "IPREV_DYNAMIC", format!("{name} looks like the name of a line, not of a server"));
        }
        "none" => add(mail, "IPREV_NONE", format!("{ip} has no name")),
        word => add(mail, &format!("IPREV_{}", word.to_uppercase()), format!("{ip} is {name}")),
    }
    if found.iprev.result == "pass" {
        mail.client.ptr.clone_from(name);
    }
}

/// The heaviest hit of each list: a newsletter of twenty links to one bad site is one finding, not twenty.
fn heaviest(hits: &[ListHit]) -> Vec<&ListHit> {
    let mut kept: Vec<&ListHit> = Vec::new();
    for hit in hits {
        match kept.iter_mut().find(|other| other.list == hit.list) {
            Some(other) if hit.weight.abs() > other.weight.abs() => *other = hit,
            Some(_) => {}
            None => kept.push(hit),
        }
    }
    kept
}

/// A zone's name as part of an evidence code.
fn code_of(zone: &str) -> String {
    zone.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

fn unknown_spf(mail: &Mail, result: SpfResult, why: &str) -> spf::Outcome {
    let (identity, domain) = match mail.mail_from.as_str() {
        "" => ("helo", mail.client.helo.clone()),
        from => ("mailfrom", tidegate_schemas::mail::domain_of(from)),
    };
    let (mechanism, explanation) = (String::new(), String::new());
    spf::Outcome { result, domain, identity, mechanism, explanation, problem: why.to_owned() }
}

/// Domains of all authors in all From fields, each once, in A-label form. More than one is odd enough to be
/// said, and each of them is checked: whichever a reader shows, its owner has been asked.
fn author_domains(message: Option<&mail_parser::Message<'_>>) -> Vec<String> {
    let mut domains: Vec<String> = Vec::new();
    let headers = message.map(|m| m.root_part().headers.as_slice()).unwrap_or_default();
    for header in headers.iter().filter(|h| h.name == mail_parser::HeaderName::From) {
        let addresses = header.value.as_address().into_iter().flat_map(mail_parser::Address::iter);
        for address in addresses.filter_map(|a| a.address()) {
            let Some((_, domain)) = address.rsplit_once('@') else { continue };
            let domain = domain.trim().trim_end_matches('.').to_lowercase();
            let domain = idna::domain_to_ascii(&domain).unwrap_or(domain);
            if !domains.contains(&domain) && domains.len() < MOST_AUTHORS {
                domains.push(domain);
            }
        }
    }
    domains
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
        let mail =
            checked.map_err(|e| Trouble::Retry { after: Duration::from_secs(1), why: e.to_string() })?;
        Ok(Step::next(mail))
    }
}

#[cfg(test)]
mod tests;
