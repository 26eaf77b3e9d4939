//! What the cluster answers, as what a caller can do about it.

use std::fmt;
use std::io;

/// What a caller can do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RbdErrorKind {
    /// There is no such image or snapshot.
    NotFound,
    /// There is one of this name already.
    Exists,
    /// The cluster or the pool is full, or a quota is used up.
    NoSpace,
    /// The user may not.
    Denied,
    /// The image is open somewhere, or has clones.
    Busy,
    /// The image has snapshots.
    HasSnapshots,
    /// The cluster can't be reached, did not answer in time, or lacks the pool.
    Unavailable,
    /// The cluster has cut this client off; a new connection is needed.
    Lost,
    /// Anything else.
    Other,
}

/// A failure, with what was being done.
#[derive(Clone, Debug)]
pub struct RbdError {
    doing: String,
    errno: i32,
    kind: RbdErrorKind,
}

impl RbdError {
    /// From the negative number that a call has answered.
    pub(super) fn new(doing: impl Into<String>, answer: i32) -> Self {
        let errno = answer.saturating_neg();
        Self { doing: doing.into(), errno, kind: kind_of(errno) }
    }

    /// The same where it means that there is no way to the cluster. A refusal stays one.
    pub(super) fn unreachable(doing: impl Into<String>, answer: i32) -> Self {
        let mut error = Self::new(doing, answer);
        if error.kind != RbdErrorKind::Denied {
            error.kind = RbdErrorKind::Unavailable;
        }
        error
    }

    /// There is an image of this name.
    #[must_use]
    pub fn exists(name: &str) -> Self {
        Self::new(format!("making image {name}"), -libc::EEXIST)
    }

    /// Somebody has the image open.
    #[must_use]
    pub fn busy(name: &str) -> Self {
        Self::new(format!("removing image {name}, which is open elsewhere"), -libc::EBUSY)
    }

    /// The process is ending.
    #[must_use]
    pub fn ending() -> Self {
        Self::new("waiting for the cluster while the server ends", -libc::ECANCELED)
    }

    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> RbdErrorKind {
        self.kind
    }
}

impl fmt::Display for RbdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.doing, io::Error::from_raw_os_error(self.errno))
    }
}

impl std::error::Error for RbdError {}

fn kind_of(errno: i32) -> RbdErrorKind {
    match errno {
        libc::ENOENT => RbdErrorKind::NotFound,
        libc::EEXIST => RbdErrorKind::Exists,
        libc::ENOSPC | libc::EDQUOT | libc::EFBIG => RbdErrorKind::NoSpace,
        libc::EACCES | libc::EPERM | libc::EROFS => RbdErrorKind::Denied,
        libc::EBUSY => RbdErrorKind::Busy,
        libc::ENOTEMPTY => RbdErrorKind::HasSnapshots,
        libc::ETIMEDOUT | libc::EHOSTUNREACH | libc::ECONNREFUSED => RbdErrorKind::Unavailable,
        // The monitors' list of clients that nobody may hear any more.
        libc::ESHUTDOWN | libc::ENOTCONN => RbdErrorKind::Lost,
        _ => RbdErrorKind::Other,
    }
}

/// The answer of a call that gives a negative error number.
pub(super) fn check(answer: i32, doing: impl FnOnce() -> String) -> Result<(), RbdError> {
    if answer < 0 { Err(RbdError::new(doing(), answer)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_was_done_and_what_can_be() {
        let error = RbdError::new("opening image x", -libc::ENOENT);
        assert_eq!(error.kind(), RbdErrorKind::NotFound);
        assert!(error.to_string().starts_with("opening image x: No such file"));
        let unreachable = RbdError::unreachable("connecting", -libc::ENOENT);
        assert_eq!(unreachable.kind(), RbdErrorKind::Unavailable);
        let refused = RbdError::unreachable("connecting", -libc::EACCES);
        assert_eq!(refused.kind(), RbdErrorKind::Denied);
        assert!(check(1, || unreachable!()).is_ok());
    }
}
