//! `[import_filtering_opts]` (`CF-18`): which addresses on the web others may send us to.

use std::fmt;
use std::net::IpAddr;

use super::error::ConfigError;
use super::known::{self, Opt};
use super::options::Options;
use super::value::{self, Parsed};

/// What of the web may be read for others: images to be downloaded, locations to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebFilter {
    /// `allowed_schemes`, or `disallowed_schemes`.
    pub schemes: AllowDeny<String>,
    /// `allowed_hosts`, or `disallowed_hosts`, in lower case.
    pub hosts: AllowDeny<String>,
    /// `allowed_ports`, or `disallowed_ports`. A URL without a port passes.
    pub ports: AllowDeny<u16>,
}

/// Glance's defaults.
impl Default for WebFilter {
    fn default() -> Self {
        Self {
            schemes: AllowDeny::Allowed(vec!["http".to_owned(), "https".to_owned()]),
            hosts: AllowDeny::Denied(Vec::new()),
            ports: AllowDeny::Allowed(vec![80, 443]),
        }
    }
}

/// Two lists of which one counts: where something is allowed, all else is not, whatever the other
/// list says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowDeny<T> {
    /// Only these.
    Allowed(Vec<T>),
    /// All but these.
    Denied(Vec<T>),
}

impl<T: PartialEq> AllowDeny<T> {
    /// Whether something passes.
    #[must_use]
    pub fn passes(&self, item: &T) -> bool {
        match self {
            Self::Allowed(listed) => listed.contains(item),
            Self::Denied(listed) => !listed.contains(item),
        }
    }

    /// Whether something is allowed by its name, rather than because nothing is against it.
    #[must_use]
    pub fn names(&self, item: &T) -> bool {
        matches!(self, Self::Allowed(listed) if listed.contains(item))
    }
}

impl AllowDeny<String> {
    /// Whether an address that a host was found to have passes: what is allowed is allowed by the
    /// name of the host, and what is denied may be denied as an address.
    #[must_use]
    pub fn passes_address(&self, address: IpAddr) -> bool {
        match self {
            Self::Allowed(_) => true,
            Self::Denied(hosts) => {
                let is_it = |host: &String| host.parse::<IpAddr>().is_ok_and(|it| it == address);
                !hosts.iter().any(is_it)
            }
        }
    }
}

/// Reads the six lists, and warns of those that others make void.
pub(super) fn filter(
    options: &Options,
    warnings: &mut Vec<String>,
) -> Result<WebFilter, ConfigError> {
    Ok(WebFilter {
        schemes: lists(options, &known::ALLOWED_SCHEMES, &known::DISALLOWED_SCHEMES, text)?,
        hosts: lists(options, &known::ALLOWED_HOSTS, &known::DISALLOWED_HOSTS, text)?,
        ports: lists(options, &known::ALLOWED_PORTS, &known::DISALLOWED_PORTS, port)?,
    })
    .inspect(|_| warnings.extend(void(options)))
}

fn lists<T: fmt::Debug>(
    options: &Options,
    allowed: &Opt,
    denied: &Opt,
    item: fn(&str) -> Parsed<T>,
) -> Result<AllowDeny<T>, ConfigError> {
    let items = |text: &str| value::list(text)?.iter().map(|text| item(text)).collect();
    let allowed: Vec<T> = options.need(allowed, items)?;
    match allowed.is_empty() {
        false => Ok(AllowDeny::Allowed(allowed)),
        true => Ok(AllowDeny::Denied(options.need(denied, items)?)),
    }
}

fn text(text: &str) -> Parsed<String> {
    Ok(text.trim_matches(['[', ']']).to_ascii_lowercase())
}

fn port(text: &str) -> Parsed<u16> {
    value::number(1..=65535, "a list of ports such as 80,443")(text)
}

/// Lists of what is denied beside lists of what is allowed.
fn void(options: &Options) -> Vec<String> {
    let pairs = [
        (&known::ALLOWED_SCHEMES, &known::DISALLOWED_SCHEMES),
        (&known::ALLOWED_HOSTS, &known::DISALLOWED_HOSTS),
        (&known::ALLOWED_PORTS, &known::DISALLOWED_PORTS),
    ];
    let is_set = |opt: &Opt| options.need(opt, value::list).is_ok_and(|list| !list.is_empty());
    let is_void = |(allowed, denied): &(&Opt, &Opt)| is_set(allowed) && is_set(denied);
    pairs
        .into_iter()
        .filter(is_void)
        .filter_map(|(allowed, denied)| {
            let at = options.find(denied).ok().flatten()?.at();
            Some(format!("{at}: ignored: {} says what passes; empty that one first", allowed.key))
        })
        .collect()
}
