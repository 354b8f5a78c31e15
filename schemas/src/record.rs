//! The encoding of records on topics: one version octet, one kind octet, protobuf.
//!
//! The version octet rises only when old readers could not make sense of new bytes; new fields do not need
//! it (protobuf skips what it does not know). A record of a newer version is an error that names both
//! versions, so that the operator of a half-upgraded cluster sees which node to upgrade.

use crate::{Mail, Signal};
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

/// Version of the record encoding that this build writes.
pub const VERSION: u8 = 1;
const MAIL: u8 = b'M';
const SIGNAL: u8 = b'S';

/// What a topic carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A mail; boxed, as it is ten times a signal.
    Mail(Box<Mail>),
    /// A signal.
    Signal(Box<Signal>),
}

/// Bytes that are no record. All of them are `Broken`: reading again will not help.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RecordError {
    /// Fewer than two octets.
    #[error("record is cut short: {0} octets")]
    Short(usize),
    /// Written by a newer Tidegate.
    #[error("record has version {0}, this build reads up to {VERSION}: upgrade this node")]
    Newer(u8),
    /// Neither mail nor signal.
    #[error("record kind {0:#04x} is not known")]
    Kind(u8),
    /// Not the protobuf message it should be.
    #[error("record does not decode: {0}")]
    Protobuf(String),
}

impl Record {
    /// The octets for a topic.
    pub fn encode(&self) -> Bytes {
        let length = match self {
            Record::Mail(mail) => mail.encoded_len(),
            Record::Signal(signal) => signal.encoded_len(),
        };
        let mut out = BytesMut::with_capacity(length + 2);
        out.put_u8(VERSION);
        // Encoding into a growable buffer cannot fail; prost's error type stands for fixed ones.
        let _infallible = match self {
            Record::Mail(mail) => {
                out.put_u8(MAIL);
                mail.encode(&mut out)
            }
            Record::Signal(signal) => {
                out.put_u8(SIGNAL);
                signal.encode(&mut out)
            }
        };
        out.freeze()
    }

    /// Reads a record; `Mail::raw` shares the input's memory.
    pub fn decode(bytes: &Bytes) -> Result<Record, RecordError> {
        if bytes.len() < 2 {
            return Err(RecordError::Short(bytes.len()));
        }
        if bytes[0] > VERSION || bytes[0] == 0 {
            return Err(RecordError::Newer(bytes[0]));
        }
        let body = bytes.slice(2..);
        let failed = |e: prost::DecodeError| RecordError::Protobuf(e.to_string());
        match bytes[1] {
            MAIL => Ok(Record::Mail(Box::new(Mail::decode(body).map_err(failed)?))),
            SIGNAL => Ok(Record::Signal(Box::new(Signal::decode(body).map_err(failed)?))),
            other => Err(RecordError::Kind(other)),
        }
    }

    /// Id of the record, for logs and dedupe.
    pub fn id(&self) -> &str {
        match self {
            Record::Mail(mail) => &mail.id,
            Record::Signal(signal) => &signal.id,
        }
    }

    /// Tenant path.
    pub fn tenant(&self) -> &str {
        match self {
            Record::Mail(mail) => &mail.tenant,
            Record::Signal(signal) => &signal.tenant,
        }
    }

    /// What partitions go by: a mail by its id (spread evenly), a signal by its domain or user (so that facts
    /// about one thing are read in order).
    pub fn key(&self) -> Bytes {
        match self {
            Record::Mail(mail) => Bytes::copy_from_slice(mail.id.as_bytes()),
            Record::Signal(signal) if !signal.domain.is_empty() => {
                Bytes::copy_from_slice(signal.domain.as_bytes())
            }
            Record::Signal(signal) => Bytes::copy_from_slice(signal.id.as_bytes()),
        }
    }
}

impl From<Mail> for Record {
    fn from(mail: Mail) -> Record {
        Record::Mail(Box::new(mail))
    }
}

impl From<Signal> for Record {
    fn from(signal: Signal) -> Record {
        Record::Signal(Box::new(signal))
    }
}
