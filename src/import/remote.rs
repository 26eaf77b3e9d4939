//! Another Glance, found in the user's catalog and asked with the user's token (`IM-06`).

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::fetch::{Fetched, Fetcher};
use super::run::Secret;
use crate::image::{Expected, property};
use crate::meta::ImageChange;

const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// An image in another Glance.
#[derive(Debug)]
pub(super) struct Remote<'a> {
    pub(super) region: &'a str,
    pub(super) image_id: &'a str,
    pub(super) interface: &'a str,
}

/// What the other Glance says of it.
#[derive(Debug)]
pub(super) struct Found {
    /// Its data, begun.
    pub(super) fetched: Fetched,
    /// What the data has to be.
    pub(super) expected: Expected,
    /// Formats and properties that become ours (`IF-02`).
    pub(super) change: ImageChange,
}

impl Remote<'_> {
    /// Reads the image's record and begins to fetch its data. The error is a sentence for whoever
    /// asked for it.
    pub(super) async fn find(
        &self,
        fetcher: &Fetcher,
        secret: Option<&Secret>,
        prefixes: &[String],
    ) -> Result<Found, String> {
        let secret = secret.ok_or(
            "The token that the import was asked for with is gone since the server has started \
             again, or there was none; ask once more, with a token of Keystone's",
        )?;
        let endpoint = secret.catalog.as_deref().and_then(|catalog| self.endpoint(catalog));
        let endpoint = endpoint.ok_or_else(|| {
            format!("The catalog has no {} image service in {}", self.interface, self.region)
        })?;
        let mut token = HeaderValue::from_str(&secret.token)
            .map_err(|_| "The token can't be passed on".to_owned())?;
        token.set_sensitive(true);
        let headers = HeaderMap::from_iter([(TOKEN, token)]);
        let uri = format!("{endpoint}/v2/images/{}", self.image_id);
        let document = fetcher.document(&uri, headers.clone()).await?;
        let record: Value = serde_json::from_slice(&document)
            .map_err(|_| format!("{uri}: the answer is no image"))?;
        let (expected, change) = read(&record, prefixes)?;
        let fetched = fetcher.open(&format!("{uri}/file"), headers).await?;
        Ok(Found { fetched, expected, change })
    }

    /// The address of the image service, in either form that catalogs have.
    fn endpoint(&self, catalog: &str) -> Option<String> {
        let catalog: Value = serde_json::from_str(catalog).ok()?;
        let services = catalog.as_array()?.iter().filter(|service| service["type"] == "image");
        let endpoints = services.filter_map(|service| service["endpoints"].as_array()).flatten();
        let is_here = |endpoint: &&Value| {
            endpoint["region"] == self.region || endpoint["region_id"] == self.region
        };
        let url = |endpoint: &Value| {
            match endpoint.get("interface") {
                Some(interface) if interface == self.interface => endpoint["url"].as_str(),
                Some(_) => None,
                None => endpoint[format!("{}URL", self.interface)].as_str(),
            }
            .map(|url| url.trim_end_matches('/').trim_end_matches("/v2").to_owned())
        };
        endpoints.filter(is_here).find_map(url)
    }
}

/// What a record promises of its data, and what of it becomes ours.
fn read(record: &Value, prefixes: &[String]) -> Result<(Expected, ImageChange), String> {
    let text = |key: &str| record[key].as_str().map(str::to_owned);
    let status = record["status"].as_str().unwrap_or("unknown");
    if status != "active" {
        return Err(format!("Source image status should be active instead of {status}"));
    }
    let size = record["size"].as_u64().ok_or("The source image has no size")?;
    let is_ours = |key: &str| {
        // Attributes may begin like properties that are wanted.
        !property::is_reserved(key) && prefixes.iter().any(|prefix| key.starts_with(prefix))
    };
    let fields = record.as_object().into_iter().flatten();
    let fields = fields.filter(|(key, _)| is_ours(key));
    let fields = fields.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    let change = ImageChange {
        disk_format: text("disk_format"),
        container_format: text("container_format"),
        set: fields.collect(),
        ..ImageChange::default()
    };
    let multihash = text("os_hash_algo").zip(text("os_hash_value"));
    Ok((Expected { size: Some(size), checksum: text("checksum"), multihash }, change))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn im_06_the_catalog_names_the_other_glance() {
        let modern = json!([{"type": "image", "endpoints": [
            {"interface": "internal", "region": "two", "url": "http://inner:9292"},
            {"interface": "public", "region": "one", "url": "http://one:9292"},
            {"interface": "public", "region_id": "two", "url": "http://two:9292/v2/"}]}]);
        let old = json!([{"type": "volume", "endpoints": []}, {"type": "image", "endpoints": [
            {"region": "two", "publicURL": "http://two:9292/", "internalURL": "http://inner"}]}]);
        let at = |interface, catalog: &Value| {
            let remote = Remote { region: "two", image_id: "x", interface };
            remote.endpoint(&catalog.to_string())
        };
        for catalog in [&modern, &old] {
            assert_eq!(at("public", catalog).unwrap(), "http://two:9292");
            assert!(at("internal", catalog).unwrap().starts_with("http://inner"));
            assert_eq!(at("admin", catalog), None);
        }
    }

    #[test]
    fn if_02_formats_and_chosen_properties_become_ours() {
        let record = json!({"status": "active", "size": 3, "disk_format": "qcow2",
            "container_format": "bare", "hw_a": "1", "os_glance_x": "2", "other": "3",
            "checksum": "c", "os_hash_algo": "sha512", "os_hash_value": "h"});
        let prefixes = ["hw_".to_owned(), "os_".to_owned()];
        let (expected, change) = read(&record, &prefixes).unwrap();
        assert_eq!((expected.size, expected.checksum.as_deref()), (Some(3), Some("c")));
        assert_eq!(change.disk_format.as_deref(), Some("qcow2"));
        let set: Vec<_> = change.set.keys().map(String::as_str).collect();
        assert_eq!(set, ["hw_a"]);
        let queued = json!({"status": "queued", "size": null});
        assert!(read(&queued, &prefixes).unwrap_err().contains("instead of queued"));
        assert!(read(&json!({"status": "active"}), &prefixes).is_err());
    }
}
