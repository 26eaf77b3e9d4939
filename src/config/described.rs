//! `schema-image.json`: properties that an operator describes, and may demand of every new image
//! (`CR-08`, `CF-01`). Clients see them in the image schema.
//!
//! Source: Glance's configuration reference; both of its forms are read,
//! `{"name": {"type": "string", ...}, ...}` and `{"properties": {...}, "required": [...]}`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use regex::Regex;
use serde_json::{Map, Value};

use super::error::{ConfigError, Place};

/// Where it lies, beside a configuration file.
const FILE: &str = "schema-image.json";

/// What an operator says of custom properties. The default says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribedProperties {
    /// A schema for each, in the file's order, as clients are shown it.
    pub schemas: Map<String, Value>,
    /// Those that a new image must have.
    pub required: Vec<String>,
}

/// Reads the file, if one of the directories has it.
pub(super) fn properties(dirs: &[PathBuf]) -> Result<DescribedProperties, ConfigError> {
    let mut paths = dirs.iter().map(|dir| dir.join(FILE));
    let Some(path) = paths.find(|path| path.is_file()) else {
        return Ok(DescribedProperties::default());
    };
    let text = fs::read_to_string(&path)
        .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
    let parsed = serde_json::from_str(&text)
        .map_err(|error| refusal(&path, error.line(), format!("this is no JSON ({error})")))?;
    read(parsed).map_err(|remedy| refusal(&path, 0, remedy))
}

fn refusal(path: &Path, line: usize, remedy: String) -> ConfigError {
    let place = Place { path: Arc::from(path), line };
    ConfigError::Syntax { place, remedy }
}

fn read(parsed: Value) -> Result<DescribedProperties, String> {
    const SHAPE: &str = "give an object of properties, each with an object that describes it";
    let Value::Object(mut fields) = parsed else { return Err(SHAPE.to_owned()) };
    let (schemas, required) = match fields.remove("properties") {
        None => (fields, Vec::new()),
        Some(Value::Object(schemas)) => (schemas, required(fields.get("required"))?),
        Some(_) => return Err(SHAPE.to_owned()),
    };
    let mut marked = Map::new();
    for (name, schema) in schemas {
        let Value::Object(mut schema) = schema else { return Err(format!("{name}: {SHAPE}")) };
        check(&name, &schema)?;
        schema.insert("is_base".to_owned(), false.into());
        marked.insert(name, schema.into());
    }
    Ok(DescribedProperties { schemas: marked, required })
}

fn required(names: Option<&Value>) -> Result<Vec<String>, String> {
    let texts = |names: &Vec<Value>| {
        names.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
    };
    match names {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(names) => names
            .as_array()
            .and_then(texts)
            .ok_or_else(|| "required: give a list of properties' names".to_owned()),
    }
}

/// Whether values of a property can be what a property's values are, texts, and judged as it says.
fn check(name: &str, schema: &Map<String, Value>) -> Result<(), String> {
    let kinds = match schema.get("type") {
        None => vec![],
        Some(Value::Array(kinds)) => kinds.iter().collect(),
        Some(kind) => vec![kind],
    };
    if !kinds.iter().all(|kind| *kind == "string" || *kind == "null") {
        return Err(format!(
            "{name}: values of properties are texts; give \"string\", or [\"null\", \"string\"], \
             for its type"
        ));
    }
    match schema.get("pattern").map(Value::as_str) {
        None => Ok(()),
        Some(Some(pattern)) => match Regex::new(pattern) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("{name}: its pattern can't be used ({error})")),
        },
        Some(None) => Err(format!("{name}: give a text for its pattern")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn cr_08_both_forms_are_read() {
        let schemas = json!({
            "os_distro": { "type": "string", "description": "By its common name" },
            "kernel_id": { "type": ["null", "string"], "pattern": "^[0-9a-f]+$" },
        });
        let flat = read(schemas.clone()).unwrap();
        assert!(flat.required.is_empty());
        assert_eq!(flat.schemas.keys().collect::<Vec<_>>(), ["os_distro", "kernel_id"]);
        assert!(flat.schemas.values().all(|schema| schema["is_base"] == false));
        let whole = json!({ "properties": schemas, "required": ["os_distro"] });
        let whole = read(whole).unwrap();
        assert_eq!((whole.schemas, whole.required), (flat.schemas, vec!["os_distro".to_owned()]));
        assert_eq!(read(json!({})).unwrap(), DescribedProperties::default());
    }

    #[test]
    fn cr_08_what_can_not_be_judged_is_refused() {
        for (text, remedy) in [
            (json!([]), "give an object of properties"),
            (json!({ "a": 1 }), "a: give an object of properties"),
            (json!({ "properties": 1 }), "give an object of properties"),
            (json!({ "properties": {}, "required": "a" }), "required: give a list"),
            (json!({ "a": { "type": "boolean" } }), "a: values of properties are texts"),
            (json!({ "a": { "type": "string", "pattern": "(" } }), "a: its pattern"),
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.starts_with(remedy), "{refused}");
        }
    }

    #[test]
    fn cf_01_the_file_lies_beside_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = [dir.path().join("none"), dir.path().to_owned()];
        assert_eq!(properties(&dirs).unwrap(), DescribedProperties::default());
        fs::write(dir.path().join(FILE), r#"{"a": {"type": "string"}}"#).unwrap();
        assert!(properties(&dirs).unwrap().schemas.contains_key("a"));
        fs::write(dir.path().join(FILE), "{\n\"a\": }").unwrap();
        let refused = properties(&dirs).unwrap_err().to_string();
        assert!(refused.contains("schema-image.json:2: this is no JSON"), "{refused}");
    }
}
