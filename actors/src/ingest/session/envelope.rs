//! The envelope of a transaction, grouped as the pipeline wants it.

use super::super::command::MailParams;
use crate::ports::DomainFacts;
use std::sync::Arc;
use tidegate_schemas::{Direction, Recipient};

/// Recipients of one record to be.
pub(super) struct Group {
    pub(super) direction: Direction,
    pub(super) tenant: String,
    pub(super) domain: String,
    pub(super) recipients: Vec<Recipient>,
}

/// Sender and recipients so far.
pub(super) struct Envelope {
    /// Reverse path, empty for the null sender.
    pub(super) sender: String,
    pub(super) sender_domain: String,
    pub(super) params: MailParams,
    pub(super) groups: Vec<Group>,
    /// Pieces of BDAT so far; `None` before the first.
    pub(super) chunks: Option<Vec<u8>>,
    /// A BDAT piece was refused: the others are swallowed until the last.
    pub(super) spoiled: bool,
}

impl Envelope {
    pub(super) fn count(&self) -> usize {
        self.groups.iter().map(|g| g.recipients.len()).sum()
    }

    /// Adds a recipient of a protected domain; the same one twice is one.
    pub(super) fn add_inbound(&mut self, facts: &Arc<DomainFacts>, recipient: Recipient) {
        self.add(Direction::Inbound, &facts.tenant, &facts.domain, recipient);
    }

    /// Adds a recipient of the world, sent by this tenant.
    pub(super) fn add_outbound(&mut self, tenant: &str, recipient: Recipient) {
        self.add(Direction::Outbound, tenant, "", recipient);
    }

    fn add(&mut self, direction: Direction, tenant: &str, domain: &str, recipient: Recipient) {
        let place = self.groups.iter_mut().find(|g| g.direction == direction && g.domain == domain);
        match place {
            Some(group) if group.recipients.iter().any(|r| r.address == recipient.address) => {}
            Some(group) => group.recipients.push(recipient),
            None => self.groups.push(Group {
                direction,
                tenant: tenant.to_owned(),
                domain: domain.to_owned(),
                recipients: vec![recipient],
            }),
        }
    }
}
