//! Which files are read, and in what order.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::network::Listen;

const MAIN_FILE: &str = "glance-api.conf";
const IMPORT_FILE: &str = "glance-image-import.conf";

/// Where settings come from, as the command line says. With nothing named, the directory in
/// `OS_GLANCE_CONFIG_DIR` is read; without that, the embedded defaults count.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config-file` and `--config-dir`, in the order in which they stand there.
    pub named: Vec<FileOrDir>,
    /// `--data-dir`: where the embedded defaults keep everything.
    pub data_dir: Option<PathBuf>,
    /// `--listen`, in place of `[glissade] listen` and of `bind_host` and `bind_port`.
    pub listen: Option<Listen>,
    /// `--admin-listen`, in place of `[glissade] admin_listen`.
    pub admin_listen: Option<SocketAddr>,
}

/// What the command line names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileOrDir {
    /// A file, which brings what lies beside it (`CF-01`).
    File(PathBuf),
    /// A directory: every `*.conf` in it, by name.
    Dir(PathBuf),
}

impl Sources {
    /// Files to read, later ones overriding; empty for the embedded defaults.
    ///
    /// # Errors
    /// A named directory that can't be listed. Whether the files can be read shows when they are.
    pub(super) fn files(&self, environment: Option<OsString>) -> Result<Vec<PathBuf>, ConfigError> {
        let mut files = Vec::new();
        for named in self.named_or_usual(environment) {
            match named {
                FileOrDir::File(file) => files.extend(with_company(&file)?),
                FileOrDir::Dir(dir) => files.extend(conf_files(&dir)?),
            }
        }
        Ok(each_once(files))
    }

    /// Directories in which files that a configuration names by a relative path are looked for.
    pub(super) fn directories(&self, environment: Option<OsString>) -> Vec<PathBuf> {
        let named = self.named_or_usual(environment);
        let beside = named.iter().filter_map(|named| match named {
            FileOrDir::File(file) => file.parent(),
            FileOrDir::Dir(_) => None,
        });
        let themselves = named.iter().filter_map(|named| match named {
            FileOrDir::File(_) => None,
            FileOrDir::Dir(dir) => Some(dir.as_path()),
        });
        let plain = |dir: &Path| match dir.as_os_str().is_empty() {
            true => std::path::absolute(".").ok(),
            false => std::path::absolute(dir).ok(),
        };
        beside.chain(themselves).filter_map(plain).collect()
    }

    fn named_or_usual(&self, environment: Option<OsString>) -> Vec<FileOrDir> {
        if !self.named.is_empty() {
            return self.named.clone();
        }
        let dir = environment.filter(|dir| !dir.is_empty());
        dir.map(|dir| FileOrDir::File(Path::new(&dir).join(MAIN_FILE))).into_iter().collect()
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

/// Hidden files, such as an editor's, are none, as for oslo.config.
fn conf_files(dir: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let is_conf = |path: &Path| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        name.ends_with(b".conf") && !name.starts_with(b".") && path.is_file()
    };
    let unreadable = |source| ConfigError::Unreadable { path: dir.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if is_conf(&path) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A file that is named and also lies beside another is read once, where it came last, since later
/// ones win: twice would double multi-valued options.
fn each_once(files: Vec<PathBuf>) -> Vec<PathBuf> {
    let is_last = |at: usize| !files[at + 1..].contains(&files[at]);
    (0..files.len()).filter(|at| is_last(*at)).map(|at| files[at].clone()).collect()
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

    fn read(dir: &tempfile::TempDir, named: &[&str]) -> Vec<String> {
        let named = named.iter().map(|name| match name.strip_suffix('/') {
            Some(name) => FileOrDir::Dir(dir.path().join(name)),
            None => FileOrDir::File(dir.path().join(name)),
        });
        let sources = Sources { named: named.collect(), ..Sources::default() };
        names(dir, sources.files(None).unwrap())
    }

    #[test]
    fn cf_01_a_file_brings_what_lies_beside_it() {
        assert_eq!(read(&dir_with(&ETC), &[MAIN_FILE]), ORDER);
    }

    /// Directories take their turn among the files, and what is named twice counts where it is
    /// named last, as for oslo.config.
    #[test]
    fn cf_01_what_the_command_line_names_later_wins() {
        let dir = dir_with(&["a.conf", "b.conf", "d/2.conf", "d/1.conf", "d/.hidden.conf", "d/x"]);
        assert_eq!(read(&dir, &["b.conf", "a.conf"]), ["b.conf", "a.conf"]);
        let between = ["a.conf", "d/1.conf", "d/2.conf", "b.conf"];
        assert_eq!(read(&dir, &["a.conf", "d/", "b.conf"]), between);
        assert_eq!(read(&dir, &["d/", "a.conf"]), ["d/1.conf", "d/2.conf", "a.conf"]);
        assert_eq!(read(&dir, &["a.conf", "b.conf", "a.conf"]), ["b.conf", "a.conf"]);
        let etc = dir_with(&ETC);
        let named_last = [&ORDER[1..], &ORDER[..1]].concat();
        assert_eq!(read(&etc, &[MAIN_FILE, IMPORT_FILE]), named_last);
    }

    #[test]
    fn cf_01_the_environment_names_the_directory_when_the_command_line_does_not() {
        let dir = dir_with(&ETC);
        let environment = Some(dir.path().as_os_str().to_owned());
        assert_eq!(names(&dir, Sources::default().files(environment.clone()).unwrap()), ORDER);
        let named = vec![FileOrDir::Dir(dir.path().join("glance-api.conf.d"))];
        let sources = Sources { named, ..Sources::default() };
        assert_eq!(names(&dir, sources.files(environment).unwrap()), ORDER[2..]);
    }

    #[test]
    fn nothing_named_means_no_files() {
        assert!(Sources::default().files(None).unwrap().is_empty());
        assert!(Sources::default().files(Some(OsString::new())).unwrap().is_empty());
    }

    #[test]
    fn a_missing_directory_is_refused() {
        let sources =
            Sources { named: vec![FileOrDir::Dir("/nonexistent/x".into())], ..Sources::default() };
        assert!(sources.files(None).unwrap_err().to_string().starts_with("/nonexistent/x: "));
    }
}
