//! What a property may be called and may hold, whoever sets it: the names of images' own attributes
//! and of what the service notes are taken, and every database has to take the rest.

/// Letters of a name that every database takes.
pub const NAME_CHARS_MAX: usize = 255;
/// Bytes of a value that every database takes.
const VALUE_BYTES_MAX: usize = 65_535;

/// Beginning of the names that the service itself uses.
const NAMESPACE: &str = "os_glance";

/// What images have beside properties.
const ATTRIBUTES: [&str; 29] = [
    "id",
    "name",
    "owner",
    "status",
    "visibility",
    "protected",
    "disk_format",
    "container_format",
    "min_disk",
    "min_ram",
    "size",
    "virtual_size",
    "checksum",
    "tags",
    "created_at",
    "updated_at",
    "locations",
    "location",
    "deleted",
    "deleted_at",
    "direct_url",
    "self",
    "file",
    "schema",
    "stores",
    "members",
    "os_hash_algo",
    "os_hash_value",
    "os_hidden",
];

/// Whether the service uses names like this one.
#[must_use]
pub fn is_the_services(name: &str) -> bool {
    name.starts_with(NAMESPACE)
}

/// Whether no property may have this name.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    ATTRIBUTES.contains(&name) || is_the_services(name)
}

/// Whether databases take it for a name.
#[must_use]
pub fn can_be_named(name: &str) -> bool {
    !name.is_empty() && name.chars().count() <= NAME_CHARS_MAX && !has_wide_letters(name)
}

/// Whether databases take it for a value.
#[must_use]
pub fn can_hold(value: &str) -> bool {
    value.len() <= VALUE_BYTES_MAX && !has_wide_letters(value)
}

/// Whether there are letters beyond the Basic Multilingual Plane, which MySQL's `utf8` can't keep
/// (`DW-09`).
#[must_use]
pub fn has_wide_letters(text: &str) -> bool {
    text.chars().any(|letter| letter.len_utf8() > 3)
}
