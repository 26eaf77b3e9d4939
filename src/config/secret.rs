//! A password that doesn't show itself.

use std::fmt;

/// A secret. Neither logs nor debug output show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret in.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for whoever has to present it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Whether an option of this name holds a secret.
pub(super) fn is_secret(key: &str) -> bool {
    ["password", "secret", "encryption_key"].iter().any(|word| key.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some(***)");
    }

    #[test]
    fn secrets_are_known_by_their_names() {
        for key in ["password", "application_credential_secret", "memcache_secret_key"] {
            assert!(is_secret(key), "{key}");
        }
        assert!(!is_secret("username") && !is_secret("connection"));
    }
}
