//! Options of stores that are reached over HTTP (`CF-25`, `CF-26`).

use super::Section;
use crate::config::error::ConfigError;
use crate::config::options::Found;
use crate::config::secret::Secret;
use crate::config::value::{self, Parsed};
use crate::config::{HttpStore, S3Addressing, S3Store};

const MIB: u64 = 1 << 20;

impl Section<'_> {
    /// `CF-25`. A file with authorities turns verification on, whatever `https_insecure` says.
    pub(super) fn http_store(&self) -> Result<HttpStore, ConfigError> {
        Ok(HttpStore {
            ca_file: self.get("https_ca_certificates_file", None, value::some_path)?,
            is_insecure: self.get("https_insecure", true, value::boolean)?,
            proxies: self.get("http_proxy_information", Vec::new(), value::dict)?,
        })
    }

    /// `CF-26`.
    pub(super) fn s3_store(&self) -> Result<S3Store, ConfigError> {
        let is_protected =
            self.get("s3_store_enable_data_integrity_protection", false, value::boolean)?;
        let checks = self.get("s3_store_request_checksum_calculation", false, checksums)?;
        Ok(S3Store {
            host: self.needed("s3_store_host", "name the server, such as s3.example.org", host)?,
            region: self.get("s3_store_region_name", None, value::some_text)?,
            access_key: self.needed("s3_store_access_key", "give the user's access key", text)?,
            secret_key: self.needed("s3_store_secret_key", "give the user's secret key", secret)?,
            bucket: self.needed("s3_store_bucket", "name a bucket, such as images", text)?,
            create_bucket_on_put: self.get(
                "s3_store_create_bucket_on_put",
                false,
                value::boolean,
            )?,
            addressing: self.get("s3_store_bucket_url_format", S3Addressing::Auto, addressing)?,
            large_object_size_bytes: self.number(
                "s3_store_large_object_size",
                100 * MIB,
                mebibytes_from(0),
            )?,
            part_size_bytes: self.number(
                "s3_store_large_object_chunk_size",
                10 * MIB,
                mebibytes_from(5),
            )?,
            parts_in_flight: self.number("s3_store_thread_pools", 10, in_flight)?,
            ca_file: self.get("s3_store_cacert", None, value::some_path)?,
            checks_requests: is_protected && checks,
        })
    }

    /// An option without which the store can't be.
    fn needed<T>(
        &self,
        key: &str,
        remedy: &str,
        parser: impl FnOnce(&str) -> Parsed<T>,
    ) -> Result<T, ConfigError> {
        let missing = || ConfigError::missing(self.own(), key, remedy);
        let found = self.find(key)?.filter(Found::is_given);
        found.ok_or_else(missing)?.parse(parser)
    }
}

fn text(text: &str) -> Parsed<String> {
    Ok(text.trim().to_owned())
}

fn secret(text: &str) -> Parsed<Secret> {
    Ok(Secret::new(text.trim()))
}

/// A server as Glance takes it: with a scheme or without, then it is `http`.
fn host(text: &str) -> Parsed<String> {
    let text = text.trim().trim_end_matches('/');
    let bare = text.strip_prefix("https://").or(text.strip_prefix("http://")).unwrap_or(text);
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if bare.is_empty() || !bare.chars().all(is_host) {
        return Err("give a server such as https://s3.example.org:8443, without a path".to_owned());
    }
    Ok(text.to_owned())
}

fn addressing(text: &str) -> Parsed<S3Addressing> {
    value::one_of(&[
        ("auto", S3Addressing::Auto),
        ("path", S3Addressing::Path),
        ("virtual", S3Addressing::Virtual),
    ])(text)
}

fn checksums(text: &str) -> Parsed<bool> {
    value::one_of(&[("when_required", false), ("when_supported", true)])(text)
}

fn in_flight(text: &str) -> Parsed<usize> {
    value::number(1..=1000, "a number of parts such as 10")(text)
}

/// A size in MiB, as bytes.
fn mebibytes_from(least: i128) -> impl Fn(&str) -> Parsed<u64> {
    move |text| {
        let range = least..=1 << 30;
        let mebibytes: u64 = value::number(range, "a size in MiB such as 100")(text)?;
        Ok(mebibytes * MIB)
    }
}
