//! oslo.config's file syntax, line by line.
//!
//! ```text
//! [section]
//! key = value          or  key: value; the first of the two signs counts
//!     continued        indented: another line of the value
//! # comment            or ;, in the first column only
//! ```
//!
//! The rules are oslo.config's own, the odd ones included, so that a file means here what it means
//! to Glance: a blank line ends a value, quotes around a first line are taken off, and section
//! names other than `DEFAULT` are compared in lower case. Dashes in keys are read as underscores.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::error::{ConfigError, Place};

/// One assignment, as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Line of the key.
    pub place: Place,
    /// Section, normalised.
    pub section: String,
    /// Key, with underscores.
    pub key: String,
    /// Lines joined by newlines; nothing substituted yet.
    pub value: String,
}

/// Reads a file.
///
/// # Errors
/// [`ConfigError::Unreadable`], also for text that is not UTF-8, and [`ConfigError::Syntax`].
pub(super) fn read(path: &Path) -> Result<Vec<Entry>, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    parse(path, &text)
}

/// Parses a file's text; `path` is for messages.
pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<Entry>, ConfigError> {
    let mut parser = Parser {
        path: path.into(),
        section: None,
        is_value_open: false,
        entries: Vec::new(),
        line: 0,
    };
    for line in text.lines() {
        parser.line += 1;
        parser.take(line.trim_end())?;
    }
    Ok(parser.entries)
}

/// `DEFAULT` is itself; everything else is compared in lower case.
pub(super) fn normal_section(name: &str) -> String {
    if name == "DEFAULT" { name.to_owned() } else { name.to_lowercase() }
}

struct Parser {
    path: Arc<Path>,
    section: Option<String>,
    /// Whether an indented line would continue the last entry.
    is_value_open: bool,
    entries: Vec<Entry>,
    line: usize,
}

impl Parser {
    fn take(&mut self, line: &str) -> Result<(), ConfigError> {
        if line.is_empty() {
            self.is_value_open = false;
            return Ok(());
        }
        if line.starts_with([' ', '\t']) {
            return self.continue_value(line.trim_start());
        }
        self.is_value_open = false;
        match line.chars().next() {
            Some('[') => self.open_section(line),
            Some('#' | ';') => Ok(()),
            _ => self.assign(line),
        }
    }

    fn continue_value(&mut self, rest: &str) -> Result<(), ConfigError> {
        match self.entries.last_mut() {
            Some(entry) if self.is_value_open => {
                entry.value.push('\n');
                entry.value.push_str(rest);
                Ok(())
            }
            _ => Err(self.syntax("an indented line that continues no value; remove the indent")),
        }
    }

    fn open_section(&mut self, line: &str) -> Result<(), ConfigError> {
        let name = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .ok_or_else(|| self.syntax("a section without its closing bracket; write [name]"))?;
        if name.is_empty() {
            return Err(self.syntax("a section without a name; write [name]"));
        }
        self.section = Some(normal_section(name));
        Ok(())
    }

    fn assign(&mut self, line: &str) -> Result<(), ConfigError> {
        let (key, value) = line
            .split_once(['=', ':'])
            .ok_or_else(|| self.syntax("neither a section nor an option; write key = value"))?;
        let key = key.trim().replace('-', "_");
        if key.is_empty() {
            return Err(self.syntax("an option without a name; write key = value"));
        }
        let section = self
            .section
            .clone()
            .ok_or_else(|| self.syntax("an option before any section; write [DEFAULT] above it"))?;
        let value = unquoted(value.trim()).to_owned();
        self.entries.push(Entry { place: self.place(), section, key, value });
        self.is_value_open = true;
        Ok(())
    }

    fn place(&self) -> Place {
        Place { path: Arc::clone(&self.path), line: self.line }
    }

    fn syntax(&self, remedy: &str) -> ConfigError {
        ConfigError::Syntax { place: self.place(), remedy: remedy.to_owned() }
    }
}

/// Takes one pair of equal quotes off. A lone quote counts as a pair, as it does to oslo.config.
pub(super) fn unquoted(value: &str) -> &str {
    if matches!(value, "\"" | "'") {
        return "";
    }
    ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entries(text: &str) -> Vec<(String, String, String)> {
        let entries = parse(Path::new("t.conf"), text).unwrap();
        entries.into_iter().map(|e| (e.section, e.key, e.value)).collect()
    }

    fn refusal(text: &str) -> String {
        parse(Path::new("t.conf"), text).unwrap_err().to_string()
    }

    fn value(text: &str) -> String {
        entries(&format!("[s]\n{text}"))[0].2.clone()
    }

    #[test]
    fn cf_01_both_signs_assign_and_the_first_counts() {
        assert_eq!(value("a = b:c"), "b:c");
        assert_eq!(value("a: b=c"), "b=c");
        assert_eq!(value("a="), "");
    }

    #[test]
    fn comments_start_in_the_first_column() {
        assert_eq!(entries("# x\n[s]\n; y\na = 1 # kept\n#b = 2"), entries("[s]\na=1 # kept"));
    }

    #[test]
    fn indented_lines_continue_until_a_blank_one() {
        assert_eq!(value("a = x,\n  y,\n\tz\nb = 2"), "x,\ny,\nz");
        let error = refusal("[s]\na = 1\n\n  two");
        assert!(error.starts_with("t.conf:4: an indented line"), "{error}");
        assert!(refusal("[s]\n  two").contains("t.conf:2"));
        assert!(refusal("[s]\na = 1\n[t]\n  two").contains("t.conf:4"));
    }

    #[test]
    fn quotes_are_taken_off_once() {
        assert_eq!(value("a = \"Net App\""), "Net App");
        assert_eq!(value("a = ' x '"), " x ");
        assert_eq!(value("a = \"x'"), "\"x'");
        assert_eq!(value("a = \""), "");
    }

    #[test]
    fn sections_are_normalised_and_may_come_again() {
        let all =
            entries("[Glance_Store]\na=1\n[DEFAULT]\nb=2\n[glance_store]\nc-d=3\n[default]\ne=4");
        let names: Vec<_> = all.iter().map(|(s, k, _)| (s.as_str(), k.as_str())).collect();
        assert_eq!(
            names,
            [("glance_store", "a"), ("DEFAULT", "b"), ("glance_store", "c_d"), ("default", "e")]
        );
    }

    #[test]
    fn every_syntax_error_has_file_line_and_remedy() {
        for (text, line, word) in [
            ("\na = 1", 2, "before any section"),
            ("[s", 1, "closing bracket"),
            ("[]", 1, "without a name"),
            ("[s]\nnonsense", 2, "key = value"),
            ("[s]\n= 1", 2, "without a name"),
        ] {
            let error = refusal(text);
            assert!(error.starts_with(&format!("t.conf:{line}: ")), "{error}");
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_syntax_error_does_not_repeat_the_line() {
        assert!(!refusal("[s]\npassword s3cret").contains("s3cret"));
    }

    #[test]
    fn line_ends_of_other_systems_do_not_matter() {
        assert_eq!(entries("[s]\r\na = 1\r\n"), entries("[s]\na = 1"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "([\\[\\]a-z=:#; \t\"'\\\\$\n-]{0,80})") {
            let _ = parse(Path::new("t.conf"), &text);
        }
    }
}
