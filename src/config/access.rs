//! Who may call: the flavor of `[paste_deploy]` and what it needs (`CF-09`, `CF-10`).

use std::time::Duration;

use super::account::{Account, Section};
use super::error::ConfigError;
use super::known;
use super::network::{self, Network};
use super::options::Options;
use super::paste::Pipeline;
use super::unified;
use super::value::{self, Parsed};

/// Section of Keystone's middleware.
pub(super) const SECTION: &str = "keystone_authtoken";

/// How a caller is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nobody is asked and everyone is an administrator; loopback and unix sockets only.
    None,
    /// A proxy has asked, and says who it was in headers (`PR-13`).
    TrustedHeaders,
    /// Keystone is asked for every token.
    Keystone(Box<KeystoneAuth>),
    /// Unit tests say with each request who makes it.
    #[cfg(test)]
    Told,
}

/// `[keystone_authtoken]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeystoneAuth {
    /// Who asks.
    pub account: Account,
    /// `www_authenticate_uri`: where clients get tokens; `auth_url` where it is not set.
    pub www_authenticate_uri: String,
    /// `interface` of the catalog's entry for Keystone that is asked.
    pub interface: String,
    /// `region_name` of that entry.
    pub region_name: Option<String>,
    /// `http_request_max_retries`.
    pub retries: u32,
    /// `token_cache_time`; `None` for a negative one: nothing is remembered.
    pub cache_time: Option<Duration>,
    /// `include_service_catalog`.
    pub wants_catalog: bool,
    /// `service_token_roles`.
    pub service_roles: Vec<String>,
    /// `service_token_roles_required`.
    pub needs_service_roles: bool,
    /// `service_type`, without which tokens with access rules are refused.
    pub service_type: Option<String>,
}

/// `[oslo_limit]`, where `use_keystone_limits` is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeystoneLimits {
    /// Who asks. Limits of other projects than its own are shown to readers of the whole system.
    pub account: Account,
    /// `valid_interfaces` of the catalog's entry for Keystone that is asked, the first one there.
    pub interfaces: Vec<String>,
    /// `region_name` of that entry.
    pub region_name: Option<String>,
    /// `endpoint_override`: Keystone's address in place of the catalog's.
    pub endpoint_override: Option<String>,
    /// `connect_retries`.
    pub retries: u32,
    /// Whose limits count.
    pub endpoint: LimitsEndpoint,
}

/// An endpoint of this service, by which its limits are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitsEndpoint {
    /// `endpoint_id`.
    Id(String),
    /// The only one of these.
    Search {
        /// `endpoint_service_type`.
        service_type: Option<String>,
        /// `endpoint_service_name`.
        service_name: Option<String>,
        /// `endpoint_region_name`.
        region_name: Option<String>,
        /// `endpoint_interface`.
        interface: String,
    },
}

/// Who tells who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// Nobody is asked.
    Nobody,
    /// A proxy that has asked.
    Proxy,
    /// Keystone.
    Keystone,
}

/// What a flavor means that stands in no file of Glance's: the one for a proxy that asks.
pub(super) fn own_flavor(text: &str) -> Option<Caller> {
    Caller::of_flavor(text).ok().filter(|caller| *caller == Caller::Proxy)
}

impl Caller {
    /// What the flavors of Glance's own pipelines, and the one for a proxy, mean. Caching is part of several names and none of this server's work: image data comes from the
    /// stores.
    fn of_flavor(text: &str) -> Parsed<Self> {
        let mut parts = text.trim().split('+').map(str::trim);
        let first = parts.next().unwrap_or_default();
        let is_cache = |part: &str| ["caching", "cachemanagement"].contains(&part);
        let rest: Vec<&str> = parts.collect();
        match first {
            _ if !rest.iter().all(|part| is_cache(part)) => {}
            "keystone" => return Ok(Self::Keystone),
            "trusted-auth" => return Ok(Self::Proxy),
            "" if rest.is_empty() => return Ok(Self::Nobody),
            cache if is_cache(cache) => return Ok(Self::Nobody),
            _ => {}
        }
        Err("no such pipeline here; give keystone (tokens are checked), trusted-auth (a proxy \
             checks them), or nothing (everyone is an administrator), alone or with +caching or \
             +cachemanagement"
            .to_owned())
    }
}

/// The identity that the configuration asks for.
///
/// # Errors
/// An unknown flavor, an account that can't be used, and trusted headers that nobody may send.
pub(super) fn identity(
    options: &Options,
    trusted: &[Network],
    is_unix: bool,
    pipeline: Option<&Pipeline>,
) -> Result<Identity, ConfigError> {
    let may_say = is_unix || !trusted.is_empty();
    let of_pipeline = pipeline.and_then(|pipeline| pipeline.caller);
    let said = |text: &str| of_pipeline.map_or_else(|| Caller::of_flavor(text), Ok);
    let caller = options.need(&known::FLAVOR, |text| match said(text)? {
        Caller::Proxy if !may_say => Err("with it nobody could call; name the proxy's address in \
                                          trusted_proxies of [glissade], or listen on a unix socket"
            .to_owned()),
        caller => Ok(caller),
    })?;
    match caller {
        Caller::Nobody => Ok(Identity::None),
        Caller::Proxy => Ok(Identity::TrustedHeaders),
        Caller::Keystone => Ok(Identity::Keystone(Box::new(keystone(options)?))),
    }
}

/// `[glissade] trusted_proxies`.
pub(super) fn trusted_proxies(options: &Options) -> Result<Vec<Network>, ConfigError> {
    options.need(&known::TRUSTED_PROXIES, network::networks)
}

/// What is worth a warning: options of a part that the flavor leaves idle.
pub(super) fn warnings(options: &Options, identity: &Identity) -> Option<String> {
    let entry = options.first_in(SECTION)?;
    let is_idle = !matches!(identity, Identity::Keystone(_));
    is_idle.then(|| {
        format!(
            "{}: [{SECTION}] has no effect: no token is checked unless flavor in [paste_deploy] \
             is keystone",
            entry.place
        )
    })
}

/// Sections whose options are an account's.
pub(super) fn account_sections(options: &Options) -> Result<Vec<String>, ConfigError> {
    let mut sections = Vec::new();
    for asked in [SECTION, unified::SECTION] {
        sections.extend([asked.to_owned(), Section::of(options, asked)?.name().to_owned()]);
    }
    Ok(sections)
}

fn keystone(options: &Options) -> Result<KeystoneAuth, ConfigError> {
    let account = Section::of(options, SECTION)?.account()?;
    let uri = options.need(&known::WWW_AUTHENTICATE_URI, value::base_url)?;
    let retries = value::number(0..=100, "a number of tries such as 3");
    Ok(KeystoneAuth {
        www_authenticate_uri: uri.unwrap_or_else(|| account.auth_url.clone()),
        account,
        interface: options.need(&known::AUTH_INTERFACE, interface)?,
        region_name: options.need(&known::AUTH_REGION, value::some_text)?,
        retries: options.need_number(&known::AUTH_RETRIES, retries)?,
        cache_time: options.need_number(&known::TOKEN_CACHE_TIME, cache_time)?,
        wants_catalog: options.need(&known::INCLUDE_CATALOG, value::boolean)?,
        service_roles: options.need(&known::SERVICE_TOKEN_ROLES, value::list)?,
        needs_service_roles: options.need(&known::SERVICE_ROLES_REQUIRED, value::boolean)?,
        service_type: options.need(&known::AUTH_SERVICE_TYPE, value::some_text)?,
    })
}

/// An interface of the catalog; `internalURL` is an old way to write `internal`.
pub(super) fn interface(text: &str) -> Parsed<String> {
    let name = text.trim().to_ascii_lowercase();
    let name = name.strip_suffix("url").unwrap_or(&name);
    if ["internal", "public", "admin"].contains(&name) {
        Ok(name.to_owned())
    } else {
        Err("give internal, public or admin".to_owned())
    }
}

fn cache_time(text: &str) -> Parsed<Option<Duration>> {
    let secs = value::integer(text)
        .map_err(|_| "give a number of seconds such as 300, or -1 for no cache".to_owned())?;
    Ok(u64::try_from(secs).ok().map(Duration::from_secs))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ACCOUNT: &str = "[keystone_authtoken]\nauth_type = password\nauth_url = http://k\n\
                           user_id = 1\npassword = s3cret\n";

    fn read(flavor: &str, more: &str) -> Result<Identity, ConfigError> {
        let text = format!("{ACCOUNT}{more}\n[paste_deploy]\nflavor = {flavor}");
        let options = Options::of(&[&text]).unwrap();
        identity(&options, &trusted_proxies(&options)?, false, None)
    }

    fn keystone(more: &str) -> KeystoneAuth {
        match read("keystone", more).unwrap() {
            Identity::Keystone(auth) => *auth,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn cf_09_flavors_are_glances() {
        for flavor in ["", "caching", "cachemanagement"] {
            assert_eq!(read(flavor, "").unwrap(), Identity::None, "{flavor}");
        }
        for flavor in ["keystone", "keystone+caching", "keystone+cachemanagement"] {
            assert!(matches!(read(flavor, "").unwrap(), Identity::Keystone(_)), "{flavor}");
        }
        for flavor in ["keystone+magic", "fakeauth", "+", "+caching", "caching+keystone"] {
            let error = read(flavor, "").unwrap_err().to_string();
            assert!(error.contains("flavor") && error.contains("trusted-auth"), "{error}");
        }
    }

    #[test]
    fn pr_13_headers_need_somebody_who_may_send_them() {
        let error = read("trusted-auth", "").unwrap_err().to_string();
        assert!(error.contains("trusted_proxies of [glissade]"), "{error}");
        for flavor in ["trusted-auth", "trusted-auth+cachemanagement"] {
            let identity = read(flavor, "[glissade]\ntrusted_proxies = 192.0.2.1");
            assert_eq!(identity.unwrap(), Identity::TrustedHeaders);
        }
        assert!(read("", "[glissade]\ntrusted_proxies = nearby").is_err());
    }

    #[test]
    fn cf_10_defaults_are_the_middlewares() {
        let auth = keystone("");
        assert_eq!(auth.www_authenticate_uri, "http://k");
        assert_eq!((auth.interface.as_str(), auth.retries), ("internal", 3));
        assert_eq!(auth.cache_time, Some(Duration::from_secs(300)));
        assert_eq!(auth.service_roles, ["service"]);
        assert!(auth.wants_catalog && auth.needs_service_roles);
        assert!(auth.region_name.is_none() && auth.service_type.is_none());
    }

    #[test]
    fn cf_10_the_middlewares_options_are_read() {
        let auth = keystone(
            "auth_uri = http://public:5000/\ninterface = publicURL\nregion_name = R\n\
             http_request_max_retries = 1\ntoken_cache_time = -1\n\
             include_service_catalog = no\nservice_token_roles = a,b\n\
             service_token_roles_required = no\nservice_type = image\nhttp_connect_timeout = 3",
        );
        assert_eq!(auth.www_authenticate_uri, "http://public:5000");
        assert_eq!((auth.interface.as_str(), auth.retries), ("public", 1));
        assert_eq!(auth.region_name.as_deref(), Some("R"));
        assert!(auth.cache_time.is_none() && !auth.wants_catalog && !auth.needs_service_roles);
        assert_eq!(auth.service_roles, ["a", "b"]);
        assert_eq!(auth.service_type.as_deref(), Some("image"));
        assert_eq!(auth.account.transport.timeout, Some(Duration::from_secs(3)));
        for wrong in
            ["interface = outer", "token_cache_time = soon", "auth_version = 3\nauth_uri=x"]
        {
            assert!(read("keystone", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn cf_10_an_idle_section_is_told() {
        let options = Options::of(&[ACCOUNT]).unwrap();
        let warning = warnings(&options, &Identity::None).unwrap();
        assert!(warning.contains("[keystone_authtoken] has no effect"), "{warning}");
        assert!(warnings(&options, &read("keystone", "").unwrap()).is_none());
        assert!(warnings(&Options::default(), &Identity::None).is_none());
    }
}
