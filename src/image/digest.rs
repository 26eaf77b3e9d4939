//! Digests: what is computed while bytes pass, and what they are compared with.
//!
//! Three types for three states, so that a half-made digest can't be compared or stored: lanes
//! collect (`lanes::Stream`), [`Digests`] are finished, [`Expected`] is what somebody promised.
//! [`Expected::verify`] is the only place in the program that compares digests.

use std::fmt;

/// A multihash algorithm by the name that Python's hashlib gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashAlgo {
    /// MD5, 16 bytes: the checksum once more.
    Md5,
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-224, 28 bytes.
    Sha224,
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes; Glance's default.
    Sha512,
    /// SHA-512/256, 32 bytes.
    Sha512_256,
    /// SHA3-224, 28 bytes.
    Sha3_224,
    /// SHA3-256, 32 bytes.
    Sha3_256,
    /// SHA3-384, 48 bytes.
    Sha3_384,
    /// SHA3-512, 64 bytes.
    Sha3_512,
    /// BLAKE2b with 64 bytes.
    Blake2b,
    /// BLAKE2s with 32 bytes.
    Blake2s,
}

/// A `hashing_algorithm` that this build can't compute.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown hashing algorithm {0:?}; this build has {known}", known = HashAlgo::names())]
pub struct UnknownHashingAlgo(pub String);

impl HashAlgo {
    /// Every algorithm of this build: what hashlib guarantees and has a length of its own, and
    /// SHA-512/256.
    pub const ALL: [Self; 13] = [
        Self::Md5,
        Self::Sha1,
        Self::Sha224,
        Self::Sha256,
        Self::Sha384,
        Self::Sha512,
        Self::Sha512_256,
        Self::Sha3_224,
        Self::Sha3_256,
        Self::Sha3_384,
        Self::Sha3_512,
        Self::Blake2b,
        Self::Blake2s,
    ];

    /// The name used in configuration and in `os_hash_algo`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
            Self::Sha512_256 => "sha512_256",
            Self::Sha3_224 => "sha3_224",
            Self::Sha3_256 => "sha3_256",
            Self::Sha3_384 => "sha3_384",
            Self::Sha3_512 => "sha3_512",
            Self::Blake2b => "blake2b",
            Self::Blake2s => "blake2s",
        }
    }

    /// Bytes of a digest.
    #[must_use]
    pub fn digest_bytes(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha224 | Self::Sha3_224 => 28,
            Self::Sha256 | Self::Sha512_256 | Self::Sha3_256 | Self::Blake2s => 32,
            Self::Sha384 | Self::Sha3_384 => 48,
            Self::Sha512 | Self::Sha3_512 | Self::Blake2b => 64,
        }
    }

    /// Finds an algorithm by its name.
    ///
    /// # Errors
    /// [`UnknownHashingAlgo`], which lists the names that this build has.
    pub fn parse(name: &str) -> Result<Self, UnknownHashingAlgo> {
        Self::ALL
            .into_iter()
            .find(|algo| algo.name() == name)
            .ok_or_else(|| UnknownHashingAlgo(name.to_owned()))
    }

    fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

impl fmt::Display for HashAlgo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Finished digests of one image's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    /// MD5, 32 lower-case hexadecimal digits.
    pub checksum: String,
    /// Algorithm of `os_hash_value`.
    pub os_hash_algo: HashAlgo,
    /// Multihash in lower-case hexadecimal digits.
    pub os_hash_value: String,
}

/// What the record already says about the data that is to come (`DU-08`). Nothing set, nothing
/// compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Size in bytes.
    pub size: Option<u64>,
    /// MD5 in hexadecimal digits.
    pub checksum: Option<String>,
    /// Algorithm and multihash; compared only when the algorithm is the one computed.
    pub multihash: Option<(String, String)>,
}

/// The data is not what was promised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} mismatch: expected {expected}, got {actual}")]
pub struct Mismatch {
    /// `size`, `checksum` or `os_hash_value`.
    pub what: &'static str,
    /// What was promised.
    pub expected: String,
    /// What arrived.
    pub actual: String,
}

impl Expected {
    /// Compares the promise with what arrived.
    ///
    /// # Errors
    /// The first [`Mismatch`], size before checksum before multihash.
    pub fn verify(&self, size: u64, digests: &Digests) -> Result<(), Mismatch> {
        let differ = |what, expected: String, actual: String| {
            if expected.eq_ignore_ascii_case(&actual) {
                Ok(())
            } else {
                Err(Mismatch { what, expected, actual })
            }
        };
        if let Some(expected) = self.size {
            differ("size", expected.to_string(), size.to_string())?;
        }
        if let Some(expected) = &self.checksum {
            differ("checksum", expected.clone(), digests.checksum.clone())?;
        }
        if let Some((algo, expected)) = &self.multihash
            && algo == digests.os_hash_algo.name()
        {
            differ("os_hash_value", expected.clone(), digests.os_hash_value.clone())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived() -> Digests {
        Digests {
            checksum: "0cc175b9c0f1b6a831c399e269772661".into(),
            os_hash_algo: HashAlgo::Sha512,
            os_hash_value: "ab".into(),
        }
    }

    #[test]
    fn nothing_expected_nothing_refused() {
        assert_eq!(Expected::default().verify(1, &arrived()), Ok(()));
    }

    #[test]
    fn each_promise_is_compared() {
        let promise = Expected {
            size: Some(1),
            checksum: Some("0CC175B9C0F1B6A831C399E269772661".into()),
            multihash: Some(("sha512".into(), "ab".into())),
        };
        assert_eq!(promise.verify(1, &arrived()), Ok(()));
        let what = |promise: Expected| promise.verify(1, &arrived()).err().map(|m| m.what);
        assert_eq!(what(Expected { size: Some(2), ..promise.clone() }), Some("size"));
        assert_eq!(
            what(Expected { checksum: Some("00".into()), ..promise.clone() }),
            Some("checksum")
        );
        let multihash = Some(("sha512".into(), "cd".into()));
        assert_eq!(what(Expected { multihash, ..promise }), Some("os_hash_value"));
    }

    #[test]
    fn an_unknown_algorithm_names_the_known_ones() {
        let error = HashAlgo::parse("md6").unwrap_err().to_string();
        assert!(error.contains("md6") && error.contains("sha512_256"), "{error}");
    }
}
