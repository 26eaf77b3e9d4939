//! Whether a body may become an image record, and the record that it becomes (`CR-01` to `CR-06`).
//!
//! The checks run in Glance's order and refuse with Glance's sentences, of which clients and tests
//! know many: links, schema, reserved names; then, after the policies, tag quota, read-only
//! attributes, values, property quota, letters. `schema` finds out about types; everything else is
//! here.

use http::StatusCode;
use serde_json::{Map, Value};

use super::fault::Fault;
use super::schema;
use crate::auth::Proposed;
use crate::config::Api;
use crate::image::property::{self, has_wide_letters};
use crate::image::{Image, ImageId, Visibility};

/// Attributes that exist only in answers, refused before anything else.
const LINKS: [&str; 5] = ["direct_url", "self", "file", "schema", "stores"];
/// Attributes that only the service sets.
const READ_ONLY: [&str; 8] = [
    "created_at",
    "updated_at",
    "status",
    "checksum",
    "os_hash_algo",
    "os_hash_value",
    "size",
    "virtual_size",
];
/// Names that no property may have.
const RESERVED: [&str; 3] = ["location", "deleted", "deleted_at"];
/// Largest `min_disk` and `min_ram`: a 32-bit column with a sign.
const MINIMUM_MAX: u32 = i32::MAX.unsigned_abs();

type Fields = Map<String, Value>;

/// An image that a request would make: what can be told before anybody asks whether the caller may.
#[derive(Debug)]
pub(super) struct Wanted {
    /// A queued record, as far as the body's types make it one.
    pub(super) image: Image,
    fields: Fields,
}

/// Reads a create request's body. Whose the image is the body may say, also that it is nobody's;
/// where it says nothing it is the caller's.
///
/// # Errors
/// A [`Fault`] with status 400 or 403.
pub(super) fn wanted(body: &[u8], api: &Api, project: Option<&str>) -> Result<Wanted, Fault> {
    let fields = object(body)?;
    refuse_links(&fields)?;
    match_schema(&fields, api)?;
    refuse_reserved(&fields)?;
    let mut image = record(&fields);
    if !fields.contains_key("owner") {
        image.owner = project.map(str::to_owned);
    }
    Ok(Wanted { image, fields })
}

impl Wanted {
    /// The image as policies see it. Where the body says nothing of its visibility they are told
    /// `private`, although it will be shared.
    pub(super) fn proposed(&self) -> Proposed<'_> {
        let visibility = self.fields.get("visibility").and_then(Value::as_str);
        Proposed {
            owner: self.image.owner.as_deref(),
            visibility: visibility.unwrap_or(Visibility::Private.as_str()),
        }
    }

    /// The record, if it may become one.
    ///
    /// # Errors
    /// A [`Fault`] with status 400, 403 or 413.
    pub(super) fn judged(self, api: &Api) -> Result<Image, Fault> {
        let Self { image, fields } = self;
        within("tags", image.tags.len(), api.image_tag_quota)?;
        refuse_read_only(&fields)?;
        let image = with_minima(image, &fields)?;
        within("properties", image.properties.len(), api.image_property_quota)?;
        refuse_4_byte_letters(&image)?;
        Ok(image)
    }
}

/// Reads a JSON object (`PR-11`).
fn object(body: &[u8]) -> Result<Fields, Fault> {
    match container(body)? {
        Value::Object(fields) => Ok(fields),
        _ => Err(Fault::bad_request("Request body must be a JSON object.")),
    }
}

/// Reads a JSON object or list (`PR-11`).
///
/// # Errors
/// A [`Fault`] with status 400 for anything else.
pub(super) fn container(body: &[u8]) -> Result<Value, Fault> {
    if body.is_empty() {
        return Err(Fault::bad_request("Body expected in request."));
    }
    match serde_json::from_slice(body) {
        Ok(container @ (Value::Object(_) | Value::Array(_))) => Ok(container),
        Ok(_) => Err(Fault::bad_request("Unexpected body type. Expected list/dict.")),
        Err(_) => Err(Fault::bad_request("Malformed JSON in request body.")),
    }
}

fn refuse_links(fields: &Fields) -> Result<(), Fault> {
    match LINKS.into_iter().find(|&key| fields.contains_key(key)) {
        Some(key) => Err(read_only(key)),
        None => Ok(()),
    }
}

fn match_schema(fields: &Fields, api: &Api) -> Result<(), Fault> {
    fields.iter().try_for_each(|(key, value)| value_of(key, value, api))?;
    schema::check_required(fields, api).map_err(mismatch)
}

/// Refuses a value that does not match the image schema.
///
/// # Errors
/// A [`Fault`] with status 400.
pub(super) fn value_of(key: &str, value: &Value, api: &Api) -> Result<(), Fault> {
    schema::check(key, value, api).map_err(mismatch)
}

fn mismatch(reason: String) -> Fault {
    Fault::bad_request(format!("Provided object does not match schema 'image': {reason}"))
}

/// Refuses to change what only the service sets, and what exists only in answers (`UP-03`,
/// `UP-09`).
///
/// # Errors
/// A [`Fault`] with status 403.
pub(super) fn may_change(key: &str) -> Result<(), Fault> {
    if key == "id" || READ_ONLY.contains(&key) || LINKS.contains(&key) {
        return Err(read_only(key));
    }
    if is_reserved(key) {
        return Err(Fault::forbidden(format!("Attribute '{key}' is reserved.")));
    }
    Ok(())
}

fn is_reserved(key: &str) -> bool {
    RESERVED.contains(&key) || property::is_the_services(key)
}

fn refuse_reserved(fields: &Fields) -> Result<(), Fault> {
    for key in fields.keys() {
        property_name(key)?;
        if is_reserved(key) {
            return Err(Fault::denied(format!("Attribute '{key}' is reserved.")));
        }
    }
    Ok(())
}

fn property_name(key: &str) -> Result<(), Fault> {
    match key.chars().count() > property::NAME_CHARS_MAX {
        true => {
            let message = "Custom property should not be greater than 255 characters.";
            Err(Fault::bad_request(message))
        }
        false => Ok(()),
    }
}

/// Fills a record from values whose types the schema has judged. What is no attribute becomes a
/// property.
fn record(fields: &Fields) -> Image {
    let id = fields.get("id").and_then(Value::as_str).and_then(ImageId::parse);
    let mut image = Image::queued(id.unwrap_or_else(ImageId::random));
    for (key, value) in fields {
        let has_its_own_check = ["id", "min_disk", "min_ram", "locations"].contains(&key.as_str());
        let is_settable = !has_its_own_check && !READ_ONLY.contains(&key.as_str());
        if is_settable && !assign(&mut image, key, value) {
            image.properties.extend(text(value).map(|value| (key.clone(), value)));
        }
    }
    image
}

/// Sets an attribute to a value whose type the schema has judged. Tells whether there is an
/// attribute of that name; `min_disk` and `min_ram` are not among them, see [`minimum`].
pub(super) fn assign(image: &mut Image, key: &str, value: &Value) -> bool {
    match key {
        "name" => image.name = text(value),
        "disk_format" => image.disk_format = text(value),
        "container_format" => image.container_format = text(value),
        "owner" => image.owner = text(value).filter(|owner| !owner.is_empty()),
        "visibility" => {
            let named = value.as_str().and_then(Visibility::parse);
            image.visibility = named.unwrap_or(image.visibility);
        }
        "protected" => image.protected = value == &Value::Bool(true),
        "os_hidden" => image.os_hidden = value == &Value::Bool(true),
        "tags" => image.tags = value.as_array().into_iter().flatten().filter_map(text).collect(),
        _ => return false,
    }
    true
}

/// Checks an image that a client has changed (`UP-05`): quotas where it has more than before, and
/// letters.
///
/// # Errors
/// A [`Fault`] with status 400 or 413.
pub(super) fn changed(before: &Image, after: &Image, api: &Api) -> Result<(), Fault> {
    after.properties.keys().try_for_each(|key| property_name(key))?;
    if before.tags != after.tags {
        within("tags", after.tags.len(), api.image_tag_quota)?;
    }
    if after.properties.keys().any(|key| !before.properties.contains_key(key)) {
        let counted = after.properties.keys().filter(|key| !property::is_the_services(key));
        within("properties", counted.count(), api.image_property_quota)?;
    }
    refuse_4_byte_letters(after)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Refuses more `what` than the quota allows.
pub(super) fn within(what: &str, attempted: usize, quota: Option<u64>) -> Result<(), Fault> {
    match quota {
        Some(maximum) if attempted as u64 > maximum => Err(Fault::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "The limit has been exceeded on the number of allowed image {what}. \
                 Attempted: {attempted}, Maximum: {maximum}"
            ),
        )),
        Some(_) | None => Ok(()),
    }
}

fn refuse_read_only(fields: &Fields) -> Result<(), Fault> {
    if let Some(key) = READ_ONLY.into_iter().find(|&key| fields.contains_key(key)) {
        return Err(read_only(key));
    }
    if fields.contains_key("locations") {
        return Err(Fault::forbidden("Attribute 'locations' is reserved."));
    }
    Ok(())
}

fn read_only(key: &str) -> Fault {
    Fault::forbidden(format!("Attribute '{key}' is read-only."))
}

fn with_minima(mut image: Image, fields: &Fields) -> Result<Image, Fault> {
    let given = |key| fields.get(key).map_or(Ok(0), |value| minimum(key, value));
    image.min_disk = given("min_disk")?;
    image.min_ram = given("min_ram")?;
    Ok(image)
}

/// A `min_*` attribute, refused when negative or too large for its column.
///
/// # Errors
/// A [`Fault`] with status 400.
pub(super) fn minimum(key: &str, value: &Value) -> Result<u32, Fault> {
    if value.as_f64().is_some_and(|number| number < 0.0) {
        return Err(Fault::bad_request(format!(
            "Invalid value '{value}' for parameter '{key}': Cannot be a negative value"
        )));
    }
    schema::integer(value)
        .and_then(|number| u32::try_from(number).ok())
        .filter(|&number| number <= MINIMUM_MAX)
        .ok_or_else(|| {
            let message = format!("'{key}' value out of range, must not exceed {MINIMUM_MAX}.");
            Fault::bad_request(message)
        })
}

/// Refuses letters that MySQL's `utf8` can't keep (`DW-09`).
fn refuse_4_byte_letters(image: &Image) -> Result<(), Fault> {
    let attributes = [("name", &image.name), ("owner", &image.owner)];
    let attributes = attributes.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
    let properties = image.properties.iter().map(|(key, value)| (key.as_str(), value));
    for (key, value) in attributes.chain(properties) {
        if has_wide_letters(key) {
            return Err(Fault::bad_request("Property names can't contain 4 byte unicode."));
        }
        if has_wide_letters(value) {
            let title = title_case(key);
            let message = format!("{title} can't contain 4 byte unicode characters.");
            return Err(Fault::bad_request(message));
        }
    }
    if image.tags.iter().any(|tag| has_wide_letters(tag)) {
        return Err(Fault::bad_request(WIDE_VALUE));
    }
    Ok(())
}

/// What Glance says of tags and members with such letters.
pub(super) const WIDE_VALUE: &str = "Param values can't contain 4 byte unicode.";

/// Python's `str.title`: a capital after everything that is no letter.
fn title_case(text: &str) -> String {
    let mut is_first = true;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_first {
            out.extend(c.to_uppercase());
        } else {
            out.extend(c.to_lowercase());
        }
        is_first = !c.is_alphabetic();
    }
    out
}
