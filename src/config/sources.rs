//! Which files are read, and in what order.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::network::Listen;

const MAIN_FILE: &str = "glance-api.conf";
const IMPORT_FILE: &str = "glance-image-import.conf";

/// Where settings come from, as the command line says. With none of the first two, the directory
/// in `OS_GLANCE_CONFIG_DIR` is read; without that, the embedded defaults count.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config-file`, in order; each brings what lies beside it (`CF-01`).
    pub config_files: Vec<PathBuf>,
    /// `--config-dir`, in order; every `*.conf` in it by name.
    pub config_dirs: Vec<PathBuf>,
    /// `--data-dir`: where the embedded defaults keep everything.
    pub data_dir: Option<PathBuf>,
    /// `--listen`, in place of `[glissade] listen` and of `bind_host` and `bind_port`.
    pub listen: Option<Listen>,
    /// `--admin-listen`, in place of `[glissade] admin_listen`.
    pub admin_listen: Option<SocketAddr>,
}

impl Sources {
    /// Files to read, later ones overriding; empty for the embedded defaults.
    ///
    /// # Errors
    /// A named directory that can't be listed. Whether the files can be read shows when they are.
    pub(super) fn files(&self, environment: Option<OsString>) -> Result<Vec<PathBuf>, ConfigError> {
        let mut files = Vec::new();
        for file in self.main_files(environment) {
            files.extend(with_company(&file)?);
        }
        for dir in &self.config_dirs {
            files.extend(conf_files(dir)?);
        }
        Ok(each_once(files))
    }

    /// Directories in which files that a configuration names by a relative path are looked for.
    pub(super) fn directories(&self, environment: Option<OsString>) -> Vec<PathBuf> {
        let files = self.main_files(environment);
        let beside = files.iter().filter_map(|file| file.parent());
        let dirs = beside.chain(self.config_dirs.iter().map(PathBuf::as_path));
        dirs.filter_map(|dir| {
            std::path::absolute(if dir.as_os_str().is_empty() { Path::new(".") } else { dir }).ok()
        })
        .collect()
    }

    fn main_files(&self, environment: Option<OsString>) -> Vec<PathBuf> {
        if !self.config_files.is_empty() || !self.config_dirs.is_empty() {
            return self.config_files.clone();
        }
        let dir = environment.filter(|dir| !dir.is_empty());
        dir.map(|dir| Path::new(&dir).join(MAIN_FILE)).into_iter().collect()
    }
}

/// The import file beside a file, the file itself, which overrides it as in Glance, and its
/// directory of additions.
fn with_company(file: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let import = file.with_file_name(IMPORT_FILE);
    let mut files = Vec::new();
    if import.is_file() {
        files.push(import);
    }
    files.push(file.to_owned());
    let additions = file.with_extension("conf.d");
    if additions.is_dir() {
        files.extend(conf_files(&additions)?);
    }
    Ok(files)
}

fn conf_files(dir: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: dir.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "conf") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A file that is named and also lies beside another is read once, where it came first: twice
/// would double multi-valued options.
fn each_once(files: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut once: Vec<PathBuf> = Vec::with_capacity(files.len());
    for file in files {
        if !once.contains(&file) {
            once.push(file);
        }
    }
    once
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn dir_with(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        dir
    }

    fn names(dir: &tempfile::TempDir, files: Vec<PathBuf>) -> Vec<String> {
        let relative = |file: PathBuf| file.strip_prefix(dir).unwrap().display().to_string();
        files.into_iter().map(relative).collect()
    }

    const ETC: [&str; 5] = [
        "glance-api.conf",
        "glance-image-import.conf",
        "glance-api.conf.d/20-b.conf",
        "glance-api.conf.d/10-a.conf",
        "glance-api.conf.d/README",
    ];
    const ORDER: [&str; 4] = [
        "glance-image-import.conf",
        "glance-api.conf",
        "glance-api.conf.d/10-a.conf",
        "glance-api.conf.d/20-b.conf",
    ];

    #[test]
    fn cf_01_a_file_brings_what_lies_beside_it() {
        let dir = dir_with(&ETC);
        let config_files = vec![dir.path().join(MAIN_FILE), dir.path().join(IMPORT_FILE)];
        let sources = Sources { config_files, ..Sources::default() };
        assert_eq!(names(&dir, sources.files(None).unwrap()), ORDER);
    }

    #[test]
    fn cf_01_the_environment_names_the_directory_when_the_command_line_does_not() {
        let dir = dir_with(&ETC);
        let environment = Some(dir.path().as_os_str().to_owned());
        assert_eq!(names(&dir, Sources::default().files(environment.clone()).unwrap()), ORDER);
        let config_dirs = vec![dir.path().join("glance-api.conf.d")];
        let sources = Sources { config_dirs, ..Sources::default() };
        assert_eq!(names(&dir, sources.files(environment).unwrap()), ORDER[2..]);
    }

    #[test]
    fn nothing_named_means_no_files() {
        assert!(Sources::default().files(None).unwrap().is_empty());
        assert!(Sources::default().files(Some(OsString::new())).unwrap().is_empty());
    }

    #[test]
    fn a_missing_directory_is_refused() {
        let sources = Sources { config_dirs: vec!["/nonexistent/x".into()], ..Sources::default() };
        assert!(sources.files(None).unwrap_err().to_string().starts_with("/nonexistent/x: "));
    }
}
