//! DKIM and ARC through mail-auth, with every DNS question answered from the [`Dns`] port.
//!
//! mail-auth asks its own resolver unless its cache has the answer. So the cache given to it has every answer:
//! the keys that the message's signatures name are looked up here first, and any other name does not exist.
//! Nothing goes to the network behind the port's back.

use crate::ports::Dns;
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::resolver::ToFqdn as _;
use mail_auth::common::verify::VerifySignature;
use mail_auth::common::verify::DomainKey;
use mail_auth::hickory_resolver::config::{ResolverConfig, ResolverOpts};
use mail_auth::hickory_resolver::proto::op::ResponseCode;
use mail_auth::{AuthenticatedMessage, DkimResult, DnsError, Error, MessageAuthenticator, Parameters, ResolverCache, Txt};
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Instant;

/// Signatures of a message that are looked at; more is an attempt to make us ask.
const MOST_SIGNATURES: usize = 10;

/// Answers prepared; whatever is not among them does not exist.
#[derive(Default)]
struct Answers(HashMap<Box<str>, Txt>);

impl ResolverCache<Box<str>, Txt> for Answers {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        Some(self.0.get(name).cloned().unwrap_or(Txt::Error(Error::Dns(DnsError::RecordNotFound(ResponseCode::NXDomain)))))
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
    /// Best DKIM result: `pass`, `fail`, `temperror`, `permerror`, `neutral`, `none`.
    pub dkim: &'static str,
    /// Domains with a passing signature, lower case.
    pub domains: Vec<String>,
    /// ARC chain: `pass`, `fail`, `none`.
    pub arc: &'static str,
    /// Domain of the newest ARC seal.
    pub sealer: String,
}

/// The verifier; holds no state worth keeping.
pub(super) struct Verifier(Option<MessageAuthenticator>);

impl Verifier {
    pub(super) fn new() -> Verifier {
        // Its resolver has no servers and is never asked.
        Verifier(MessageAuthenticator::new(ResolverConfig::default(), ResolverOpts::default()).ok())
    }

    /// Verifies DKIM and ARC.
    pub(super) async fn verify(&self, dns: &dyn Dns, raw: &[u8]) -> Signed {
        let none = Signed { dkim: "none", arc: "none", ..Signed::default() };
        let header = header_block(raw);
        if !has_field(header, b"dkim-signature") && !has_field(header, b"arc-seal") {
            return none;
        }
        let (Some(verifier), Some(message)) = (&self.0, AuthenticatedMessage::parse(raw)) else { return none };
        let answers = answers(dns, &message).await;
        let parameters = || Parameters {
            params: &message,
            cache_txt: Some(&answers),
            cache_mx: None::<&Nothing>,
            cache_ptr: None::<&Nothing>,
            cache_ipv4: None::<&Nothing>,
            cache_ipv6: None::<&Nothing>,
        };
        let mut signed = none;
        let outputs = verifier.verify_dkim(parameters()).await;
        let mut best = 0;
        for output in &outputs {
            let (rank, word) = rank(output.result());
            if rank > best {
                (best, signed.dkim) = (rank, word);
            }
            if let (DkimResult::Pass, Some(signature)) = (output.result(), output.signature()) {
                signed.domains.push(signature.d.to_lowercase());
            }
        }
        if !message.as_headers.is_empty() {
            let output = verifier.verify_arc(parameters()).await;
            signed.arc = if *output.result() == DkimResult::Pass { "pass" } else { "fail" };
            signed.sealer = message.as_headers.last().map(|h| h.header.d.to_lowercase()).unwrap_or_default();
        }
        signed
    }
}

fn rank(result: &DkimResult) -> (u8, &'static str) {
    match result {
        DkimResult::Pass => (6, "pass"),
        DkimResult::TempError(_) => (5, "temperror"),
        DkimResult::Fail(_) => (4, "fail"),
        DkimResult::Neutral(_) => (3, "fail"),
        DkimResult::PermError(_) => (2, "permerror"),
        DkimResult::None => (1, "none"),
    }
}

async fn answers(dns: &dyn Dns, message: &AuthenticatedMessage<'_>) -> Answers {
    let mut names: Vec<String> = Vec::new();
    let mut note = |name: String| {
        if !names.contains(&name) && names.len() < MOST_SIGNATURES {
            names.push(name);
        }
    };
    for header in &message.dkim_headers {
        note(header.header.domain_key());
    }
    for header in &message.ams_headers {
        note(header.header.domain_key());
    }
    for header in &message.as_headers {
        note(header.header.domain_key());
    }
    let lookups = names.iter().map(|name| async move { (name.clone(), dns.txt(name).await) });
    let mut all = HashMap::new();
    for (name, found) in futures::future::join_all(lookups).await {
        let txt = match found {
            Err(error) => Txt::Error(Error::Dns(DnsError::Resolver(error.to_string()))),
            Ok(records) => key_of(&records),
        };
        all.insert(name.to_fqdn(), txt);
    }
    Answers(all)
}

fn key_of(records: &[String]) -> Txt {
    let mut result = Txt::Error(Error::Dns(DnsError::RecordNotFound(ResponseCode::NXDomain)));
    for record in records {
        match DomainKey::parse(record.as_bytes()) {
            Ok(key) => return Txt::from(key),
            Err(error) => result = Txt::Error(error),
        }
    }
    result
}

pub(super) fn header_block(raw: &[u8]) -> &[u8] {
    let crlf = memchr::memmem::find(raw, b"\r\n\r\n").map(|at| at + 2);
    let end = crlf.or_else(|| memchr::memmem::find(raw, b"\n\n").map(|at| at + 1));
    end.map_or(raw, |end| &raw[..end])
}

/// Whether a header block has a field of this (lower case) name.
pub(super) fn has_field(block: &[u8], name: &[u8]) -> bool {
    block.split(|b| *b == b'\n').any(|line| line.get(..name.len()).is_some_and(|n| n.eq_ignore_ascii_case(name)))
}
