//! `[oslo_limit]`: limits that Keystone keeps, and which of its limits are this service's
//! (`CF-13`).

use super::access::{self, KeystoneLimits, LimitsEndpoint};
use super::account::Section;
use super::error::ConfigError;
use super::known;
use super::options::Options;
use super::value::{self, Parsed};

/// Section of oslo.limit.
pub(super) const SECTION: &str = "oslo_limit";

/// What asks Keystone for limits; none where `use_keystone_limits` is off.
///
/// # Errors
/// An account that can't be used, and limits that are nobody's.
pub(super) fn limits(options: &Options) -> Result<Option<Box<KeystoneLimits>>, ConfigError> {
    if !options.need(&known::USE_KEYSTONE_LIMITS, value::boolean)? {
        return Ok(None);
    }
    let retries = value::number(0..=100, "a number of tries such as 3");
    Ok(Some(Box::new(KeystoneLimits {
        account: Section::of(options, SECTION)?.account()?,
        interfaces: options.need(&known::LIMIT_INTERFACES, interfaces)?,
        region_name: options.need(&known::LIMIT_REGION, value::some_text)?,
        endpoint_override: options.need(&known::LIMIT_OVERRIDE, value::base_url)?,
        retries: options.need_number(&known::LIMIT_RETRIES, retries)?,
        endpoint: endpoint(options)?,
    })))
}

/// What is worth a warning: options of a part that is off.
pub(super) fn warnings(options: &Options, is_on: bool) -> Option<String> {
    let entry = options.first_in(SECTION).filter(|_| !is_on)?;
    Some(format!(
        "{}: [{SECTION}] has no effect: Keystone is asked for limits only with \
         use_keystone_limits = true in [DEFAULT]",
        entry.place
    ))
}

fn endpoint(options: &Options) -> Result<LimitsEndpoint, ConfigError> {
    if let Some(id) = options.need(&known::LIMIT_ENDPOINT_ID, value::some_text)? {
        return Ok(LimitsEndpoint::Id(id));
    }
    let service_type = options.need(&known::LIMIT_SERVICE_TYPE, value::some_text)?;
    let service_name = options.need(&known::LIMIT_SERVICE_NAME, value::some_text)?;
    if service_type.is_none() && service_name.is_none() {
        return Err(ConfigError::missing(
            SECTION,
            known::LIMIT_ENDPOINT_ID.key,
            "limits belong to an endpoint of this service: give the id of one, or \
             endpoint_service_type = image",
        ));
    }
    Ok(LimitsEndpoint::Search {
        service_type,
        service_name,
        region_name: options.need(&known::LIMIT_ENDPOINT_REGION, value::some_text)?,
        interface: options.need(&known::LIMIT_ENDPOINT_INTERFACE, access::interface)?,
    })
}

fn interfaces(text: &str) -> Parsed<Vec<String>> {
    value::list(text)?.iter().map(|name| access::interface(name)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ON: &str = "[DEFAULT]\nuse_keystone_limits = true\n";
    const ACCOUNT: &str = "[oslo_limit]\nauth_type = password\nauth_url = http://k\n\
                           user_id = 1\npassword = s3cret\nsystem_scope = all\n";

    fn read(more: &str) -> Result<Option<Box<KeystoneLimits>>, ConfigError> {
        limits(&Options::of(&[&format!("{ON}{ACCOUNT}{more}")]).unwrap())
    }

    #[test]
    fn cf_13_limits_are_off_until_they_are_turned_on() {
        let options = Options::of(&[ACCOUNT]).unwrap();
        assert!(limits(&options).unwrap().is_none());
        let warning = warnings(&options, false).unwrap();
        assert!(warning.contains("[oslo_limit] has no effect"), "{warning}");
        assert!(warnings(&options, true).is_none());
        assert!(warnings(&Options::default(), false).is_none());
    }

    #[test]
    fn cf_13_an_endpoint_is_given_or_searched_for() {
        let given = read("endpoint_id = 7\nendpoint_service_type = image").unwrap().unwrap();
        assert_eq!(given.endpoint, LimitsEndpoint::Id("7".into()));
        assert_eq!((given.interfaces, given.retries), (vec!["public".to_owned()], 3));
        let searched = read(
            "endpoint_service_type = image\nendpoint_region_name = R\n\
             endpoint_interface = internalURL\nvalid_interfaces = admin, internal\n\
             region_name = Two\nendpoint_override = http://k/identity/\nconnect_retries = 0",
        );
        let searched = searched.unwrap().unwrap();
        let endpoint = LimitsEndpoint::Search {
            service_type: Some("image".into()),
            service_name: None,
            region_name: Some("R".into()),
            interface: "internal".into(),
        };
        assert_eq!(searched.endpoint, endpoint);
        assert_eq!(searched.interfaces, ["admin", "internal"]);
        assert_eq!(searched.endpoint_override.as_deref(), Some("http://k/identity"));
        assert_eq!((searched.region_name.as_deref(), searched.retries), (Some("Two"), 0));
    }

    #[test]
    fn cf_13_what_is_missing_is_told() {
        let error = read("").unwrap_err().to_string();
        assert!(error.contains("[oslo_limit] endpoint_id is not set"), "{error}");
        let error = limits(&Options::of(&[ON]).unwrap()).unwrap_err().to_string();
        assert!(error.contains("[oslo_limit] auth_type is not set"), "{error}");
        assert!(read("endpoint_id = 7\nvalid_interfaces = outer").is_err());
    }
}
