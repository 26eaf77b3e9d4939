//! `s3://` URLs, byte for byte as Glance writes them (`S3-01`).

use crate::client;
use crate::image::Location;
use crate::store::{StoreError, StoreErrorKind};

/// The URL of an object on the configured host.
pub(super) fn url(host: &str, bucket: &str, key: &str) -> String {
    match host.strip_prefix("https://") {
        Some(host) => format!("s3+https://{host}/{bucket}/{key}"),
        None => format!("s3://{}/{bucket}/{key}", host.strip_prefix("http://").unwrap_or(host)),
    }
}

/// Where an object is.
///
/// The host is not kept: like Glance we read from the one that is configured. Neither are the
/// credentials that old URLs hold before it, which may have slashes in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) bucket: String,
    pub(super) key: String,
}

impl Place {
    pub(super) fn of(location: &Location) -> Result<Self, StoreError> {
        Self::parse(&location.url).ok_or_else(|| {
            let url = client::without_credentials(&location.url);
            let context = format!("{url} is not of the form s3://host/bucket/key");
            StoreError::new(StoreErrorKind::BadLocation, context)
        })
    }

    fn parse(url: &str) -> Option<Self> {
        let (scheme, path) = url.split_once("://")?;
        if !["s3", "s3+http", "s3+https"].contains(&scheme) || path.contains("://") {
            return None;
        }
        let mut parts = path.trim_matches('/').rsplitn(3, '/');
        let (key, bucket, host) = (parts.next()?, parts.next()?, parts.next()?);
        let is_whole = ![key, bucket, host].contains(&"");
        is_whole.then(|| Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_01_urls_are_glances() {
        for (host, seen) in [
            ("s3.example.org", "s3://s3.example.org/b/k"),
            ("http://10.0.0.1:8080", "s3://10.0.0.1:8080/b/k"),
            ("https://s3.example.org", "s3+https://s3.example.org/b/k"),
        ] {
            assert_eq!(url(host, "b", "k"), seen);
        }
    }

    #[test]
    fn s3_01_urls_of_all_times_are_read() {
        let place = Some(Place { bucket: "b".into(), key: "k".into() });
        for url in [
            "s3://h/b/k",
            "s3+http://h:1/b/k",
            "s3+https://h/b/k",
            "s3://key:sec/ret@h/b/k",
            "s3+https://key:se+c@h/x/b/k/",
        ] {
            assert_eq!(Place::parse(url), place, "{url}");
        }
        for url in ["s3://h/b", "s3://https://h/b/k", "http://h/b/k", "s3:///b/k", "x"] {
            assert_eq!(Place::parse(url), None, "{url}");
        }
        let refused = Place::of(&Location::new("s3://key:secret@h/k".into(), None)).unwrap_err();
        assert!(!refused.to_string().contains("secret"), "{refused}");
    }
}
