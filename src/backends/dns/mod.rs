//! Who answers DNS: a zone file and nothing else ([`zone`]), or the servers of the system ([`system`]).
//!
//! Both keep the same promises, so that what is measured or tested on a zone file holds in production:
//! names are compared without regard to case and given back without the final dot (the root of a null MX,
//! RFC 7505, is the empty text); an absent name and an absent type are both an empty answer; a name that DNS
//! cannot carry (a label over 63 octets, an empty label) does not exist; all else that goes wrong is
//! [`tidegate_actors::ports::DnsError::Temporary`].

pub mod system;
pub mod zone;

/// The form in which names are compared: lower case, no final dot. `None` for what DNS cannot carry.
pub(crate) fn canonical(name: &str) -> Option<String> {
    let bare = name.strip_suffix('.').unwrap_or(name);
    let fits = bare.len() <= 253 && bare.split('.').all(|label| (1..=63).contains(&label.len()));
    (fits || bare.is_empty()).then(|| bare.to_ascii_lowercase())
}

/// The name whose PTR records speak of an address.
pub(crate) fn reverse_name(ip: std::net::IpAddr) -> String {
    use std::fmt::Write as _;
    match ip {
        std::net::IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        std::net::IpAddr::V6(ip) => {
            let mut name = String::with_capacity(72);
            for octet in ip.octets().iter().rev() {
                let _ = write!(name, "{:x}.{:x}.", octet & 15, octet >> 4);
            }
            name.push_str("ip6.arpa");
            name
        }
    }
}

#[cfg(test)]
mod suites_tests;
