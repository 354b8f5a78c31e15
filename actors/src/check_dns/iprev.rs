//! Forward-confirmed reverse DNS (`iprev` of RFC 8601, 2.7.3).

use crate::ports::Dns;
use std::net::IpAddr;

/// Names looked at; an address with more has no name worth the questions.
const MOST_NAMES: usize = 5;

/// What the reverse lookup gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Iprev {
    /// `pass`, `fail`, `none`, `temperror`.
    pub result: &'static str,
    /// The confirmed name, or the first claimed one.
    pub name: String,
}

/// Looks an address up, there and back.
pub(super) async fn check(dns: &dyn Dns, ip: IpAddr) -> Iprev {
    let names = match dns.ptr(ip).await {
        Ok(names) => names,
        Err(_) => return Iprev { result: "temperror", name: String::new() },
    };
    let mut silent = false;
    for name in names.iter().take(MOST_NAMES) {
        match dns.addresses(name).await {
            Ok(found) if found.iter().any(|a| a.to_canonical() == ip) => {
                return Iprev { result: "pass", name: name.clone() };
            }
            Ok(_) => {}
            Err(_) => silent = true,
        }
    }
    let result = match (names.is_empty(), silent) {
        (true, _) => "none",
        (false, true) => "temperror",
        (false, false) => "fail",
    };
    Iprev { result, name: names.into_iter().next().unwrap_or_default() }
}

/// Whether a name looks like one that a provider gives to a line: the address is in it, or words like `dynamic`
/// and `pool` beside digits.
pub(super) fn is_dynamic(name: &str, ip: IpAddr) -> bool {
    let name = name.to_ascii_lowercase();
    let IpAddr::V4(v4) = ip else { return false };
    let [a, b, c, d] = v4.octets().map(|o| o.to_string());
    let joined = |sep: &str, parts: [&str; 4]| name.contains(&parts.join(sep));
    let forward = [a.as_str(), &b, &c, &d];
    let backward = [d.as_str(), &c, &b, &a];
    let has_address = ["-", ".", "_"].iter().any(|sep| joined(sep, forward) || joined(sep, backward));
    let digits = name.bytes().any(|b| b.is_ascii_digit());
    let words =
        ["dynamic", "dyn.", "dyn-", "dhcp", "pool", "ppp", "dialup", "dsl", "cable", "broadband", "cpe"];
    has_address || (digits && words.iter().any(|w| name.contains(w)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_lines_are_told_from_names_of_servers() {
        let ip = IpAddr::from([203, 0, 113, 7]);
        for name in
            ["203-0-113-7.isp.test", "7.113.0.203.dsl.isp.test", "pool12.isp.test", "host5.dynamic.isp.test"]
        {
            assert!(is_dynamic(name, ip), "{name}");
        }
        for name in ["mail.example.org", "mx1.example.org", "smtp-out-7.example.org"] {
            assert!(!is_dynamic(name, ip), "{name}");
        }
    }
}
