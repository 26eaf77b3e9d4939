//! Who is at the other end of a connection, and what a proxy there says of its clients.
//!
//! Anybody can write any header, so what a header says counts only where the operator has said that
//! it does: identities from whoever may open the unix socket or stands in `trusted_proxies`
//! (`PR-13`), addresses only with `enable_proxy_headers_parsing`.

use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HOST, HeaderMap};
use http::request::Parts;
use http::uri::Authority;

use super::App;
use crate::config::Network;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// A process that may open the unix socket.
    Local,
    /// An address.
    Tcp(SocketAddr),
}

impl Peer {
    /// The peer of a request; nobody when the request came by no connection.
    pub(super) fn of(head: &Parts) -> Option<Self> {
        head.extensions.get().copied()
    }

    /// Its address, if it has one.
    pub(super) fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Local => None,
            Self::Tcp(address) => Some(address.ip()),
        }
    }

    /// Whether its word about callers is taken.
    pub(super) fn is_trusted(self, proxies: &[Network]) -> bool {
        match self {
            Self::Local => true,
            Self::Tcp(address) => proxies.iter().any(|network| network.contains(address.ip())),
        }
    }
}

/// Where this service is, as the client should see it: `public_endpoint`, else what the proxy says
/// where it is believed, else the host that the request names. No slash at the end (`PR-02`).
pub(super) fn base_url(app: &App, head: &Parts) -> String {
    if let Some(endpoint) = &app.settings.api.public_endpoint {
        return endpoint.trim_end_matches('/').to_owned();
    }
    let said = app.settings.api.believes_forwarded.then(|| Forwarded::of(&head.headers));
    let Forwarded { proto, host, prefix } = said.unwrap_or_default();
    let asked =
        || head.uri.authority().map(Authority::as_str).or(text(&head.headers, HOST.as_str()));
    let host = match host.or_else(asked) {
        Some(host) => host.to_owned(),
        None => app.settings.listen.tcp().map_or("localhost".into(), |address| address.to_string()),
    };
    let prefix = prefix.unwrap_or_default().trim_end_matches('/');
    format!("{}://{host}{prefix}", proto.unwrap_or("http"))
}

/// What a proxy says of the request that it passes on: `Forwarded` (RFC 7239), of which the first
/// element counts, or else the older `X-Forwarded-*`. Values that can't stand in a URL are not
/// taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Forwarded<'a> {
    proto: Option<&'a str>,
    host: Option<&'a str>,
    prefix: Option<&'a str>,
}

impl<'a> Forwarded<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let prefix = text(headers, "x-forwarded-prefix").filter(|prefix| is_path(prefix));
        let (proto, host) = match text(headers, FORWARDED.as_str()) {
            Some(line) => (pair(line, "proto"), pair(line, "host")),
            None => (text(headers, "x-forwarded-proto"), text(headers, "x-forwarded-host")),
        };
        Self {
            proto: proto.filter(|proto| ["http", "https"].contains(proto)),
            host: host.filter(|host| host.parse::<Authority>().is_ok()),
            prefix,
        }
    }
}

/// Whether a proxy has had the request in its hands.
pub(super) fn is_proxied(headers: &HeaderMap) -> bool {
    const MARKS: [&str; 5] = [
        "x-forwarded",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-for",
        "x-forwarded-prefix",
    ];
    MARKS.iter().any(|mark| headers.contains_key(*mark))
}

/// A value of the first element of `Forwarded`.
fn pair<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let first = line.split(',').next()?;
    let (_, value) = first
        .split(';')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))?;
    Some(value.trim().trim_matches('"')).filter(|value| !value.is_empty())
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.parse::<http::uri::PathAndQuery>().is_ok() && !text.contains('?')
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get(name)?.to_str().ok()?.trim();
    Some(value).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::{HeaderName, HeaderValue};

    use super::*;

    fn said(lines: &[(&str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        };
        lines.iter().map(field).collect()
    }

    #[test]
    fn pr_14_the_first_proxy_counts_and_the_standard_comes_first() {
        let headers = said(&[
            ("forwarded", "for=192.0.2.1;Proto=https; host=\"cloud:443\", proto=http;host=inner"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-prefix", "/image"),
        ]);
        let (proto, host) = (Some("https"), Some("cloud:443"));
        assert_eq!(Forwarded::of(&headers), Forwarded { proto, host, prefix: Some("/image") });
        let headers = said(&[("x-forwarded-proto", "https"), ("x-forwarded-host", "cloud")]);
        let (proto, host) = (Some("https"), Some("cloud"));
        assert_eq!(Forwarded::of(&headers), Forwarded { proto, host, prefix: None });
    }

    #[test]
    fn pr_14_what_can_stand_in_no_url_is_not_taken() {
        for (name, value) in [
            ("x-forwarded-proto", "javascript"),
            ("x-forwarded-host", "a b"),
            ("x-forwarded-host", "evil/path"),
            ("x-forwarded-prefix", "image"),
            ("x-forwarded-prefix", "/a?b"),
            ("forwarded", "proto=gopher;host=a/b"),
        ] {
            assert_eq!(Forwarded::of(&said(&[(name, value)])), Forwarded::default(), "{value}");
        }
    }

    #[test]
    fn pr_13_only_named_proxies_and_the_unix_socket_are_trusted() {
        let proxies = ["192.0.2.0/24".parse().unwrap()];
        let tcp = |ip: &str| Peer::Tcp(SocketAddr::new(ip.parse().unwrap(), 1));
        assert!(Peer::Local.is_trusted(&[]));
        assert!(
            tcp("192.0.2.9").is_trusted(&proxies) && tcp("::ffff:192.0.2.9").is_trusted(&proxies)
        );
        assert!(!tcp("127.0.0.1").is_trusted(&proxies) && !tcp("192.0.2.9").is_trusted(&[]));
    }
}
