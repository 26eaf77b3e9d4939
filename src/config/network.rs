//! Where requests come in, and whose word is taken: addresses, sockets, networks.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use super::value::{self, Parsed};

/// A place to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address with a port.
    Tcp(SocketAddr),
    /// A socket in the file system; whoever may open it is trusted like a proxy.
    Unix(PathBuf),
}

impl Listen {
    /// The address, unless it is a path.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl FromStr for Listen {
    type Err = String;

    /// `127.0.0.1:9292` or `unix:/run/glissade.sock`.
    fn from_str(text: &str) -> Parsed<Self> {
        let text = text.trim();
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.strip_prefix("//").unwrap_or(path) {
                "" => Err("name a path such as unix:/run/glissade/api.sock".to_owned()),
                path => value::path(path).map(Self::Unix),
            };
        }
        text.replace("localhost:", "127.0.0.1:").parse().map(Self::Tcp).map_err(|_| {
            "give an address with a port such as 127.0.0.1:9292, or a path such as \
             unix:/run/glissade/api.sock"
                .to_owned()
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Addresses that share a prefix, such as `192.0.2.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    prefix_bits: u32,
}

impl Network {
    /// Whether an address is in it. An IPv4 address counts as itself in whatever form it comes.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - self.prefix_bits).unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - self.prefix_bits).unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    /// `192.0.2.0/24`, or an address alone.
    fn from_str(text: &str) -> Parsed<Self> {
        let remedy =
            || format!("{text:?} is no network; write an address or one such as 192.0.2.0/24");
        let (address, prefix) = match text.trim().split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text.trim(), None),
        };
        let base: IpAddr = address.parse().map_err(|_| remedy())?;
        let widest = if base.is_ipv4() { 32 } else { 128 };
        let prefix_bits = prefix.map_or(Ok(widest), str::parse).map_err(|_| remedy())?;
        if prefix_bits > widest { Err(remedy()) } else { Ok(Self { base, prefix_bits }) }
    }
}

/// A list of networks.
pub(super) fn networks(text: &str) -> Parsed<Vec<Network>> {
    value::list(text)?.iter().map(|item| item.parse()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn listeners_are_addresses_or_paths() {
        let parse = |text: &str| text.parse::<Listen>();
        assert_eq!(parse("localhost:0").unwrap(), Listen::Tcp(([127, 0, 0, 1], 0).into()));
        assert_eq!(parse("unix:/run/g.sock").unwrap(), Listen::Unix("/run/g.sock".into()));
        assert_eq!(parse("unix:///run/g.sock").unwrap().to_string(), "unix:/run/g.sock");
        for text in ["", "unix:", "127.0.0.1", "/run/g.sock", "controller:9292"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_hold_what_shares_their_prefix() {
        let holds = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().contains(address.parse().unwrap())
        };
        assert!(holds("192.0.2.0/24", "192.0.2.255") && !holds("192.0.2.0/24", "192.0.3.0"));
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.8"));
        assert!(holds("0.0.0.0/0", "203.0.113.9") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("127.0.0.1", "::ffff:127.0.0.1"));
        assert!(holds("2001:db8::/32", "2001:db8:1::1") && !holds("2001:db8::/32", "2001:db9::"));
        assert!(holds("::/0", "::1") && holds("::1", "::1"));
    }

    #[test]
    fn what_is_no_network_is_refused_by_its_text() {
        for text in ["x", "192.0.2.0/33", "::/129", "192.0.2.0/", "192.0.2.0/-1"] {
            assert!(networks(text).unwrap_err().contains(text), "{text}");
        }
        assert_eq!(networks("10.0.0.0/8, ::1").unwrap().len(), 2);
        assert!(networks("").unwrap().is_empty());
    }
}
