//! Which sections the configuration itself names: those of stores and of accounts.
//!
//! Found without judging, so that `glissade check` can say something of every option of a
//! configuration that is refused.

use super::access;
use super::file::Entry;
use super::known::{
    DEFAULT_BACKEND, ENABLED_BACKENDS, LEGACY_DEFAULT, LEGACY_STORES, NODE_STAGING_URI, WORK_DIR,
};
use super::options::Options;
use super::stores::{LEGACY_SECTION, SHARED_SECTION};
use super::value;

/// How a driver's options start, and the kind of its stores.
const DRIVERS: &[(&str, &str)] = &[
    ("filesystem_", "file"),
    ("https_", "http"),
    ("http_proxy_", "http"),
    ("rbd_", "rbd"),
    ("rados_", "rbd"),
    ("s3_", "s3"),
    ("swift_", "swift"),
    ("default_swift_", "swift"),
    ("cinder_", "cinder"),
    ("rootwrap_", "cinder"),
    ("vmware_", "vmware"),
];

/// Options that stores of every kind have.
pub(super) const OF_EVERY_STORE: &[&str] = &["store_description", "weight"];

/// The kind of store that has an option, empty for all of them; none for what is no store's option.
pub(super) fn driver_of(key: &str) -> Option<&'static str> {
    if OF_EVERY_STORE.contains(&key) {
        return Some("");
    }
    DRIVERS.iter().find(|(prefix, _)| key.starts_with(prefix)).map(|(_, kind)| *kind)
}

/// Sections whose names the configuration gives.
#[derive(Clone, Debug, Default)]
pub(super) struct Sections {
    is_multi: bool,
    /// Those of stores, with the kinds of the stores that read them.
    stores: Vec<(String, Vec<&'static str>)>,
    /// Those that say how this server signs in to Keystone.
    accounts: Vec<String>,
    /// Names that are put in for a `$name`, by section and key, with the assignment that has it.
    put_in: Vec<((String, String), Entry)>,
}

impl Sections {
    pub(super) fn of(options: &Options) -> Self {
        let enabled = options.find(&ENABLED_BACKENDS).ok().flatten();
        let enabled = enabled.and_then(|found| value::dict(&found.text).ok()).unwrap_or_default();
        let accounts = access::account_sections(options).unwrap_or_default();
        let is_multi = !enabled.is_empty();
        let stores = if is_multi { of_several(&enabled) } else { of_one(options) };
        Self { is_multi, stores, accounts, put_in: options.put_in() }
    }

    /// An assignment whose value has another one put in.
    pub(super) fn put_in(&self, entry: &Entry) -> Option<&Entry> {
        let is_it =
            |(section, key): &(String, String)| (section, key) == (&entry.section, &entry.key);
        self.put_in.iter().find(|(name, _)| is_it(name)).map(|(_, user)| user)
    }

    /// Kinds of the stores that read a section; none where no store does.
    pub(super) fn kinds(&self, section: &str) -> Option<&[&'static str]> {
        self.stores.iter().find(|(name, _)| name == section).map(|(_, kinds)| kinds.as_slice())
    }

    pub(super) fn are_of_an_account(&self, section: &str) -> bool {
        self.accounts.iter().any(|name| name == section)
    }

    /// What decides in place of an option, by whether there are several stores.
    pub(super) fn superseded_by(&self, section: &str, key: &str) -> Option<&'static str> {
        const BY_STAGING: &str = "with enabled_backends [os_glance_staging_store] decides";
        const BY_TASKS: &str = "with enabled_backends [os_glance_tasks_store] decides";
        const BY_BACKENDS: &str = "enabled_backends and default_backend decide";
        const BY_STORES: &str = "without enabled_backends stores and default_store decide";
        let is = |opt: &super::known::Opt| {
            (opt.section, opt.key) == (section, key) || opt.formerly.contains(&(section, key))
        };
        match self.is_multi {
            true if is(&NODE_STAGING_URI) => Some(BY_STAGING),
            true if is(&WORK_DIR) => Some(BY_TASKS),
            true if is(&LEGACY_STORES) || is(&LEGACY_DEFAULT) => Some(BY_BACKENDS),
            false if is(&DEFAULT_BACKEND) => Some(BY_STORES),
            _ => None,
        }
    }
}

fn of_several(enabled: &[(String, String)]) -> Vec<(String, Vec<&'static str>)> {
    let kinds = || enabled.iter().map(|(_, kind)| kind_of(kind));
    let own = enabled.iter().map(|(id, kind)| (id.to_lowercase(), vec![kind_of(kind)]));
    own.chain([(SHARED_SECTION.to_owned(), kinds().collect())]).collect()
}

fn of_one(options: &Options) -> Vec<(String, Vec<&'static str>)> {
    let names = options.need(&LEGACY_STORES, value::list).unwrap_or_default();
    let kinds = names.iter().map(|name| kind_of(name)).collect();
    vec![(LEGACY_SECTION.to_owned(), kinds)]
}

/// The kind of a store by any of the names that glance_store takes; empty for an unknown one.
fn kind_of(name: &str) -> &'static str {
    match name.trim() {
        "file" | "filesystem" | "glance.store.filesystem.Store" => "file",
        "http" | "https" | "glance.store.http.Store" => "http",
        "rbd" | "glance.store.rbd.Store" => "rbd",
        "s3" | "s3+http" | "s3+https" | "glance.store.s3.Store" => "s3",
        "swift" | "swift+config" | "swift+http" | "swift+https" | "glance.store.swift.Store" => {
            "swift"
        }
        "cinder" | "glance.store.cinder.Store" => "cinder",
        "vmware" | "vsphere" | "glance.store.vmware_datastore.Store" => "vmware",
        _ => "",
    }
}
