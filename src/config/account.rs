//! How this server signs in to Keystone: the options of keystoneauth's plugins.
//!
//! `[keystone_authtoken]` and `[oslo_limit]` hold them themselves, or name with `auth_section`
//! another section that does.

use std::path::PathBuf;
use std::time::Duration;

use super::error::ConfigError;
use super::options::{self, Found, Options};
use super::secret::Secret;
use super::value::{self, Parsed};

/// Options of an account, honoured in its section.
pub(super) const KEYS: &[&str] = &[
    "auth_type",
    "auth_plugin",
    "auth_section",
    "auth_url",
    "username",
    "user_name",
    "user_id",
    "user_domain_id",
    "user_domain_name",
    "default_domain_id",
    "default_domain_name",
    "password",
    "application_credential_id",
    "application_credential_name",
    "application_credential_secret",
    "project_id",
    "tenant_id",
    "project_name",
    "tenant_name",
    "project_domain_id",
    "project_domain_name",
    "domain_id",
    "domain_name",
    "system_scope",
    "trust_id",
    "cafile",
    "certfile",
    "keyfile",
    "insecure",
    "timeout",
];

/// A user of Keystone, what proves it, and what its tokens are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// `auth_url`, with or without `/v3`.
    pub auth_url: String,
    /// Who, and how it is proven.
    pub proof: Proof,
    /// What tokens are asked for.
    pub scope: Scope,
    /// How Keystone is spoken to.
    pub transport: Transport,
}

/// How an account proves itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// `auth_type = password` or `v3password`.
    Password {
        /// The user.
        user: Named,
        /// `password`.
        password: Secret,
    },
    /// `auth_type = v3applicationcredential`.
    ApplicationCredential {
        /// `application_credential_id`, or the name.
        credential: NameOrId,
        /// The user, where the credential is named and not identified.
        user: Option<Named>,
        /// `application_credential_secret`.
        secret: Secret,
    },
}

/// What tokens are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What Keystone or the application credential says by itself.
    Default,
    /// A project.
    Project(Named),
    /// A domain.
    Domain(NameOrId),
    /// The whole system.
    System,
    /// What another user has entrusted.
    Trust(String),
}

/// A name or an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameOrId {
    /// Keystone's id.
    Id(String),
    /// Its name.
    Name(String),
}

/// Something in a domain. With an id the domain needs no naming.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// What.
    pub name: NameOrId,
    /// Where.
    pub domain: Option<NameOrId>,
}

/// How a service is spoken to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// `cafile`: certificates to trust in place of the system's.
    pub cafile: Option<PathBuf>,
    /// `insecure`: take any certificate.
    pub is_insecure: bool,
    /// `http_connect_timeout` or `timeout`, for a whole exchange.
    pub timeout: Option<Duration>,
}

/// The section that holds an account's options.
#[derive(Debug)]
pub(super) struct Section<'a> {
    options: &'a Options,
    /// Where the account was asked for, and where what it lacks counts.
    asked: &'a str,
    name: String,
}

impl<'a> Section<'a> {
    /// The section `asked`, or the one that its `auth_section` names.
    pub(super) fn of(options: &'a Options, asked: &'a str) -> Result<Self, ConfigError> {
        let elsewhere = options.find_in(asked, "auth_section")?.map(|found| found.text);
        let name = elsewhere.filter(|name| !name.trim().is_empty());
        Ok(Self { options, asked, name: name.unwrap_or_else(|| asked.to_owned()) })
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The account.
    ///
    /// # Errors
    /// What is missing or can't be honoured.
    pub(super) fn account(&self) -> Result<Account, ConfigError> {
        let proof = self.proof()?;
        let url = "name Keystone, such as http://controller:5000";
        let auth_url = self.find(&["auth_url"])?.ok_or_else(|| self.missing("auth_url", url))?;
        let auth_url = auth_url.parse(|text| value::base_url(text)?.ok_or_else(|| url.to_owned()));
        Ok(Account {
            auth_url: auth_url?,
            scope: self.scope(matches!(proof, Proof::ApplicationCredential { .. }))?,
            proof,
            transport: self.transport()?,
        })
    }

    fn proof(&self) -> Result<Proof, ConfigError> {
        const KINDS: &str = "give password, v3password or v3applicationcredential";
        let kind = self
            .find(&["auth_type", "auth_plugin"])?
            .ok_or_else(|| self.missing("auth_type", KINDS))?;
        match kind.text.trim() {
            "password" | "v3password" => {
                let user = self.named("user", &["user_id"], &["username", "user_name"])?;
                Ok(Proof::Password {
                    user: user
                        .ok_or_else(|| self.missing("username", "name this server's user"))?,
                    password: self.secret("password")?,
                })
            }
            "v3applicationcredential" => self.application_credential(),
            _ => Err(kind.refuse(format!("no such way to sign in here; {KINDS}"))),
        }
    }

    fn application_credential(&self) -> Result<Proof, ConfigError> {
        let (id, name) = ("application_credential_id", "application_credential_name");
        let credential = self
            .name_or_id(&[id], &[name])?
            .ok_or_else(|| self.missing(id, "give the credential's id"))?;
        let user = match credential {
            NameOrId::Id(_) => None,
            NameOrId::Name(_) => {
                let user = self.named("user", &["user_id"], &["username", "user_name"])?;
                let why = "a credential given by name needs its user; give its id instead";
                Some(user.ok_or_else(|| self.missing("username", why))?)
            }
        };
        let secret = self.secret("application_credential_secret")?;
        Ok(Proof::ApplicationCredential { credential, user, secret })
    }

    fn scope(&self, is_bound: bool) -> Result<Scope, ConfigError> {
        if is_bound {
            return Ok(Scope::Default);
        }
        if let Some(trust) = self.text(&["trust_id"])? {
            return Ok(Scope::Trust(trust));
        }
        let project =
            self.named("project", &["project_id", "tenant_id"], &["project_name", "tenant_name"])?;
        if let Some(project) = project {
            return Ok(Scope::Project(project));
        }
        if let Some(domain) = self.name_or_id(&["domain_id"], &["domain_name"])? {
            return Ok(Scope::Domain(domain));
        }
        match self.find(&["system_scope"])? {
            None => Ok(Scope::Default),
            Some(found) => found.parse(|text| match text.trim() {
                "all" => Ok(Scope::System),
                "" => Ok(Scope::Default),
                _ => Err("give all, or a project".to_owned()),
            }),
        }
    }

    /// A user or project with its domain, which a name needs and an id doesn't.
    fn named(
        &self,
        what: &str,
        ids: &[&str],
        names: &[&str],
    ) -> Result<Option<Named>, ConfigError> {
        let Some(name) = self.name_or_id(ids, names)? else { return Ok(None) };
        let (id_key, name_key) = (format!("{what}_domain_id"), format!("{what}_domain_name"));
        let domain =
            self.name_or_id(&[&id_key, "default_domain_id"], &[&name_key, "default_domain_name"])?;
        if domain.is_none() && matches!(name, NameOrId::Name(_)) {
            let why = format!("names count within a domain: set {name_key}, such as Default");
            return Err(self.missing(&id_key, &why));
        }
        Ok(Some(Named { name, domain }))
    }

    fn name_or_id(&self, ids: &[&str], names: &[&str]) -> Result<Option<NameOrId>, ConfigError> {
        if let Some(id) = self.text(ids)? {
            return Ok(Some(NameOrId::Id(id)));
        }
        Ok(self.text(names)?.map(NameOrId::Name))
    }

    fn transport(&self) -> Result<Transport, ConfigError> {
        for key in ["certfile", "keyfile"] {
            if let Some(found) = self.find(&[key])?.filter(Found::is_given) {
                return Err(found.refuse("this server signs in without a certificate; unset it"));
            }
        }
        Ok(Transport {
            cafile: self.parsed(&["cafile"], value::some_path)?.flatten(),
            is_insecure: self.parsed(&["insecure"], value::boolean)?.unwrap_or(false),
            timeout: self.number(&["http_connect_timeout", "timeout"], seconds)?,
        })
    }

    fn secret(&self, key: &str) -> Result<Secret, ConfigError> {
        // Not trimmed beyond what the file's syntax does: a secret is what it is.
        let found = self.find(&[key])?.filter(|found| !found.text.is_empty());
        found
            .map(|found| Secret::new(found.text))
            .ok_or_else(|| self.missing(key, "without it nobody can sign in"))
    }

    fn text(&self, keys: &[&str]) -> Result<Option<String>, ConfigError> {
        Ok(self.parsed(keys, value::some_text)?.flatten())
    }

    fn parsed<T>(
        &self,
        keys: &[&str],
        parser: impl FnOnce(&str) -> Parsed<T>,
    ) -> Result<Option<T>, ConfigError> {
        options::parsed(self.find(keys)?, parser)
    }

    fn number<T>(
        &self,
        keys: &[&str],
        parser: impl FnOnce(&str) -> Parsed<T>,
    ) -> Result<Option<T>, ConfigError> {
        options::number(self.find(keys)?, None, parser)
    }

    /// The first of several names that is set, in the account's section or in the asking one.
    fn find(&self, keys: &[&str]) -> Result<Option<Found>, ConfigError> {
        for section in [self.name.as_str(), self.asked] {
            for key in keys {
                if let Some(found) = self.options.find_in(section, key)? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    fn missing(&self, key: &str, remedy: &str) -> ConfigError {
        ConfigError::missing(&self.name, key, remedy)
    }
}

/// Seconds with a fraction, as keystoneauth and oslo.policy take them.
pub(super) fn seconds(text: &str) -> Parsed<Duration> {
    let secs = text.trim().parse::<f64>().ok().filter(|secs| (0.001..=86400.0).contains(secs));
    secs.map(Duration::from_secs_f64).ok_or_else(|| "give a number of seconds such as 5".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PASSWORD: &str = "[keystone_authtoken]\nauth_type = password\n\
                            auth_url = http://controller:5000/\nusername = glance\n\
                            password = s3cret\n";

    fn read(text: &str) -> Result<Account, ConfigError> {
        let options = Options::of(&[text]).unwrap();
        Section::of(&options, "keystone_authtoken")?.account()
    }

    fn refused(text: &str) -> String {
        let error = read(text).unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
        error
    }

    #[test]
    fn cf_10_a_password_account() {
        let domains = "user_domain_name = Default\nproject_domain_id = default\n";
        let account = read(&format!("{PASSWORD}{domains}project_name = service\n")).unwrap();
        assert_eq!(account.auth_url, "http://controller:5000");
        let user = Named {
            name: NameOrId::Name("glance".into()),
            domain: Some(NameOrId::Name("Default".into())),
        };
        assert_eq!(account.proof, Proof::Password { user, password: Secret::new("s3cret") });
        let project = Named {
            name: NameOrId::Name("service".into()),
            domain: Some(NameOrId::Id("default".into())),
        };
        assert_eq!(account.scope, Scope::Project(project));
        assert_eq!(account.transport, Transport::default());
        assert!(!format!("{account:?}").contains("s3cret"));
    }

    #[test]
    fn cf_10_an_application_credential_has_its_scope() {
        let account = read(
            "[keystone_authtoken]\nauth_type = v3applicationcredential\nauth_url = https://k/v3\n\
             application_credential_id = 7\napplication_credential_secret = s3cret\n\
             project_name = ignored\ncafile = /ca.pem\ninsecure = true\ntimeout = 2.5",
        )
        .unwrap();
        assert_eq!(account.scope, Scope::Default);
        assert!(matches!(
            account.proof,
            Proof::ApplicationCredential { credential: NameOrId::Id(_), user: None, .. }
        ));
        assert!(account.transport.is_insecure && account.transport.cafile.is_some());
        assert_eq!(account.transport.timeout, Some(Duration::from_millis(2500)));
    }

    #[test]
    fn cf_10_another_section_may_hold_the_account() {
        let text = PASSWORD.replace("[keystone_authtoken]", "[my_account]");
        let account = read(&format!(
            "{text}user_domain_id = d\nsystem_scope = all\n\
             [keystone_authtoken]\nauth_section = my_account\ninsecure = yes"
        ))
        .unwrap();
        assert_eq!(account.scope, Scope::System);
        assert!(account.transport.is_insecure);
    }

    #[test]
    fn cf_10_what_is_missing_or_unknown_is_refused_with_a_remedy() {
        assert!(refused("").contains("[keystone_authtoken] auth_type is not set: give password"));
        assert!(refused(PASSWORD).contains("user_domain_name, such as Default"));
        let typed = PASSWORD.replace("= password", "= v3oidcpassword");
        assert!(refused(&typed).contains("v3oidcpassword: no such way to sign in"));
        let domain = format!("{PASSWORD}user_domain_id = default\n");
        assert!(refused(&domain.replace("password = s3cret", "")).contains("password is not set"));
        assert!(refused(&domain.replace("http:", "tcp:")).contains("give a URL"));
        assert!(refused(&format!("{domain}system_scope = some")).contains("give all"));
        assert!(refused(&format!("{domain}timeout = soon")).contains("seconds"));
        assert!(refused(&format!("{domain}keyfile = /k")).contains("without a certificate"));
        assert!(refused(&format!("{domain}project_name = p")).contains("project_domain_name"));
    }

    #[test]
    fn a_password_that_cant_be_read_is_not_shown() {
        let domain = format!("{PASSWORD}user_domain_id = default\n");
        let error = refused(&domain.replace("s3cret", "s3cret$nosuch"));
        assert!(error.contains("password = ***"), "{error}");
    }
}
