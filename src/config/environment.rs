//! Options in the environment, as oslo.config finds them: `OS_DEFAULT__DEBUG`,
//! `OS_DATABASE__CONNECTION`. They come before files and after the command line.
//!
//! Many variables begin with `OS_`, and openrc files set others; what names no option is none.

use std::path::Path;

use super::error::Place;
use super::file::{self, Entry};
use super::known::{self, Standing};
use super::options::Options;
use super::sections::Sections;

/// The variables of this process that may be options.
pub(super) fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The options with those of the environment over them.
pub(super) fn over(options: Options, variables: impl Iterator<Item = (String, String)>) -> Options {
    let candidates = variables.filter_map(|(name, value)| entry(&name, value)).collect();
    let options = options.with_environment(candidates);
    let sections = Sections::of(&options);
    let is_option = |entry: &Entry| {
        matches!(known::standing(entry, &sections), Standing::Honoured | Standing::Ignored(_))
    };
    options.keep_of_environment(is_option)
}

/// A variable as an assignment, if its name has the form of one.
fn entry(name: &str, value: String) -> Option<Entry> {
    let (section, key) = name.strip_prefix("OS_")?.split_once("__")?;
    let section = file::normal_section(section);
    let place = Place { path: Path::new(name).into(), line: 0 };
    (!section.is_empty() && !key.is_empty()).then(|| Entry {
        place,
        section,
        key: key.to_lowercase(),
        value,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{known, value};

    fn with(file: &str, variables: &[(&str, &str)]) -> Options {
        let variables = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        over(Options::of(&[file]).unwrap(), variables)
    }

    #[test]
    fn cf_01_the_environment_comes_before_files() {
        let file = "[DEFAULT]\ndebug = false\nenabled_backends = fast:file\n\
                    [fast]\nfilesystem_store_datadir = /a";
        let options = with(
            file,
            &[
                ("OS_DEFAULT__DEBUG", "true"),
                ("OS_FAST__FILESYSTEM_STORE_DATADIR", "/b/$debug"),
                ("OS_DATABASE__CONNECTION", "sqlite:////x"),
                ("OS_AUTH_URL", "http://k"),
                ("OS_SLOW__FILESYSTEM_STORE_DATADIR", "/c"),
                ("OS_SOMEBODY__ELSE", "1"),
                ("OS___X", "1"),
            ],
        );
        assert!(options.need(&known::DEBUG, value::boolean).unwrap());
        let datadir = options.find_in("fast", "filesystem_store_datadir").unwrap().unwrap();
        assert_eq!(datadir.text, "/b/true");
        assert_eq!(options.find(&known::CONNECTION).unwrap().unwrap().text, "sqlite:////x");
        assert_eq!(options.entries().len(), 6, "what is no option is not there");
    }

    #[test]
    fn cf_01_a_refusal_names_the_variable() {
        let options = with("", &[("OS_DEFAULT__DEBUG", "maybe")]);
        let error = options.need(&known::DEBUG, value::boolean).unwrap_err().to_string();
        assert_eq!(error, "OS_DEFAULT__DEBUG: [DEFAULT] debug = maybe: give true or false");
    }

    #[test]
    fn cf_01_of_several_values_those_of_the_environment_count_alone() {
        let file = "[glance_store]\nfilesystem_store_datadirs = /a\nfilesystem_store_datadirs = /b";
        let options = with(file, &[("OS_GLANCE_STORE__FILESYSTEM_STORE_DATADIRS", "/c")]);
        let all = options.all_in("glance_store", "filesystem_store_datadirs").unwrap();
        assert_eq!(all.iter().map(|found| found.text.as_str()).collect::<Vec<_>>(), ["/c"]);
    }
}
