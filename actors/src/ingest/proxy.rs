//! The PROXY header, versions 1 and 2, that a trusted load balancer puts before the session.

use super::wire::{Wire, WireError};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Longest header of version 1.
const V1_MAX: usize = 107;

/// Reads the header: the client's address, or `None` when the proxy speaks for itself.
pub(super) async fn read(wire: &mut Wire, patience: Duration) -> Result<Option<IpAddr>, WireError> {
    while wire.buffer.len() < 13 {
        wire.fill(patience).await?;
    }
    if wire.buffer.starts_with(V2) { v2(wire, patience).await } else { v1(wire, patience).await }
}

async fn v1(wire: &mut Wire, patience: Duration) -> Result<Option<IpAddr>, WireError> {
    let super::wire::Line::Text(line) = wire.line(V1_MAX, patience).await? else {
        return Err(WireError::Closed);
    };
    let mut words = line.split(' ');
    match (words.next(), words.next(), words.next()) {
        (Some("PROXY"), Some("UNKNOWN"), _) => Ok(None),
        (Some("PROXY"), Some("TCP4" | "TCP6"), Some(ip)) => {
            ip.parse().map(Some).map_err(|_| WireError::Closed)
        }
        _ => Err(WireError::Closed),
    }
}

async fn v2(wire: &mut Wire, patience: Duration) -> Result<Option<IpAddr>, WireError> {
    let head = wire.exactly(16, patience).await?;
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    let body = wire.exactly(length, patience).await?;
    if head[12] >> 4 != 2 {
        return Err(WireError::Closed);
    }
    // LOCAL: a health check of the proxy itself.
    if head[12] & 0x0f == 0 {
        return Ok(None);
    }
    let four =
        || body.get(..4).and_then(|b| <[u8; 4]>::try_from(b).ok()).map(|b| IpAddr::V4(Ipv4Addr::from(b)));
    let six =
        || body.get(..16).and_then(|b| <[u8; 16]>::try_from(b).ok()).map(|b| IpAddr::V6(Ipv6Addr::from(b)));
    match head[13] >> 4 {
        1 => four().map(Some).ok_or(WireError::Closed),
        2 => six().map(Some).ok_or(WireError::Closed),
        _ => Ok(None),
    }
}
