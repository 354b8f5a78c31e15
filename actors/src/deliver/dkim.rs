//! DKIM signatures of outbound mail (RFC 6376). They are made last: whatever changes a message after it is
//! signed breaks the signature.

use mail_auth::common::crypto::{Ed25519Key, RsaKey, Sha256};
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::{DkimSigner, Done};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use std::collections::HashMap;
use std::sync::Arc;

/// Fields that are signed where they stand. From is named twice: a second From added later breaks the signature.
const FIELDS: [&str; 17] = [
    "From",
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "Reply-To",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "List-Id",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "Sender",
];

enum Signer {
    Rsa(DkimSigner<RsaKey<Sha256>, Done>),
    Ed25519(DkimSigner<Ed25519Key, Done>),
}

/// Signing keys by domain.
#[derive(Clone, Default)]
pub struct Keys {
    by_domain: Arc<HashMap<String, Signer>>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_domain.keys()).finish()
    }
}

/// A key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("DKIM key of {domain}: {why}")]
pub struct KeyError {
    /// Whose.
    pub domain: String,
    /// What is wrong.
    pub why: String,
}

impl Keys {
    /// Keys from (domain, selector, PEM): RSA in PKCS#8 or PKCS#1, Ed25519 in PKCS#8.
    pub fn from_pem(all: &[(String, String, Vec<u8>)]) -> Result<Keys, KeyError> {
        let mut by_domain = HashMap::new();
        for (domain, selector, pem) in all {
            let failed = |why: String| KeyError { domain: domain.clone(), why };
            let text = std::str::from_utf8(pem).map_err(|_| failed("not a PEM file".into()))?;
            by_domain.insert(domain.to_lowercase(), signer(domain, selector, text).map_err(failed)?);
        }
        Ok(Keys { by_domain: Arc::new(by_domain) })
    }

    /// The signature field (whole lines) for a message, when there is a key of the domain.
    pub fn sign(&self, domain: &str, header: &[u8], body: &[u8]) -> Option<Result<String, String>> {
        let signer = self.by_domain.get(domain)?;
        let message = [header, body].concat();
        let signature = match signer {
            Signer::Rsa(signer) => signer.sign(&message),
            Signer::Ed25519(signer) => signer.sign(&message),
        };
        Some(signature.map(|s| s.to_header()).map_err(|e| e.to_string()))
    }
}

fn signer(domain: &str, selector: &str, pem: &str) -> Result<Signer, String> {
    let private = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| e.to_string())?;
    if let Ok(key) = RsaKey::<Sha256>::from_key_der(private.clone_key()) {
        return Ok(Signer::Rsa(DkimSigner::from_key(key).domain(domain).selector(selector).headers(FIELDS)));
    }
    let key = Ed25519Key::from_pkcs8_maybe_unchecked_der(private.secret_der())
        .map_err(|_| "neither an RSA nor an Ed25519 private key".to_owned())?;
    Ok(Signer::Ed25519(DkimSigner::from_key(key).domain(domain).selector(selector).headers(FIELDS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ed25519_key_signs_and_the_field_names_domain_and_selector() {
        use base64::Engine as _;
        let der = Ed25519Key::generate_pkcs8().unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            base64::engine::general_purpose::STANDARD.encode(der)
        );
        let keys = Keys::from_pem(&[("a.test".into(), "s1".into(), pem.into_bytes())]).unwrap();
        let field =
            keys.sign("a.test", b"From: x@a.test\r\nSubject: y\r\n", b"\r\nbody\r\n").unwrap().unwrap();
        assert!(field.starts_with("DKIM-Signature: ") && field.ends_with("\r\n"), "{field:?}");
        assert!(field.contains("d=a.test") && field.contains("s=s1") && field.contains("ed25519"), "{field}");
        assert!(keys.sign("b.test", b"", b"").is_none());
    }

    #[test]
    fn a_file_that_is_no_key_is_told_with_its_domain() {
        let error = Keys::from_pem(&[("a.test".into(), "s".into(), b"x".to_vec())]).unwrap_err();
        assert_eq!(error.domain, "a.test");
    }
}
