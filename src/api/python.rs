//! How Python prints values: `repr`, `pprint` and `json.dumps`.
//!
//! Glance's validation errors carry Python source text, and its clients and tests compare it. This
//! module promises the same text for JSON values, so that the rest of `api` can speak of values
//! and never of quoting.

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use serde_json::{Map, Value};
use std::io;

/// Columns that `jsonschema` lets `pprint` fill.
const WIDTH: usize = 72;

/// A value as `repr` prints it.
pub(super) fn repr(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => repr_str(text),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(repr).collect::<Vec<_>>().join(", "))
        }
        Value::Object(fields) => {
            let pair =
                |(key, value): (&String, &Value)| format!("{}: {}", repr_str(key), repr(value));
            format!("{{{}}}", fields.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
    }
}

/// A string as `repr` prints it: single quotes unless only those occur in it.
pub(super) fn repr_str(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote || c == '\\' => out.extend(['\\', c]),
            c if c.is_control() || (c.is_whitespace() && c != ' ') => out.push_str(&escape(c)),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// A character that can't be printed, by its number.
fn escape(c: char) -> String {
    match u32::from(c) {
        code @ 0..=0xff => format!("\\x{code:02x}"),
        code @ 0x100..=0xffff => format!("\\u{code:04x}"),
        code => format!("\\U{code:08x}"),
    }
}

/// A value as `pprint.pformat(value, width=72, sort_dicts=False)` prints it.
pub(super) fn pretty(value: &Value) -> String {
    let mut out = String::new();
    pretty_into(&mut out, value, Place { indent: 0, allowance: 0, is_outermost: true });
    out
}

/// Where on the page a value is printed.
#[derive(Clone, Copy)]
struct Place {
    /// Columns used on its first line.
    indent: usize,
    /// Columns that closing brackets will need after its last line.
    allowance: usize,
    /// Whether it stands in no container; a long string is then put in parentheses.
    is_outermost: bool,
}

fn pretty_into(out: &mut String, value: &Value, place: Place) {
    let flat = repr(value);
    if width(&flat) + place.indent + place.allowance <= WIDTH {
        return out.push_str(&flat);
    }
    match value {
        Value::Object(fields) => pretty_dict(out, fields, place),
        Value::Array(items) => pretty_list(out, items, place),
        Value::String(text) => pretty_str(out, text, place),
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&flat),
    }
}

fn pretty_dict(out: &mut String, fields: &Map<String, Value>, place: Place) {
    out.push('{');
    let indent = place.indent + 1;
    for (n, (key, value)) in fields.iter().enumerate() {
        let key = repr_str(key);
        let allowance = if n + 1 == fields.len() { place.allowance + 1 } else { 1 };
        new_line_unless_first(out, n, indent);
        out.push_str(&key);
        out.push_str(": ");
        let indent = indent + width(&key) + 2;
        pretty_into(out, value, Place { indent, allowance, is_outermost: false });
    }
    out.push('}');
}

fn pretty_list(out: &mut String, items: &[Value], place: Place) {
    out.push('[');
    let indent = place.indent + 1;
    for (n, item) in items.iter().enumerate() {
        let allowance = if n + 1 == items.len() { place.allowance + 1 } else { 1 };
        new_line_unless_first(out, n, indent);
        pretty_into(out, item, Place { indent, allowance, is_outermost: false });
    }
    out.push(']');
}

fn new_line_unless_first(out: &mut String, n: usize, indent: usize) {
    if n > 0 {
        out.push_str(",\n");
        out.push_str(&" ".repeat(indent));
    }
}

/// A string too long for its line becomes several literals side by side.
fn pretty_str(out: &mut String, text: &str, place: Place) {
    let parenthesis = usize::from(place.is_outermost);
    let indent = place.indent + parenthesis;
    let literals = literals(text, WIDTH.saturating_sub(indent), place.allowance + parenthesis);
    let is_wrapped = place.is_outermost && literals.len() > 1;
    if is_wrapped {
        out.push('(');
    }
    out.push_str(&literals.join(&format!("\n{}", " ".repeat(indent))));
    if is_wrapped {
        out.push(')');
    }
}

/// Breaks a string into literals: at every line end, and between words where a line is too long.
fn literals(text: &str, room: usize, allowance: usize) -> Vec<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut literals = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        let allowance = if n + 1 == lines.len() { allowance } else { 0 };
        if width(&repr_str(line)) <= room.saturating_sub(allowance) {
            literals.push(repr_str(line));
        } else {
            break_line(&mut literals, line, room, allowance);
        }
    }
    literals
}

fn break_line(literals: &mut Vec<String>, line: &str, room: usize, allowance: usize) {
    let words = words(line);
    let mut current = String::new();
    for (n, word) in words.iter().enumerate() {
        let allowance = if n + 1 == words.len() { allowance } else { 0 };
        let candidate = format!("{current}{word}");
        if width(&repr_str(&candidate)) <= room.saturating_sub(allowance) {
            current = candidate;
        } else {
            if !current.is_empty() {
                literals.push(repr_str(&current));
            }
            (*word).clone_into(&mut current);
        }
    }
    if !current.is_empty() {
        literals.push(repr_str(&current));
    }
}

/// Words, each with the blanks that follow it.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let blank = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let next = rest[blank..].find(|c: char| !c.is_whitespace());
        let (word, tail) = rest.split_at(next.map_or(rest.len(), |n| blank + n));
        words.push(word);
        rest = tail;
    }
    words
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// A value as `json.dumps(value, ensure_ascii=False)` prints it: a blank after commas and colons.
pub(super) fn dumps(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    // Memory takes every byte and all keys are strings: there is no error to handle.
    let _ = value.serialize(&mut Serializer::with_formatter(&mut bytes, Spaced));
    String::from_utf8(bytes).unwrap_or_default()
}

/// A value as `json.dumps(value)` prints it: everything outside ASCII escaped.
pub(super) fn dumps_ascii(value: &Value) -> String {
    let mut out = String::new();
    for c in dumps(value).chars() {
        if (' '..='~').contains(&c) {
            out.push(c);
        } else {
            let mut units = [0; 2];
            out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    out
}

/// `json.dumps`' default separators.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        w.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    // The expected texts of this module were printed by CPython 3.11.

    #[test]
    fn strings_are_quoted_as_python_quotes_them() {
        assert_eq!(repr_str("plain"), "'plain'");
        assert_eq!(repr_str("it's"), "\"it's\"");
        assert_eq!(repr_str("q\"'\\\u{7}\u{e9}"), "'q\"\\'\\\\\\x07\u{e9}'");
        assert_eq!(repr_str("a\n\t\u{2028}"), "'a\\n\\t\\u2028'");
    }

    #[test]
    fn values_have_python_names() {
        let value = json!([null, true, {"a": 1, "b": [-1.5]}]);
        assert_eq!(repr(&value), "[None, True, {'a': 1, 'b': [-1.5]}]");
    }

    #[test]
    fn what_fits_stays_on_one_line() {
        assert_eq!(
            pretty(&json!({"type": "string", "maxLength": 255})),
            "{'type': 'string', 'maxLength': 255}"
        );
        assert_eq!(pretty(&json!({})), "{}");
    }

    #[test]
    fn containers_break_between_members() {
        let value = json!([["a".repeat(30), "b".repeat(30)], {"k": "v".repeat(60), "z": null}]);
        let expected = format!(
            "[['{}', '{}'],\n {{'k': '{}',\n  'z': None}}]",
            "a".repeat(30),
            "b".repeat(30),
            "v".repeat(60)
        );
        assert_eq!(pretty(&value), expected);
    }

    #[test]
    fn long_strings_break_between_words() {
        let inside = json!({
            "type": "boolean",
            "description": "If true, image will not appear in default image list response.",
        });
        let expected = "{'type': 'boolean',\n 'description': 'If true, image will not appear in \
                        default image list '\n                'response.'}";
        assert_eq!(pretty(&inside), expected);
        let outermost = pretty(&json!("word ".repeat(20)));
        let words = |n| "word ".repeat(n);
        assert_eq!(outermost, format!("('{}'\n '{}')", words(13), words(7)));
        assert_eq!(pretty(&json!("x".repeat(300))), format!("'{}'", "x".repeat(300)));
    }

    #[test]
    fn json_has_blanks_and_ascii_only_when_asked() {
        let value = json!({"a": [1, "\u{e9}\u{1f600}"], "b": {}});
        assert_eq!(dumps(&value), "{\"a\": [1, \"\u{e9}\u{1f600}\"], \"b\": {}}");
        assert_eq!(dumps_ascii(&value), r#"{"a": [1, "\u00e9\ud83d\ude00"], "b": {}}"#);
    }
}
