//! Servers that tests speak to, as `tests/env/with.sh` starts them. Shared by the library's own
//! tests and those from outside.

use std::path::PathBuf;

/// The directory of the server `name`. `None` where there is none, and the test has to stop, which
/// it may on a developer's machine only.
pub(crate) fn directory(name: &str) -> Option<PathBuf> {
    let variable = format!("GLISSADE_{}", name.to_uppercase());
    if let Some(directory) = std::env::var_os(&variable).filter(|value| !value.is_empty()) {
        return Some(directory.into());
    }
    let is_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    assert!(
        !is_ci,
        "{variable} is not set: there is no {name}, and CI=true lets no test be skipped"
    );
    eprintln!("skipped: {variable} is not set; `tests/env/with.sh {name} -- ...` sets it");
    None
}
