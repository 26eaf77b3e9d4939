//! What stands before the API: browsers, proxies and load balancers (`CF-14`).

use std::path::PathBuf;

use super::error::ConfigError;
use super::known;
use super::network::{self, Network};
use super::options::Options;
use super::value::{self, Parsed};

/// What a browser at another origin may do (`[cors]`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    /// `allowed_origin`; none, and nothing is said to browsers.
    pub allowed_origins: Vec<String>,
    /// `allow_credentials`.
    pub allows_credentials: bool,
    /// `expose_headers`.
    pub expose_headers: Vec<String>,
    /// `max_age` in seconds; 0 says nothing.
    pub max_age_secs: u64,
    /// `allow_methods`.
    pub allow_methods: Vec<String>,
    /// `allow_headers`.
    pub allow_headers: Vec<String>,
}

/// What a load balancer is told, and who is (`[healthcheck]`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// `detailed`: reasons with their details.
    pub is_detailed: bool,
    /// `backends`, in order.
    pub probes: Vec<Probe>,
    /// `allowed_source_ranges`; none allows all.
    pub allowed_sources: Vec<Network>,
    /// `ignore_proxied_requests`.
    pub ignores_proxied: bool,
}

/// One thing that a health check looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// `disable_by_file`: a file whose presence takes the server out.
    DisabledBy(PathBuf),
    /// `disable_by_files_ports`: such a file for the port that is served.
    DisabledByOfPort(Vec<(u16, PathBuf)>),
    /// `enable_by_files`: files whose absence takes the server out.
    EnabledBy(Vec<PathBuf>),
}

/// `[cors]`.
pub(super) fn cors(options: &Options) -> Result<Cors, ConfigError> {
    let list = |opt| options.need(opt, value::list);
    Ok(Cors {
        allowed_origins: list(&known::CORS_ORIGIN)?,
        allows_credentials: options.need(&known::CORS_CREDENTIALS, value::boolean)?,
        expose_headers: list(&known::CORS_EXPOSE)?,
        max_age_secs: options.need_number(&known::CORS_MAX_AGE, max_age)?,
        allow_methods: list(&known::CORS_METHODS)?,
        allow_headers: list(&known::CORS_HEADERS)?,
    })
}

fn max_age(text: &str) -> Parsed<u64> {
    value::number(0..=i128::from(i32::MAX), "a number of seconds such as 3600")(text)
}

/// `[healthcheck]`.
pub(super) fn healthcheck(options: &Options) -> Result<Healthcheck, ConfigError> {
    let mut probes = Vec::new();
    let backends = options.need(&known::HEALTH_BACKENDS, backends)?;
    // The path alone has always been enough here, as it is in Glance's pipeline.
    let is_named = |name| backends.contains(&name);
    if !is_named("disable_by_file") && !is_named("enable_by_files") {
        probes.extend(disabled_by(options)?);
    }
    for backend in &backends {
        match *backend {
            "disable_by_file" => probes.extend(disabled_by(options)?),
            "enable_by_files" => {
                probes.push(Probe::EnabledBy(options.need(&known::HEALTH_ENABLE, paths)?));
            }
            _ => {
                let pairs = options.need(&known::HEALTH_DISABLE_PORTS, ports_and_paths)?;
                probes.push(Probe::DisabledByOfPort(pairs));
            }
        }
    }
    Ok(Healthcheck {
        is_detailed: options.need(&known::HEALTH_DETAILED, value::boolean)?,
        probes,
        allowed_sources: options.need(&known::HEALTH_SOURCES, network::networks)?,
        ignores_proxied: options.need(&known::HEALTH_PROXIED, value::boolean)?,
    })
}

fn disabled_by(options: &Options) -> Result<Option<Probe>, ConfigError> {
    Ok(options.need(&known::HEALTHCHECK_FILE, value::some_path)?.map(Probe::DisabledBy))
}

fn backends(text: &str) -> Parsed<Vec<&'static str>> {
    const KNOWN: [&str; 3] = ["disable_by_file", "disable_by_files_ports", "enable_by_files"];
    let names = value::list(text)?;
    let found = names.iter().map(|name| {
        let known = KNOWN.iter().find(|known| *known == name);
        known
            .copied()
            .ok_or_else(|| format!("{name} is no backend; choose of {}", KNOWN.join(", ")))
    });
    let found: Vec<&str> = found.collect::<Parsed<_>>()?;
    if found.contains(&KNOWN[0]) && found.contains(&KNOWN[2]) {
        return Err("disable_by_file and enable_by_files contradict each other; name one".into());
    }
    Ok(found)
}

fn paths(text: &str) -> Parsed<Vec<PathBuf>> {
    value::list(text)?.iter().map(|path| value::path(path)).collect()
}

fn ports_and_paths(text: &str) -> Parsed<Vec<(u16, PathBuf)>> {
    let pair = |item: &String| {
        let (port, path) = item.split_once(':')?;
        Some((port.trim().parse().ok()?, value::path(path).ok()?))
    };
    value::list(text)?
        .iter()
        .map(|item| pair(item).ok_or_else(|| format!("{item:?} is no port:path")))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn health(text: &str) -> Result<Healthcheck, ConfigError> {
        healthcheck(&Options::of(&[&format!("[healthcheck]\n{text}")]).unwrap())
    }

    #[test]
    fn cf_14_cors_has_glances_defaults() {
        let defaults = cors(&Options::default()).unwrap();
        assert!(defaults.allowed_origins.is_empty() && defaults.allows_credentials);
        assert_eq!(defaults.max_age_secs, 3600);
        assert_eq!(defaults.allow_methods, ["GET", "PUT", "POST", "DELETE", "PATCH"]);
        assert!(defaults.allow_headers.contains(&"X-OpenStack-Request-ID".to_owned()));
        assert_eq!(defaults.expose_headers.len(), 5);
        let options = Options::of(&["[cors]\nallowed_origin = https://a,https://b\nmax_age = 0"]);
        let given = cors(&options.unwrap()).unwrap();
        assert_eq!((given.allowed_origins.len(), given.max_age_secs), (2, 0));
    }

    #[test]
    fn cf_14_health_checks_look_at_files() {
        assert_eq!(health("").unwrap(), Healthcheck::default());
        let file = Probe::DisabledBy("/run/off".into());
        assert_eq!(
            health("disable_by_file_path = /run/off").unwrap().probes,
            std::slice::from_ref(&file)
        );
        let both = "backends = disable_by_files_ports,disable_by_file\n\
                    disable_by_file_path = /run/off\n\
                    disable_by_file_paths = 9292:/run/a, 9293:/run/b";
        let ports = vec![(9292, "/run/a".into()), (9293, "/run/b".into())];
        assert_eq!(health(both).unwrap().probes, [Probe::DisabledByOfPort(ports), file]);
        let enabled = health("backends = enable_by_files\nenable_by_file_paths = /run/on").unwrap();
        assert_eq!(enabled.probes, [Probe::EnabledBy(vec!["/run/on".into()])]);
        let more = health("detailed = 1\nallowed_source_ranges = 10.0.0.0/8").unwrap();
        assert!(more.is_detailed && more.allowed_sources.len() == 1);
    }

    #[test]
    fn cf_14_what_cant_be_looked_at_is_refused() {
        for (text, word) in [
            ("backends = disable_by_magic", "disable_by_files_ports"),
            ("backends = disable_by_file,enable_by_files", "contradict"),
            ("backends = disable_by_files_ports\ndisable_by_file_paths = /x", "no port:path"),
            ("allowed_source_ranges = here", "no network"),
        ] {
            let error = health(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
