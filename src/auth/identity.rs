//! A caller, as far as somebody vouches for them (`PR-12`).

use std::fmt;
use std::sync::Arc;

/// Who makes a request. Names and ids are Keystone's.
#[derive(Clone, Default)]
pub struct Identity {
    /// The user, unless nobody is known.
    pub user_id: Option<String>,
    /// The project that the token is for; absent for system and domain scope.
    pub project_id: Option<String>,
    /// The domain that the token is for, where it is for one.
    pub domain_id: Option<String>,
    /// The user's domain.
    pub user_domain_id: Option<String>,
    /// The project's domain.
    pub project_domain_id: Option<String>,
    /// `all` for a token of system scope (`PO-20`).
    pub system_scope: Option<String>,
    /// Roles in the project, in lower case.
    pub roles: Vec<String>,
    /// Roles of the service that calls for the user (`X-Service-Token`), in lower case.
    pub service_roles: Vec<String>,
    /// The token as it came, for calls that are made on the user's behalf.
    pub token: Option<String>,
    /// Keystone's service catalog, for finding other services: JSON as it came, since few read it.
    pub catalog: Option<Arc<str>>,
    /// Keystone has a project for administrators, and the token is for another.
    pub is_beside_admin_project: bool,
    /// What the policy `context_is_admin` says of the caller; everybody without authentication.
    pub is_admin: bool,
    /// An anonymous caller where `allow_anonymous_access` lets them look.
    pub is_read_only: bool,
}

impl Identity {
    /// Everybody, where nobody is asked who they are (`PR-13`): an administrator without a name.
    /// In Glance such a caller has no role, so that its present policies refuse everything; here
    /// they have those that Keystone gives an administrator.
    #[must_use]
    pub fn unauthenticated() -> Self {
        let roles = ["admin", "manager", "member", "reader"].map(str::to_owned).into();
        Self { is_admin: true, roles, ..Self::default() }
    }

    /// Whether the caller has a role; names are compared in lower case.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        let is = |own: &String| {
            own.eq_ignore_ascii_case(role)
                || (!role.is_ascii() && own.to_lowercase() == role.to_lowercase())
        };
        self.roles.iter().any(is)
    }

    /// Whether the token is for a project rather than a domain or the whole system.
    #[must_use]
    pub fn is_in_project(&self) -> bool {
        self.system_scope.is_none() && self.domain_id.is_none()
    }
}

/// Shows no secret.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("user_id", &self.user_id)
            .field("project_id", &self.project_id)
            .field("roles", &self.roles)
            .field("service_roles", &self.service_roles)
            .field("is_admin", &self.is_admin)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_has_no_token() {
        let identity = Identity { token: Some("gAAAA-secret".into()), ..Identity::default() };
        assert!(!format!("{identity:?}").contains("secret"));
    }
}
