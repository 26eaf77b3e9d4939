//! What policies ask about: images, and images to be.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::policy::{NONE, Target, flag};
use crate::image::{Image, Visibility};

/// An image as a policy sees it (`PO-18`).
#[derive(Clone, Copy, Debug)]
pub struct ImageTarget<'a> {
    image: &'a Image,
    member: Option<&'a str>,
}

impl<'a> ImageTarget<'a> {
    /// The image for a caller from this project. Of a shared image that is another's, whoever sees
    /// it is a member.
    #[must_use]
    pub fn new(image: &'a Image, project_id: Option<&'a str>) -> Self {
        let is_shared = image.visibility == Visibility::Shared;
        let member = project_id.filter(|own| is_shared && image.owner.as_deref() != Some(own));
        Self { image, member }
    }
}

impl Target for ImageTarget<'_> {
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        let image = self.image;
        Some(match name {
            "id" | "image_id" => image.id.as_str().into(),
            "owner" | "project_id" => text(image.owner.as_deref()),
            "member" | "member_id" => text(self.member),
            "visibility" => image.visibility.as_str().into(),
            "status" => image.status.as_str().into(),
            "name" => text(image.name.as_deref()),
            "disk_format" => text(image.disk_format.as_deref()),
            "container_format" => text(image.container_format.as_deref()),
            "checksum" => text(image.checksum.as_deref()),
            "os_hash_algo" => text(image.os_hash_algo.as_deref()),
            "os_hash_value" => text(image.os_hash_value.as_deref()),
            "protected" => flag(image.protected).into(),
            "os_hidden" => flag(image.os_hidden).into(),
            "min_disk" => image.min_disk.to_string().into(),
            "min_ram" => image.min_ram.to_string().into(),
            "size" => number(image.size),
            "virtual_size" => number(image.virtual_size),
            property => image.properties.get(property)?.as_str().into(),
        })
    }

    fn document(&self) -> Map<String, Value> {
        let image = self.image;
        let fields = [
            ("image_id", json!(image.id.as_str())),
            ("owner", json!(image.owner)),
            ("project_id", json!(image.owner)),
            ("member", json!(self.member)),
            ("member_id", json!(self.member)),
            ("visibility", json!(image.visibility.as_str())),
            ("status", json!(image.status.as_str())),
            ("name", json!(image.name)),
            ("disk_format", json!(image.disk_format)),
            ("container_format", json!(image.container_format)),
            ("checksum", json!(image.checksum)),
            ("os_hash_algo", json!(image.os_hash_algo)),
            ("os_hash_value", json!(image.os_hash_value)),
            ("protected", json!(image.protected)),
            ("os_hidden", json!(image.os_hidden)),
            ("min_disk", json!(image.min_disk)),
            ("min_ram", json!(image.min_ram)),
            ("size", json!(image.size)),
            ("virtual_size", json!(image.virtual_size)),
            ("extra_properties", json!(image.properties)),
        ];
        fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
    }
}

fn text(value: Option<&str>) -> Cow<'_, str> {
    value.unwrap_or(NONE).into()
}

fn number(value: Option<u64>) -> Cow<'static, str> {
    value.map_or(NONE.into(), |value| value.to_string().into())
}

/// An image that somebody would make: it has no more than an owner and a visibility.
#[derive(Clone, Copy, Debug)]
pub struct Proposed<'a> {
    /// The project that would own it.
    pub owner: Option<&'a str>,
    /// Who would see it.
    pub visibility: &'a str,
}

impl Target for Proposed<'_> {
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "owner" | "project_id" => Some(text(self.owner)),
            "visibility" => Some(self.visibility.into()),
            _ => None,
        }
    }

    fn document(&self) -> Map<String, Value> {
        let fields = [
            ("owner", json!(self.owner)),
            ("project_id", json!(self.owner)),
            ("visibility", json!(self.visibility)),
        ];
        fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
    }
}

/// All that a project has.
#[derive(Clone, Copy, Debug)]
pub struct Project<'a>(pub Option<&'a str>);

impl Target for Project<'_> {
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        (name == "project_id").then(|| text(self.0))
    }

    fn document(&self) -> Map<String, Value> {
        Map::from_iter([("project_id".to_owned(), json!(self.0))])
    }
}
