//! The schemas that clients build their models from (`SC-01`): `/v2/schemas/...`.
//!
//! glanceclient and warlock read them before they create or change anything, so every key is where
//! Glance has it, in its order.

use serde_json::{Value, json};

use crate::api::view::fields;
use crate::config::Api;
use crate::image::{MemberStatus, Visibility};

/// The schemas' only pattern; [`ImageId::parse`](crate::image::ImageId::parse) decides the same
/// without a regular expression.
pub(super) const UUID_PATTERN: &str = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-\
                            ([0-9a-fA-F]){12}$";

/// A schema, by its name below `/v2/schemas/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// `image`.
    Image,
    /// `images`.
    Images,
    /// `member`.
    Member,
    /// `members`.
    Members,
    /// `task`.
    Task,
    /// `tasks`.
    Tasks,
}

/// The document itself.
pub(super) fn document(which: Document, api: &Api) -> Value {
    match which {
        Document::Image => image(api),
        Document::Images => collection("images", image(api), true),
        Document::Member => named("member", member()),
        Document::Members => collection("members", named("member", member()), false),
        Document::Task => named("task", task(&TASK)),
        Document::Tasks => collection("tasks", named("task", task(&TASK_STUB)), false),
    }
}

/// Attributes of an image, in the schema's order.
const ATTRIBUTES: [&str; 25] = [
    "id",
    "name",
    "status",
    "visibility",
    "protected",
    "os_hidden",
    "checksum",
    "os_hash_algo",
    "os_hash_value",
    "owner",
    "size",
    "virtual_size",
    "container_format",
    "disk_format",
    "created_at",
    "updated_at",
    "tags",
    "direct_url",
    "min_ram",
    "min_disk",
    "self",
    "file",
    "stores",
    "schema",
    "locations",
];

fn image(api: &Api) -> Value {
    let described = &api.described_properties;
    let attributes = ATTRIBUTES.map(|key| (key, attribute(key, api).unwrap_or_default()));
    let mut properties = fields(attributes);
    let own = described.schemas.iter().filter(|(key, _)| !ATTRIBUTES.contains(&key.as_str()));
    properties.extend(own.map(|(key, schema)| (key.clone(), schema.clone())));
    let mut image = json!({
        "name": "image",
        "properties": properties,
        "additionalProperties": { "type": "string" },
    });
    if !described.required.is_empty() {
        image["required"] = described.required.clone().into();
    }
    image["links"] = json!([
        { "rel": "self", "href": "{self}" },
        { "rel": "enclosure", "href": "{file}" },
        { "rel": "describedby", "href": "{schema}" },
    ]);
    image
}

/// The schema of an attribute, or of a custom property that the operator describes; none for
/// others.
pub(super) fn attribute(key: &str, api: &Api) -> Option<Value> {
    let described = || api.described_properties.schemas.get(key).cloned();
    settable(key, api).or_else(|| read_only(key)).or_else(described)
}

fn settable(key: &str, api: &Api) -> Option<Value> {
    let visibilities =
        [Visibility::Community, Visibility::Public, Visibility::Private, Visibility::Shared];
    Some(match key {
        "id" => json!({
            "type": "string",
            "description": "An identifier for the image",
            "pattern": UUID_PATTERN,
        }),
        "name" => nullable("Descriptive name for the image", "maxLength", json!(255)),
        "owner" => nullable("Owner of the image", "maxLength", json!(255)),
        "container_format" => {
            nullable("Format of the container", "enum", null_or(&api.container_formats))
        }
        "disk_format" => nullable("Format of the disk", "enum", null_or(&api.disk_formats)),
        "visibility" => json!({
            "type": "string",
            "description": "Scope of image accessibility",
            "enum": visibilities.map(Visibility::as_str),
        }),
        "protected" => described("boolean", "If true, image will not be deletable."),
        "os_hidden" => {
            described("boolean", "If true, image will not appear in default image list response.")
        }
        "min_ram" => described("integer", "Amount of ram (in MB) required to boot image."),
        "min_disk" => described("integer", "Amount of disk space (in GB) required to boot image."),
        "tags" => json!({
            "type": "array",
            "description": "List of strings related to the image",
            "items": { "type": "string", "maxLength": 255 },
        }),
        "locations" => json!({
            "type": "array",
            "items": location(),
            "description": "A set of URLs to access the image file kept in external store",
        }),
        _ => return None,
    })
}

fn read_only(key: &str) -> Option<Value> {
    let text = |description| read_only_of(json!("string"), description);
    let hash = |description, length: u64| {
        let mut schema = read_only_of(json!(["null", "string"]), description);
        schema["maxLength"] = length.into();
        schema
    };
    Some(match key {
        "status" => {
            let mut status = text("Status of the image");
            status["enum"] = json!([
                "queued",
                "saving",
                "active",
                "killed",
                "deleted",
                "uploading",
                "importing",
                "pending_delete",
                "deactivated",
            ]);
            status
        }
        "checksum" => hash("md5 hash of image contents.", 32),
        "os_hash_algo" => hash("Algorithm to calculate the os_hash_value", 64),
        "os_hash_value" => hash(
            "Hexdigest of the image contents using the algorithm specified by the os_hash_algo",
            128,
        ),
        "size" => read_only_of(json!(["null", "integer"]), "Size of image file in bytes"),
        "virtual_size" => {
            read_only_of(json!(["null", "integer"]), "Virtual size of image in bytes")
        }
        "created_at" => text("Date and time of image registration"),
        "updated_at" => text("Date and time of the last image modification"),
        "direct_url" => text("URL to access the image file kept in external store"),
        "self" => text("An image self url"),
        "file" => text("An image file url"),
        "stores" => text(
            "Store in which image data resides.  Only present when the operator has enabled \
             multiple stores.  May be a comma-separated list of store identifiers.",
        ),
        "schema" => text("An image schema url"),
        _ => return None,
    })
}

fn location() -> Value {
    json!({
        "type": "object",
        "properties": {
            "url": { "type": "string", "maxLength": 255 },
            "metadata": { "type": "object" },
            "validation_data": {
                "description": "Values to be used to populate the corresponding image properties. \
                                If the image status is not 'queued', values must exactly match \
                                those already contained in the image properties.",
                "type": "object",
                "writeOnly": true,
                "additionalProperties": false,
                "properties": {
                    "checksum": { "type": "string", "minLength": 32, "maxLength": 32 },
                    "os_hash_algo": { "type": "string", "maxLength": 64 },
                    "os_hash_value": { "type": "string", "maxLength": 128 },
                },
                "required": ["os_hash_algo", "os_hash_value"],
            },
        },
        "required": ["url", "metadata"],
    })
}

/// The schema of a location that a client adds by `POST`.
pub(super) fn added_location() -> Value {
    json!({
        "type": "object",
        "description": "Values of location url, do_secure_hash and validation_data for new add \
                        location API",
        "properties": {
            "url": {
                "type": "string",
                "readOnly": true,
                "description": "The URL of the new location to be added in the image.",
            },
            "validation_data": {
                "description": "Values to be used to populate the corresponding image properties.\
                                do_secure_hash is not True then image checksum and hash will not \
                                be calculated so it is the responsibility of the consumer of \
                                location ADD API to provide the correct values in the \
                                validation_data parameter",
                "type": "object",
                "writeOnly": true,
                "additionalProperties": false,
                "properties": {
                    "os_hash_algo": {
                        "type": "string",
                        "maxLength": 64,
                        "enum": ["sha1", "sha256", "sha512", "md5"],
                    },
                    "os_hash_value": { "type": "string", "maxLength": 128 },
                },
                "dependentRequired": {
                    "os_hash_value": ["os_hash_algo"],
                    "os_hash_algo": ["os_hash_value"],
                },
            },
        },
        "required": ["url"],
    })
}

fn member() -> Value {
    let statuses = [MemberStatus::Pending, MemberStatus::Accepted, MemberStatus::Rejected];
    json!({
        "member_id": described("string", "An identifier for the image member (tenantId)"),
        "image_id": {
            "type": "string",
            "description": "An identifier for the image",
            "pattern": UUID_PATTERN,
        },
        "created_at": described("string", "Date and time of image member creation"),
        "updated_at": described("string", "Date and time of last modification of image member"),
        "status": {
            "type": "string",
            "description": "The status of this image member",
            "enum": statuses.map(MemberStatus::as_str),
        },
        "schema": { "readOnly": true, "type": "string" },
    })
}

/// Fields of a task, in the schema's order.
const TASK: [&str; 15] = [
    "id",
    "type",
    "status",
    "input",
    "result",
    "owner",
    "message",
    "image_id",
    "request_id",
    "user_id",
    "expires_at",
    "created_at",
    "updated_at",
    "self",
    "schema",
];

/// The same for a task in a list.
const TASK_STUB: [&str; 12] = [
    "id",
    "type",
    "status",
    "owner",
    "image_id",
    "request_id",
    "user_id",
    "expires_at",
    "created_at",
    "updated_at",
    "self",
    "schema",
];

fn task<const N: usize>(keys: &[&str; N]) -> Value {
    fields(keys.map(|key| (key, task_field(key).unwrap_or_default()))).into()
}

/// The schema of a task's field.
pub(super) fn task_field(key: &str) -> Option<Value> {
    let typed =
        |kind: Value, description: &str| json!({ "description": description, "type": kind });
    let text = |description| typed(json!("string"), description);
    let one_of = |description: &str, words: Value| json!({ "description": description, "enum": words, "type": "string" });
    Some(match key {
        "id" => json!({
            "description": "An identifier for the task",
            "pattern": UUID_PATTERN,
            "type": "string",
        }),
        "type" => one_of(
            "The type of task represented by this content",
            json!(["import", "api_image_import", "location_import"]),
        ),
        "status" => one_of(
            "The current status of this task",
            json!(["pending", "processing", "success", "failure"]),
        ),
        "input" => typed(json!(["null", "object"]), "The parameters required by task, JSON blob"),
        "result" => typed(json!(["null", "object"]), "The result of current task, JSON blob"),
        "owner" => text("An identifier for the owner of this task"),
        "message" => text(
            "Human-readable informative message only included when appropriate (usually on failure)",
        ),
        "image_id" => text("Image associated with the task"),
        "request_id" => text("Human-readable informative request-id"),
        "user_id" => text("User associated with the task"),
        "expires_at" => typed(
            json!(["null", "string"]),
            "Datetime when this resource would be subject to removal",
        ),
        "created_at" => text("Datetime when this resource was created"),
        "updated_at" => text("Datetime when this resource was updated"),
        "self" | "schema" => json!({ "readOnly": true, "type": "string" }),
        _ => return None,
    })
}

fn named(name: &str, properties: Value) -> Value {
    json!({ "name": name, "properties": properties })
}

/// A list of things with a schema, in pages or whole.
fn collection(name: &str, item: Value, has_pages: bool) -> Value {
    let text = || json!({ "type": "string" });
    let mut properties = fields([(name, json!({ "type": "array", "items": item }))]);
    let mut links = Vec::new();
    if has_pages {
        properties.extend(fields([("first", text()), ("next", text())]));
        links.push(json!({ "rel": "first", "href": "{first}" }));
        links.push(json!({ "rel": "next", "href": "{next}" }));
    }
    properties.insert("schema".into(), text());
    links.push(json!({ "rel": "describedby", "href": "{schema}" }));
    json!({ "name": name, "properties": properties, "links": links })
}

pub(super) fn described(kind: &str, description: &str) -> Value {
    json!({ "type": kind, "description": description })
}

pub(super) fn nullable(description: &str, keyword: &str, bound: Value) -> Value {
    json!({ "type": ["null", "string"], "description": description, keyword: bound })
}

fn read_only_of(kind: Value, description: &str) -> Value {
    json!({ "type": kind, "readOnly": true, "description": description })
}

fn null_or(words: &[String]) -> Value {
    std::iter::once(Value::Null).chain(words.iter().map(|word| json!(word))).collect()
}
