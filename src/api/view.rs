//! An image as JSON, in Glance's order of keys (`CR-08`, `SD-02`, `SD-03`).

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::App;
use super::isotime;
use super::may;
use crate::auth::Identity;
use crate::image::{Image, Location, LocationStatus};
use crate::meta::HIDDEN_PROPERTIES;

/// The record as create, show and list answer it. It is written from the image as it is, without a
/// [`Value`] in between: a long page has a thousand of them, with two dozen members each.
#[derive(Debug)]
pub(super) struct View<'a> {
    app: &'a App,
    caller: &'a Identity,
    image: &'a Image,
    /// See [`readable_locations`].
    locations: Vec<&'a Location>,
    /// Ids of the stores where the data is; empty where clients know but one store.
    stores: String,
}

/// What is shown of an image to the caller.
pub(super) fn image<'a>(app: &'a App, caller: &'a Identity, image: &'a Image) -> View<'a> {
    let locations = readable_locations(app, caller, image);
    let stores = match app.stores.is_multi() {
        true => locations.iter().filter_map(|at| at.store_id()).collect::<Vec<_>>().join(","),
        false => String::new(),
    };
    View { app, caller, image, locations, stores }
}

impl Serialize for View<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in self.image.properties.iter().filter(|(key, _)| self.shows(key)) {
            map.serialize_entry(key, value)?;
        }
        self.write_attributes(&mut map)?;
        self.write_locations(&mut map)?;
        self.write_links(&mut map)?;
        map.end()
    }
}

impl View<'_> {
    /// Whether a property is shown. Others may have written some that have the name of what every
    /// image has, which comes first then.
    fn shows(&self, key: &str) -> bool {
        !HIDDEN_PROPERTIES.contains(&key)
            && may::reads(self.app, self.caller, key)
            && !self.has_member(key)
    }

    /// Whether something that is no property is shown under this name.
    fn has_member(&self, key: &str) -> bool {
        let api = &self.app.settings.api;
        match key {
            "locations" => api.show_multiple_locations,
            "direct_url" => api.show_image_direct_url && !self.locations.is_empty(),
            "stores" => !self.stores.is_empty(),
            key => MEMBERS.contains(&key),
        }
    }

    fn write_attributes<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let image = self.image;
        map.serialize_entry("name", &image.name)?;
        map.serialize_entry("disk_format", &image.disk_format)?;
        map.serialize_entry("container_format", &image.container_format)?;
        map.serialize_entry("visibility", image.visibility.as_str())?;
        map.serialize_entry("size", &image.size)?;
        map.serialize_entry("virtual_size", &image.virtual_size)?;
        map.serialize_entry("status", image.status.as_str())?;
        map.serialize_entry("checksum", &image.checksum)?;
        map.serialize_entry("protected", &image.protected)?;
        map.serialize_entry("min_ram", &image.min_ram)?;
        map.serialize_entry("min_disk", &image.min_disk)?;
        map.serialize_entry("owner", &image.owner)?;
        map.serialize_entry("os_hidden", &image.os_hidden)?;
        map.serialize_entry("os_hash_algo", &image.os_hash_algo)?;
        map.serialize_entry("os_hash_value", &image.os_hash_value)?;
        map.serialize_entry("id", image.id.as_str())?;
        map.serialize_entry("created_at", &isotime::seconds(image.created_at))?;
        map.serialize_entry("updated_at", &isotime::seconds(image.updated_at))
    }

    /// Where the data lies, for clients that the operator lets see it.
    fn write_locations<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let api = &self.app.settings.api;
        if api.show_multiple_locations {
            let all: Vec<_> = self.locations.iter().map(|at| Place::of(at)).collect();
            map.serialize_entry("locations", &all)?;
        }
        match self.locations.first() {
            Some(best) if api.show_image_direct_url => map.serialize_entry("direct_url", &best.url),
            _ => Ok(()),
        }
    }

    fn write_links<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let href = format!("/v2/images/{}", self.image.id);
        map.serialize_entry("tags", &self.image.tags)?;
        map.serialize_entry("self", &href)?;
        map.serialize_entry("file", &format!("{href}/file"))?;
        map.serialize_entry("schema", "/v2/schemas/image")?;
        match self.stores.as_str() {
            "" => Ok(()),
            stores => map.serialize_entry("stores", stores),
        }
    }
}

/// What every image is shown with.
const MEMBERS: [&str; 22] = [
    "name",
    "disk_format",
    "container_format",
    "visibility",
    "size",
    "virtual_size",
    "status",
    "checksum",
    "protected",
    "min_ram",
    "min_disk",
    "owner",
    "os_hidden",
    "os_hash_algo",
    "os_hash_value",
    "id",
    "created_at",
    "updated_at",
    "tags",
    "self",
    "file",
    "schema",
];

/// A location as clients see it.
#[derive(Serialize)]
struct Place<'a> {
    url: &'a str,
    metadata: &'a Map<String, Value>,
}

impl<'a> Place<'a> {
    fn of(location: &'a Location) -> Self {
        Self { url: &location.url, metadata: &location.metadata }
    }
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

/// A JSON object with its keys in the order given.
pub(super) fn fields<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
