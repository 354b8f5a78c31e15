//! Authentication-Results that pretend to be ours (RFC 8601, 5): their lines are cut out, nothing else changes.

use bytes::Bytes;

/// The message without fields of this name whose value begins with our authserv-id.
pub(super) fn remove(raw: &Bytes, authserv_id: &str) -> Bytes {
    let block = super::keys::header_block(raw);
    if !super::keys::has_field(block, b"authentication-results") {
        return raw.clone();
    }
    let mut cuts = Vec::new();
    let mut at = 0;
    while at < block.len() {
        let end = field_end(block, at);
        if is_ours(&block[at..end], authserv_id) {
            cuts.push((at, end));
        }
        at = end;
    }
    if cuts.is_empty() {
        return raw.clone();
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut from = 0;
    for (start, end) in cuts {
        out.extend_from_slice(&raw[from..start]);
        from = end;
    }
    out.extend_from_slice(&raw[from..]);
    out.into()
}

/// End of the field that begins at `start`: the next line that is no continuation.
fn field_end(block: &[u8], start: usize) -> usize {
    let mut at = start;
    loop {
        let Some(line) = memchr::memchr(b'\n', &block[at..]) else { return block.len() };
        at += line + 1;
        if !matches!(block.get(at), Some(b' ' | b'\t')) {
            return at;
        }
    }
}

fn is_ours(field: &[u8], authserv_id: &str) -> bool {
    let Some(colon) = field.iter().position(|b| *b == b':') else { return false };
    let name = field[..colon].trim_ascii();
    if !name.eq_ignore_ascii_case(b"authentication-results") {
        return false;
    }
    // Comments may stand before the id (RFC 5322, CFWS).
    let value = String::from_utf8_lossy(&field[colon + 1..]);
    let mut rest = value.trim_start();
    while let Some(inner) = rest.strip_prefix('(') {
        rest = inner.split_once(')').map_or("", |(_, after)| after).trim_start();
    }
    let id: &str = rest.split(|c: char| c == ';' || c.is_whitespace() || c == '(').next().unwrap_or_default();
    id.trim_matches('"').eq_ignore_ascii_case(authserv_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fields_that_name_us_are_cut_and_every_other_octet_stays() {
        let raw = Bytes::from(
            "A: 1\r\nAuthentication-Results: mx.us.test;\r\n\tspf=pass\r\nauthentication-results : (c) MX.US.TEST; dkim=pass\r\n\
             Authentication-Results: other.test; spf=fail\r\nB: 2\r\n\r\nAuthentication-Results: mx.us.test; body\r\n",
        );
        let left = remove(&raw, "mx.us.test");
        assert_eq!(
            String::from_utf8(left.to_vec()).unwrap(),
            "A: 1\r\nAuthentication-Results: other.test; spf=fail\r\nB: 2\r\n\r\nAuthentication-Results: mx.us.test; body\r\n"
        );
        let clean = Bytes::from("A: 1\r\n\r\nx");
        assert_eq!(remove(&clean, "mx.us.test"), clean);
    }
}
