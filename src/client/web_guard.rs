//! Where on the web others may send us (`WF-01` to `WF-06`).
//!
//! A URL is judged as it was written, by the operator's lists of schemes, hosts and ports; then
//! every address of its host is. Addresses that lead back into this machine or that no image can
//! lie at are refused, in whatever form an IPv4 address comes; private networks are not, for that
//! is where a private cloud has its images. A host that the operator allows by name may have any
//! address. As a [`Guard`] of a client it answers the only addresses that are connected to, so that
//! a name which resolves to something else the next time gains nothing by it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use async_trait::async_trait;
use url::{Host, Url};

use super::connect::{Guard, look_up};
use super::{ClientError, shown, without_credentials};
use crate::config::WebFilter;
use crate::limits::CLIENT_CONNECT_WAIT;

/// The judge.
#[derive(Clone, Debug)]
pub struct WebGuard(WebFilter);

impl WebGuard {
    /// A judge by an operator's lists.
    #[must_use]
    pub fn new(filter: WebFilter) -> Self {
        Self(filter)
    }

    /// Judges a URL that somebody has written, with every address that its host has now.
    ///
    /// # Errors
    /// [`ClientError::BadUrl`] for what is none, [`ClientError::Refused`] for where we may not go.
    pub async fn judge(&self, text: &str) -> Result<Url, ClientError> {
        let (url, explicit_port) = read(text)?;
        self.judge_lists(&url, explicit_port)?;
        let host = host_of(&url);
        let port = url.port_or_known_default().unwrap_or(80);
        let found = self.resolve(&host, port).await?;
        match found.into_iter().find(|address| !self.may_connect(&host, address.ip())) {
            None => Ok(url),
            Some(address) => Err(refused(&url, format!("it is at {}", address.ip()))),
        }
    }

    fn judge_lists(&self, url: &Url, explicit_port: Option<u16>) -> Result<(), ClientError> {
        let host = host_of(url);
        if !self.0.schemes.passes(&url.scheme().to_owned()) {
            return Err(refused(url, format!("the scheme {} is not allowed", url.scheme())));
        }
        if host.is_empty() || !self.0.hosts.passes(&host) {
            return Err(refused(url, format!("the host {host:?} is not allowed")));
        }
        match explicit_port.filter(|port| !self.0.ports.passes(port)) {
            Some(port) => Err(refused(url, format!("the port {port} is not allowed"))),
            None => Ok(()),
        }
    }

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ClientError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let unreachable = |source: std::io::Error| ClientError::Unreachable {
            at: host.to_owned(),
            source: source.into(),
        };
        match tokio::time::timeout(CLIENT_CONNECT_WAIT, look_up(host, port)).await {
            Ok(Ok(found)) if found.is_empty() => {
                Err(unreachable(std::io::ErrorKind::NotFound.into()))
            }
            Ok(found) => found.map_err(unreachable),
            Err(_) => Err(ClientError::TimedOut { at: host.to_owned() }),
        }
    }

    fn may_connect(&self, host: &str, address: IpAddr) -> bool {
        if self.0.hosts.names(&host.to_owned()) {
            return true;
        }
        let address = address.to_canonical();
        is_public_or_private(address) && self.0.hosts.passes_address(address)
    }
}

#[async_trait]
impl Guard for WebGuard {
    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ClientError> {
        let host = plain_host(host);
        let mut found = self.resolve(&host, port).await?;
        found.retain(|address| self.may_connect(&host, address.ip()));
        match found.is_empty() {
            false => Ok(found),
            true => {
                let why = "none of its addresses may be connected to".to_owned();
                Err(ClientError::Refused { at: host, why })
            }
        }
    }

    /// What is named by its address is judged by that as well: through a proxy, nobody else would.
    fn judge_redirect(&self, target: &Url, written: &str) -> Result<(), ClientError> {
        let (_, explicit_port) = read(written)?;
        self.judge_lists(target, explicit_port)?;
        let host = host_of(target);
        match host.parse().is_ok_and(|address| !self.may_connect(&host, address)) {
            false => Ok(()),
            true => Err(refused(target, format!("it is at {host}"))),
        }
    }
}

/// Takes a URL apart, and tells the port that it was written with. What is read in different ways
/// by different programs is refused: letters that some leave out, and addresses that are not
/// written as addresses are (`WF-02`).
fn read(text: &str) -> Result<(Url, Option<u16>), ClientError> {
    let bad = |why: &str| {
        let why = why.to_owned();
        ClientError::BadUrl { url: without_credentials(text), why }
    };
    let is_odd = |c: char| c.is_control() || c.is_whitespace() || c == '\\';
    if text.contains(is_odd) {
        return Err(bad("it has spaces or backslashes"));
    }
    let url = Url::parse(text).map_err(|_| bad("it is no URL"))?;
    let (_, rest) = text.split_once("://").ok_or_else(|| bad("it names no host"))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..end];
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let (host, port) = split_port(place);
    let is_plain = match url.host() {
        None => false,
        Some(Host::Ipv4(address)) => host == address.to_string(),
        Some(Host::Ipv6(address)) => {
            host.trim_matches(['[', ']']).parse::<Ipv6Addr>().is_ok_and(|it| it == address)
        }
        Some(Host::Domain(_)) => !host.contains('%'),
    };
    if !is_plain {
        return Err(bad("its host is not written plainly"));
    }
    match port.filter(|port| !port.is_empty()).map(str::parse) {
        None => Ok((url, None)),
        Some(port) => Ok((url, Some(port.map_err(|_| bad("its port is no number"))?))),
    }
}

/// Host and port of `host:port`; an IPv6 address stands in brackets.
fn split_port(place: &str) -> (&str, Option<&str>) {
    match place.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (place, None),
    }
}

fn host_of(url: &Url) -> String {
    plain_host(url.host_str().unwrap_or_default())
}

/// A host as the lists have it.
fn plain_host(host: &str) -> String {
    let host = host.trim_matches(['[', ']']);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

fn refused(url: &Url, why: String) -> ClientError {
    ClientError::Refused { at: shown(url), why }
}

/// Whether an image may lie at an address: one that is routed somewhere, in the world or in a
/// private network. What an IPv6 address holds of an IPv4 one is judged as that.
fn is_public_or_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_routed(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(address) => is_routed(address),
            None => {
                let is_local = address.segments()[0] & 0xffc0 == 0xfe80;
                let is_nobodys = address.is_unspecified() || address.is_multicast();
                !(is_local || is_nobodys || address.is_loopback() || is_teredo(address))
            }
        },
    }
}

fn is_routed(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    let is_reserved = first == 0 || first >= 240 || address.is_multicast();
    !(is_reserved || address.is_loopback() || address.is_link_local())
}

/// A relay hides in it which address is meant.
fn is_teredo(address: Ipv6Addr) -> bool {
    address.segments()[..2] == [0x2001, 0]
}

/// The IPv4 address inside of an IPv6 one: mapped, compatible, by translation, by 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => Some(of(g, h)),
        // `::` and `::1` are of their own.
        [0, 0, 0, 0, 0, 0] if (g, h) > (0, 1) => Some(of(g, h)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::config::AllowDeny;

    async fn passes(filter: &WebFilter, url: &str) -> bool {
        WebGuard::new(filter.clone()).judge(url).await.is_ok()
    }

    #[tokio::test]
    async fn wf_01_schemes_hosts_and_ports_are_judged_by_the_lists() {
        let open = WebFilter::default();
        for url in ["http://192.0.2.1/x", "https://u:p@192.0.2.1:443/x", "http://[2001:db8::1]:80"]
        {
            assert!(passes(&open, url).await, "{url}");
        }
        for url in ["ftp://192.0.2.1/x", "http://192.0.2.1:22/x", "http:///x", "/x", "", "http://"]
        {
            assert!(!passes(&open, url).await, "{url}");
        }
        let hosts = AllowDeny::Allowed(vec!["192.0.2.7".into()]);
        let one = WebFilter { hosts, ..WebFilter::default() };
        assert!(passes(&one, "http://192.0.2.7/x").await);
        assert!(!passes(&one, "http://192.0.2.8/x").await);
        let hosts = AllowDeny::Denied(vec!["192.0.2.7".into()]);
        let ports = AllowDeny::Denied(vec![22, 80]);
        let all_but_one = WebFilter { hosts, ports, ..WebFilter::default() };
        assert!(passes(&all_but_one, "http://192.0.2.8:8080/x").await);
        assert!(passes(&all_but_one, "http://192.0.2.8/x").await, "no port, none to judge");
        for url in ["http://192.0.2.7/x", "http://192.0.2.8:22/", "http://192.0.2.8:80/"] {
            assert!(!passes(&all_but_one, url).await, "{url}");
        }
        assert!(!passes(&all_but_one, "http://[::ffff:192.0.2.7]/x").await, "the same address");
    }

    #[tokio::test]
    async fn wf_02_addresses_are_written_as_addresses_are() {
        for url in [
            "http://3221225985/x",
            "http://0xc0000201/x",
            "http://0300.0.2.1/x",
            "http://192.0.513/x",
            "http://192.0.2.1\t/x",
            "http:\\\\192.0.2.1/x",
            "http://192.0.2.%31/x",
            "http://\u{ff11}92.0.2.1/x",
        ] {
            assert!(!passes(&WebFilter::default(), url).await, "{url}");
        }
    }

    #[tokio::test]
    async fn wf_03_addresses_of_this_machine_and_of_nobody_are_refused() {
        let open = WebFilter { ports: AllowDeny::Denied(vec![]), ..WebFilter::default() };
        for host in [
            "127.0.0.1",
            "127.9.9.9",
            "localhost",
            "localhost.",
            "LOCALHOST",
            "169.254.169.254",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "[::1]",
            "[::]",
            "[fe80::1]",
            "[ff02::1]",
            "[::ffff:127.0.0.1]",
            "[::127.0.0.1]",
            "[64:ff9b::a9fe:a9fe]",
            "[2002:7f00:1::]",
            "[2001:0:1::1]",
        ] {
            assert!(!passes(&open, &format!("http://{host}/x")).await, "{host}");
            assert!(!passes(&open, &format!("http://{host}:8080/x")).await, "{host}");
        }
        for host in ["10.0.0.1", "192.168.1.1", "172.16.0.1", "[fd00::1]", "[64:ff9b::a00:1]"] {
            assert!(passes(&open, &format!("http://{host}/x")).await, "{host}");
        }
        let hosts = AllowDeny::Allowed(vec!["localhost".into()]);
        let named = WebFilter { hosts, ..WebFilter::default() };
        assert!(passes(&named, "http://localhost/x").await, "by its name it is allowed");
        assert!(!passes(&named, "http://127.0.0.1/x").await, "and by no other");
    }

    #[tokio::test]
    async fn wf_03_wf_04_a_client_goes_where_its_guard_lets_it() {
        let guard = WebGuard::new(WebFilter::default());
        assert!(guard.addresses("localhost", 80).await.is_err());
        let found = guard.addresses("192.0.2.1", 80).await.unwrap();
        assert_eq!(found, ["192.0.2.1:80".parse::<SocketAddr>().unwrap()]);
        for (target, may) in [
            ("http://192.0.2.1/", true),
            ("http://192.0.2.1:22/", false),
            ("http://169.254.169.254/", false),
            ("http://0x7f000001/", false),
            ("http://0xc0000201/", false),
            ("http://3221225985/", false),
            ("http://[::ffff:127.0.0.1]/", false),
        ] {
            let judged = guard.judge_redirect(&Url::parse(target).unwrap(), target);
            assert_eq!(judged.is_ok(), may, "{target}");
        }
    }
}
