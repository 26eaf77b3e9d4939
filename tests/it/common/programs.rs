//! Scripts that servers run, and whether what they have started still lives.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A program in a directory that only its owner may write to.
pub(crate) fn program(path: &Path, script: &str) -> String {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    path.display().to_string()
}

/// Whether a process has ended, by its number; nobody may have asked for its end.
pub(crate) fn has_ended(number: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", number.trim()));
    stat.map_or(true, |stat| stat.contains(") Z "))
}
