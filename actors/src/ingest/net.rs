//! Addresses and prefixes, `192.0.2.0/24` or `2001:db8::/32`.

use std::net::IpAddr;
use std::str::FromStr;

/// A prefix; a bare address is one of full length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpNet {
    bits: u128,
    length: u8,
    v4: bool,
}

/// The text is neither an address nor a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither an address nor a prefix")]
pub struct NotANet;

fn bits(ip: IpAddr) -> (u128, bool) {
    match ip.to_canonical() {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)) << 96, true),
        IpAddr::V6(ip) => (u128::from(ip), false),
    }
}

fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

impl IpNet {
    /// Whether the address is in it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let (other, v4) = bits(ip);
        v4 == self.v4 && (other & mask(self.length)) == self.bits
    }
}

impl FromStr for IpNet {
    type Err = NotANet;

    fn from_str(text: &str) -> Result<IpNet, NotANet> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u8>().map_err(|_| NotANet)?)),
            None => (text, None),
        };
        let ip: IpAddr = address.parse().map_err(|_| NotANet)?;
        let (all, v4) = bits(ip);
        let most = if v4 { 32 } else { 128 };
        let length = length.unwrap_or(most);
        if length > most {
            return Err(NotANet);
        }
        Ok(IpNet { bits: all & mask(length), length, v4 })
    }
}

/// The address itself and the prefixes under which an exemption may be written: /24 and /64.
pub(super) fn spellings(ip: IpAddr) -> Vec<String> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            vec![ip.to_string(), format!("{a}.{b}.{c}.0/24")]
        }
        IpAddr::V6(ip) => {
            let prefix = std::net::Ipv6Addr::from(u128::from(ip) & mask(64));
            vec![ip.to_string(), format!("{prefix}/64")]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_its_prefix_and_not_in_the_next() {
        let net: IpNet = "192.0.2.128/25".parse().unwrap();
        assert!(net.contains("192.0.2.200".parse().unwrap()) && !net.contains("192.0.2.5".parse().unwrap()));
        assert!(net.contains("::ffff:192.0.2.200".parse().unwrap()));
        assert!("0.0.0.0/0".parse::<IpNet>().unwrap().contains("8.8.8.8".parse().unwrap()));
        assert!(!"0.0.0.0/0".parse::<IpNet>().unwrap().contains("::1".parse().unwrap()));
        let six: IpNet = "2001:db8::/32".parse().unwrap();
        assert!(
            six.contains("2001:db8:1::5".parse().unwrap()) && !six.contains("2001:db9::".parse().unwrap())
        );
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for text in ["", "x", "1.2.3.4/33", "::/129", "1.2.3/8", "1.2.3.4/x"] {
            assert_eq!(text.parse::<IpNet>(), Err(NotANet), "{text}");
        }
    }
}
