//! Scripts that servers run, whether what they have started still lives, and commands that may wait
//! for a server that never answers.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::PATIENCE;

/// A command that is ended, and so has failed, when it takes longer than anything that works. One
/// that waits for ever would leave nobody to say which test it was.
pub(crate) fn bounded(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--verbose", "--kill-after=5", &PATIENCE.as_secs().to_string()]).arg(program);
    command
}

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
