//! The image schema, and why a value does not match it, in `jsonschema`'s words (`CR-03`).
//!
//! Only the keywords that the schema uses are known. The tail of a refusal shows the part of the
//! schema that was violated, so the schema is data here and is printed from what is checked.

mod documents;

use bytes::Bytes;
use http::{Response, StatusCode};
use regex::Regex;
use serde_json::{Map, Value, json};

use super::App;
use super::answer;
use super::python;
use crate::config::Api;
use crate::image::ImageId;

pub use documents::Document;

/// `GET /v2/schemas/{name}`.
pub(super) fn show(app: &App, which: Document) -> Response<Bytes> {
    answer::json(StatusCode::OK, &documents::document(which, &app.settings.api))
}

/// Checks one attribute or custom property.
///
/// # Errors
/// The reason, as `jsonschema` prints a `ValidationError`.
pub(super) fn check(key: &str, value: &Value, api: &Api) -> Result<(), String> {
    let quoted = python::repr_str(key);
    let at = format!("[{quoted}]");
    match documents::attribute(key, api) {
        Some(schema) => match_value(&schema, value, &format!("['properties'][{quoted}]"), &at),
        None => match_value(&json!({ "type": "string" }), value, "['additionalProperties']", &at),
    }
}

/// Checks that a new image has what the operator demands of it (`CR-08`).
///
/// # Errors
/// As [`check`].
pub(super) fn check_required(fields: &Map<String, Value>, api: &Api) -> Result<(), String> {
    let required = &api.described_properties.required;
    let Some(key) = required.iter().find(|key| !fields.contains_key(*key)) else { return Ok(()) };
    let message = format!("{} is a required property", python::repr_str(key));
    let schema = documents::document(Document::Image, api);
    Err(reason(&message, "required", &schema, &Value::Object(fields.clone()), "", ""))
}

/// Checks one field of a task that a client asks for.
///
/// # Errors
/// As [`check`].
pub(super) fn check_task(key: &str, value: &Value) -> Result<(), String> {
    let quoted = python::repr_str(key);
    let schema = documents::task_field(key).unwrap_or_default();
    match_value(&schema, value, &format!("['properties'][{quoted}]"), &format!("[{quoted}]"))
}

/// Checks a location that a client adds.
///
/// # Errors
/// As [`check`].
pub(super) fn check_location(value: &Value) -> Result<(), String> {
    let key = "['add_location']";
    match_value(&documents::added_location(), value, &format!("['properties']{key}"), key)
}

/// An `integer` as `jsonschema` sees it: `512` and `512.0`, not `true`.
pub(super) fn integer(value: &Value) -> Option<i64> {
    let whole = |number: f64| number.fract() == 0.0 && number.abs() < i64::MAX as f64;
    #[allow(clippy::cast_possible_truncation)] // whole and in range
    value.as_i64().or_else(|| value.as_f64().filter(|&n| whole(n)).map(|n| n as i64))
}

/// Checks a value against every keyword of a schema. The paths say where both are.
fn match_value(schema: &Value, value: &Value, path: &str, at: &str) -> Result<(), String> {
    for (keyword, bound) in schema.as_object().into_iter().flatten() {
        match keyword.as_str() {
            "items" => match_items(bound, value, path, at)?,
            "properties" => match_properties(bound, value, path, at)?,
            _ => {
                if let Some(message) = violation(keyword, bound, schema, value) {
                    return Err(reason(&message, keyword, schema, value, path, at));
                }
            }
        }
    }
    Ok(())
}

fn match_items(schema: &Value, value: &Value, path: &str, at: &str) -> Result<(), String> {
    let items = value.as_array().into_iter().flatten().enumerate();
    items
        .map(|(n, item)| (format!("{at}[{n}]"), item))
        .try_for_each(|(at, item)| match_value(schema, item, &format!("{path}['items']"), &at))
}

fn match_properties(schemas: &Value, value: &Value, path: &str, at: &str) -> Result<(), String> {
    for (key, schema) in schemas.as_object().into_iter().flatten() {
        if let Some(member) = value.get(key) {
            let key = python::repr_str(key);
            let path = format!("{path}['properties'][{key}]");
            match_value(schema, member, &path, &format!("{at}[{key}]"))?;
        }
    }
    Ok(())
}

/// What is wrong with a value by one keyword of a schema.
fn violation(keyword: &str, bound: &Value, schema: &Value, value: &Value) -> Option<String> {
    match keyword {
        "required" => missing(bound, value),
        "additionalProperties" => surplus(schema, value),
        "dependentRequired" => lonely(bound, value),
        _ => scalar_violation(keyword, bound, value),
    }
}

fn missing(required: &Value, value: &Value) -> Option<String> {
    let fields = value.as_object()?;
    let key = words(required).find(|key| !fields.contains_key(*key))?;
    Some(format!("{} is a required property", python::repr_str(key)))
}

/// The schemas here that speak of additional properties inside of an attribute allow none.
fn surplus(schema: &Value, value: &Value) -> Option<String> {
    let known = schema["properties"].as_object()?;
    let key = value.as_object()?.keys().find(|key| !known.contains_key(*key))?;
    let key = python::repr_str(key);
    Some(format!("Additional properties are not allowed ({key} was unexpected)"))
}

fn lonely(dependencies: &Value, value: &Value) -> Option<String> {
    let fields = value.as_object()?;
    let present = dependencies.as_object()?.iter().filter(|(key, _)| fields.contains_key(*key));
    let mut missing = present.flat_map(|(key, needed)| words(needed).map(move |word| (key, word)));
    let (key, needed) = missing.find(|(_, needed)| !fields.contains_key(*needed))?;
    Some(format!("{} is a dependency of {}", python::repr_str(needed), python::repr_str(key)))
}

fn scalar_violation(keyword: &str, bound: &Value, value: &Value) -> Option<String> {
    let text = value.as_str();
    let length = || text.map(|text| text.chars().count() as u64);
    let (is_violated, complaint) = match keyword {
        "type" => (!words(bound).any(|kind| is_kind(kind, value)), not_of_type(bound)),
        "enum" => {
            let is_listed = bound.as_array().is_some_and(|listed| listed.contains(value));
            (!is_listed, format!("is not one of {}", python::repr(bound)))
        }
        "pattern" => {
            let matches = text.zip(bound.as_str()).is_none_or(|(text, pattern)| {
                match pattern == documents::UUID_PATTERN {
                    true => ImageId::parse(text).is_some(),
                    // The configuration has been refused where it has a pattern that is none.
                    false => Regex::new(pattern).is_ok_and(|regex| regex.is_match(text)),
                }
            });
            (!matches, format!("does not match {}", python::repr(bound)))
        }
        "maxLength" => (length() > bound.as_u64(), "is too long".to_owned()),
        "minLength" => {
            (length().is_some_and(|n| Some(n) < bound.as_u64()), "is too short".to_owned())
        }
        _ => return None,
    };
    is_violated.then(|| format!("{} {complaint}", python::repr(value)))
}

/// One word or several.
fn words(bound: &Value) -> impl Iterator<Item = &str> {
    bound
        .as_str()
        .into_iter()
        .chain(bound.as_array().into_iter().flatten().filter_map(Value::as_str))
}

fn not_of_type(bound: &Value) -> String {
    format!("is not of type {}", words(bound).map(python::repr_str).collect::<Vec<_>>().join(", "))
}

fn is_kind(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "array" => value.is_array(),
        "object" => value.is_object(),
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
    use super::documents::{described, nullable};
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

    #[test]
    fn up_06_locations_are_checked_to_their_last_field() {
        let schema = json!({
            "type": "object",
            "properties": { "a": { "type": "string", "minLength": 2 } },
            "required": ["a"],
            "additionalProperties": false,
        });
        assert_eq!(refusal(&schema, &json!({"a": "xy"})), None);
        for (value, reason) in [
            (json!([]), "[] is not of type 'object'"),
            (json!({}), "'a' is a required property"),
            (json!({"a": "x"}), "'x' is too short"),
            (json!({"a": 1}), "1 is not of type 'string'"),
            (
                json!({"a": "xy", "b": 1}),
                "Additional properties are not allowed ('b' was unexpected)",
            ),
        ] {
            assert_eq!(refusal(&schema, &value).as_deref(), Some(reason));
        }
    }
}
