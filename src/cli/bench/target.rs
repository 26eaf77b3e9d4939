//! Where the servers of `bench upload` keep images: in the run's own directory, or in a store that
//! an operator has configured.
//!
//! Of the operator's configuration only that store's options are taken over. Records, callers,
//! policies and listeners are the bench's own, so that nobody else's are touched.

use std::fmt::Write as _;
use std::path::Path;

use super::BenchError;
use super::limit::Limit;
use crate::config::{FileStore, RbdStore, Settings, StoreKind};

/// A place for images, as a server is told of it.
#[derive(Debug)]
pub(super) struct Target {
    id: String,
    scheme: &'static str,
    /// Lines of its section.
    section: String,
}

impl Target {
    /// A file store in a server's own directory.
    pub(super) fn in_dir(dir: &Path) -> Self {
        let section = format!("filesystem_store_datadir = {}/images\n", escaped(dir));
        Self { id: "bench".to_owned(), scheme: "file", section }
    }

    /// A configured store, with what it is measured beside.
    pub(super) fn configured(settings: &Settings, id: &str) -> Result<(Self, Limit), BenchError> {
        let stores = &settings.stores.stores;
        let Some(store) = stores.iter().find(|store| store.id == id) else {
            let known = stores.iter().map(|store| store.id.as_str()).collect::<Vec<_>>();
            return Err(BenchError::UnknownStore { id: id.to_owned(), known: known.join(", ") });
        };
        let (scheme, section) = match &store.kind {
            StoreKind::File(options) => ("file", of_files(options)),
            StoreKind::Rbd(options) => ("rbd", of_rbd(options)),
            StoreKind::Http(_) | StoreKind::S3(_) => {
                return Err(BenchError::NothingBeside { id: id.to_owned() });
            }
        };
        let target = Self { id: id.to_owned(), scheme, section };
        Ok((target, Limit::of(settings, id)))
    }

    /// For the report.
    pub(super) fn name(&self) -> String {
        format!("store {} ({})", self.id, self.scheme)
    }

    /// The lines of a configuration that make it the only store.
    pub(super) fn configuration(&self) -> String {
        let Self { id, scheme, section } = self;
        format!(
            "[DEFAULT]\n\
             enabled_backends = {id}:{scheme}\n\
             [glance_store]\n\
             default_backend = {id}\n\
             [{id}]\n\
             {section}"
        )
    }
}

fn of_files(options: &FileStore) -> String {
    let mut lines = "filesystem_store_datadir =\n".to_owned();
    for dir in &options.datadirs {
        line(
            &mut lines,
            "filesystem_store_datadirs",
            format!("{}:{}", escaped(&dir.path), dir.priority),
        );
    }
    if let Some(perm) = options.file_perm {
        line(&mut lines, "filesystem_store_file_perm", format!("{perm:o}"));
    }
    line(&mut lines, "filesystem_thin_provisioning", options.thin_provisioning);
    lines
}

fn of_rbd(options: &RbdStore) -> String {
    let mut lines = String::new();
    line(&mut lines, "rbd_store_pool", options.pool.replace('$', "$$"));
    if let Some(user) = &options.user {
        line(&mut lines, "rbd_store_user", user.replace('$', "$$"));
    }
    if let Some(conf) = &options.ceph_conf {
        line(&mut lines, "rbd_store_ceph_conf", escaped(conf));
    }
    line(&mut lines, "rbd_store_chunk_size", 1_u64 << options.object_order.saturating_sub(20));
    line(&mut lines, "rbd_thin_provisioning", options.thin_provisioning);
    if let Some(timeout) = options.connect_timeout {
        line(&mut lines, "rados_connect_timeout", timeout.as_secs());
    }
    lines
}

fn line(lines: &mut String, key: &str, value: impl std::fmt::Display) {
    // Writing to a String can't fail.
    let _ = writeln!(lines, "{key} = {value}");
}

/// A path as a value: `$` begins the name of another option.
pub(super) fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace('$', "$$")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{self, FileOrDir, Sources};

    fn settings(dir: &Path, text: &str) -> Settings {
        let conf = dir.join("glance-api.conf");
        std::fs::write(&conf, text).unwrap();
        config::load(&Sources { named: vec![FileOrDir::File(conf)], ..Sources::default() }).unwrap()
    }

    /// What is written for the child reads as what the operator wrote.
    #[test]
    fn the_store_is_the_same_in_the_configuration_that_is_made_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let common = "[os_glance_staging_store]\nfilesystem_store_datadir = /scratch/staging\n\
                      [os_glance_tasks_store]\nfilesystem_store_datadir = /scratch/tasks\n\
                      [database]\nconnection = sqlite:////scratch/x\n";
        let theirs = format!(
            "[DEFAULT]\nenabled_backends = deep:rbd,fast:file,web:http\n\
             [glance_store]\ndefault_backend = deep\n[deep]\nrbd_store_pool = pictures\n\
             rbd_store_user = glance\nrbd_store_ceph_conf = /etc/ceph/my$$.conf\n\
             rbd_store_chunk_size = 4\nrbd_thin_provisioning = true\nrados_connect_timeout = 7\n\
             [fast]\nfilesystem_store_datadir =\nfilesystem_store_datadirs = /a:1\n\
             filesystem_store_datadirs = /b:200\nfilesystem_store_file_perm = 640\n{common}"
        );
        let theirs = settings(dir.path(), &theirs);
        for id in ["deep", "fast"] {
            let (target, _) = Target::configured(&theirs, id).unwrap();
            let ours = settings(dir.path(), &format!("{}{common}", target.configuration()));
            let of = |settings: &Settings| {
                let mut stores = settings.stores.stores.iter();
                format!("{:?}", stores.find(|store| store.id == id).unwrap().kind)
            };
            assert_eq!(of(&ours), of(&theirs));
            assert_eq!((ours.stores.stores.len(), &*ours.stores.default), (1, id));
        }
        let refused = Target::configured(&theirs, "web").unwrap_err().to_string();
        assert!(refused.contains("web") && refused.contains("bench store"), "{refused}");
        let refused = Target::configured(&theirs, "nosuch").unwrap_err().to_string();
        assert!(refused.contains("deep, fast, web"), "{refused}");
    }
}
