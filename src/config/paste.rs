//! The pipeline of `glance-api-paste.ini` that `flavor` names, as far as it concerns this server
//! (`CF-09`).
//!
//! There is no pipeline here to be put together: what Glance's filters do is built in. Read is which
//! of them tells who calls, and what the file says to single ones in place of `glance-api.conf`,
//! because an operator may have said it only there. A filter that nobody knows is refused: it may be
//! what keeps somebody out.

use std::path::{Path, PathBuf};

use super::access::Caller;
use super::error::ConfigError;
use super::file::{self, Entry};
use super::known::{self, HONOURED};
use super::options::Options;
use super::value;

const DEFAULT_FILE: &str = "glance-api-paste.ini";

/// What a pipeline says.
#[derive(Debug)]
pub(super) struct Pipeline {
    /// Who tells who calls; `None` for a flavor that is this server's own.
    pub(super) caller: Option<Caller>,
    /// What its filters are told, as assignments to the options that they are told of otherwise.
    pub(super) entries: Vec<Entry>,
    /// Where it stands.
    pub(super) path: PathBuf,
}

/// What a filter is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    /// It tells who calls.
    Caller(Caller),
    /// It asks Keystone who calls, before the context is made of that.
    Tokens,
    /// It has options in this section.
    Section(&'static str),
    /// Built in, or of no effect to clients.
    Plain,
}

/// Parts of the names of factories, and what they make; the first that fits counts.
const FACTORIES: &[(&str, Filter)] = &[
    ("auth_token", Filter::Tokens),
    ("UnauthenticatedContextMiddleware", Filter::Caller(Caller::Nobody)),
    ("ContextMiddleware", Filter::Caller(Caller::Proxy)),
    ("ealthcheck", Filter::Section("healthcheck")),
    ("HTTPProxyToWSGI", Filter::Section("oslo_middleware")),
    ("http_proxy_to_wsgi", Filter::Section("oslo_middleware")),
    ("cors", Filter::Section("cors")),
    ("CORS", Filter::Section("cors")),
    ("VersionNegotiationFilter", Filter::Plain),
    ("CacheFilter", Filter::Plain),
    ("CacheManageFilter", Filter::Plain),
    ("GzipMiddleware", Filter::Plain),
    ("osprofiler", Filter::Plain),
    ("RequestId", Filter::Plain),
    ("request_id", Filter::Plain),
    ("sizelimit", Filter::Plain),
    ("RequestBodySizeLimiter", Filter::Plain),
];

/// Reads the file that `config_file` names, or the one that lies beside the configuration; none
/// where there is none.
///
/// # Errors
/// A file that is named and not there, a flavor that it has not got, and filters that nobody knows.
pub(super) fn pipeline(
    options: &Options,
    dirs: &[PathBuf],
) -> Result<Option<Pipeline>, ConfigError> {
    let Some(path) = find(options, dirs)? else { return Ok(None) };
    let lines = file::read(&path)?;
    let Some((flavor, words)) = words(options, &lines)? else {
        let shown = path.display();
        let own = |text: &str| {
            super::access::own_flavor(text).ok_or(format!(
                "{shown} has no such pipeline; correct the name, or add the pipeline there"
            ))
        };
        let caller = options.need(&known::FLAVOR, own)?;
        return Ok(Some(Pipeline { caller: Some(caller), entries: Vec::new(), path }));
    };
    let mut pipeline = Pipeline { caller: None, entries: Vec::new(), path };
    let mut asks_keystone = false;
    // The last word is the application.
    let (_, filters) = words.split_last().map_or(("", &[][..]), |(app, rest)| (app, rest));
    for name in filters {
        match filter(&lines, name) {
            Some(Filter::Tokens) => {
                asks_keystone = true;
                pipeline.told(&lines, &["filter"], name, super::access::SECTION);
            }
            Some(Filter::Caller(caller)) => pipeline.caller = Some(caller),
            Some(Filter::Section(section)) => pipeline.told(&lines, &["filter"], name, section),
            Some(Filter::Plain) => {}
            None => return Err(flavor_refused(options, &strange(&pipeline.path, name))),
        }
    }
    if asks_keystone {
        pipeline.caller = Some(Caller::Keystone);
    }
    if pipeline.caller.is_none() {
        let shown = pipeline.path.display();
        let why = format!(
            "pipeline {flavor} of {shown} has no filter that tells who calls; add context, after \
             authtoken where tokens are to be checked"
        );
        return Err(flavor_refused(options, &why));
    }
    pipeline.told(&lines, &["app", "filter"], "healthcheck", "healthcheck");
    Ok(Some(pipeline))
}

impl Pipeline {
    /// Takes what a part of the file is told and an option of that section is told of otherwise.
    fn told(&mut self, lines: &[Entry], kinds: &[&str], name: &str, section: &str) {
        let sections: Vec<String> = kinds.iter().map(|kind| section_of(kind, name)).collect();
        let of_part = lines.iter().filter(|entry| sections.contains(&entry.section));
        let is_option = |entry: &&Entry| {
            HONOURED.iter().any(|opt| opt.section == section && opt.key == entry.key)
        };
        let told = of_part.filter(is_option);
        self.entries
            .extend(told.map(|entry| Entry { section: section.to_owned(), ..entry.clone() }));
    }
}

/// The file, if there is one.
fn find(options: &Options, dirs: &[PathBuf]) -> Result<Option<PathBuf>, ConfigError> {
    let named = options.need(&known::PASTE_FILE, |text| {
        let Some(name) = value::some_text(text)? else { return Ok(None) };
        let name = Path::new(&name);
        let places = if name.is_absolute() { vec![name.to_owned()] } else { below(dirs, name) };
        let found = places.into_iter().find(|path| path.is_file());
        // Samples name the usual one, which nobody has to have.
        if found.is_none() && name == Path::new(DEFAULT_FILE) {
            return Ok(None);
        }
        found.map(Some).ok_or_else(|| {
            "there is no such file; give its path, or take the option out: without it flavor \
             alone decides"
                .to_owned()
        })
    })?;
    let beside = || below(dirs, Path::new(DEFAULT_FILE)).into_iter().find(|path| path.is_file());
    Ok(named.or_else(beside))
}

fn below(dirs: &[PathBuf], name: &Path) -> Vec<PathBuf> {
    dirs.iter().map(|dir| dir.join(name)).collect()
}

/// The flavor's name, and the words of its pipeline: under that name in a composite, or a section
/// of its own, as older files have it.
fn words(options: &Options, lines: &[Entry]) -> Result<Option<(String, Vec<String>)>, ConfigError> {
    let flavor = options.need(&known::FLAVOR, |text| Ok(text.trim().to_owned()))?;
    let name = if flavor.is_empty() { "default" } else { flavor.as_str() };
    let own = match flavor.as_str() {
        "" => "pipeline:glance-api".to_owned(),
        flavor => format!("pipeline:glance-api-{flavor}"),
    };
    let key = name.replace('-', "_");
    let is_it = |entry: &&Entry| {
        let is_composite = entry.section == "composite:api" && entry.key == key;
        is_composite || (entry.section == own.to_lowercase() && entry.key == "pipeline")
    };
    let found = lines.iter().find(is_it);
    let words = |entry: &Entry| entry.value.split_whitespace().map(str::to_owned).collect();
    Ok(found.map(|entry| (name.to_owned(), words(entry))))
}

/// What a filter is; `None` for one that nobody knows.
fn filter(lines: &[Entry], name: &str) -> Option<Filter> {
    let section = section_of("filter", name);
    let factory = lines.iter().find(|entry| {
        entry.section == section && ["paste.filter_factory", "use"].contains(&entry.key.as_str())
    });
    let factory = &factory?.value;
    FACTORIES.iter().find(|(part, _)| factory.contains(part)).map(|(_, filter)| *filter)
}

fn section_of(kind: &str, name: &str) -> String {
    file::normal_section(&format!("{kind}:{name}"))
}

fn strange(path: &Path, name: &str) -> String {
    format!(
        "filter {name} of {} is no part of this server; take it out of the pipeline, or do its \
         work in the proxy before this server",
        path.display()
    )
}

fn flavor_refused(options: &Options, why: &str) -> ConfigError {
    let refused = options.need(&known::FLAVOR, |_| Err::<(), _>(why.to_owned()));
    refused.err().unwrap_or_else(|| ConfigError::missing("paste_deploy", "flavor", why))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    /// What Glance 33 ships.
    const SHIPPED: &str = include_str!("../../tests/fixtures/config/glance-api-paste-33.ini");

    fn read(paste: &str, flavor: &str) -> Result<Option<Pipeline>, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("glance-api-paste.ini"), paste).unwrap();
        let text = format!("[paste_deploy]\nflavor = {flavor}");
        pipeline(&Options::of(&[&text]).unwrap(), &[dir.path().to_owned()])
    }

    fn caller(paste: &str, flavor: &str) -> Caller {
        read(paste, flavor).unwrap().unwrap().caller.unwrap()
    }

    #[test]
    fn cf_09_the_shipped_pipelines_tell_who_calls() {
        for flavor in ["", "caching", "cachemanagement"] {
            assert_eq!(caller(SHIPPED, flavor), Caller::Nobody, "{flavor}");
        }
        for flavor in ["keystone", "keystone+caching", "keystone+cachemanagement"] {
            assert_eq!(caller(SHIPPED, flavor), Caller::Keystone, "{flavor}");
        }
        assert_eq!(caller(SHIPPED, "trusted-auth"), Caller::Proxy, "our own, in no file");
        let error = read(SHIPPED, "magic").unwrap_err().to_string();
        assert!(error.contains("flavor = magic") && error.contains("no such pipeline"), "{error}");
    }

    #[test]
    fn cf_09_a_site_may_have_changed_them() {
        let trusted = SHIPPED.replace("osprofiler authtoken context", "osprofiler context");
        assert_eq!(caller(&trusted, "keystone"), Caller::Proxy);
        let old = "[pipeline:glance-api-keystone]\npipeline = authtoken context rootapp\n\
                   [filter:authtoken]\npaste.filter_factory = keystonemiddleware.auth_token:filter_factory\n\
                   service_type = image\n\
                   [filter:context]\npaste.filter_factory = glance.api.middleware.context:ContextMiddleware.factory";
        let old = read(old, "keystone").unwrap().unwrap();
        assert_eq!(old.caller, Some(Caller::Keystone));
        let told: Vec<_> = old.entries.iter().map(|e| (&*e.section, &*e.key, &*e.value)).collect();
        assert_eq!(told, [("keystone_authtoken", "service_type", "image")]);
        let scanner = SHIPPED.replace("osprofiler authtoken", "scanner authtoken");
        let error = read(&scanner, "keystone").unwrap_err().to_string();
        assert!(error.contains("filter scanner") && error.contains("no part of this"), "{error}");
        assert_eq!(caller(&scanner, ""), Caller::Nobody, "another pipeline");
        let nobody = SHIPPED.replace("osprofiler authtoken context", "osprofiler");
        assert!(read(&nobody, "keystone").unwrap_err().to_string().contains("who calls"));
    }

    #[test]
    fn cf_09_what_filters_are_told_counts() {
        let pipeline = read(SHIPPED, "keystone").unwrap().unwrap();
        let told: Vec<_> = pipeline.entries.iter().map(|e| (&*e.section, &*e.key)).collect();
        assert_eq!(told, [("healthcheck", "backends"), ("healthcheck", "disable_by_file_path")]);
    }

    #[test]
    fn cf_09_a_file_that_is_named_has_to_be_there() {
        let options = Options::of(&["[paste_deploy]\nconfig_file = other.ini"]).unwrap();
        let error = pipeline(&options, &["/nowhere".into()]).unwrap_err().to_string();
        assert!(error.contains("config_file = other.ini: there is no such file"), "{error}");
        let usual = Options::of(&["[paste_deploy]\nconfig_file = glance-api-paste.ini"]).unwrap();
        for options in [Options::default(), usual] {
            assert!(pipeline(&options, &["/nowhere".into()]).unwrap().is_none());
        }
    }
}
