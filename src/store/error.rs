//! Errors of stores: a kind for control flow, a context for people, the source for the log.

use std::fmt;
use std::io;

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
    /// Anything else; the source says what.
    Io,
}

/// A store's failure.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    context: String,
    source: Option<io::Error>,
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
        Self { kind: kind_of(&source), context: context.into(), source: Some(source) }
    }

    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
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
        self.source.as_ref().map(|source| source as _)
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
