//! librbd, opened at run time through the generated bindings.

use std::ffi::{CStr, CString, c_char};
use std::io::Write as _;
use std::sync::OnceLock;

use super::error::RbdError;

#[allow(
    dead_code,
    missing_debug_implementations,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::expect_used,
    clippy::multiple_unsafe_ops_per_block,
    clippy::undocumented_unsafe_blocks
)]
mod bindings {
    include!(concat!(env!("CARGO_MANIFEST_DIR"), "/ffi/bindings.rs"));
}

pub(super) use bindings::{
    Ceph, RBD_FEATURE_EXCLUSIVE_LOCK, RBD_FEATURE_FAST_DIFF, RBD_FEATURE_OBJECT_MAP, iovec,
    rados_ioctx_t, rados_t, rbd_completion_t, rbd_image_spec_t, rbd_image_t, rbd_image_watcher_t,
    rbd_lock_mode_t_RBD_LOCK_MODE_EXCLUSIVE as LOCK_MODE_EXCLUSIVE,
};

/// The interface's name has been the same since 2010; it brings librados with it.
const LIBRARY: &str = "librbd.so.1";

/// Ceph's client libraries are not on this host, or too old.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "{LIBRARY} can't be used: {0}; install the packages librbd1 and librados2 (they have these \
     names on Debian, Ubuntu and RPM systems)"
)]
pub struct LibraryMissing(String);

static CEPH: OnceLock<Result<Ceph, LibraryMissing>> = OnceLock::new();

/// The library, opened once for the process and never closed: its threads outlive any handle.
pub(super) fn load() -> Result<&'static Ceph, LibraryMissing> {
    CEPH.get_or_init(open).as_ref().map_err(Clone::clone)
}

/// Ends the process at once where the library is open, and only there. Exit handlers would destroy
/// its globals under threads of its own and under calls that still wait for the cluster, and the
/// program would crash in its last moment. Everything of ours has to be closed and dropped before.
pub fn leave(status: u8) {
    if CEPH.get().is_some_and(Result::is_ok) {
        // Of a standard output that is gone nobody can be told.
        let _ = std::io::stdout().flush();
        // SAFETY: _exit needs nothing; it runs no handlers and frees nothing that a thread may use.
        unsafe { libc::_exit(status.into()) }
    }
}

fn open() -> Result<Ceph, LibraryMissing> {
    // SAFETY: Ceph::new needs a library whose initialisers may be run and whose functions have the
    // types of the bindings. The name with its version is that of the interface from whose headers
    // the bindings were made.
    let ceph = unsafe { Ceph::new(LIBRARY) }.map_err(|error| LibraryMissing(error.to_string()))?;
    match missing(&ceph) {
        None => Ok(ceph),
        Some(name) => Err(LibraryMissing(format!("it has no function {name}"))),
    }
}

/// The first function that this program can't do without and the library lacks. The bindings
/// would panic at its first call.
fn missing(ceph: &Ceph) -> Option<&'static str> {
    macro_rules! first_missing {
        ($($name:ident)*) => {
            [$((stringify!($name), ceph.$name.is_ok())),*]
        };
    }
    let found = first_missing!(
        rados_create2 rados_conf_read_file rados_conf_set rados_conf_get rados_connect
        rados_shutdown rados_cluster_fsid rados_getaddrs rados_buffer_free rados_ioctx_create
        rados_ioctx_destroy rbd_create3 rbd_open rbd_close rbd_get_size rbd_get_features rbd_get_id
        rbd_update_features rbd_lock_acquire rbd_resize rbd_flush rbd_remove rbd_rename
        rbd_trash_move rbd_list2 rbd_image_spec_list_cleanup rbd_watchers_list
        rbd_watchers_list_cleanup rbd_snap_create rbd_snap_remove
        rbd_snap_protect rbd_snap_unprotect rbd_snap_is_protected rbd_aio_writev rbd_aio_read
        rbd_aio_create_completion rbd_aio_get_return_value rbd_aio_release
    );
    found.into_iter().find(|(_, is_there)| !is_there).map(|(name, _)| name)
}

/// A name for C. One with a zero byte in it names nothing.
pub(super) fn c_string(text: &str) -> Result<CString, RbdError> {
    CString::new(text).map_err(|_| RbdError::new(format!("the name {text:?}"), -libc::EINVAL))
}

/// Text that C wrote into a buffer of ours, up to its end.
pub(super) fn text_in(buffer: &[u8]) -> String {
    let text = CStr::from_bytes_until_nul(buffer).map(CStr::to_string_lossy);
    text.map(std::borrow::Cow::into_owned).unwrap_or_default()
}

/// Text of C's.
///
/// # Safety
/// `text` is null or points to a string that ends with a zero byte and stays as it is meanwhile.
pub(super) unsafe fn text_at(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: CStr::from_ptr needs a valid string; the caller promises one, and null is excluded.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_names_the_packages() {
        let text = LibraryMissing("cannot open shared object file".into()).to_string();
        assert!(text.contains("librbd1") && text.contains("librados2"), "{text}");
    }

    #[test]
    fn names_end_where_c_ends_them() {
        assert_eq!(text_in(b"abc\0def"), "abc");
        assert_eq!(text_in(b"no end"), "");
        assert!(c_string("a\0b").is_err());
    }
}
