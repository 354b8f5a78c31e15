//! The header fields with the results: Authentication-Results (RFC 8601) and Received-SPF (RFC 7208, 9.1).

use super::Found;
use std::fmt::Write as _;
use tidegate_schemas::Mail;

/// Both fields, whole lines.
pub(super) fn fields(id: &str, mail: &Mail, found: &Found) -> String {
    let Found { iprev, spf, signed, dmarc, .. } = found;
    let auth = &mail.auth;
    let mut out = format!("Authentication-Results: {id};\r\n\tiprev={}", auth.iprev);
    // Writing to a String cannot fail.
    if !iprev.name.is_empty() {
        let _infallible = write!(out, " ({})", token(&iprev.name));
    }
    let _infallible = write!(out, " policy.iprev={}", token(&mail.client.ip));
    let property = if spf.identity == "helo" { "smtp.helo" } else { "smtp.mailfrom" };
    let _infallible = write!(out, ";\r\n\tspf={} {property}={}", auth.spf, token(&spf.domain));
    if signed.signatures.is_empty() {
        let _infallible = write!(out, ";\r\n\tdkim={}", auth.dkim);
    }
    for signature in &signed.signatures {
        let _infallible = write!(out, ";\r\n\tdkim={}", signature.result);
        if !signature.domain.is_empty() {
            let (domain, selector) = (token(&signature.domain), token(&signature.selector));
            let _infallible = write!(out, " header.d={domain} header.s={selector}");
        }
    }
    let _infallible = write!(out, ";\r\n\tdmarc={}", auth.dmarc);
    if !dmarc.domain.is_empty() {
        let _infallible = write!(out, " header.from={}", token(&dmarc.domain));
    }
    if !auth.dmarc_policy.is_empty() {
        let _infallible = write!(out, " policy.dmarc={}", auth.dmarc_policy);
    }
    let _infallible = write!(out, ";\r\n\tarc={}\r\n", auth.arc);
    let _infallible = write!(
        out,
        "Received-SPF: {} identity={}; client-ip={};\r\n\tenvelope-from=\"{}\"; helo={}; receiver={id}\r\n",
        auth.spf,
        spf.identity,
        token(&mail.client.ip),
        token(&mail.mail_from),
        token(&mail.client.helo)
    );
    out
}

/// Untrusted text without what could end a value, a comment or a line.
fn token(text: &str) -> String {
    let fine = |c: char| if c.is_ascii_alphanumeric() || "-._@:+=".contains(c) { c } else { '?' };
    text.chars().take(255).map(fine).collect()
}
