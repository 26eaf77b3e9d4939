//! Names the build; with feature `bindgen`, makes `ffi/bindings.rs` anew.
//!
//! A plain build needs neither git nor Ceph's headers: without git the version is the package's
//! alone, and the bindings are checked in.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=GLISSADE_VERSION={}", version());
    #[cfg(feature = "bindgen")]
    bindings::make();
}

/// `0.1.0+4f2c9aa` in a checkout, `0.1.0` elsewhere.
fn version() -> String {
    let package = env!("CARGO_PKG_VERSION");
    commit().map_or(package.to_owned(), |commit| format!("{package}+{commit}"))
}

/// The short commit, unless this is no checkout of our own or git is missing.
fn commit() -> Option<String> {
    if !Path::new(".git").exists() {
        return None; // A tarball, perhaps inside somebody else's repository.
    }
    // The reflog of HEAD grows with every commit and checkout.
    let head_log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&head_log).exists() {
        println!("cargo::rerun-if-changed={head_log}");
    }
    git(&["rev-parse", "--short", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
