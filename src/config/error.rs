//! Why a configuration is refused: where, what was found, and what to do about it.
//!
//! Every message may reach a log that others read, so credentials in URLs are masked here, on the
//! only way that a value has into a message.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A configuration that the server does not start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or directory can't be read.
    #[error("{}: cannot be read; check that it is there and readable for this user", .path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is not oslo.config's syntax. The line itself is not shown: it may hold a password.
    #[error("{place}: {remedy}")]
    Syntax {
        /// Where.
        place: Place,
        /// What is wrong and what to do.
        remedy: String,
    },
    /// An option's value can't be honoured.
    #[error("{0}")]
    Option(Box<Refusal>),
    /// A command-line option can't be honoured.
    #[error("{option} {found}: {remedy}")]
    CommandLine {
        /// The option, with its dashes.
        option: &'static str,
        /// Its value.
        found: String,
        /// What to do.
        remedy: String,
    },
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named, or a variable of the environment.
    pub path: Arc<Path>,
    /// Its line, from 1; 0 for a variable.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.path.display()),
            line => write!(f, "{}:{line}", self.path.display()),
        }
    }
}

/// An option that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where it is set; `None` when it is missing or its default is what can't be used.
    pub place: Option<Place>,
    /// Its section.
    pub section: String,
    /// Its name.
    pub key: String,
    /// Its value, credentials masked; `None` when it is not set.
    pub found: Option<String>,
    /// What is wrong and what to do.
    pub remedy: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "[{}] {}", self.section, self.key)?;
        match &self.found {
            Some(found) => write!(f, " = {found}: {}", self.remedy),
            None => write!(f, " is not set: {}", self.remedy),
        }
    }
}

impl ConfigError {
    /// An option that must be set and is not.
    pub(super) fn missing(section: &str, key: &str, remedy: impl Into<String>) -> Self {
        Self::Option(Box::new(Refusal {
            place: None,
            section: section.to_owned(),
            key: key.to_owned(),
            found: None,
            remedy: remedy.into(),
        }))
    }
}

/// A value as it may be shown: the password of a URL is masked, in its authority and its query.
/// What names credentials but is no URL is masked whole.
#[must_use]
pub fn masked(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else {
        let credentials = value.rsplit_once('@').map_or("", |(credentials, _)| credentials);
        let is_secret = credentials.contains(':') && !value.starts_with('/');
        return if is_secret { "***".to_owned() } else { value.to_owned() };
    };
    // The last @ ends the credentials, since people forget to quote one in a password.
    let shown = match rest.rsplit_once('@') {
        Some((credentials, host)) => {
            let user = credentials.split_once(':').map_or(credentials, |(user, _)| user);
            let mask = if credentials.contains(':') { ":***" } else { "" };
            format!("{user}{mask}@{host}")
        }
        None => rest.to_owned(),
    };
    format!("{scheme}://{}", masked_query(&shown))
}

fn masked_query(url: &str) -> String {
    let Some((path, query)) = url.split_once('?') else { return url.to_owned() };
    let is_secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        ["passw", "secret", "token"].iter().any(|word| name.contains(word))
    };
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}=***"),
        _ => pair.to_owned(),
    });
    format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_place_section_key_value_and_remedy() {
        let refusal = Refusal {
            place: Some(Place { path: Path::new("glance-api.conf").into(), line: 12 }),
            section: "glance_store".into(),
            key: "default_backend".into(),
            found: Some("slow".into()),
            remedy: "no such store".into(),
        };
        assert_eq!(
            ConfigError::Option(Box::new(refusal)).to_string(),
            "glance-api.conf:12: [glance_store] default_backend = slow: no such store"
        );
        assert_eq!(
            ConfigError::missing("database", "connection", "set it").to_string(),
            "[database] connection is not set: set it"
        );
    }

    #[test]
    fn passwords_are_never_shown() {
        let cases = [
            ("mysql+pymysql://glance:s3cret@db/glance", "mysql+pymysql://glance:***@db/glance"),
            ("mysql://glance:a@b:c@db/glance", "mysql://glance:***@db/glance"),
            ("mysql://db/glance?user=x&password=s3cret", "mysql://db/glance?user=x&password=***"),
            ("postgresql://glance@db/glance", "postgresql://glance@db/glance"),
            ("glance:s3cret@db", "***"),
            ("sqlite:////var/lib/glance.sqlite", "sqlite:////var/lib/glance.sqlite"),
            ("slow", "slow"),
            ("/srv/a@b:100", "/srv/a@b:100"),
        ];
        for (value, shown) in cases {
            assert_eq!(masked(value), shown);
        }
    }
}
