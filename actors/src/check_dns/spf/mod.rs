//! SPF (RFC 7208): whether a host may send for a domain, every question asked of the [`Dns`] port.
//!
//! Written here rather than taken from a library, because a library brings its own resolver: this one can be
//! cut off by a deadline, answered from a zone file, and counts what the RFC counts. Limits (section 4.6.4):
//! 10 terms that ask DNS, 2 of them with an empty answer, 10 hosts of an MX (more is a `permerror`), 10 names
//! of a PTR (the rest are passed over).

mod macros;
mod record;

use crate::ports::{Dns, DnsError};
use macros::{Facts, MacroString};
use record::{Directive, Mechanism, Prefixes, Record};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

const TERMS: u32 = 10;
const EMPTY_ANSWERS: u32 = 2;
const HOSTS: usize = 10;

/// Results in the words of RFC 7208 section 2.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpfResult {
    /// No record, or no domain to ask about.
    None,
    /// The domain says nothing about this host.
    Neutral,
    /// The host may send.
    Pass,
    /// The host may not send.
    Fail,
    /// The host probably may not send.
    SoftFail,
    /// DNS gave no answer.
    TempError,
    /// The record cannot be understood, or asks for too much.
    PermError,
}

impl SpfResult {
    /// The word for headers and `Auth`.
    pub fn word(self) -> &'static str {
        match self {
            SpfResult::None => "none",
            SpfResult::Neutral => "neutral",
            SpfResult::Pass => "pass",
            SpfResult::Fail => "fail",
            SpfResult::SoftFail => "softfail",
            SpfResult::TempError => "temperror",
            SpfResult::PermError => "permerror",
        }
    }
}

/// Whom to check.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Address of the client.
    pub ip: IpAddr,
    /// Argument of EHLO or HELO.
    pub helo: &'a str,
    /// MAIL FROM, empty for the null sender: then HELO is checked (section 2.4).
    pub mail_from: &'a str,
    /// Our name, for `%{r}`.
    pub receiver: &'a str,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The result.
    pub result: SpfResult,
    /// The domain that was asked about.
    pub domain: String,
    /// `mailfrom` or `helo`.
    pub identity: &'static str,
    /// The directive that decided, as written; `default` when none matched, empty on errors.
    pub mechanism: String,
    /// On `fail`, what the domain's owner says about it (section 6.2); untrusted text.
    pub explanation: String,
    /// On errors, what went wrong.
    pub problem: String,
}

enum Problem {
    Temporary(String),
    Permanent(String),
}

impl From<DnsError> for Problem {
    fn from(error: DnsError) -> Problem {
        Problem::Temporary(error.to_string())
    }
}

/// What `check_host()` of one domain says.
struct Answer {
    result: SpfResult,
    mechanism: String,
    /// Domain and `exp=` of the record that decided.
    explained_by: Option<(String, MacroString)>,
}

impl Answer {
    fn of(result: SpfResult, mechanism: &str) -> Answer {
        Answer { result, mechanism: mechanism.to_owned(), explained_by: None }
    }
}

struct Check<'a> {
    dns: &'a dyn Dns,
    ip: IpAddr,
    local: String,
    sender_domain: String,
    helo: &'a str,
    receiver: &'a str,
    terms: u32,
    empty_answers: u32,
    /// The client's validated names, once looked up.
    names: Option<Vec<String>>,
}

/// Checks MAIL FROM, or HELO for the null sender.
pub async fn check(dns: &dyn Dns, query: &Query<'_>) -> Outcome {
    let identity = if query.mail_from.is_empty() { "helo" } else { "mailfrom" };
    let (local, domain) = match query.mail_from.rsplit_once('@') {
        Some(("", domain)) => ("postmaster", domain),
        Some((local, domain)) => (local, domain),
        None if query.mail_from.is_empty() => ("postmaster", query.helo),
        None => ("postmaster", query.mail_from),
    };
    let domain = domain.strip_suffix('.').unwrap_or(domain).to_owned();
    let mut check = Check {
        dns,
        ip: plain_ip(query.ip),
        local: local.to_owned(),
        sender_domain: domain.clone(),
        helo: query.helo,
        receiver: query.receiver,
        terms: 0,
        empty_answers: 0,
        names: None,
    };
    let mut outcome = Outcome {
        result: SpfResult::None,
        domain: domain.clone(),
        identity,
        mechanism: String::new(),
        explanation: String::new(),
        problem: String::new(),
    };
    match check.host(&domain).await {
        Ok(answer) => {
            outcome.result = answer.result;
            outcome.mechanism = answer.mechanism;
            if let (SpfResult::Fail, Some((at, spec))) = (answer.result, answer.explained_by) {
                outcome.explanation = check.explain(&at, &spec).await.unwrap_or_default();
            }
        }
        Err(Problem::Temporary(why)) => (outcome.result, outcome.problem) = (SpfResult::TempError, why),
        Err(Problem::Permanent(why)) => (outcome.result, outcome.problem) = (SpfResult::PermError, why),
    }
    outcome
}

/// IPv4-mapped addresses count as IPv4 (section 5).
fn plain_ip(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

/// A name of at least two labels that DNS can carry (section 4.3).
fn is_domain(name: &str) -> bool {
    name.contains('.') && name.len() <= 253 && name.split('.').all(|label| (1..=63).contains(&label.len()))
}

type Boxed<'f, T> = Pin<Box<dyn Future<Output = Result<T, Problem>> + Send + 'f>>;

impl<'a> Check<'a> {
    /// `check_host()` of the RFC.
    async fn host(&mut self, domain: &str) -> Result<Answer, Problem> {
        if !is_domain(domain) {
            return Ok(Answer::of(SpfResult::None, ""));
        }
        let texts = self.dns.txt(domain).await?;
        let mut records = texts.iter().filter(|text| record::is_spf(text));
        let Some(text) = records.next() else { return Ok(Answer::of(SpfResult::None, "")) };
        if records.next().is_some() {
            return Err(Problem::Permanent(format!("{domain} has more than one SPF record")));
        }
        let record = Record::parse(text).map_err(|why| Problem::Permanent(format!("{domain}: {why}")))?;
        for directive in &record.directives {
            if self.matches(directive, domain).await? {
                let explained_by = record.explanation.map(|spec| (domain.to_owned(), spec));
                return Ok(Answer { explained_by, ..Answer::of(directive.result, &directive.text) });
            }
        }
        let Some(redirect) = &record.redirect else { return Ok(Answer::of(SpfResult::Neutral, "default")) };
        self.count()?;
        let target = self.name(redirect, domain).await?;
        let answer = self.nested(&target).await?;
        if answer.result == SpfResult::None {
            return Err(Problem::Permanent(format!(
                "{domain} redirects to {target}, which has no SPF record"
            )));
        }
        Ok(answer)
    }

    fn nested<'f>(&'f mut self, domain: &'f str) -> Boxed<'f, Answer> {
        Box::pin(self.host(domain))
    }

    fn count(&mut self) -> Result<(), Problem> {
        self.terms += 1;
        if self.terms > TERMS {
            return Err(Problem::Permanent(format!("more than {TERMS} terms that ask DNS")));
        }
        Ok(())
    }

    fn count_empty(&mut self, empty: bool) -> Result<(), Problem> {
        self.empty_answers += u32::from(empty);
        if self.empty_answers > EMPTY_ANSWERS {
            return Err(Problem::Permanent(format!(
                "more than {EMPTY_ANSWERS} questions with an empty answer"
            )));
        }
        Ok(())
    }

    async fn matches(&mut self, directive: &Directive, domain: &str) -> Result<bool, Problem> {
        match &directive.mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Ip(network, prefix) => Ok(within(self.ip, *network, *prefix)),
            Mechanism::Include(spec) => {
                self.count()?;
                let target = self.name(spec, domain).await?;
                match self.nested(&target).await?.result {
                    SpfResult::Pass => Ok(true),
                    SpfResult::None => {
                        Err(Problem::Permanent(format!("{target} is included and has no record")))
                    }
                    _ => Ok(false),
                }
            }
            Mechanism::A(spec, prefixes) => {
                self.count()?;
                let target = self.target(spec.as_ref(), domain).await?;
                let addresses = self.addresses(&target).await?;
                self.count_empty(addresses.is_empty())?;
                Ok(self.any_within(&addresses, *prefixes))
            }
            Mechanism::Mx(spec, prefixes) => {
                self.count()?;
                let target = self.target(spec.as_ref(), domain).await?;
                self.mx(&target, *prefixes).await
            }
            Mechanism::Ptr(spec) => {
                self.count()?;
                let target = self.target(spec.as_ref(), domain).await?;
                let names = self.validated_names().await;
                Ok(names.iter().any(|name| is_at_or_below(name, &target)))
            }
            Mechanism::Exists(spec) => {
                self.count()?;
                let target = self.name(spec, domain).await?;
                let found = if is_name(&target) { self.dns.addresses(&target).await? } else { Vec::new() };
                let found = found.iter().any(IpAddr::is_ipv4);
                self.count_empty(!found)?;
                Ok(found)
            }
        }
    }

    async fn mx(&mut self, target: &str, prefixes: Prefixes) -> Result<bool, Problem> {
        let hosts = if is_name(target) { self.dns.mx(target).await? } else { Vec::new() };
        self.count_empty(hosts.is_empty())?;
        if hosts.len() > HOSTS {
            return Err(Problem::Permanent(format!("{target} has more than {HOSTS} MX hosts")));
        }
        for (_, host) in &hosts {
            let addresses = self.addresses(host).await?;
            if self.any_within(&addresses, prefixes) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Addresses of the client's family.
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Problem> {
        if !is_name(name) {
            return Ok(Vec::new());
        }
        let mut addresses = self.dns.addresses(name).await?;
        addresses.retain(|address| address.is_ipv4() == self.ip.is_ipv4());
        Ok(addresses)
    }

    fn any_within(&self, addresses: &[IpAddr], prefixes: Prefixes) -> bool {
        let prefix = if self.ip.is_ipv4() { prefixes.v4 } else { prefixes.v6 };
        addresses.iter().any(|address| within(self.ip, *address, prefix))
    }

    async fn target(&mut self, spec: Option<&MacroString>, domain: &str) -> Result<String, Problem> {
        match spec {
            Some(spec) => self.name(spec, domain).await,
            None => Ok(domain.to_owned()),
        }
    }

    async fn name(&mut self, spec: &MacroString, domain: &str) -> Result<String, Problem> {
        let name = self.client_name(spec, domain).await;
        Ok(spec.expand_name(&self.facts(domain, &name)))
    }

    fn facts<'f>(&'f self, domain: &'f str, name: &'f str) -> Facts<'f> {
        Facts {
            ip: self.ip,
            local: &self.local,
            sender_domain: &self.sender_domain,
            domain,
            helo: self.helo,
            receiver: self.receiver,
            name,
        }
    }

    /// What `%{p}` stands for: the domain itself where it validates, else a name below it, else any.
    async fn client_name(&mut self, spec: &MacroString, domain: &str) -> String {
        if !spec.asks_name() {
            return String::new();
        }
        let names = self.validated_names().await;
        let exact = names.iter().find(|name| name.eq_ignore_ascii_case(domain));
        let below = || names.iter().find(|name| is_at_or_below(name, domain));
        exact.or_else(below).or_else(|| names.first()).map_or_else(|| "unknown".to_owned(), Clone::clone)
    }

    /// Names of the client that lead back to its address. Questions that fail count as "does not" (section 5.5).
    async fn validated_names(&mut self) -> Vec<String> {
        if let Some(names) = &self.names {
            return names.clone();
        }
        let mut validated = Vec::new();
        for name in self.dns.ptr(self.ip).await.unwrap_or_default().into_iter().take(HOSTS) {
            let addresses = self.addresses(&name).await.unwrap_or_default();
            if addresses.contains(&self.ip) {
                validated.push(name);
            }
        }
        self.names = Some(validated.clone());
        validated
    }

    /// The text behind `exp=`; `None` whenever anything about it is wrong (section 6.2).
    async fn explain(&mut self, domain: &str, spec: &MacroString) -> Option<String> {
        let target = self.name(spec, domain).await.ok()?;
        let texts = self.dns.txt(&target).await.ok()?;
        let [text] = texts.as_slice() else { return None };
        let text = MacroString::parse(text, true)?;
        let name = self.client_name(&text, domain).await;
        Some(text.expand(&self.facts(domain, &name)))
    }
}

/// Whether DNS can carry the name at all; what expands to something else matches nothing.
fn is_name(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(|label| (1..=63).contains(&label.len()))
}

fn is_at_or_below(name: &str, domain: &str) -> bool {
    let Some(start) = name.len().checked_sub(domain.len()) else { return false };
    let Some((head, tail)) = name.split_at_checked(start) else { return false };
    tail.eq_ignore_ascii_case(domain) && (head.is_empty() || head.ends_with('.'))
}

fn within(ip: IpAddr, network: IpAddr, prefix: u8) -> bool {
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            ip.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            ip.to_bits() & mask == network.to_bits() & mask
        }
        _ => false,
    }
}
