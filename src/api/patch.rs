//! The body of a PATCH: a list of changes, in either of two media types (`UP-01`, `UP-02`).
//!
//! Everything that can be refused without looking at the image is refused here, for all changes,
//! before the first is applied.

use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde_json::{Map, Value, json};

use super::check;
use super::fault::Fault;
use crate::config::Api;

/// The older media type: `{"replace": "/name", "value": ...}`.
const V20: &str = "application/openstack-images-v2.0-json-patch";
/// The newer media type: `{"op": "replace", "path": "/name", "value": ...}`.
const V21: &str = "application/openstack-images-v2.1-json-patch";
/// Both, as `Accept-Patch` names them.
const BOTH: &str =
    "application/openstack-images-v2.0-json-patch, application/openstack-images-v2.1-json-patch";

/// What a change does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Sets what is not there; the newer media type also sets what is.
    Add,
    /// Removes what is there.
    Remove,
    /// Sets what is there.
    Replace,
}

impl Op {
    const ALL: [Self; 3] = [Self::Add, Self::Remove, Self::Replace];

    fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Replace => "replace",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.as_str() == word)
    }

    fn words() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }
}

/// One change.
#[derive(Debug)]
pub(super) struct Change {
    /// What it does.
    pub(super) op: Op,
    /// The attribute or property that it is about.
    pub(super) key: String,
    /// Which of the locations it is about, as written.
    pub(super) position: Option<String>,
    /// The new value, null where there is none.
    pub(super) value: Value,
    /// Whether `add` may overwrite.
    pub(super) may_overwrite: bool,
}

/// Reads every change of a request.
///
/// # Errors
/// A [`Fault`] with status 400, 403 or 415.
pub(super) fn parse(head: &Parts, body: &[u8], api: &Api) -> Result<Vec<Change>, Fault> {
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.and_then(|value| value.split(';').next()).map(str::trim);
    let read: fn(&Map<String, Value>) -> Result<Change, Fault> = match media_type {
        Some(V20) => change_v20,
        Some(V21) => change_v21,
        _ => return Err(Fault::unsupported_patch(content_type, BOTH)),
    };
    let Value::Array(changes) = check::container(body)? else {
        return Err(Fault::bad_request("Request body must be a JSON array of operation objects."));
    };
    let change = |value: &Value| match value {
        Value::Object(fields) => checked(read(fields)?, api),
        _ => Err(Fault::bad_request("Operations must be JSON objects.")),
    };
    changes.iter().map(change).collect()
}

fn change_v21(fields: &Map<String, Value>) -> Result<Change, Fault> {
    let words = Op::words();
    let op = fields.get("op").filter(|op| !op.is_null()).ok_or_else(|| {
        Fault::bad_request(format!(
            "Unable to find `op` in JSON Schema change. It must be one of the following: {words}."
        ))
    })?;
    let op = op.as_str().and_then(Op::parse).ok_or_else(|| {
        let op = plain(op);
        Fault::bad_request(format!(
            "Invalid operation: `{op}`. It must be one of the following: {words}."
        ))
    })?;
    let path = fields
        .get("path")
        .ok_or_else(|| Fault::bad_request("Unable to find 'path' in JSON Schema change"))?;
    Ok(Change { may_overwrite: true, ..change(op, path, fields)? })
}

fn change_v20(fields: &Map<String, Value>) -> Result<Change, Fault> {
    let mut given = Op::ALL.into_iter().filter_map(|op| Some((op, fields.get(op.as_str())?)));
    let members = "named \"add\", \"remove\", or \"replace\".";
    match (given.next(), given.next()) {
        (Some((op, path)), None) => change(op, path, fields),
        (Some(_), Some(_)) => Err(Fault::bad_request(format!(
            "Operation objects must contain only one member {members}"
        ))),
        (None, _) => Err(Fault::bad_request(format!(
            "Operation objects must contain exactly one member {members}"
        ))),
    }
}

fn change(op: Op, path: &Value, fields: &Map<String, Value>) -> Result<Change, Fault> {
    let mut tokens = tokens(&plain(path))?;
    let is_deep = tokens.first().is_some_and(|key| key == "locations") && op != Op::Replace;
    if tokens.len() != if is_deep { 2 } else { 1 } {
        let path = tokens.join("/");
        let message = format!("Invalid JSON pointer for this resource: '/{path}'");
        return Err(Fault::bad_request(message));
    }
    let position = is_deep.then(|| tokens.pop()).flatten();
    let value = match (op, fields.get("value")) {
        (Op::Remove, _) => Value::Null,
        (_, Some(value)) => value.clone(),
        (op, None) => {
            let op = op.as_str();
            let message = format!("Operation \"{op}\" requires a member named \"value\".");
            return Err(Fault::bad_request(message));
        }
    };
    let key = tokens.pop().unwrap_or_default();
    Ok(Change { op, key, position, value, may_overwrite: false })
}

/// Text as it is, anything else as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The tokens of a JSON pointer, which stand between slashes.
fn tokens(pointer: &str) -> Result<Vec<String>, Fault> {
    let bad = |what: &str| Err(Fault::bad_request(format!("Pointer `{pointer}` {what}")));
    let Some(inside) = pointer.strip_prefix('/') else { return bad("does not start with \"/\".") };
    let parts: Vec<&str> = inside.split('/').collect();
    let between = parts.get(1..parts.len() - 1).unwrap_or_default();
    if between.iter().any(|part| part.trim().is_empty()) {
        return bad("contains adjacent \"/\".");
    }
    if inside.ends_with('/') {
        return bad("end with \"/\".");
    }
    // Nothing behind the slash is a property without a name, which Glance has too.
    if inside.trim() == "/" {
        return bad("does not contains valid token.");
    }
    let is_escape = |rest: &str| rest.starts_with(['0', '1']);
    if inside.split('~').skip(1).any(|rest| !is_escape(rest)) {
        return bad("contains \"~\" not part of a recognized escape sequence.");
    }
    let token = |part: &str| part.replace("~1", "/").replace("~0", "~").trim().to_owned();
    Ok(pointer.trim_start_matches('/').split('/').map(token).collect())
}

/// Checks what a change sets, as far as that can be told without the image.
fn checked(change: Change, api: &Api) -> Result<Change, Fault> {
    check::may_change(&change.key)?;
    match (change.op, &change.position) {
        (Op::Remove, _) => {}
        (_, None) => check::value_of(&change.key, &change.value, api)?,
        (_, Some(_)) => check::value_of(&change.key, &json!([change.value]), api)?,
    }
    Ok(change)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn up_02_pointers_are_read_as_glance_reads_them() {
        for (pointer, expected) in [
            ("/a", &["a"][..]),
            ("/a/b", &["a", "b"]),
            ("//a", &["a"]),
            ("/ a ", &["a"]),
            ("/a~1b~0c", &["a/b~c"]),
            ("/~01", &["~1"]),
            ("/", &[""]),
            ("/ ", &[""]),
        ] {
            assert_eq!(tokens(pointer).unwrap(), expected, "{pointer}");
        }
    }

    #[test]
    fn up_02_pointers_that_are_none_are_refused() {
        for (pointer, why) in [
            ("", "does not start"),
            ("a", "does not start"),
            ("/ / ", "valid token"),
            ("//", "end with"),
            ("/a/", "end with"),
            ("/a//b", "adjacent"),
            ("/a/ /b", "adjacent"),
            ("/a~", "escape"),
            ("/a~2", "escape"),
        ] {
            let fault = tokens(pointer).unwrap_err();
            assert!(fault.message().contains(why), "{pointer}: {}", fault.message());
        }
    }
}
