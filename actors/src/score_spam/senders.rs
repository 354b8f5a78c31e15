//! Lists of senders: what a tenant, or a user, has allowed or blocked.
//!
//! An allowed sender is believed only with proof that it is the sender (SPF for the envelope, an aligned DKIM
//! or DMARC pass for From): names on allow lists are the first that forgers use. A block needs no proof.

use crate::ports::{Directory, StoreError};
use tidegate_schemas::link::LinkKeys;
use tidegate_schemas::mail::domain_of;
use tidegate_schemas::{Evidence, Mail};

/// Evidence of the lists that hold for this mail's recipient. `from`: the From address, lower case; `vouched`:
/// its domain vouches for the mail.
pub(crate) async fn weigh(
    directory: &dyn Directory,
    keys: Option<&LinkKeys>,
    mail: &Mail,
    from: &str,
    vouched: bool,
) -> Result<Option<Evidence>, StoreError> {
    let envelope = mail.mail_from.to_lowercase();
    let mut values: Vec<String> = Vec::with_capacity(4);
    for address in [envelope.as_str(), from] {
        if !address.is_empty() && !values.iter().any(|v| v == address) {
            values.push(address.to_owned());
            values.push(domain_of(address));
        }
    }
    if values.is_empty() {
        return Ok(None);
    }
    let Some(listed) = directory.listed(&path(keys, mail), "sender", &values).await? else { return Ok(None) };
    let place = format!("{} on a list of the {}", listed.value, listed.level);
    if !listed.allow {
        return Ok(Some(evidence("LIST_BLOCK", 10.0, format!("blocked: {place}"))));
    }
    let is = |address: &str| listed.value == address || listed.value == domain_of(address);
    let proven = (vouched && is(from)) || (mail.auth.spf == "pass" && !envelope.is_empty() && is(&envelope));
    Ok(Some(if proven {
        evidence("LIST_ALLOW", -5.0, format!("allowed: {place}"))
    } else {
        evidence(
            "LIST_ALLOW_UNPROVEN",
            -1.0,
            format!("{place}, but nothing proves that the sender is the sender"),
        )
    }))
}

/// The user's path for a single recipient, else the domain's.
fn path(keys: Option<&LinkKeys>, mail: &Mail) -> String {
    match (keys, mail.recipients.as_slice()) {
        (Some(keys), [only]) => format!("{}/{}", mail.tenant, keys.pseudonym(&mail.tenant, &only.address)),
        _ => mail.tenant.clone(),
    }
}

fn evidence(code: &str, weight: f32, why: String) -> Evidence {
    Evidence { code: code.to_owned(), weight, why }
}
