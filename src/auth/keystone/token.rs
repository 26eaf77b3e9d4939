//! What Keystone says of a token.

use http::Method;
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::auth::Identity;

/// A token that Keystone knows.
#[derive(Debug)]
pub(super) struct Token {
    /// Whose it is, without the token itself.
    pub(super) identity: Identity,
    pub(super) expires_at: OffsetDateTime,
    /// What an application credential is held to; `None` where it is held to nothing.
    access_rules: Option<Vec<AccessRule>>,
}

/// A request that a token may be used for.
#[derive(Debug, Deserialize)]
struct AccessRule {
    service: String,
    method: String,
    path: String,
}

#[derive(Deserialize)]
struct Answer {
    token: Body,
}

#[derive(Deserialize)]
struct Body {
    expires_at: String,
    user: User,
    project: Option<Scope>,
    /// Where the token is for a domain.
    domain: Option<Domain>,
    system: Option<Value>,
    /// Where Keystone has a project for administrators.
    is_admin_project: Option<bool>,
    #[serde(default)]
    roles: Vec<Role>,
    catalog: Option<Value>,
    application_credential: Option<Credential>,
}

#[derive(Deserialize)]
struct User {
    id: String,
    domain: Option<Domain>,
}

#[derive(Deserialize)]
struct Scope {
    id: String,
    domain: Option<Domain>,
}

#[derive(Deserialize)]
struct Domain {
    id: Option<String>,
}

#[derive(Deserialize)]
struct Role {
    name: String,
}

#[derive(Deserialize)]
struct Credential {
    access_rules: Option<Vec<AccessRule>>,
}

impl Token {
    /// Reads Keystone's answer; `None` when it is none.
    pub(super) fn read(json: &[u8]) -> Option<Self> {
        let Answer { token } = serde_json::from_slice(json).ok()?;
        let domain = |domain: Option<Domain>| domain.and_then(|domain| domain.id);
        let has_all = |system: Value| system["all"].as_bool() == Some(true);
        let (project_id, project_domain_id) = match token.project {
            Some(project) => (Some(project.id), domain(project.domain)),
            None => (None, None),
        };
        let identity = Identity {
            user_id: Some(token.user.id),
            user_domain_id: domain(token.user.domain),
            domain_id: domain(token.domain),
            project_id,
            project_domain_id,
            system_scope: token.system.is_some_and(has_all).then(|| "all".to_owned()),
            roles: token.roles.into_iter().map(|role| role.name.to_lowercase()).collect(),
            catalog: token.catalog.map(|catalog| catalog.to_string().into()),
            is_beside_admin_project: token.is_admin_project == Some(false),
            ..Identity::default()
        };
        Some(Self {
            identity,
            expires_at: OffsetDateTime::parse(&token.expires_at, &Rfc3339).ok()?,
            access_rules: token.application_credential.and_then(|known| known.access_rules),
        })
    }

    pub(super) fn is_expired(&self) -> bool {
        self.expires_at <= OffsetDateTime::now_utc()
    }

    pub(super) fn has_any_role(&self, roles: &[String]) -> bool {
        roles.iter().any(|role| self.identity.has_role(role))
    }

    /// Whether the token may be used for a request to a service of this type. A request that a
    /// service makes for the user was not the user's choice, so the rules don't bind it.
    pub(super) fn allows(
        &self,
        service_type: Option<&str>,
        is_of_service: bool,
        method: &Method,
        path: &str,
    ) -> bool {
        let Some(rules) = &self.access_rules else { return true };
        let Some(service) = service_type.filter(|service| self.knows(service)) else {
            return false;
        };
        let allows = |rule: &AccessRule| {
            rule.service == service && rule.method == method.as_str() && matches(&rule.path, path)
        };
        is_of_service || rules.iter().any(allows)
    }

    fn knows(&self, service: &str) -> bool {
        let Some(catalog) = &self.identity.catalog else { return false };
        let catalog: Value = serde_json::from_str(catalog).unwrap_or_default();
        let is_there = |known: &Value| known["type"] == service;
        catalog.as_array().is_some_and(|services| services.iter().any(is_there))
    }

    /// About what it takes to remember this.
    pub(super) fn bytes(&self) -> usize {
        const BESIDES_THE_CATALOG: usize = 1024;
        let catalog = self.identity.catalog.as_ref().map_or(0, |catalog| catalog.len());
        catalog + BESIDES_THE_CATALOG
    }
}

/// A part of a pattern of paths.
enum Part {
    One(char),
    /// `*` or `{name}`: one character or more, within a segment.
    Segment,
    /// `**`: anything.
    Any,
}

/// Whether a path fits a pattern, in time that grows with both and no faster: users write them.
fn matches(pattern: &str, path: &str) -> bool {
    let parts = parts(pattern);
    // Which prefixes of the pattern fit what has been read of the path.
    let mut fits = vec![false; parts.len() + 1];
    fits[0] = true;
    spread(&parts, &mut fits);
    for c in path.chars() {
        let mut next = vec![false; fits.len()];
        for (at, part) in parts.iter().enumerate().filter(|(at, _)| fits[*at]) {
            match part {
                Part::One(wanted) => next[at + 1] |= *wanted == c,
                Part::Segment if c != '/' => (next[at], next[at + 1]) = (true, true),
                Part::Segment => {}
                Part::Any => (next[at], next[at + 1]) = (true, true),
            }
        }
        spread(&parts, &mut next);
        fits = next;
    }
    fits[parts.len()]
}

/// What fits before `**` fits after it, too.
fn spread(parts: &[Part], fits: &mut [bool]) {
    for (at, part) in parts.iter().enumerate() {
        if matches!(part, Part::Any) {
            fits[at + 1] |= fits[at];
        }
    }
}

fn parts(mut pattern: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    while let Some(first) = pattern.chars().next() {
        let (part, after) = if let Some(after) = pattern.strip_prefix("**") {
            (Part::Any, after)
        } else if let Some(after) = pattern.strip_prefix('*') {
            (Part::Segment, after)
        } else if let Some((_, after)) = pattern.strip_prefix('{').and_then(|p| p.split_once('}')) {
            (Part::Segment, after)
        } else {
            (Part::One(first), &pattern[first.len_utf8()..])
        };
        parts.push(part);
        pattern = after;
    }
    parts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn token(more: &Value) -> Token {
        let mut token = json!({
            "expires_at": "2026-11-26T15:42:38.000000Z",
            "user": {"id": "u", "name": "demo", "domain": {"id": "default", "name": "Default"}},
            "roles": [{"id": "1", "name": "Admin"}, {"id": "2", "name": "member"}],
        });
        token.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Token::read(json!({ "token": token }).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn pr_12_a_token_makes_an_identity() {
        let project = json!({"project": {"id": "p", "domain": {"id": "d"}}, "catalog": [1]});
        let Token { identity, expires_at, .. } = token(&project);
        assert_eq!(expires_at.unix_timestamp(), 1_795_707_758);
        assert_eq!(identity.user_id.as_deref(), Some("u"));
        assert_eq!(identity.user_domain_id.as_deref(), Some("default"));
        assert_eq!(identity.project_id.as_deref(), Some("p"));
        assert_eq!(identity.project_domain_id.as_deref(), Some("d"));
        assert_eq!(identity.roles, ["admin", "member"]);
        assert!(identity.system_scope.is_none() && !identity.is_admin);
        assert_eq!(identity.catalog.as_deref(), Some("[1]"));
    }

    #[test]
    fn po_20_a_systems_token_has_no_project() {
        let Token { identity, .. } = token(&json!({"system": {"all": true}}));
        assert_eq!(identity.system_scope.as_deref(), Some("all"));
        assert!(identity.project_id.is_none());
        assert!(token(&json!({"system": {"all": false}})).identity.system_scope.is_none());
    }

    #[test]
    fn po_20_a_domains_token_says_which() {
        let Token { identity, .. } = token(&json!({"domain": {"id": "d", "name": "D"}}));
        assert_eq!(identity.domain_id.as_deref(), Some("d"));
        assert!(identity.project_id.is_none() && !identity.is_in_project());
    }

    #[test]
    fn what_is_no_token_is_not_read() {
        for text in ["", "{}", "{\"token\": {}}", "[]"] {
            assert!(Token::read(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn pr_12_access_rules_bind_users_and_not_services() {
        let held = token(&json!({
            "catalog": [{"type": "image"}],
            "application_credential": {"access_rules": [
                {"service": "image", "method": "GET", "path": "/v2/images/*"},
                {"service": "compute", "method": "DELETE", "path": "/**"},
            ]},
        }));
        let allows = |service, method, path| held.allows(service, false, &method, path);
        assert!(allows(Some("image"), Method::GET, "/v2/images/1"));
        assert!(!allows(Some("image"), Method::GET, "/v2/images/1/file"));
        assert!(!allows(Some("image"), Method::DELETE, "/v2/images/1"));
        assert!(!allows(None, Method::GET, "/v2/images/1"));
        assert!(!allows(Some("volume"), Method::GET, "/v2/images/1"));
        assert!(held.allows(Some("image"), true, &Method::DELETE, "/v2/images/1"));
        assert!(token(&json!({})).allows(None, false, &Method::DELETE, "/x"));
        let bare = json!({"application_credential": {"id": "1"}});
        assert!(token(&bare).allows(None, false, &Method::DELETE, "/x"));
    }

    #[test]
    fn patterns_of_paths() {
        for (pattern, path, fits) in [
            ("/v2/images", "/v2/images", true),
            ("/v2/images", "/v2/images/", false),
            ("/v2/{version}/x", "/v2/1/x", true),
            ("/v2/{version}/x", "/v2/1/2/x", false),
            ("/v2/im*", "/v2/images", true),
            ("/**/file", "/v2/images/1/file", true),
            ("/**", "/", true),
            ("/**/**/**/**/**/**/**/x", &format!("/{}", "a/".repeat(500)), false),
            ("/v2/*", "/v2/", false),
            ("/v2/a**", "/v2/a", true),
            ("/v2/{open", "/v2/x", false),
        ] {
            assert_eq!(matches(pattern, path), fits, "{pattern} {path}");
        }
    }
}
