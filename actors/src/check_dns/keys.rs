//! DKIM and ARC through mail-auth, with every DNS question answered from the [`Dns`] port.
//!
//! mail-auth asks its own resolver unless its cache has the answer. So the cache given to it has every answer:
//! the keys that the message's signatures name are looked up here first, and any other name does not exist.
//! Nothing goes to the network behind the port's back.

use crate::ports::Dns;
use mail_auth::common::crypto::{Algorithm, HashAlgorithm};
use mail_auth::common::headers::{Header, Writable as _, Writer};
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::resolver::ToFqdn as _;
use mail_auth::common::verify::{DomainKey, VerifySignature};
use mail_auth::dkim::DkimError;
use mail_auth::hickory_resolver::config::{ResolverConfig, ResolverOpts};
use mail_auth::hickory_resolver::proto::op::ResponseCode;
use mail_auth::{AuthenticatedMessage, DkimResult, DnsError, Error, MessageAuthenticator, Parameters};
use mail_auth::{ResolverCache, Txt, arc, dkim};
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Signatures of a message that are looked at; more is an attempt to make us ask.
const MOST_SIGNATURES: usize = 10;
/// Sets of an ARC chain that are looked at (RFC 8617 allows 50; no honest path has seen so many).
const MOST_SEALS: usize = 15;
/// Fields a signature may name: each is searched for in the header.
const MOST_SIGNED_FIELDS: usize = 200;

/// Answers prepared; whatever is not among them does not exist.
#[derive(Default)]
struct Answers(HashMap<Box<str>, Txt>);

impl ResolverCache<Box<str>, Txt> for Answers {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        Some(
            self.0
                .get(name)
                .cloned()
                .unwrap_or(Txt::Error(Error::Dns(DnsError::RecordNotFound(ResponseCode::NXDomain)))),
        )
    }

    fn remove<Q>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: Txt, _: Instant) {}
}

/// The kinds of record that DKIM and ARC never ask for.
struct Nothing;

impl<K, V> ResolverCache<K, V> for Nothing {
    fn get<Q>(&self, _: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn remove<Q>(&self, _: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: K, _: V, _: Instant) {}
}

/// What the signatures of a message say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Signed {
    /// Best DKIM result, in the words of RFC 8601: `pass`, `temperror`, `fail`, `policy`, `permerror`,
    /// `neutral`, `none`.
    pub dkim: &'static str,
    /// Every signature that was looked at.
    pub signatures: Vec<Signature>,
    /// Domains with a passing signature, lower case.
    pub domains: Vec<String>,
    /// ARC chain: `pass`, `fail`, `temperror`, `none`.
    pub arc: &'static str,
    /// The chain's sets, newest first.
    pub seals: Vec<Seal>,
}

/// One DKIM signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    pub result: &'static str,
    /// `d=`, lower case.
    pub domain: String,
    /// `s=`.
    pub selector: String,
}

/// One set of an ARC chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seal {
    /// `d=` of the seal, lower case.
    pub domain: String,
    /// Whether its ARC-Authentication-Results says that DMARC failed there already.
    pub saw_dmarc_fail: bool,
}

impl Signed {
    /// Domains whose signature could not be judged because DNS was silent.
    pub(super) fn unsure_domains(&self) -> impl Iterator<Item = &str> {
        self.signatures.iter().filter(|s| s.result == "temperror").map(|s| s.domain.as_str())
    }
}

/// The verifier; holds no state worth keeping.
pub(super) struct Verifier(Option<MessageAuthenticator>);

impl Verifier {
    pub(super) fn new() -> Verifier {
        // Its resolver has no servers and is never asked.
        Verifier(MessageAuthenticator::new(ResolverConfig::default(), ResolverOpts::default()).ok())
    }

    /// Verifies DKIM and ARC. Each key is waited for up to `patience`: a sender whose DNS hangs delays nobody
    /// else's signature.
    pub(super) async fn verify(&self, dns: &dyn Dns, raw: &[u8], patience: Duration) -> Signed {
        let mut signed = Signed { dkim: "none", arc: "none", ..Signed::default() };
        let header = header_block(raw);
        if !has_field(header, b"dkim-signature") && !has_field(header, b"arc-") {
            return signed;
        }
        let (Some(verifier), Some(mut message)) = (&self.0, parsed(raw)) else { return signed };
        signed.signatures = sift(&mut message);
        let chain = chain_before_keys(&message);
        let answers = answers(dns, &message, chain.is_none(), patience).await;
        let parameters = || Parameters {
            params: &message,
            cache_txt: Some(&answers),
            cache_mx: None::<&Nothing>,
            cache_ptr: None::<&Nothing>,
            cache_ipv4: None::<&Nothing>,
            cache_ipv6: None::<&Nothing>,
        };
        for output in &verifier.verify_dkim(parameters()).await {
            let (domain, selector) =
                output.signature().map(|s| (s.d.to_lowercase(), s.s.clone())).unwrap_or_default();
            signed.signatures.push(Signature { result: word(output.result()), domain, selector });
        }
        if signed.signatures.is_empty() && message.has_dkim_errors {
            let unread = Signature { result: "neutral", domain: String::new(), selector: String::new() };
            signed.signatures.push(unread);
        }
        let passing = signed.signatures.iter().filter(|s| s.result == "pass");
        signed.domains = passing.map(|s| s.domain.clone()).collect();
        let best = signed.signatures.iter().map(|s| s.result).max_by_key(|word| rank(word));
        signed.dkim = best.unwrap_or("none");
        signed.arc = match chain {
            Some(word) => word,
            None => match verifier.verify_arc(parameters()).await.result() {
                DkimResult::Pass => "pass",
                DkimResult::TempError(_) => "temperror",
                _ => "fail",
            },
        };
        signed.seals = seals(&message);
        signed
    }
}

/// The header as mail-auth reads it; nothing where its address parser trips over hostile octets.
fn parsed(raw: &[u8]) -> Option<AuthenticatedMessage<'_>> {
    let parse = || AuthenticatedMessage::parse_with_opts(raw, None, false);
    std::panic::catch_unwind(parse).ok().flatten()
}

/// Takes out the signatures that must not count whatever their key says, with their results.
fn sift(message: &mut AuthenticatedMessage<'_>) -> Vec<Signature> {
    let body = message.raw_message.get(message.body_offset as usize..).unwrap_or_default();
    let mut refused = Vec::new();
    let mut kept = Vec::new();
    for (at, mut header) in std::mem::take(&mut message.dkim_headers).into_iter().enumerate() {
        let signature = &mut header.header;
        let result = if at >= MOST_SIGNATURES { Some("policy") } else { objection(signature, body) };
        if let Some(result) = result {
            let (domain, selector) = (signature.d.to_lowercase(), signature.s.clone());
            refused.push(Signature { result, domain, selector });
            continue;
        }
        if signature.l > 0 {
            // The length covers all of the body: the same as none, and hashed without the library's shortcut.
            signature.l = 0;
            let (canonical, hash) = (signature.cb, HashAlgorithm::from(signature.a));
            let digest = hash.hash(canonical.canonical_body(body, 0)).as_ref().to_vec();
            message.body_hashes.push((canonical, hash, 0, digest));
        }
        kept.push(header);
    }
    message.dkim_headers = kept;
    refused.truncate(MOST_SIGNATURES);
    refused
}

/// What RFC 6376 (sections 3.5, 6.1.1) and RFC 8301 have against a signature before its key is looked at.
fn objection(signature: &mut dkim::Signature, body: &[u8]) -> Option<&'static str> {
    let identity = signature.i.rsplit_once('@').map_or(signature.i.as_str(), |(_, domain)| domain);
    let identity_fits = identity.is_empty() || is_at_or_below(identity, &signature.d);
    let signs_from = signature.h.iter().any(|name| name.trim().eq_ignore_ascii_case("from"));
    if signature.v != 1 || !signs_from || !identity_fits {
        return Some("permerror");
    }
    if signature.a == Algorithm::RsaSha1 || signature.h.len() > MOST_SIGNED_FIELDS {
        return Some("policy");
    }
    if signature.l > 0 {
        let mut length = Length(0);
        signature.cb.canonical_body(body, 0).write(&mut length);
        if length.0 > signature.l {
            return Some("policy");
        }
    }
    None
}

fn is_at_or_below(name: &str, domain: &str) -> bool {
    let (name, domain) = (name.to_ascii_lowercase(), domain.to_ascii_lowercase());
    name.strip_suffix(&domain).is_some_and(|head| head.is_empty() || head.ends_with('.'))
}

/// Counts what is written.
struct Length(u64);

impl Writer for Length {
    fn write(&mut self, buf: &[u8]) {
        self.0 += buf.len() as u64;
    }
}

/// What can be said of an ARC chain without its keys (RFC 8617 section 5.2); `None` = the keys decide.
fn chain_before_keys(message: &AuthenticatedMessage<'_>) -> Option<&'static str> {
    let sets = message.as_headers.len();
    if sets == 0
        && message.ams_headers.is_empty()
        && message.aar_headers.is_empty()
        && !message.has_arc_errors
    {
        return Some("none");
    }
    let partial = message.ams_headers.iter().any(|h| h.header.l > 0);
    let old = message.ams_headers.iter().any(|h| h.header.a == Algorithm::RsaSha1)
        || message.as_headers.iter().any(|h| h.header.a == Algorithm::RsaSha1);
    let broken =
        message.has_arc_errors || sets == 0 || sets > MOST_SEALS || message.ams_headers.len() != sets;
    (partial || old || broken).then_some("fail")
}

fn seals(message: &AuthenticatedMessage<'_>) -> Vec<Seal> {
    let pairs = message.as_headers.iter().zip(&message.aar_headers).rev().take(MOST_SEALS);
    let seal = |(seal, results): (&Header<'_, arc::Seal>, &Header<'_, arc::Results>)| {
        let said: String = String::from_utf8_lossy(results.value).split_whitespace().collect();
        Seal {
            domain: seal.header.d.to_lowercase(),
            saw_dmarc_fail: said.to_lowercase().contains("dmarc=fail"),
        }
    };
    pairs.map(seal).collect()
}

/// A result in the words of RFC 8601 section 2.7.1.
fn word(result: &DkimResult) -> &'static str {
    match result {
        DkimResult::Pass => "pass",
        DkimResult::TempError(_) => "temperror",
        DkimResult::Fail(_)
        | DkimResult::Neutral(Error::Dkim(DkimError::FailedBodyHashMatch | DkimError::SignatureExpired)) => {
            "fail"
        }
        DkimResult::PermError(_) => "permerror",
        DkimResult::Neutral(_) => "neutral",
        DkimResult::None => "none",
    }
}

fn rank(word: &str) -> usize {
    const WORST_FIRST: &[&str] = &["none", "neutral", "permerror", "policy", "fail", "temperror", "pass"];
    WORST_FIRST.iter().position(|known| *known == word).unwrap_or(0)
}

async fn answers(
    dns: &dyn Dns,
    message: &AuthenticatedMessage<'_>,
    with_arc: bool,
    patience: Duration,
) -> Answers {
    let mut names: Vec<String> = message.dkim_headers.iter().map(|h| h.header.domain_key()).collect();
    if with_arc {
        // Only the newest ARC-Message-Signature is verified.
        names.extend(message.ams_headers.last().map(|h| h.header.domain_key()));
        names.extend(message.as_headers.iter().map(|h| h.header.domain_key()));
    }
    names.sort_unstable();
    names.dedup();
    let lookups =
        names.iter().map(|name| tokio::time::timeout(patience, dns.txt(name.trim_end_matches('.'))));
    let found = futures::future::join_all(lookups).await;
    let mut all = HashMap::new();
    for (name, found) in names.iter().zip(found) {
        let silent = |why: String| Txt::Error(Error::Dns(DnsError::Resolver(why)));
        let txt = match found {
            Err(_) => silent(format!("no answer for {name} in time")),
            Ok(Err(error)) => silent(error.to_string()),
            Ok(Ok(records)) => key_of(&records),
        };
        all.insert(name.to_fqdn(), txt);
    }
    Answers(all)
}

fn key_of(records: &[String]) -> Txt {
    let mut result = Txt::Error(Error::Dns(DnsError::RecordNotFound(ResponseCode::NXDomain)));
    for record in records {
        match DomainKey::parse(record.as_bytes()) {
            Ok(key) if serves_mail(record) => return Txt::from(key),
            Ok(_) => result = Txt::Error(Error::Dkim(DkimError::UnsupportedKeyType)),
            Err(error) => result = Txt::Error(error),
        }
    }
    result
}

/// Whether the key may sign mail (`s=`) by SHA-256 (`h=`); RFC 6376 section 3.6.1.
fn serves_mail(record: &str) -> bool {
    for (name, value) in record.split(';').filter_map(|tag| tag.split_once('=')) {
        let mut values = value.split(':').map(str::trim);
        let fits = match name.trim() {
            "s" => values.any(|service| service == "*" || service.eq_ignore_ascii_case("email")),
            "h" => values.any(|hash| hash.eq_ignore_ascii_case("sha256")),
            _ => true,
        };
        if !fits {
            return false;
        }
    }
    true
}

pub(super) fn header_block(raw: &[u8]) -> &[u8] {
    let crlf = memchr::memmem::find(raw, b"\r\n\r\n").map(|at| at + 2);
    let end = crlf.or_else(|| memchr::memmem::find(raw, b"\n\n").map(|at| at + 1));
    end.map_or(raw, |end| &raw[..end])
}

/// Whether a header block has a field of this (lower case) name.
pub(super) fn has_field(block: &[u8], name: &[u8]) -> bool {
    block
        .split(|b| *b == b'\n')
        .any(|line| line.get(..name.len()).is_some_and(|n| n.eq_ignore_ascii_case(name)))
}
