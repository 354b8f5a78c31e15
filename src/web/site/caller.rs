//! Who calls: a person in a browser, or a machine, as far as a request can tell.
//!
//! Mail scanners and previews follow links; what they do is no one's decision. The signs are coarse and can
//! be lied about, which is why learning asks for several people on several days on top. A client that gives
//! no sign at all of being a browser is a machine, by default.

use std::net::{IpAddr, SocketAddr};
use warp::http::{HeaderMap, Method};

/// What a request says about its sender.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// `human`, or `machine:SIGN`.
    pub(super) client: &'static str,
    /// A browser that loads ahead of its user.
    pub(super) prefetch: bool,
    /// Host that was asked, lower case, with its port.
    pub(super) host: String,
    /// Client address; from `X-Forwarded-For` only when a trusted proxy says so.
    pub(super) ip: Option<IpAddr>,
    /// Whether the request comes from a page of this site, as far as it says.
    pub(super) origin: Origin,
}

/// Where a form was sent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// From a page of this site.
    Same,
    /// From elsewhere.
    Foreign,
    /// It does not say; browsers of this decade do.
    Unsaid,
}

/// Parts of User-Agent that people's browsers do not have.
const MACHINES: &[&str] = &[
    "axios",
    "barracuda",
    "bot",
    "bingpreview",
    "check",
    "cisco",
    "crawl",
    "curl",
    "dataprovider",
    "facebookexternalhit",
    "fetch",
    "forcepoint",
    "go-http",
    "guzzle",
    "headless",
    "http.rb",
    "httpclient",
    "java/",
    "libwww",
    "lua-resty",
    "mimecast",
    "monitor",
    "node",
    "okhttp",
    "phantom",
    "preview",
    "proofpoint",
    "python",
    "ruby",
    "scan",
    "scrap",
    "selenium",
    "slurp",
    "spider",
    "symantec",
    "trendmicro",
    "urlresolver",
    "validator",
    "wget",
    "whatsapp",
    "zgrab",
];

impl Caller {
    /// Reads the request's head.
    pub(super) fn read(
        method: &Method,
        headers: &HeaderMap,
        peer: Option<SocketAddr>,
        trusted: &[IpAddr],
    ) -> Caller {
        let prefetch = ["purpose", "sec-purpose", "x-purpose", "x-moz"].iter().any(|name| {
            let value = text(headers, name).to_ascii_lowercase();
            value.contains("prefetch") || value.contains("preview") || value.contains("prerender")
        });
        let host = text(headers, "host").to_ascii_lowercase();
        let origin = origin_of(headers, &host);
        Caller {
            client: client_of(method, headers, prefetch),
            prefetch,
            origin,
            host,
            ip: ip_of(headers, peer, trusted),
        }
    }

    /// The host without its port.
    pub(super) fn host_name(&self) -> &str {
        match self.host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => &self.host,
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

fn client_of(method: &Method, headers: &HeaderMap, prefetch: bool) -> &'static str {
    // Cubot makes phones.
    let agent = text(headers, "user-agent").to_ascii_lowercase().replace("cubot", "");
    if method == Method::HEAD {
        "machine:head"
    } else if prefetch {
        "machine:prefetch"
    } else if agent.is_empty() {
        "machine:no agent"
    } else if MACHINES.iter().any(|sign| agent.contains(sign)) {
        "machine:agent"
    } else {
        "human"
    }
}

/// `Sec-Fetch-Site` where the browser sends it, else `Origin`.
fn origin_of(headers: &HeaderMap, host: &str) -> Origin {
    match text(headers, "sec-fetch-site") {
        "" => {}
        "same-origin" | "none" => return Origin::Same,
        _ => return Origin::Foreign,
    }
    let Some(origin) = headers.get("origin") else { return Origin::Unsaid };
    let origin = origin.to_str().unwrap_or_default().to_ascii_lowercase();
    let bare = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    if !host.is_empty() && bare == Some(host) { Origin::Same } else { Origin::Foreign }
}

/// The last address that a trusted proxy did not add itself.
fn ip_of(headers: &HeaderMap, peer: Option<SocketAddr>, trusted: &[IpAddr]) -> Option<IpAddr> {
    let peer = peer?.ip().to_canonical();
    if !trusted.contains(&peer) {
        return Some(peer);
    }
    let hops =
        headers.get_all("x-forwarded-for").iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    let hops: Vec<IpAddr> = hops.filter_map(|hop| hop.trim().parse().ok()).collect();
    hops.into_iter().rev().find(|hop| !trusted.contains(hop)).or(Some(peer))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

    fn call(method: &Method, headers: &[(&'static str, &'static str)]) -> Caller {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Caller::read(method, &map, Some("192.0.2.1:5".parse().unwrap()), &["192.0.2.1".parse().unwrap()])
    }

    #[test]
    fn a_browser_is_a_person_and_scanners_are_not() {
        assert_eq!(call(&Method::GET, &[("user-agent", FIREFOX)]).client, "human");
        assert_eq!(
            call(&Method::GET, &[("user-agent", "Mozilla/5.0 (Linux; Android 14; CUBOT P80)")]).client,
            "human"
        );
        assert_eq!(call(&Method::HEAD, &[("user-agent", FIREFOX)]).client, "machine:head");
        assert_eq!(call(&Method::GET, &[]).client, "machine:no agent");
        for agent in
            ["curl/8", "python-requests/2", "Mozilla/5.0 (compatible; Googlebot/2.1)", "HeadlessChrome/156"]
        {
            assert_eq!(call(&Method::GET, &[("user-agent", agent)]).client, "machine:agent", "{agent}");
        }
    }

    #[test]
    fn loading_ahead_is_seen_by_every_header_that_browsers_use() {
        let signs = [
            ("purpose", "prefetch"),
            ("sec-purpose", "prefetch;prerender"),
            ("x-moz", "prefetch"),
            ("x-purpose", "preview"),
        ];
        for sign in signs {
            let caller = call(&Method::GET, &[("user-agent", FIREFOX), sign]);
            assert!(caller.prefetch && caller.client == "machine:prefetch", "{sign:?}");
        }
        assert!(!call(&Method::GET, &[("user-agent", FIREFOX)]).prefetch);
    }

    #[test]
    fn a_form_from_elsewhere_is_told_from_one_of_ours() {
        let host = ("host", "Links.test:8080");
        let origin =
            |more: &[(&'static str, &'static str)]| call(&Method::POST, &[&[host], more].concat()).origin;
        assert_eq!(origin(&[("origin", "https://links.test:8080")]), Origin::Same);
        assert_eq!(origin(&[("sec-fetch-site", "same-origin")]), Origin::Same);
        assert_eq!(origin(&[("origin", "https://links.test")]), Origin::Foreign);
        assert_eq!(origin(&[("origin", "null")]), Origin::Foreign);
        assert_eq!(origin(&[("origin", "https://evil.test")]), Origin::Foreign);
        assert_eq!(origin(&[("sec-fetch-site", "same-site")]), Origin::Foreign);
        assert_eq!(
            origin(&[("origin", "https://links.test:8080"), ("sec-fetch-site", "cross-site")]),
            Origin::Foreign
        );
        assert_eq!(origin(&[]), Origin::Unsaid);
        assert_eq!(call(&Method::POST, &[("origin", "https://")]).origin, Origin::Foreign);
    }

    #[test]
    fn forwarded_addresses_count_only_from_a_trusted_proxy_and_not_beyond_it() {
        let forwarded = [("x-forwarded-for", "203.0.113.9, 198.51.100.7"), ("x-forwarded-for", "192.0.2.1")];
        assert_eq!(call(&Method::GET, &forwarded).ip, Some("198.51.100.7".parse().unwrap()));
        let mut map = HeaderMap::new();
        map.append("x-forwarded-for", "203.0.113.9".parse().unwrap());
        let stranger = Caller::read(&Method::GET, &map, Some("192.0.2.66:5".parse().unwrap()), &[]);
        assert_eq!(stranger.ip, Some("192.0.2.66".parse().unwrap()));
    }

    #[test]
    fn the_host_name_is_the_host_without_its_port() {
        assert_eq!(call(&Method::GET, &[("host", "links.test:8080")]).host_name(), "links.test");
        assert_eq!(call(&Method::GET, &[("host", "[::1]:8080")]).host_name(), "[::1]");
        assert_eq!(call(&Method::GET, &[("host", "links.test")]).host_name(), "links.test");
    }
}
