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

/// What librbd and librados look like from Rust.
///
/// Both are opened at run time (dynamic-library mode), so one binary runs on hosts with and
/// without Ceph, and a function that an old librbd lacks is missed only when it is called.
#[cfg(feature = "bindgen")]
mod bindings {
    const HEADER: &str = "ffi/ceph.h";
    const MADE: &str = "ffi/bindings.rs";
    const FIRST_LINE: &str = "// Made by `cargo build --release --features bindgen`. Don't edit.";

    /// What is made is for Rust 1.85 and later.
    const RUST_MINOR: u64 = 85;

    /// Each word is a whole function name, as a regular expression.
    const FUNCTIONS: &str = "
        rados_create2 rados_conf_read_file rados_conf_set rados_conf_get rados_connect
        rados_shutdown rados_cluster_fsid rados_cluster_stat rados_pool_lookup
        rados_ioctx_create rados_ioctx_destroy rados_ioctx_set_namespace
        rados_set_pool_full_try rados_getaddrs rados_buffer_free rados_blocklist_add
        rbd_version rbd_image_options_(create|destroy|set_uint64|set_string)
        rbd_create[34]? rbd_clone3 rbd_remove rbd_rename rbd_trash_move
        rbd_list2 rbd_image_spec_list_cleanup rbd_watchers_list rbd_watchers_list_cleanup
        rbd_open rbd_open_read_only rbd_close
        rbd_stat rbd_get_(size|features|id) rbd_update_features rbd_lock_acquire
        rbd_resize rbd_flush
        rbd_aio_(write2?|writev|read|readv|flush|discard|write_zeroes)
        rbd_aio_(create_completion|is_complete|wait_for_complete|get_return_value|get_arg|release)
        rbd_set_image_notification rbd_poll_io_events
        rbd_snap_(create|remove|protect|unprotect|is_protected|exists|set|list|list_end)
        rbd_list_children3 rbd_linked_image_spec_list_cleanup
    ";
    const CONSTANTS: &str = "RBD_FEATURE_.* RBD_IMAGE_OPTION_.* EVENT_TYPE_EVENTFD";

    /// Makes `ffi/bindings.rs` from the headers of this machine.
    ///
    /// Panics, which is how a build script refuses: the operator asked for the feature, and
    /// libclang or Ceph's headers are missing.
    pub(crate) fn make() {
        for path in [HEADER, MADE] {
            println!("cargo::rerun-if-changed={path}");
        }
        // Neither the compiler that is used nor its rustfmt shall show in what is made.
        let Ok(target) = bindgen::RustTarget::stable(RUST_MINOR, 0) else {
            panic!("bindgen does not know Rust 1.{RUST_MINOR}")
        };
        let mut builder = bindgen::builder()
            .header(HEADER)
            .disable_header_comment()
            .rust_target(target)
            .formatter(bindgen::Formatter::Prettyplease)
            .raw_line(FIRST_LINE)
            .dynamic_library_name("Ceph")
            .generate_comments(false)
            .merge_extern_blocks(true);
        for function in FUNCTIONS.split_whitespace() {
            builder = builder.allowlist_function(function);
        }
        for constant in CONSTANTS.split_whitespace() {
            builder = builder.allowlist_var(constant);
        }
        let bindings = builder.generate().unwrap_or_else(|error| {
            panic!("{error}; install libclang-dev, librbd-dev and librados-dev")
        });
        let text = bindings.to_string();
        // A file that is newer than this run would have cargo run it again and again.
        if std::fs::read_to_string(MADE).is_ok_and(|known| known == text) {
            return;
        }
        std::fs::write(MADE, text).unwrap_or_else(|error| panic!("{MADE}: {error}"));
    }
}
