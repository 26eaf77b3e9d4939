//! All files as one set of options: which value counts, and what `$name` in it stands for.
//!
//! Later files override earlier ones, the environment overrides all of them, and what a pipeline
//! tells its filters overrides that, as it does in Glance; in one file the present name of an option comes before its
//! old ones, and of two assignments the later counts. A value that can't be used becomes a refusal
//! that knows where it stood, so no caller has to carry places around.

use std::path::PathBuf;

use super::error::{ConfigError, Place, Refusal, masked};
use super::file::{self, Entry};
use super::known::{HONOURED, Opt};
use super::secret::is_secret;
use super::value::Parsed;

/// How deep a `$name` may lead to another.
const SUBSTITUTION_DEPTH_MAX: usize = 16;

/// Every assignment of every file, in the order read.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    files: Vec<Vec<Entry>>,
    environment: Vec<Entry>,
    pipeline: Vec<Entry>,
}

/// A value to be parsed, with what a refusal must say about it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Substituted.
    pub text: String,
    section: String,
    key: String,
    /// `None` for a default.
    place: Option<Place>,
}

impl Found {
    /// Parses the value.
    ///
    /// # Errors
    /// The parser's remedy, with section, key, value and place.
    pub(super) fn parse<T>(
        &self,
        parser: impl FnOnce(&str) -> Parsed<T>,
    ) -> Result<T, ConfigError> {
        parser(&self.text).map_err(|remedy| self.refuse(remedy))
    }

    /// Refuses the value.
    pub(super) fn refuse(&self, remedy: impl Into<String>) -> ConfigError {
        let found = if is_secret(&self.key) { "***".to_owned() } else { masked(&self.text) };
        ConfigError::Option(Box::new(Refusal {
            place: self.place.clone(),
            section: self.section.clone(),
            key: self.key.clone(),
            found: Some(found),
            remedy: remedy.into(),
        }))
    }

    /// The same, where the value is a secret as a whole.
    pub(super) fn hidden(mut self) -> Self {
        "***".clone_into(&mut self.text);
        self
    }

    /// Where it is set, for warnings.
    pub(super) fn at(&self) -> String {
        let place = self.place.as_ref().map_or(String::new(), |place| format!("{place}: "));
        format!("{place}[{}] {}", self.section, self.key)
    }

    /// Whether there is more than blanks.
    pub(super) fn is_given(&self) -> bool {
        !self.text.trim().is_empty()
    }

    /// Whether nobody set it.
    pub(super) fn is_default(&self) -> bool {
        self.place.is_none()
    }
}

/// The parsed value, where there is one.
///
/// # Errors
/// A value that the parser refuses.
pub(super) fn parsed<T>(
    found: Option<Found>,
    parser: impl FnOnce(&str) -> Parsed<T>,
) -> Result<Option<T>, ConfigError> {
    found.map(|found| found.parse(parser)).transpose()
}

/// A parsed number, or the default. An empty one counts as not given, as it does to oslo.config.
///
/// # Errors
/// A value that the parser refuses.
pub(super) fn number<T>(
    found: Option<Found>,
    default: Option<Found>,
    parser: impl FnOnce(&str) -> Parsed<T>,
) -> Result<Option<T>, ConfigError> {
    parsed(found.filter(Found::is_given).or(default), parser)
}

impl Options {
    /// Reads files; later ones override.
    ///
    /// # Errors
    /// The first file that can't be read or has a syntax error.
    pub(super) fn read(paths: &[PathBuf]) -> Result<Self, ConfigError> {
        let files = paths.iter().map(|path| file::read(path)).collect::<Result<_, _>>()?;
        Ok(Self { files, ..Self::default() })
    }

    /// The same with these assignments over the files'.
    pub(super) fn with_environment(self, environment: Vec<Entry>) -> Self {
        Self { environment, ..self }
    }

    /// The same without assignments of the environment that are none.
    pub(super) fn keep_of_environment(mut self, is_one: impl Fn(&Entry) -> bool) -> Self {
        self.environment.retain(is_one);
        self
    }

    /// The same with these assignments over all others.
    pub(super) fn with_pipeline(self, pipeline: Vec<Entry>) -> Self {
        Self { pipeline, ..self }
    }

    /// What overrides what, from the weakest on.
    fn layers(&self) -> impl DoubleEndedIterator<Item = &Vec<Entry>> {
        self.files.iter().chain([&self.environment, &self.pipeline])
    }

    /// Every assignment, in the order read.
    pub(super) fn entries(&self) -> Vec<Entry> {
        self.layers().flatten().cloned().collect()
    }

    /// The same without the assignment at a place.
    pub(super) fn without(mut self, place: &Place) -> Self {
        for entries in self.files.iter_mut().chain([&mut self.environment, &mut self.pipeline]) {
            entries.retain(|entry| entry.place != *place);
        }
        self
    }

    /// The option's value, or its default.
    ///
    /// # Errors
    /// A `$name` that stands for nothing.
    pub(super) fn find(&self, opt: &Opt) -> Result<Option<Found>, ConfigError> {
        let mut names = vec![(opt.section, opt.key)];
        names.extend(opt.formerly);
        if let Some(entry) = self.newest(&names) {
            return self.resolve(entry).map(Some);
        }
        Ok(opt.default.map(|text| default(opt.section, opt.key, text)))
    }

    /// The parsed value, or the parsed default; `None` when there is neither.
    ///
    /// # Errors
    /// A value that the parser refuses.
    pub(super) fn get<T>(
        &self,
        opt: &Opt,
        parser: impl FnOnce(&str) -> Parsed<T>,
    ) -> Result<Option<T>, ConfigError> {
        parsed(self.find(opt)?, parser)
    }

    /// The parsed value of an option that has a default, or must be set.
    ///
    /// # Errors
    /// A value that the parser refuses, or none.
    pub(super) fn need<T>(
        &self,
        opt: &Opt,
        parser: impl FnOnce(&str) -> Parsed<T>,
    ) -> Result<T, ConfigError> {
        self.get(opt, parser)?
            .ok_or_else(|| ConfigError::missing(opt.section, opt.key, "it must be set"))
    }

    /// A parsed number, see [`number`].
    ///
    /// # Errors
    /// A value that the parser refuses.
    pub(super) fn number<T>(
        &self,
        opt: &Opt,
        parser: impl FnOnce(&str) -> Parsed<T>,
    ) -> Result<Option<T>, ConfigError> {
        let default = opt.default.map(|text| default(opt.section, opt.key, text));
        number(self.find(opt)?, default, parser)
    }

    /// The same of a number that has a default.
    ///
    /// # Errors
    /// A value that the parser refuses.
    pub(super) fn need_number<T>(
        &self,
        opt: &Opt,
        parser: impl FnOnce(&str) -> Parsed<T>,
    ) -> Result<T, ConfigError> {
        let missing = || ConfigError::missing(opt.section, opt.key, "it must be set");
        self.number(opt, parser)?.ok_or_else(missing)
    }

    /// A value by section and key, for options whose section is not fixed.
    ///
    /// # Errors
    /// A `$name` that stands for nothing.
    pub(super) fn find_in(&self, section: &str, key: &str) -> Result<Option<Found>, ConfigError> {
        let section = file::normal_section(section);
        self.newest(&[(&section, key)]).map(|entry| self.resolve(entry)).transpose()
    }

    /// Every value of a multi-valued option, in the order read.
    ///
    /// # Errors
    /// A `$name` that stands for nothing.
    pub(super) fn all_in(&self, section: &str, key: &str) -> Result<Vec<Found>, ConfigError> {
        let section = file::normal_section(section);
        let is_it = |entry: &&Entry| entry.section == section && entry.key == key;
        let one_of_many = self.files.iter().flatten().filter(is_it);
        match self.environment.iter().find(is_it) {
            Some(only) => Ok(vec![self.resolve(only)?]),
            None => one_of_many.map(|entry| self.resolve(entry)).collect(),
        }
    }

    /// Whether a section sets anything.
    pub(super) fn first_in(&self, section: &str) -> Option<&Entry> {
        self.layers().flatten().find(|entry| entry.section == section)
    }

    /// The assignment that counts, of an option that goes by any of these names.
    pub(super) fn newest(&self, names: &[(&str, &str)]) -> Option<&Entry> {
        self.layers().rev().find_map(|entries| {
            names.iter().find_map(|(section, key)| {
                entries.iter().rev().find(|entry| entry.section == *section && entry.key == *key)
            })
        })
    }

    fn resolve(&self, entry: &Entry) -> Result<Found, ConfigError> {
        let mut found = Found {
            text: entry.value.clone(),
            section: entry.section.clone(),
            key: entry.key.clone(),
            place: Some(entry.place.clone()),
        };
        match self.substitute(&entry.value, &entry.section, 0) {
            Ok(text) => {
                found.text = text;
                Ok(found)
            }
            Err(remedy) => Err(found.refuse(remedy)),
        }
    }

    /// Puts values for `$name`, `${name}`, `$group.name` and `${group.name}`; `$$` and `\$` are a
    /// dollar sign.
    fn substitute(&self, text: &str, section: &str, depth: usize) -> Parsed<String> {
        if depth > SUBSTITUTION_DEPTH_MAX {
            return Err("its $names lead to themselves; write the value".to_owned());
        }
        let mut done = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(['$', '\\']) {
            done.push_str(&rest[..at]);
            let (piece, after) = Piece::split(&rest[at..]);
            match piece {
                Piece::Text(text) => done.push_str(text),
                Piece::Name(name) => done.push_str(&self.named(name, section, depth)?),
            }
            rest = after;
        }
        done.push_str(rest);
        Ok(done)
    }

    /// Every assignment that is put in for a `$name` in another, by section and key, beside that
    /// other one.
    pub(super) fn put_in(&self) -> Vec<((String, String), Entry)> {
        let mut found = Vec::new();
        for user in self.layers().flatten() {
            let mut rest = user.value.as_str();
            while let Some(at) = rest.find(['$', '\\']) {
                let (piece, after) = Piece::split(&rest[at..]);
                if let Piece::Name(name) = piece {
                    let (sections, key) = meant(name, &user.section);
                    let is_set = |section: &&String| self.newest(&[(section, key)]).is_some();
                    let section = sections.iter().find(is_set);
                    found.extend(section.map(|s| ((s.clone(), key.to_owned()), user.clone())));
                }
                rest = after;
            }
        }
        found
    }

    /// What a name stands for: in the section that it is used in, then in `[DEFAULT]`; or in the
    /// section that it names.
    fn named(&self, name: &str, section: &str, depth: usize) -> Parsed<String> {
        let (sections, key) = meant(name, section);
        for section in &sections {
            if let Some(entry) = self.newest(&[(section, key)]) {
                return self.substitute(&entry.value, section, depth + 1);
            }
            let known = HONOURED.iter().find(|opt| opt.section == section && opt.key == key);
            if let Some(opt) = known {
                return Ok(opt.default.unwrap_or_default().to_owned());
            }
        }
        Err(format!("${name} is not set; set it, or write $$ for a dollar sign"))
    }
}

/// The sections in which a name may be set, the first of which counts, and its key.
fn meant<'a>(name: &'a str, section: &str) -> ([String; 2], &'a str) {
    match name.split_once('.') {
        Some((group, key)) => ([file::normal_section(group), "DEFAULT".to_owned()], key),
        None => ([section.to_owned(), "DEFAULT".to_owned()], name),
    }
}

pub(super) fn default(section: &str, key: &str, text: &str) -> Found {
    Found { text: text.to_owned(), section: section.to_owned(), key: key.to_owned(), place: None }
}

/// What starts with a dollar sign or a backslash.
enum Piece<'a> {
    Text(&'a str),
    Name(&'a str),
}

impl<'a> Piece<'a> {
    /// Splits the piece off; what is neither escape nor name is text as it stands.
    fn split(text: &'a str) -> (Self, &'a str) {
        if let Some(after) = text.strip_prefix("\\$").or_else(|| text.strip_prefix("$$")) {
            return (Self::Text("$"), after);
        }
        if let Some(braced) = text.strip_prefix("${")
            && let Some((name, after)) = braced.split_once('}')
            && name_bytes(name) == name.len()
            && !name.is_empty()
        {
            return (Self::Name(name), after);
        }
        if let Some(named) = text.strip_prefix('$')
            && name_bytes(named) > 0
        {
            let (name, after) = named.split_at(name_bytes(named));
            return (Self::Name(name), after);
        }
        let (sign, after) = text.split_at(1);
        (Self::Text(sign), after)
    }
}

/// Length of the name at the start: a letter or underscore, then digits and dots too.
fn name_bytes(text: &str) -> usize {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    if !text.starts_with(is_first) {
        return 0;
    }
    text.find(|c: char| !is_first(c) && !c.is_ascii_digit() && c != '.').unwrap_or(text.len())
}

#[cfg(test)]
impl Options {
    /// Options of files given as text, for tests.
    pub(super) fn of(texts: &[&str]) -> Result<Self, ConfigError> {
        let parse = |(n, text): (usize, &&str)| {
            file::parse(std::path::Path::new(&format!("{n}.conf")), text)
        };
        let files = texts.iter().enumerate().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { files, ..Self::default() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{known, value};

    fn text(files: &[&str], section: &str, key: &str) -> String {
        Options::of(files).unwrap().find_in(section, key).unwrap().unwrap().text
    }

    fn error(file: &str, key: &str) -> String {
        Options::of(&[file]).unwrap().find_in("DEFAULT", key).unwrap_err().to_string()
    }

    #[test]
    fn cf_01_later_files_and_later_lines_override() {
        assert_eq!(text(&["[DEFAULT]\na=1\na=2", "[DEFAULT]\nb=3"], "DEFAULT", "a"), "2");
        assert_eq!(text(&["[DEFAULT]\na=1", "[DEFAULT]\na=3"], "DEFAULT", "a"), "3");
    }

    #[test]
    fn old_names_count_when_the_new_one_is_not_in_the_file() {
        let connection = |files: &[&str]| {
            Options::of(files).unwrap().find(&known::CONNECTION).unwrap().unwrap().text
        };
        assert_eq!(connection(&["[DEFAULT]\nsql_connection=old"]), "old");
        let both = "[database]\nconnection=new\n[DEFAULT]\nsql_connection=old";
        assert_eq!(connection(&[both]), "new");
        let later = "[DATABASE]\nsql_connection=later";
        assert_eq!(connection(&[both, later]), "later");
    }

    #[test]
    fn names_are_put_in_from_section_default_and_group() {
        let file = "[DEFAULT]\nroot=/r\nboth=outer\ngroup=${g.own}/$g.both\n\
                    [g]\nown=$root/o\nboth=inner\nmix=$both:${root}x$own";
        assert_eq!(text(&[file], "g", "mix"), "inner:/rx/r/o");
        assert_eq!(text(&[file], "DEFAULT", "group"), "/r/o/inner");
    }

    #[test]
    fn defaults_can_be_named() {
        assert_eq!(text(&["[DEFAULT]\na=$bind_host:$bind_port"], "DEFAULT", "a"), "127.0.0.1:9292");
    }

    #[test]
    fn dollar_signs_are_escaped_in_two_ways() {
        let file = "[DEFAULT]\na=$$x \\$y $ 5$ \\z ${} ${a";
        assert_eq!(text(&[file], "DEFAULT", "a"), "$x $y $ 5$ \\z ${} ${a");
    }

    #[test]
    fn a_name_that_stands_for_nothing_is_refused() {
        let message = error("[DEFAULT]\na = x$nosuch", "a");
        assert!(
            message.starts_with("0.conf:2: [DEFAULT] a = x$nosuch: $nosuch is not"),
            "{message}"
        );
        assert!(error("[DEFAULT]\na=$b\nb=$a", "a").contains("themselves"));
    }

    #[test]
    fn multi_valued_options_keep_every_value_in_order() {
        let options = Options::of(&["[s]\nd=1\nd=2", "[S]\nd=3"]).unwrap();
        let all: Vec<_> = options.all_in("s", "d").unwrap().into_iter().map(|f| f.text).collect();
        assert_eq!(all, ["1", "2", "3"]);
    }

    #[test]
    fn a_wrong_value_is_refused_with_place_and_remedy() {
        let options = Options::of(&["[DEFAULT]\n\ndebug = maybe"]).unwrap();
        let error = options.need(&known::DEBUG, value::boolean).unwrap_err().to_string();
        assert_eq!(error, "0.conf:3: [DEFAULT] debug = maybe: give true or false");
    }

    proptest::proptest! {
        #[test]
        fn substitution_never_panics(text in "[a-c$\\\\{}. \u{e9}]{0,40}") {
            let options = Options::of(&["[DEFAULT]\na=1\nb=$a\n[c]\na=$b"]).unwrap();
            let _ = options.substitute(&text, "c", 0);
        }
    }
}
