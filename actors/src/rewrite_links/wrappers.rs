//! Links that other vendors wrapped, taken apart offline by their public formats, so that a link is wrapped
//! once and judged by where it leads.
//!
//! What cannot be taken apart without asking the vendor (Mimecast, Safe Links of closed clouds) stays as it is
//! and is wrapped whole. A wrapper is taken off only where the inside is a complete web address.

use super::fields::percent;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tidegate_schemas::link::is_web;

/// The address inside a known wrapper; one layer.
pub(super) fn unwrap(address: &str) -> Option<String> {
    let (host, rest) = host_and_rest(address)?;
    let inner = by_host(&host, rest)?;
    let clean = is_web(&inner) && !inner.chars().any(char::is_control);
    clean.then_some(inner)
}

fn by_host(host: &str, rest: &str) -> Option<String> {
    if host.ends_with(".safelinks.protection.outlook.com") {
        return text(percent(parameter(rest, "url")?.as_bytes()));
    }
    match host {
        "urldefense.proofpoint.com" | "urldefense.com" | "urldefense.us" => proofpoint(rest),
        "linkprotect.cudasvc.com" => text(percent(parameter(rest, "a")?.as_bytes())),
        "secure-web.cisco.com" => cisco(rest),
        _ if is_google(host) && rest.starts_with("/url?") => {
            let target = parameter(rest, "q").or_else(|| parameter(rest, "url"))?;
            text(percent(target.as_bytes()))
        }
        _ => None,
    }
}

/// Host in lower case without port, and what follows the authority. Quick to say no: it is asked of every link.
fn host_and_rest(address: &str) -> Option<(String, &str)> {
    let after = address.split_once("://")?.1;
    let end = after.find(['/', '?', '#', '\\']).unwrap_or(after.len());
    let (authority, rest) = after.split_at(end);
    let host = authority.split(':').next()?;
    let known = ["outlook.com", "urldefense", "cudasvc.com", "cisco.com", "google."];
    let lower = host.to_ascii_lowercase();
    known.iter().any(|k| lower.contains(k)).then_some((lower, rest))
}

fn is_google(host: &str) -> bool {
    let name = host.strip_prefix("www.").unwrap_or(host);
    // google.com, google.de, google.co.uk, google.com.br
    name.strip_prefix("google.").is_some_and(|tld| tld.len() <= 6 && tld.matches('.').count() <= 1)
}

/// The raw value of a query parameter.
fn parameter<'a>(rest: &'a str, name: &str) -> Option<&'a str> {
    let query = rest.split_once('?')?.1.split('#').next()?;
    query
        .split('&')
        .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
        .map(|(_, value)| value)
}

fn text(octets: Vec<u8>) -> Option<String> {
    String::from_utf8(octets).ok()
}

fn proofpoint(rest: &str) -> Option<String> {
    if rest.starts_with("/v1/") {
        return text(percent(parameter(rest, "u")?.as_bytes()));
    }
    if rest.starts_with("/v2/") {
        let coded: String = parameter(rest, "u")?
            .chars()
            .map(|c| match c {
                '-' => '%',
                '_' => '/',
                c => c,
            })
            .collect();
        return text(percent(coded.as_bytes()));
    }
    proofpoint_v3(rest.strip_prefix("/v3/__")?)
}

/// `ADDRESS__;BASE64!...`: each `*` in the address stands for the next character of the base64 text, each
/// `**X` for a run of them, of a length from 2 up by the place of `X` in the base64url alphabet. What percent
/// signs there are came later, on the way: the wrapper puts its own into the base64 text.
fn proofpoint_v3(rest: &str) -> Option<String> {
    const LENGTHS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (address, rest) = rest.split_once("__;")?;
    let coded = rest.split('!').next()?.trim_end_matches('=');
    let hidden = text(URL_SAFE_NO_PAD.decode(coded).ok()?)?;
    let mut hidden = hidden.chars();
    let address = text(percent(address.as_bytes()))?;
    let mut whole = String::with_capacity(address.len());
    let mut letters = address.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '*' {
            whole.push(letter);
            continue;
        }
        if letters.next_if_eq(&'*').is_none() {
            whole.push(hidden.next()?);
            continue;
        }
        let run = LENGTHS.find(letters.next()?)? + 2;
        let before = whole.len();
        whole.extend(hidden.by_ref().take(run));
        if whole[before..].chars().count() != run {
            return None;
        }
    }
    // Some relays fold the two slashes into one.
    if let Some((scheme, path)) = whole.split_once(":/")
        && !path.starts_with('/')
    {
        return Some(format!("{scheme}://{path}"));
    }
    Some(whole)
}

/// `/PROOF/ADDRESS`, the address percent-encoded as one segment.
fn cisco(rest: &str) -> Option<String> {
    let (_, coded) = rest.strip_prefix('/')?.split_once('/')?;
    text(percent(coded.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn opens(wrapped: &str, inner: &str) {
        assert_eq!(unwrap(wrapped).as_deref(), Some(inner), "{wrapped}");
    }

    #[test]
    fn safe_links_keep_the_fragment_and_inner_escapes() {
        let wrapped = "https://nam02.safelinks.protection.outlook.com/?url=https%3A%2F%2Fa.test%2Fb%253D%3Fc%3D1%26d%3D2%23e&data=05%7C02&sdata=x%3D&reserved=0";
        opens(wrapped, "https://a.test/b%3D?c=1&d=2#e");
        opens(
            "https://EUR01.safelinks.protection.outlook.com/ap/w-59/?url=http%3A%2F%2Fa.test&x=1",
            "http://a.test",
        );
    }

    #[test]
    fn proofpoint_is_read_in_its_three_versions() {
        opens(
            "https://urldefense.proofpoint.com/v1/url?u=http://a.test/b%3Fc%3D1&k=xyz%3D%3D%0A",
            "http://a.test/b?c=1",
        );
        opens(
            "https://urldefense.proofpoint.com/v2/url?u=https-3A__a.test_b-5Fc-3Fd-3D1-26e-3D-252F&d=DwMF&c=x&r=y",
            "https://a.test/b_c?d=1&e=%2F",
        );
        opens("https://urldefense.com/v3/__https://a.test/b?c=1__;!!AbC!xyz$", "https://a.test/b?c=1");
        // One hidden sign, then a run of three.
        let hidden = URL_SAFE_NO_PAD.encode("#%é/");
        let wrapped = format!("https://urldefense.com/v3/__http:/a.test/*b**Bc__;{hidden}!!AbC!xyz$");
        opens(&wrapped, "http://a.test/#b%é/c");
    }

    #[test]
    fn barracuda_google_and_cisco_are_read() {
        opens(
            "https://linkprotect.cudasvc.com/url?a=https%3a%2f%2fa.test%2fb&c=E,1,x&typo=1",
            "https://a.test/b",
        );
        opens("https://www.google.com/url?q=https://a.test/b%3Fc&sa=D&source=x", "https://a.test/b?c");
        opens("http://google.co.uk/url?sa=t&url=https%3A%2F%2Fa.test%2F", "https://a.test/");
        opens(
            "https://secure-web.cisco.com/1aBc-_x/https%3A%2F%2Fa.test%2Fb%3Fc%3D%2520",
            "https://a.test/b?c=%20",
        );
    }

    #[test]
    fn what_cannot_be_opened_or_leads_off_the_web_stays_wrapped() {
        for address in [
            "https://protect.mimecast.com/s/AbCdEf?domain=a.test",
            "https://www.google.com/search?q=https://a.test/",
            "https://www.google.com/url?q=javascript:alert(1)",
            "https://x.safelinks.protection.outlook.com/?url=%68",
            "https://evil-google.com/url?q=https://a.test/",
            "https://urldefense.com/v3/__http://a.test/**Ab__;!!x",
            "https://urldefense.com/v3/__http://a.test/*__;!!x",
            "https://a.test/?url=https%3A%2F%2Fb.test",
            "https://linkprotect.cudasvc.com/url?a=https%3A%2F%2Fa.test%0d%0aX",
        ] {
            assert_eq!(unwrap(address), None, "{address}");
        }
    }
}
