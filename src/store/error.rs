//! Errors of stores: a kind for control flow, a context for people, the source for the log.

use std::fmt;
use std::io;
use std::sync::Arc;

/// What a caller can do about a store's failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// There is no data at the location.
    NotFound,
    /// The image has data here already.
    Exists,
    /// No space, quota or file size left (ENOSPC, EDQUOT, EFBIG).
    NoSpace,
    /// The store refuses writes (EACCES, EPERM, EROFS).
    Denied,
    /// The data is in use.
    InUse,
    /// The store takes no data by its kind or configuration.
    AddDisabled,
    /// The store can't be reached or did not answer in time.
    Unavailable,
    /// A location that this store can't read.
    BadLocation,
    /// No configured store has the scheme of the location.
    NoStore,
    /// Anything else, a stale NFS handle (`FS-10`) among it; the source says what.
    Io,
}

/// A store's failure.
#[derive(Clone, Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    context: String,
    source: Option<Arc<io::Error>>,
}

impl StoreError {
    /// An error without an operating system error behind it.
    #[must_use]
    pub fn new(kind: StoreErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    /// Wraps an operating system error; its errno decides the kind.
    #[must_use]
    pub fn io(context: impl Into<String>, source: io::Error) -> Self {
        Self { kind: kind_of(&source), context: context.into(), source: Some(Arc::new(source)) }
    }

    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Whether it says, of a removal, that nothing is left to remove: the data is gone already, or
    /// was never ours.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self.kind, StoreErrorKind::NotFound | StoreErrorKind::AddDisabled)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{}: {source}", self.context),
            None => f.write_str(&self.context),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// `FS-04`, with its "do better": a full quota is a full store, a read-only file system a refusal.
fn kind_of(error: &io::Error) -> StoreErrorKind {
    match error.raw_os_error() {
        Some(libc::ENOENT) => StoreErrorKind::NotFound,
        Some(libc::EEXIST) => StoreErrorKind::Exists,
        Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => StoreErrorKind::NoSpace,
        Some(libc::EACCES | libc::EPERM | libc::EROFS) => StoreErrorKind::Denied,
        Some(libc::EBUSY) => StoreErrorKind::InUse,
        Some(libc::ETIMEDOUT) => StoreErrorKind::Unavailable,
        _ => StoreErrorKind::Io,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fs_04_and_fs_10_errno_decides_the_kind() {
        for (errno, kind) in [
            (libc::ENOSPC, StoreErrorKind::NoSpace),
            (libc::EDQUOT, StoreErrorKind::NoSpace),
            (libc::EFBIG, StoreErrorKind::NoSpace),
            (libc::EACCES, StoreErrorKind::Denied),
            (libc::EROFS, StoreErrorKind::Denied),
            (libc::ENOENT, StoreErrorKind::NotFound),
            (libc::ESTALE, StoreErrorKind::Io),
        ] {
            let error = StoreError::io("a test", io::Error::from_raw_os_error(errno));
            assert_eq!(error.kind(), kind, "{error}");
        }
    }
}
