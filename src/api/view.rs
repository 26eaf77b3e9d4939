//! An image as JSON, in Glance's order of keys (`CR-08`, `SD-02`, `SD-03`).

use serde_json::{Map, Value, json};

use super::App;
use super::isotime;
use super::may;
use crate::auth::Identity;
use crate::image::{Image, Location, LocationStatus};
use crate::meta::HIDDEN_PROPERTIES;

/// Keys of an image beside its properties.
const KEYS_MAX: usize = 25;

/// The record as create, show and list answer it.
pub(super) fn image(app: &App, caller: &Identity, image: &Image) -> Value {
    // One map that is large enough: a long page has a thousand of these.
    let mut view = Map::with_capacity(image.properties.len() + KEYS_MAX);
    let is_shown = |key: &str| !HIDDEN_PROPERTIES.contains(&key) && may::reads(app, caller, key);
    let shown = image.properties.iter().filter(|(key, _)| is_shown(key));
    view.extend(shown.map(|(key, value)| (key.clone(), value.as_str().into())));
    view.extend(attributes(image).map(owned));
    let locations = readable_locations(app, caller, image);
    view.extend(data_urls(app, &locations));
    view.extend(links(image).map(owned));
    let stores: Vec<&str> = locations.iter().filter_map(|location| location.store_id()).collect();
    if app.stores.is_multi() && !stores.is_empty() {
        view.insert("stores".into(), stores.join(",").into());
    }
    view.into()
}

fn attributes(image: &Image) -> [(&'static str, Value); 18] {
    [
        ("name", json!(image.name)),
        ("disk_format", json!(image.disk_format)),
        ("container_format", json!(image.container_format)),
        ("visibility", json!(image.visibility.as_str())),
        ("size", json!(image.size)),
        ("virtual_size", json!(image.virtual_size)),
        ("status", json!(image.status.as_str())),
        ("checksum", json!(image.checksum)),
        ("protected", json!(image.protected)),
        ("min_ram", json!(image.min_ram)),
        ("min_disk", json!(image.min_disk)),
        ("owner", json!(image.owner)),
        ("os_hidden", json!(image.os_hidden)),
        ("os_hash_algo", json!(image.os_hash_algo)),
        ("os_hash_value", json!(image.os_hash_value)),
        ("id", json!(image.id.as_str())),
        ("created_at", json!(isotime::seconds(image.created_at))),
        ("updated_at", json!(isotime::seconds(image.updated_at))),
    ]
}

/// Copies whose data the caller can read, best store first (`RC-03`).
pub(super) fn readable_locations<'a>(
    app: &App,
    caller: &Identity,
    image: &'a Image,
) -> Vec<&'a Location> {
    if !may::has_data_of(caller, image) {
        return Vec::new();
    }
    let mut locations = app.stores.by_weight(&image.locations);
    locations.retain(|location| location.status == LocationStatus::Active);
    locations
}

/// Where the data lies, for clients that the operator lets see it.
fn data_urls(app: &App, locations: &[&Location]) -> Map<String, Value> {
    let mut view = Map::new();
    if app.settings.api.show_multiple_locations {
        let all = locations.iter().map(|at| json!({ "url": at.url, "metadata": at.metadata }));
        view.insert("locations".into(), all.collect());
    }
    if let Some(best) = locations.first().filter(|_| app.settings.api.show_image_direct_url) {
        view.insert("direct_url".into(), best.url.as_str().into());
    }
    view
}

fn links(image: &Image) -> [(&'static str, Value); 4] {
    let href = format!("/v2/images/{}", image.id);
    [
        ("tags", json!(image.tags)),
        ("self", json!(href)),
        ("file", json!(format!("{href}/file"))),
        ("schema", json!("/v2/schemas/image")),
    ]
}

/// A JSON object with its keys in the order given.
pub(super) fn fields<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs.map(owned).into_iter().collect()
}

fn owned((key, value): (&str, Value)) -> (String, Value) {
    (key.to_owned(), value)
}
