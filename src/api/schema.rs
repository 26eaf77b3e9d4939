//! The image schema, and why a value does not match it, in `jsonschema`'s words (`CR-03`).
//!
//! Only the keywords that the schema uses are known. The tail of a refusal shows the part of the
//! schema that was violated, so the schema is data here and is printed from what is checked.

use serde_json::{Value, json};

use super::python;
use crate::config::Api;
use crate::image::{ImageId, Visibility};

/// The schema's only pattern; [`ImageId::parse`] decides the same without a regular expression.
const UUID_PATTERN: &str = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-\
                            ([0-9a-fA-F]){12}$";

/// Checks one attribute or custom property.
///
/// # Errors
/// The reason, as `jsonschema` prints a `ValidationError`.
pub(super) fn check(key: &str, value: &Value, api: &Api) -> Result<(), String> {
    let quoted = python::repr_str(key);
    let at = format!("[{quoted}]");
    match attribute(key, api) {
        Some(schema) => match_value(&schema, value, &format!("['properties'][{quoted}]"), &at),
        None => match_value(&json!({ "type": "string" }), value, "['additionalProperties']", &at),
    }
}

/// An `integer` as `jsonschema` sees it: `512` and `512.0`, not `true`.
pub(super) fn integer(value: &Value) -> Option<i64> {
    let whole = |number: f64| number.fract() == 0.0 && number.abs() < i64::MAX as f64;
    #[allow(clippy::cast_possible_truncation)] // whole and in range
    value.as_i64().or_else(|| value.as_f64().filter(|&n| whole(n)).map(|n| n as i64))
}

/// The schema of an attribute that a client may set; none for custom properties.
fn attribute(key: &str, api: &Api) -> Option<Value> {
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
        "locations" => {
            described("array", "A set of URLs to access the image file kept in external store")
        }
        _ => return None,
    })
}

fn described(kind: &str, description: &str) -> Value {
    json!({ "type": kind, "description": description })
}

fn nullable(description: &str, keyword: &str, bound: Value) -> Value {
    json!({ "type": ["null", "string"], "description": description, keyword: bound })
}

fn null_or(words: &[String]) -> Value {
    std::iter::once(Value::Null).chain(words.iter().map(|word| json!(word))).collect()
}

/// Checks a value against every keyword of a schema. The paths say where both are.
fn match_value(schema: &Value, value: &Value, path: &str, at: &str) -> Result<(), String> {
    for (keyword, bound) in schema.as_object().into_iter().flatten() {
        if keyword == "items" {
            for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                match_value(bound, item, &format!("{path}['items']"), &format!("{at}[{n}]"))?;
            }
        } else if let Some(message) = violation(keyword, bound, value) {
            return Err(reason(&message, keyword, schema, value, path, at));
        }
    }
    Ok(())
}

fn violation(keyword: &str, bound: &Value, value: &Value) -> Option<String> {
    let text = value.as_str();
    let (is_violated, complaint) = match keyword {
        "type" => (!kinds(bound).any(|kind| is_kind(kind, value)), not_of_type(bound)),
        "enum" => {
            let is_listed = bound.as_array().is_some_and(|listed| listed.contains(value));
            (!is_listed, format!("is not one of {}", python::repr(bound)))
        }
        "pattern" => {
            let is_uuid = text.is_none_or(|text| ImageId::parse(text).is_some());
            (!is_uuid, format!("does not match {}", python::repr(bound)))
        }
        "maxLength" => {
            let length = text.map(|text| text.chars().count() as u64);
            (length > bound.as_u64(), "is too long".to_owned())
        }
        _ => return None,
    };
    is_violated.then(|| format!("{} {complaint}", python::repr(value)))
}

fn kinds(bound: &Value) -> impl Iterator<Item = &str> {
    bound
        .as_str()
        .into_iter()
        .chain(bound.as_array().into_iter().flatten().filter_map(Value::as_str))
}

fn not_of_type(bound: &Value) -> String {
    format!("is not of type {}", kinds(bound).map(python::repr_str).collect::<Vec<_>>().join(", "))
}

fn is_kind(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "array" => value.is_array(),
        _ => false,
    }
}

fn reason(
    message: &str,
    keyword: &str,
    schema: &Value,
    value: &Value,
    path: &str,
    at: &str,
) -> String {
    let schema = python::pretty(schema).replace('\n', "\n    ");
    let value = python::pretty(value).replace('\n', "\n    ");
    format!(
        "{message}\n\nFailed validating '{keyword}' in schema{path}:\n    {schema}\n\n\
         On instance{at}:\n    {value}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(schema: &Value, value: &Value) -> Option<String> {
        let reason = match_value(schema, value, "", "").err()?;
        reason.lines().next().map(str::to_owned)
    }

    #[test]
    fn cr_03_types_are_those_of_jsonschema() {
        let integer = described("integer", "");
        assert_eq!(refusal(&integer, &json!(1)), None);
        assert_eq!(refusal(&integer, &json!(1.0)), None);
        let not_integer = |what: &str| Some(format!("{what} is not of type 'integer'"));
        assert_eq!(refusal(&integer, &json!(1.5)), not_integer("1.5"));
        assert_eq!(refusal(&integer, &json!(true)), not_integer("True"));
        assert_eq!(refusal(&integer, &json!(null)), not_integer("None"));
        let name = nullable("", "maxLength", json!(3));
        assert_eq!(refusal(&name, &json!(null)), None);
        assert_eq!(
            refusal(&name, &json!(["x"])).as_deref(),
            Some("['x'] is not of type 'null', 'string'")
        );
    }

    #[test]
    fn cr_03_lengths_count_characters() {
        let name = nullable("", "maxLength", json!(3));
        assert_eq!(refusal(&name, &json!("\u{e9}\u{e9}\u{e9}")), None);
        assert_eq!(refusal(&name, &json!("abcd")).as_deref(), Some("'abcd' is too long"));
    }

    #[test]
    fn whole_numbers_are_integers() {
        assert_eq!(integer(&json!(512.0)), Some(512));
        assert_eq!(integer(&json!(-1)), Some(-1));
        assert_eq!(integer(&json!(1e30)), None);
        assert_eq!(integer(&json!("1")), None);
    }
}
