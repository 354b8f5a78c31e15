//! The certificate of SMTP: given by the configuration, or made by ourselves at first start.
//!
//! A self-signed certificate still encrypts against passive listeners, which is all that SMTP between
//! strangers promises; a warning says that submission clients will not trust it.

use super::StartError;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;

/// The server's TLS settings.
pub(super) fn server_config(
    config: &crate::config::Config,
    data: &Path,
) -> Result<Arc<rustls::ServerConfig>, StartError> {
    let (chain, key) = match (&config.tls.certificate, &config.tls.key) {
        (Some(chain), Some(key)) => {
            let (chain, key) = (config.base.join(chain), config.base.join(key));
            (read(&chain)?, read(&key)?)
        }
        _ => own(&config.server.hostname, data)?,
    };
    let wrong = |why: String| StartError::Config(format!("TLS certificate: {why}"));
    let chain: Vec<CertificateDer<'static>> = rustls_pemfile::certs(&mut chain.as_slice())
        .collect::<Result<_, _>>()
        .map_err(|e| wrong(e.to_string()))?;
    let key: PrivateKeyDer<'static> = rustls_pemfile::private_key(&mut key.as_slice())
        .map_err(|e| wrong(e.to_string()))?
        .ok_or_else(|| wrong("the key file has no private key".into()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let built = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| wrong(e.to_string()))?;
    Ok(Arc::new(built))
}

fn read(path: &Path) -> Result<Vec<u8>, StartError> {
    std::fs::read(path).map_err(|e| StartError::Config(format!("{}: {e}", path.display())))
}

/// The certificate of the data directory, made when it is not there.
fn own(hostname: &str, data: &Path) -> Result<(Vec<u8>, Vec<u8>), StartError> {
    let (chain_file, key_file) = (data.join("tls.crt"), data.join("tls.key"));
    if chain_file.exists() && key_file.exists() {
        return Ok((read(&chain_file)?, read(&key_file)?));
    }
    tracing::warn!("no certificate configured: making a self-signed one, which mail clients will not trust");
    let made = rcgen::generate_simple_self_signed([hostname.to_owned()])
        .map_err(|e| StartError::Config(format!("cannot make a certificate for {hostname}: {e}")))?;
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    crate::files::write_private(&key_file, key.as_bytes())?;
    crate::files::write_private(&chain_file, chain.as_bytes())?;
    Ok((chain.into_bytes(), key.into_bytes()))
}
