//! Signals: what a person or a peer did, from which stages learn.
//!
//! A signal is a fact with an id; what is learned from it is kept as sets of rows keyed by such facts, so that
//! reading a topic twice teaches nothing twice. Users appear under a pseudonym (`user`), never by address,
//! unless the kind needs the address to act (`NewSender`, `Notice`).

use bytes::Bytes;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SignalKind {
    /// A link was opened and the site decided; `decision` says how.
    Click = 0,
    /// A person pressed "go on" on the warning page (POST).
    Proceed = 1,
    /// A person reported a link as dangerous.
    Report = 2,
    /// A list entry was made or removed.
    ListEdit = 3,
    /// A message was marked as spam; `raw` has it.
    MarkSpam = 4,
    /// A message was marked as ham; `raw` has it.
    MarkHam = 5,
    /// A held message was released; `raw` has it.
    Release = 6,
    /// A mail was refused in the SMTP dialogue; `reason` has the reply.
    Refused = 7,
    /// An address of a protected domain sent for the first time, with proof.
    NewSender = 8,
    /// A tenant, policy or key row changed: nodes drop what they cached.
    PolicyEdit = 9,
    /// A mail was judged; `decision` is the verdict. Feeds reputation.
    Judged = 10,
    /// A notice of our own has to be sent; `raw` has the message, `sender` the recipient.
    Notice = 11,
    /// What was learned about a domain was undone by an administrator; it sticks.
    Unlearn = 12,
}

/// One signal; fields that a kind has no use for are empty.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Signal {
    /// ULID.
    #[prost(string, tag = "1")]
    pub id: String,
    /// When, milliseconds UTC.
    #[prost(uint64, tag = "2")]
    pub at_ms: u64,
    #[prost(enumeration = "SignalKind", tag = "3")]
    /// What happened.
    pub kind: i32,
    /// Tenant path.
    #[prost(string, tag = "4")]
    pub tenant: String,
    /// Pseudonym of the user: a keyed hash, stable within a tenant.
    #[prost(string, tag = "5")]
    pub user: String,
    /// The mail it belongs to (its trace id).
    #[prost(string, tag = "6")]
    pub mail: String,
    /// Registered domain of the site, or sender domain.
    #[prost(string, tag = "7")]
    pub domain: String,
    /// Full host.
    #[prost(string, tag = "8")]
    pub host: String,
    /// The address (URL) concerned.
    #[prost(string, tag = "9")]
    pub url: String,
    /// What was decided (`warned`, `blocked`, `redirected`, `deliver`, `hold` ...).
    #[prost(string, tag = "10")]
    pub decision: String,
    /// Why, for people; or a user's comment.
    #[prost(string, tag = "11")]
    pub reason: String,
    /// Who called: `human` or `machine` and by what sign.
    #[prost(string, tag = "12")]
    pub client: String,
    /// Envelope or From address concerned.
    #[prost(string, tag = "13")]
    pub sender: String,
    /// Message octets, for marks, releases and notices.
    #[prost(bytes = "bytes", tag = "14")]
    pub raw: Bytes,
    /// Address of the SMTP or HTTP client, textual.
    #[prost(string, tag = "15")]
    pub ip: String,
    /// Scope of a list edit: `user`, `domain`, `provider`, `operator`.
    #[prost(string, tag = "16")]
    pub scope: String,
}

impl Signal {
    /// A signal of this kind, born now.
    pub fn new(kind: SignalKind, tenant: &str) -> Signal {
        Signal {
            id: crate::new_id(),
            at_ms: crate::now_ms(),
            kind: kind as i32,
            tenant: tenant.to_owned(),
            ..Signal::default()
        }
    }
}
