//! Identities that a trusted proxy vouches for in headers (`PR-13`).
//!
//! The names are keystonemiddleware's, old ones included, read as oslo.context reads them. Whether
//! the one who sends them is trusted has been decided before.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::de::IgnoredAny;

use super::Identity;

/// Why headers make no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untold {
    /// Nobody is vouched for.
    Unconfirmed,
    /// A header is there twice: one may be the client's own, which a proxy has let through.
    Repeated,
    /// `X-Service-Catalog` is not JSON.
    BadCatalog,
}

/// The identity that the headers tell.
///
/// # Errors
/// [`Untold`] when they tell none.
pub fn identity(headers: &HeaderMap) -> Result<Identity, Untold> {
    if text(headers, &["x-identity-status"])?.as_deref() != Some("Confirmed") {
        return Err(Untold::Unconfirmed);
    }
    // A service that was not recognised must not count as one.
    let is_service =
        text(headers, &["x-service-identity-status"])?.is_none_or(|s| s == "Confirmed");
    if !is_service {
        return Err(Untold::Unconfirmed);
    }
    let catalog = text(headers, &["x-service-catalog"])?;
    let is_json = |json: &String| serde_json::from_str::<IgnoredAny>(json).is_ok();
    if !catalog.as_ref().is_none_or(is_json) {
        return Err(Untold::BadCatalog);
    }
    Ok(Identity {
        user_id: text(headers, &["x-user-id", "x-user"])?,
        project_id: text(headers, &["x-project-id", "x-tenant-id", "x-tenant"])?,
        domain_id: text(headers, &["x-domain-id"])?,
        user_domain_id: text(headers, &["x-user-domain-id"])?,
        project_domain_id: text(headers, &["x-project-domain-id"])?,
        system_scope: text(headers, &["openstack-system-scope"])?,
        roles: roles(headers, &["x-roles", "x-role"])?,
        service_roles: roles(headers, &["x-service-roles"])?,
        token: text(headers, &["x-auth-token", "x-storage-token"])?,
        catalog: catalog.map(Arc::from),
        is_beside_admin_project: is_beside_admin_project(headers)?,
        ..Identity::default()
    })
}

/// Whether the proxy says so; where it says nothing there is no such project.
fn is_beside_admin_project(headers: &HeaderMap) -> Result<bool, Untold> {
    let said = text(headers, &["x-is-admin-project"])?;
    Ok(said.is_some_and(|said| !said.eq_ignore_ascii_case("true")))
}

/// The headers that tell an identity, for another server that believes us: all of it but the
/// catalog, which few read. The token is sensitive.
#[must_use]
pub fn headers(identity: &Identity) -> HeaderMap {
    let joined = |roles: &[String]| (!roles.is_empty()).then(|| roles.join(","));
    let told = [
        ("x-identity-status", Some("Confirmed".to_owned())),
        ("x-user-id", identity.user_id.clone()),
        ("x-project-id", identity.project_id.clone()),
        ("x-domain-id", identity.domain_id.clone()),
        ("x-user-domain-id", identity.user_domain_id.clone()),
        ("x-project-domain-id", identity.project_domain_id.clone()),
        ("openstack-system-scope", identity.system_scope.clone()),
        ("x-roles", joined(&identity.roles)),
        ("x-service-roles", joined(&identity.service_roles)),
        ("x-auth-token", identity.token.clone()),
        ("x-is-admin-project", identity.is_beside_admin_project.then(|| "False".to_owned())),
    ];
    let mut headers = HeaderMap::new();
    for (name, value) in told {
        let value = value.and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok());
        if let Some(mut value) = value {
            value.set_sensitive(name == "x-auth-token");
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}

/// The first of several headers that says something. None of them may be there twice.
fn text(headers: &HeaderMap, names: &[&str]) -> Result<Option<String>, Untold> {
    let mut found = None;
    for name in names {
        let mut values = headers.get_all(*name).iter();
        let value = values.next().map(|value| String::from_utf8_lossy(value.as_bytes()));
        if values.next().is_some() {
            return Err(Untold::Repeated);
        }
        let said = value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        found = found.or(said);
    }
    Ok(found)
}

fn roles(headers: &HeaderMap, names: &[&str]) -> Result<Vec<String>, Untold> {
    let names = text(headers, names)?.unwrap_or_default();
    let names = names.split(',').map(|role| role.trim().to_lowercase());
    Ok(names.filter(|role| !role.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        };
        lines.iter().map(field).collect()
    }

    const CONFIRMED: (&str, &str) = ("X-Identity-Status", "Confirmed");

    /// Programs differ in which of two lines they take.
    #[test]
    fn pr_13_what_is_said_twice_is_said_by_nobody() {
        for repeated in [("X-Identity-Status", "Invalid"), ("x-roles", "admin"), ("X-User", "u")] {
            let lines = [CONFIRMED, ("X-Roles", "member"), ("X-User", "u"), repeated];
            assert_eq!(identity(&headers(&lines)).unwrap_err(), Untold::Repeated, "{repeated:?}");
        }
    }

    #[test]
    fn pr_13_headers_make_an_identity() {
        let told = identity(&headers(&[
            CONFIRMED,
            ("X-User-Id", "u"),
            ("X-Tenant-Id", "old"),
            ("X-Project-Id", "p"),
            ("X-Roles", "Admin, member,,"),
            ("X-Service-Roles", "Service"),
            ("X-Service-Catalog", "[{\"type\": \"image\"}]"),
            ("OpenStack-System-Scope", "all"),
            ("X-Domain-Id", "d"),
            ("X-Auth-Token", "secret"),
            ("X-Is-Admin-Project", "False"),
        ]))
        .unwrap();
        assert!(told.is_beside_admin_project);
        assert!(!identity(&headers(&[CONFIRMED])).unwrap().is_beside_admin_project);
        assert_eq!(told.user_id.as_deref(), Some("u"));
        assert_eq!(told.project_id.as_deref(), Some("p"));
        assert_eq!(told.roles, ["admin", "member"]);
        assert_eq!(told.service_roles, ["service"]);
        assert_eq!(told.catalog.as_deref(), Some("[{\"type\": \"image\"}]"));
        assert_eq!(told.system_scope.as_deref(), Some("all"));
        assert_eq!(told.domain_id.as_deref(), Some("d"));
        assert_eq!(told.token.as_deref(), Some("secret"));
        assert!(!told.is_admin, "the policy says so, not a header");
    }

    #[test]
    fn im_08_an_identity_is_told_as_it_was_heard() {
        let lines = [
            CONFIRMED,
            ("X-User-Id", "u"),
            ("X-Project-Id", "p"),
            ("X-Domain-Id", "d"),
            ("X-User-Domain-Id", "ud"),
            ("X-Project-Domain-Id", "pd"),
            ("OpenStack-System-Scope", "all"),
            ("X-Roles", "member,reader"),
            ("X-Service-Roles", "service"),
            ("X-Auth-Token", "secret"),
            ("X-Is-Admin-Project", "False"),
        ];
        let heard = headers(&lines);
        let told = super::headers(&identity(&heard).unwrap());
        assert_eq!(told, heard);
        assert!(told["x-auth-token"].is_sensitive());
        let nobody = super::headers(&Identity::default());
        assert_eq!(nobody, headers(&[CONFIRMED]), "what is not known is not told");
    }

    #[test]
    fn pr_13_without_confirmation_they_make_none() {
        let told = |status: &str| identity(&headers(&[("X-Identity-Status", status)])).unwrap_err();
        assert_eq!(told("Invalid"), Untold::Unconfirmed);
        assert_eq!(told("confirmed"), Untold::Unconfirmed);
        assert_eq!(identity(&HeaderMap::new()).unwrap_err(), Untold::Unconfirmed);
        let service = headers(&[CONFIRMED, ("X-Service-Identity-Status", "Invalid")]);
        assert_eq!(identity(&service).unwrap_err(), Untold::Unconfirmed);
        let catalog = headers(&[CONFIRMED, ("X-Service-Catalog", "{")]);
        assert_eq!(identity(&catalog).unwrap_err(), Untold::BadCatalog);
    }

    #[test]
    fn pr_13_old_names_count_where_the_new_ones_are_silent() {
        let told = identity(&headers(&[
            CONFIRMED,
            ("X-Tenant", "t"),
            ("X-User", "u"),
            ("X-Role", "Reader"),
            ("X-Project-Id", " "),
        ]));
        let told = told.unwrap();
        assert_eq!((told.project_id.as_deref(), told.user_id.as_deref()), (Some("t"), Some("u")));
        assert_eq!(told.roles, ["reader"]);
    }
}
