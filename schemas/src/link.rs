//! The token of a rewritten link: `https://HOST/u/VERSION.KEY.PAYLOAD/shown.host`.
//!
//! * `VERSION` is `1`. `KEY` names the key. `PAYLOAD` is base64url without padding of AES-256-GCM-SIV
//!   (RFC 8452) over the fields below; version and key id are its associated data. The nonce is fixed: GCM-SIV
//!   is built to bear that, the only thing it tells is that two links are the same in every field, and a
//!   replayed mail gets the very same links.
//! * Plaintext: three length-prefixed fields (one octet of length, then octets): tenant path, user pseudonym,
//!   trace id of the mail; the rest is the address (URL) as it stood in the mail, entities decoded.
//! * The trailing host is a hint for people and is ignored on reading.
//!
//! Tokens never expire. Keys rotate by putting a new one first; old ones stay readable.
//! Only `http` and `https` addresses are ever put in or given out.

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use std::collections::HashMap;

const VERSION: &str = "1";
const NONCE: [u8; 12] = *b"tidegate/u/1";

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Target address, `http` or `https`.
    pub url: String,
    /// Tenant path of the recipient's domain.
    pub tenant: String,
    /// Pseudonym of the recipient.
    pub user: String,
    /// Trace id of the mail.
    pub mail: String,
}

/// Why a token is not read. None of them may end in a redirect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Not of the form of a token.
    #[error("this is not a link of ours")]
    Foreign,
    /// A version or key that this key set does not have.
    #[error("made with version or key {0}, which is not known here")]
    UnknownKey(String),
    /// Changed, cut or forged.
    #[error("the link is damaged")]
    Damaged,
    /// Inside is an address that must not leave the site.
    #[error("only http and https addresses are opened")]
    NotWeb,
}

/// The key set: link keys, newest first, and the key of pseudonyms.
#[derive(Clone)]
pub struct LinkKeys {
    current: String,
    ciphers: HashMap<String, Aes256GcmSiv>,
    secrets: Vec<(String, [u8; 32])>,
    pseudonym: [u8; 32],
}

impl std::fmt::Debug for LinkKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkKeys").field("current", &self.current).finish_non_exhaustive()
    }
}

/// The key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A line is not `ID HEX`.
    #[error("key file, line {0}: expected an id and 64 hex digits")]
    Line(usize),
    /// No link key or no pseudonym key.
    #[error("key file: {0} is missing")]
    Missing(&'static str),
    /// The system gave no randomness.
    #[error("no randomness from the system: {0}")]
    Random(String),
}

fn random_key() -> Result<[u8; 32], KeysError> {
    let mut key = [0_u8; 32];
    getrandom::fill(&mut key).map_err(|e| KeysError::Random(e.to_string()))?;
    Ok(key)
}

impl LinkKeys {
    /// A fresh set with one link key.
    pub fn generate() -> Result<LinkKeys, KeysError> {
        LinkKeys::build(vec![("a1".into(), random_key()?)], random_key()?)
    }

    /// The set with a new key in front; old tokens stay readable.
    pub fn rotated(&self) -> Result<LinkKeys, KeysError> {
        let mut secrets = self.secrets.clone();
        secrets.insert(0, (format!("a{}", secrets.len() + 1), random_key()?));
        LinkKeys::build(secrets, self.pseudonym)
    }

    /// Reads the key file: one `ID HEX` a line, newest first, and one line `pseudonym HEX`. `#` starts a comment.
    pub fn parse(text: &str) -> Result<LinkKeys, KeysError> {
        let mut secrets = Vec::new();
        let mut pseudonym = None;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (id, digits) = line.split_once(' ').ok_or(KeysError::Line(index + 1))?;
            let mut key = [0_u8; 32];
            hex::decode_to_slice(digits.trim(), &mut key).map_err(|_| KeysError::Line(index + 1))?;
            match id {
                "pseudonym" => pseudonym = Some(key),
                id if id.bytes().all(|b| b.is_ascii_alphanumeric()) => secrets.push((id.to_owned(), key)),
                _ => return Err(KeysError::Line(index + 1)),
            }
        }
        LinkKeys::build(secrets, pseudonym.ok_or(KeysError::Missing("the pseudonym key"))?)
    }

    /// The key file's text; a secret.
    pub fn to_text(&self) -> String {
        let mut text =
            String::from("# Link keys, newest first. Whoever has this file can read and forge links.\n");
        for (id, key) in &self.secrets {
            text.push_str(&format!("{id} {}\n", hex::encode(key)));
        }
        text.push_str(&format!("pseudonym {}\n", hex::encode(self.pseudonym)));
        text
    }

    /// Ids of the link keys, newest first.
    pub fn ids(&self) -> Vec<&str> {
        self.secrets.iter().map(|(id, _)| id.as_str()).collect()
    }

    fn build(secrets: Vec<(String, [u8; 32])>, pseudonym: [u8; 32]) -> Result<LinkKeys, KeysError> {
        let current = secrets.first().ok_or(KeysError::Missing("a link key"))?.0.clone();
        let mut ciphers = HashMap::new();
        for (id, key) in &secrets {
            let cipher = Aes256GcmSiv::new_from_slice(key).map_err(|_| KeysError::Missing("a link key"))?;
            ciphers.insert(id.clone(), cipher);
        }
        Ok(LinkKeys { current, ciphers, secrets, pseudonym })
    }

    /// Pseudonym of an address within a tenant: 16 hex digits of a keyed hash, the same on every node.
    pub fn pseudonym(&self, tenant: &str, address: &str) -> String {
        hex::encode(&self.mac("user", &[tenant, &address.to_lowercase()])[..8])
    }

    /// Proof for a form of the site (CSRF): keyed hash of a purpose and its fields, 32 hex digits.
    pub fn proof(&self, purpose: &str, fields: &[&str]) -> String {
        hex::encode(&self.mac(purpose, fields)[..16])
    }

    fn mac(&self, purpose: &str, fields: &[&str]) -> [u8; 32] {
        // HMAC pads a short key with zeros to the block's 64 octets; done here, the key's length is no error case.
        let mut block = [0_u8; 64];
        block[..32].copy_from_slice(&self.pseudonym);
        let mut mac = <Hmac<sha2::Sha256> as hmac::KeyInit>::new(&block.into());
        for field in std::iter::once(&purpose).chain(fields) {
            mac.update(&(field.len() as u64).to_be_bytes());
            mac.update(field.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }

    /// The link for a target, at a site such as `https://links.example.net`.
    /// Fails only with `NotWeb` (another scheme) or `Damaged` (a field over 255 octets).
    pub fn encode(&self, site: &str, link: &Link) -> Result<String, LinkError> {
        if !is_web(&link.url) {
            return Err(LinkError::NotWeb);
        }
        let mut plain = Vec::with_capacity(link.url.len() + 96);
        for field in [&link.tenant, &link.user, &link.mail] {
            plain.push(u8::try_from(field.len()).map_err(|_| LinkError::Damaged)?);
            plain.extend_from_slice(field.as_bytes());
        }
        plain.extend_from_slice(link.url.as_bytes());
        let head = format!("{VERSION}.{}", self.current);
        let cipher = self.ciphers.get(&self.current).ok_or(LinkError::Damaged)?;
        let payload = Payload { msg: &plain, aad: head.as_bytes() };
        let sealed = cipher.encrypt(&Nonce::from(NONCE), payload).map_err(|_| LinkError::Damaged)?;
        let mut token = format!("{}/u/{head}.", site.trim_end_matches('/'));
        URL_SAFE_NO_PAD.encode_string(&sealed, &mut token);
        token.push('/');
        token.push_str(&shown_host(&link.url));
        Ok(token)
    }

    /// Reads a whole link or just `VERSION.KEY.PAYLOAD`.
    pub fn decode(&self, token: &str) -> Result<Link, LinkError> {
        let bare = token_of(token).ok_or(LinkError::Foreign)?;
        let (head, payload) = bare.rsplit_once('.').ok_or(LinkError::Foreign)?;
        let (version, key) = head.split_once('.').ok_or(LinkError::Foreign)?;
        if version != VERSION {
            return Err(LinkError::UnknownKey(version.to_owned()));
        }
        let cipher = self.ciphers.get(key).ok_or_else(|| LinkError::UnknownKey(key.to_owned()))?;
        let sealed = URL_SAFE_NO_PAD.decode(payload).map_err(|_| LinkError::Damaged)?;
        let payload = Payload { msg: &sealed, aad: head.as_bytes() };
        let plain = cipher.decrypt(&Nonce::from(NONCE), payload).map_err(|_| LinkError::Damaged)?;
        read_fields(&plain)
    }
}

/// `VERSION.KEY.PAYLOAD` of a link of this form, whatever its host; `None` for anything else.
pub fn token_of(text: &str) -> Option<&str> {
    let bare = match text.split_once("/u/") {
        Some((_, rest)) => rest.split(['/', '?', '#']).next()?,
        None => text,
    };
    let mut parts = bare.split('.');
    let shape = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    let three = (parts.next()?, parts.next()?, parts.next()?);
    let right = parts.next().is_none()
        && [three.0, three.1, three.2].iter().all(|p| !p.is_empty() && p.bytes().all(shape));
    right.then_some(bare)
}

/// Whether an address begins with `http:` or `https:`, in any case.
pub fn is_web(url: &str) -> bool {
    let scheme = |name: &str| url.get(..name.len()).is_some_and(|s| s.eq_ignore_ascii_case(name));
    scheme("http://") || scheme("https://")
}

fn read_fields(plain: &[u8]) -> Result<Link, LinkError> {
    let mut rest = plain;
    let mut field = || -> Result<String, LinkError> {
        let (&length, after) = rest.split_first().ok_or(LinkError::Damaged)?;
        let (text, after) = after.split_at_checked(usize::from(length)).ok_or(LinkError::Damaged)?;
        rest = after;
        String::from_utf8(text.to_vec()).map_err(|_| LinkError::Damaged)
    };
    let (tenant, user, mail) = (field()?, field()?, field()?);
    let url = String::from_utf8(rest.to_vec()).map_err(|_| LinkError::Damaged)?;
    if !is_web(&url) {
        return Err(LinkError::NotWeb);
    }
    Ok(Link { url, tenant, user, mail })
}

/// The hint at the end: the host, only letters, digits, dots and hyphens of it.
fn shown_host(url: &str) -> String {
    let after = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = after.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default();
    host.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')).take(64).collect()
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
