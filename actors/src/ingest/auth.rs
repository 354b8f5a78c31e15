//! AUTH PLAIN and LOGIN (RFC 4954, 4616), only inside TLS.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Login and password of a PLAIN response. An authorisation identity other than the login is refused: nobody
/// acts for another.
pub(super) fn plain(response: &str) -> Option<(String, String)> {
    let octets = decoded(response)?;
    let mut parts = octets.split(|b| *b == 0);
    let (authzid, login, password) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || (!authzid.is_empty() && authzid != login) {
        return None;
    }
    Some((text(login)?, text(password)?))
}

/// One answer of the LOGIN dialogue.
pub(super) fn login(response: &str) -> Option<String> {
    text(&decoded(response)?)
}

fn decoded(response: &str) -> Option<Vec<u8>> {
    // "=" is an empty initial response.
    if response == "=" { Some(Vec::new()) } else { STANDARD.decode(response.trim()).ok() }
}

fn text(octets: &[u8]) -> Option<String> {
    String::from_utf8(octets.to_vec()).ok().filter(|t| !t.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_takes_login_and_password_and_no_foreign_identity() {
        let response = |text: &str| STANDARD.encode(text);
        assert_eq!(plain(&response("\0ann\0pw")), Some(("ann".into(), "pw".into())));
        assert_eq!(plain(&response("ann\0ann\0pw")), Some(("ann".into(), "pw".into())));
        assert_eq!(plain(&response("root\0ann\0pw")), None);
        assert_eq!(plain(&response("\0ann\0")), None);
        assert_eq!(plain("!!"), None);
    }
}
