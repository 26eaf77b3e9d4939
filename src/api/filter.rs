//! Filters of the image list: from query keys and values to what the records must be (`LI-04` to
//! `LI-10`).
//!
//! Whatever a client writes is a filter or a 400 that says why; no value reaches a database that
//! would not know what to do with it (`D-06`).

use super::fault::Fault;
use super::isotime;
use crate::meta::{Comparison, Filter, FlagColumn, NumberColumn, TextColumn, TimeColumn};

/// Columns whose filters may have an operator (`LI-05`).
const WITH_OPERATOR: [TextColumn; 5] = [
    TextColumn::Name,
    TextColumn::Id,
    TextColumn::Status,
    TextColumn::ContainerFormat,
    TextColumn::DiskFormat,
];

/// What a key with a value asks for: the column of that name, or else the custom property.
///
/// # Errors
/// A [`Fault`] with status 400 for a value that the column can't have.
pub(super) fn of(key: &str, value: &str) -> Result<Filter, Fault> {
    if let Some(column) = TextColumn::parse(key) {
        return text(column, value);
    }
    if let Some(column) = NumberColumn::parse(key) {
        return exact(column, value);
    }
    if let Some(column) = TimeColumn::parse(key) {
        return time(column, value);
    }
    if let Some(column) = FlagColumn::parse(key) {
        return flag(column, value);
    }
    if key == "deleted_at" {
        return never_deleted(value);
    }
    if let Some(bound) = range(key, value) {
        return bound;
    }
    Ok(Filter::Property(key.to_owned(), value.to_owned()))
}

/// An integer as Python reads it; what 64 bits can't hold is as good as the most they can.
pub(super) fn number(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let most = if text.starts_with('-') { i64::MIN } else { i64::MAX };
    Some(text.parse().unwrap_or(most))
}

fn text(column: TextColumn, value: &str) -> Result<Filter, Fault> {
    if !WITH_OPERATOR.contains(&column) {
        return Ok(Filter::Text(column, vec![value.to_owned()]));
    }
    match split_operator(value) {
        ("eq", word) => Ok(Filter::Text(column, vec![word.to_owned()])),
        ("in", words) => Ok(Filter::Text(column, split_words(words)?)),
        (operator, _) => {
            Err(Fault::bad_request(format!("Unable to filter by unknown operator '{operator}'.")))
        }
    }
}

/// Equality with a number. Glance hands anything to the database, which on PostgreSQL fails.
fn exact(column: NumberColumn, value: &str) -> Result<Filter, Fault> {
    let number = number(value).ok_or_else(|| {
        let column = column.as_str();
        Fault::bad_request(format!(
            "Invalid value '{value}' for '{column}' filter. It must be an integer; for a range \
             use '{column}_min' and '{column}_max'."
        ))
    })?;
    Ok(Filter::Number(column, Comparison::Equal, number))
}

/// `size_min` and its like; nothing for keys that only look so.
fn range(key: &str, value: &str) -> Option<Result<Filter, Fault>> {
    let (column, comparison) = match (key.strip_suffix("_min"), key.strip_suffix("_max")) {
        (Some(column), _) => (column, Comparison::AtLeast),
        (None, Some(column)) => (column, Comparison::AtMost),
        (None, None) => return None,
    };
    let column = NumberColumn::parse(column)?;
    let message = "Unable to filter on a range with a non-numeric value.";
    let number = number(value).ok_or_else(|| Fault::bad_request(message));
    Some(number.map(|number| Filter::Number(column, comparison, number)))
}

fn time(column: TimeColumn, value: &str) -> Result<Filter, Fault> {
    let (operator, time) = split_operator(value);
    let time = isotime::parse(time).ok_or_else(|| bad_time(column.as_str()))?;
    let comparison = match operator {
        "gt" => Comparison::Greater,
        "gte" => Comparison::AtLeast,
        "lt" => Comparison::Less,
        "lte" => Comparison::AtMost,
        "neq" => Comparison::NotEqual,
        "eq" => Comparison::Equal,
        _ => return Err(Fault::bad_request("Unable to filter on a unknown operator.")),
    };
    Ok(Filter::Time(column, comparison, time))
}

fn bad_time(key: &str) -> Fault {
    let format = "query filter format. Use ISO 8601 DateTime notation.";
    Fault::bad_request(format!("Bad \"{key}\" {format}"))
}

/// No image that is listed was deleted at any time.
fn never_deleted(value: &str) -> Result<Filter, Fault> {
    isotime::parse(value).ok_or_else(|| bad_time("deleted_at"))?;
    Ok(Filter::Text(TextColumn::Id, Vec::new()))
}

/// `os_hidden` is read in any case of letters, `protected` is not (`LI-10`).
fn flag(column: FlagColumn, value: &str) -> Result<Filter, Fault> {
    let value = match column {
        FlagColumn::OsHidden => value.to_lowercase(),
        FlagColumn::Protected => value.to_owned(),
    };
    match value.as_str() {
        "true" => Ok(Filter::Flag(column, true)),
        "false" => Ok(Filter::Flag(column, false)),
        _ => Err(Fault::bad_request(format!(
            "Invalid value '{value}' for '{}' filter. Valid values are 'true' or 'false'.",
            column.as_str()
        ))),
    }
}

/// Operator and operand; `eq` where there is no operator, as in a time, which has colons too.
fn split_operator(value: &str) -> (&str, &str) {
    match value.split_once(':') {
        Some((operator, operand)) if isotime::parse(value).is_none() => (operator, operand),
        Some(_) | None => ("eq", value),
    }
}

/// The words of `in:`, between commas; one in double quotes may hold commas, and quotes after a
/// backslash. As in Glance the backslash stays.
fn split_words(value: &str) -> Result<Vec<String>, Fault> {
    check_quotes(value)?;
    let mut words = Vec::new();
    let mut rest = value;
    while !rest.is_empty() {
        let (word, after) = match quoted(rest) {
            Some((word, after)) => (word, after.strip_prefix(',').unwrap_or(after)),
            None => rest.split_once(',').unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after;
    }
    Ok(words)
}

/// What stands in the quotes that open `text`, and what follows them.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('"')?;
    let mut is_escaped = false;
    for (at, c) in inside.char_indices() {
        match c {
            '"' if !is_escaped => return Some((&inside[..at], &inside[at + 1..])),
            c => is_escaped = c == '\\' && !is_escaped,
        }
    }
    None
}

/// Quotes come in pairs, each around a whole word.
fn check_quotes(value: &str) -> Result<(), Fault> {
    let bad = |what: &str| Err(Fault::bad_request(format!("Invalid filter value {value}. {what}")));
    let chars: Vec<char> = value.chars().collect();
    let is_quote = |&at: &usize| chars[at] == '"' && (at == 0 || chars[at - 1] != '\\');
    let mut is_open = false;
    for at in (0..chars.len()).filter(is_quote) {
        if !is_open && at > 0 && chars[at - 1] != ',' {
            return bad("There is no comma before opening quotation mark.");
        }
        if is_open && chars.get(at + 1).is_some_and(|&next| next != ',') {
            return bad("There is no comma after closing quotation mark.");
        }
        is_open = !is_open;
    }
    if is_open { bad("The quote is not closed.") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn li_05_words_are_split_as_glance_splits_them() {
        // The expected words were printed by Glance's own function.
        for (value, words) in [
            ("", &[][..]),
            ("a", &["a"]),
            ("a,b", &["a", "b"]),
            ("a,", &["a"]),
            (",a", &["", "a"]),
            ("a,,b", &["a", "", "b"]),
            (r#""a,b",c"#, &["a,b", "c"]),
            (r#"x,"""#, &["x", ""]),
            (r#""a\"b""#, &[r#"a\"b"#]),
            (r#"a\"b,c"#, &[r#"a\"b"#, "c"]),
        ] {
            assert_eq!(split_words(value).unwrap(), words, "{value}");
        }
        for value in [r#"a"b""#, r#""a"b"#, r#""a"#, r#"a,"b"#] {
            assert_eq!(split_words(value).unwrap_err().status(), 400, "{value}");
        }
    }

    #[test]
    fn li_05_an_operator_ends_at_the_first_colon() {
        assert_eq!(split_operator("in:a:b"), ("in", "a:b"));
        assert_eq!(split_operator("a"), ("eq", "a"));
        let time = "2020-01-01T00:00:00Z";
        assert_eq!(split_operator(time), ("eq", time));
        assert_eq!(split_operator("gt:2020-01-01T00:00:00Z"), ("gt", time));
    }

    #[test]
    fn li_07_numbers_are_bounded_and_not_refused_for_their_length() {
        assert_eq!(number(" -7 "), Some(-7));
        assert_eq!(number("99999999999999999999"), Some(i64::MAX));
        assert_eq!(number("-99999999999999999999"), Some(i64::MIN));
        for text in ["", "-", "1.5", "0x1", "1e3", "--1"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn li_07_only_numbers_have_ranges() {
        let at_most = Filter::Number(NumberColumn::MinRam, Comparison::AtMost, 5);
        assert_eq!(of("min_ram_max", "5").unwrap(), at_most);
        let property = Filter::Property("gpu_min".into(), "x".into());
        assert_eq!(of("gpu_min", "x").unwrap(), property);
    }
}
