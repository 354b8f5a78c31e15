//! One mail on its way: the message octets, its envelope, and all that was found out about it.
//!
//! Invariants: `raw` is the message as it came in (CRLF lines, dot-stuffing undone), changed only by
//! `rewrite_links` and by the removal of forged header fields; what Tidegate adds goes to `added_headers`,
//! which stand before `raw` on delivery. Evidence is appended, never edited. Field numbers are never used
//! twice: `golden/` pins one encoding per version.

use crate::verdict::{Evidence, Verdict};
use bytes::Bytes;

/// Which way a mail goes, seen from the protected domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Direction {
    /// From the world to a protected domain.
    Inbound = 0,
    /// From a user of a protected domain to the world.
    Outbound = 1,
    /// A notice or report of our own (DSN, digest): no judging, no rewriting.
    Own = 2,
}

/// Who handed the mail in.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Client {
    /// Address of the SMTP client, textual; from PROXY or XCLIENT where a trusted peer said so.
    #[prost(string, tag = "1")]
    pub ip: String,
    /// Argument of EHLO or HELO as given.
    #[prost(string, tag = "2")]
    pub helo: String,
    /// Forward-confirmed name of `ip`, empty when there is none or it was not looked up.
    #[prost(string, tag = "3")]
    pub ptr: String,
    /// TLS protocol and cipher, empty on a plain connection.
    #[prost(string, tag = "4")]
    pub tls: String,
    /// Authenticated login (RFC 4954), empty without AUTH.
    #[prost(string, tag = "5")]
    pub login: String,
    /// Whether the client used EHLO (the `with` clause of Received differs).
    #[prost(bool, tag = "6")]
    pub esmtp: bool,
}

/// One envelope recipient and its delivery state.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Recipient {
    /// `local@domain`, domain in lower case; UTF-8 where SMTPUTF8 was used.
    #[prost(string, tag = "1")]
    pub address: String,
    /// NOTIFY of RFC 3461 as given (`NEVER`, `SUCCESS,FAILURE` ...), empty when not given.
    #[prost(string, tag = "2")]
    pub notify: String,
    /// ORCPT of RFC 3461 as given, empty when not given.
    #[prost(string, tag = "3")]
    pub orcpt: String,
    /// Last reply of the next hop to this recipient, for DSNs and `queue show`; empty before the first try.
    #[prost(string, tag = "4")]
    pub reply: String,
}

/// Results of the authentication checks, in the words of RFC 8601 (`pass`, `fail`, `none`, `temperror` ...).
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Auth {
    /// Forward-confirmed reverse DNS.
    #[prost(string, tag = "1")]
    pub iprev: String,
    /// SPF of MAIL FROM (or HELO when the sender is empty), RFC 7208.
    #[prost(string, tag = "2")]
    pub spf: String,
    /// DKIM, the best of all signatures, RFC 6376.
    #[prost(string, tag = "3")]
    pub dkim: String,
    /// DMARC, RFC 7489.
    #[prost(string, tag = "4")]
    pub dmarc: String,
    /// ARC chain validation, RFC 8617.
    #[prost(string, tag = "5")]
    pub arc: String,
    /// Domains with a passing DKIM signature.
    #[prost(string, repeated, tag = "6")]
    pub dkim_domains: Vec<String>,
    /// Organisational domain of the From field, empty when it cannot be told.
    #[prost(string, tag = "7")]
    pub from_domain: String,
    /// DMARC disposition asked for by the domain owner: `none`, `quarantine`, `reject`.
    #[prost(string, tag = "8")]
    pub dmarc_policy: String,
}

/// Why a record went to `dead`.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Death {
    /// Stage that could not work on it.
    #[prost(string, tag = "1")]
    pub stage: String,
    /// Panic text, or the error's text.
    #[prost(string, tag = "2")]
    pub why: String,
    /// Topic it was read from, where `dead replay` puts it back.
    #[prost(string, tag = "3")]
    pub topic: String,
    /// Offset it was read at.
    #[prost(uint64, tag = "4")]
    pub offset: u64,
    /// Partition it was read at.
    #[prost(uint32, tag = "5")]
    pub partition: u32,
    /// When, milliseconds UTC.
    #[prost(uint64, tag = "6")]
    pub at_ms: u64,
}

/// One mail; see the module.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Mail {
    /// ULID, unique per record; a split makes new ids.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Id of the accepted SMTP transaction, shared by all records split from it. What the 250 reply names.
    #[prost(string, tag = "2")]
    pub trace: String,
    /// Tenant path of the protected domain (`operator/provider/domain`).
    #[prost(string, tag = "3")]
    pub tenant: String,
    #[prost(enumeration = "Direction", tag = "4")]
    /// Which way it goes.
    pub direction: i32,
    /// When the final dot came, milliseconds UTC.
    #[prost(uint64, tag = "5")]
    pub received_ms: u64,
    /// Who handed it in.
    #[prost(message, required, tag = "6")]
    pub client: Client,
    /// Reverse path; empty for the null sender.
    #[prost(string, tag = "7")]
    pub mail_from: String,
    /// Envelope recipients, all of one tenant domain (inbound) or of one transaction (outbound).
    #[prost(message, repeated, tag = "8")]
    pub recipients: Vec<Recipient>,
    /// The message.
    #[prost(bytes = "bytes", tag = "9")]
    pub raw: Bytes,
    /// Header block of our own, whole lines ending in CRLF, that stands before `raw` on delivery.
    #[prost(string, tag = "10")]
    pub added_headers: String,
    /// What stages found; appended only.
    #[prost(message, repeated, tag = "11")]
    pub evidence: Vec<Evidence>,
    #[prost(enumeration = "Verdict", optional, tag = "12")]
    /// The verdict once judged.
    pub verdict: Option<i32>,
    /// Sum of evidence once judged.
    #[prost(float, tag = "13")]
    pub score: f32,
    /// Calibrated probability of spam by the classifier, 0..1; negative before scoring or with an untrained model.
    #[prost(float, tag = "14")]
    pub spam_probability: f32,
    /// Results of the authentication checks.
    #[prost(message, required, tag = "15")]
    pub auth: Auth,
    /// Delivery attempts so far.
    #[prost(uint32, tag = "16")]
    pub attempts: u32,
    /// Not to be tried before, milliseconds UTC; 0 = now.
    #[prost(uint64, tag = "17")]
    pub due_ms: u64,
    /// Why it is held (`spam`, `malware`, `policy`, `burst` ...), empty when not held.
    #[prost(string, tag = "18")]
    pub hold_reason: String,
    /// Who released it from quarantine; a released mail passes every filter. Empty when not released.
    #[prost(string, tag = "19")]
    pub released_by: String,
    /// Set on records of `dead`.
    #[prost(message, optional, tag = "20")]
    pub death: Option<Death>,
    /// BODY=8BITMIME or BINARYMIME was declared, or the octets say so.
    #[prost(bool, tag = "21")]
    pub eight_bit: bool,
    /// SMTPUTF8 was declared.
    #[prost(bool, tag = "22")]
    pub smtputf8: bool,
    /// RET of RFC 3461 (`FULL`, `HDRS`), empty when not given.
    #[prost(string, tag = "23")]
    pub ret: String,
    /// ENVID of RFC 3461, empty when not given.
    #[prost(string, tag = "24")]
    pub envid: String,
    /// How many links were rewritten, for `trace` and metrics.
    #[prost(uint32, tag = "25")]
    pub links_rewritten: u32,
    /// Whether a delay notice (RFC 3464 `delayed`) was sent already.
    #[prost(bool, tag = "26")]
    pub delay_told: bool,
}

impl Mail {
    /// Appends one piece of evidence.
    pub fn add(&mut self, code: &str, weight: f32, why: impl Into<String>) {
        self.evidence.push(Evidence { code: code.to_owned(), weight, why: why.into() });
    }

    /// Whether evidence of this code was found.
    pub fn has(&self, code: &str) -> bool {
        self.evidence.iter().any(|e| e.code == code)
    }

    /// The octets as they are delivered: our header block, then the message.
    pub fn octets(&self) -> Bytes {
        if self.added_headers.is_empty() {
            return self.raw.clone();
        }
        let mut all = Vec::with_capacity(self.added_headers.len() + self.raw.len());
        all.extend_from_slice(self.added_headers.as_bytes());
        all.extend_from_slice(&self.raw);
        all.into()
    }

    /// Puts one header field (name, folded value without the final CRLF) before all others of ours.
    pub fn prepend_header(&mut self, name: &str, value: &str) {
        self.added_headers.insert_str(0, &format!("{name}: {value}\r\n"));
    }

    /// A copy for other recipients with an id of its own; `raw` is shared, not copied.
    pub fn split(&self, recipients: Vec<Recipient>) -> Mail {
        Mail { id: crate::new_id(), recipients, ..self.clone() }
    }

    /// Octets this record weighs in a batch.
    pub fn weight(&self) -> usize {
        self.raw.len() + self.added_headers.len() + 512
    }
}

/// The domain of `local@domain` in lower case; the whole text when there is no `@`.
pub fn domain_of(address: &str) -> String {
    address.rsplit_once('@').map_or(address, |(_, domain)| domain).to_ascii_lowercase()
}
