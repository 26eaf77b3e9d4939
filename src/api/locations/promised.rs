//! `validation_data` (`UP-08`): digests that a client promises of the data at a location.

use http::StatusCode;
use serde_json::Value;

use super::super::App;
use super::super::fault::Fault;
use crate::image::{HashAlgo, Image, Status};

/// Bytes of an MD5.
const CHECKSUM_BYTES: usize = 16;

/// What the record does not say yet.
#[derive(Debug, Default)]
pub(super) struct Promised {
    checksum: Option<String>,
    os_hash_algo: Option<String>,
    os_hash_value: Option<String>,
}

impl Promised {
    /// Writes it into a record.
    pub(super) fn set(self, image: &mut Image) {
        image.checksum = self.checksum.or(image.checksum.take());
        image.os_hash_algo = self.os_hash_algo.or(image.os_hash_algo.take());
        image.os_hash_value = self.os_hash_value.or(image.os_hash_value.take());
    }

    fn names(&self) -> Vec<&'static str> {
        [
            ("checksum", &self.checksum),
            ("os_hash_algo", &self.os_hash_algo),
            ("os_hash_value", &self.os_hash_value),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.as_ref().map(|_| name))
        .collect()
    }
}

/// Reads what locations promise, whose types the schema has judged. What is known already may be
/// said again.
///
/// # Errors
/// A [`Fault`] with status 409.
pub(super) fn check(app: &App, image: &Image, locations: &[Value]) -> Result<Promised, Fault> {
    let new = |key: &str, known: &Option<String>| new(locations, key, known.as_deref());
    let promised = Promised {
        checksum: new("checksum", &image.checksum)?,
        os_hash_algo: new("os_hash_algo", &image.os_hash_algo)?,
        os_hash_value: new("os_hash_value", &image.os_hash_value)?,
    };
    let names = promised.names();
    if names.is_empty() {
        return Ok(promised);
    }
    if image.status != Status::Queued {
        return Err(conflict(format!(
            "New value(s) for {} may only be provided when image status is 'queued'",
            names.join(", ")
        )));
    }
    if let Some(checksum) = &promised.checksum {
        must_be_hex("checksum", checksum, "md5", CHECKSUM_BYTES)?;
    }
    must_be_configured(&promised, app.settings.api.hashing_algorithm)?;
    Ok(promised)
}

/// The value that the locations give for a key, unless it is known.
fn new(locations: &[Value], key: &str, known: Option<&str>) -> Result<Option<String>, Fault> {
    let mut given = locations.iter().filter_map(|at| at["validation_data"][key].as_str());
    let Some(first) = given.next() else { return Ok(None) };
    if given.any(|other| other != first) {
        return Err(conflict(format!("Conflicting values for {key}")));
    }
    match known.filter(|known| !known.is_empty()) {
        Some(known) if known == first => Ok(None),
        Some(_) => Err(conflict(format!("{key} is already set with a different value"))),
        None => Ok(Some(first.to_owned())),
    }
}

fn must_be_configured(promised: &Promised, algo: HashAlgo) -> Result<(), Fault> {
    let given = promised.os_hash_algo.as_deref();
    if given != Some(algo.name()) {
        let given = given.unwrap_or("None");
        return Err(conflict(format!("os_hash_algo must be {algo}, not {given}")));
    }
    match &promised.os_hash_value {
        Some(value) => must_be_hex("os_hash_value", value, algo.name(), algo.digest_bytes()),
        None => Ok(()),
    }
}

/// Refuses what is no digest of this many bytes.
fn must_be_hex(key: &str, value: &str, algo: &str, bytes: usize) -> Result<(), Fault> {
    let Some(digits) = hex_digits(value) else {
        return Err(conflict(format!("{key} ({value}) is not a valid hexadecimal value")));
    };
    match digits == 2 * bytes {
        true => Ok(()),
        false => Err(conflict(format!(
            "{key} ({value}) is not the correct size for {algo} (should be {bytes} bytes)"
        ))),
    }
}

/// How many digits a text has that is hexadecimal digits for whole bytes.
pub(super) fn hex_digits(text: &str) -> Option<usize> {
    let is_hex = text.bytes().all(|digit| digit.is_ascii_hexdigit());
    (is_hex && text.len().is_multiple_of(2)).then_some(text.len())
}

fn conflict(message: String) -> Fault {
    Fault::new(StatusCode::CONFLICT, message)
}
