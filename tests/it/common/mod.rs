//! What the tests share: a server guard, a client that controls every byte, bodies that need no
//! memory, file systems made for the occasion.

mod cloud;
mod data;
mod http;
mod images;
mod imports;
mod metrics;
mod places;
mod programs;
mod server;
mod upload;
mod web;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(crate) use cloud::Cloud;
pub(crate) use data::{Body, Random, sums};
pub(crate) use http::{Conn, End, Response};
pub(crate) use imports::{direct, into};
pub(crate) use metrics::Metrics;
pub(crate) use places::{Bind, Mount, Place, mount, names_in};
pub(crate) use programs::{bounded, has_ended, program};
pub(crate) use server::{Server, Setup, glissade, log_lines};
pub(crate) use upload::{Framing, Upload};
pub(crate) use web::{Web, begin};

/// One kibibyte.
pub(crate) const KIB: u64 = 1024;
/// One mebibyte.
pub(crate) const MIB: u64 = 1024 * KIB;
/// One gibibyte.
pub(crate) const GIB: u64 = 1024 * MIB;

/// How long what is bound to come is waited for. It only matters where it never comes: a busy
/// machine takes ten seconds to start a server.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Keeps other heavy tests waiting while the guard lives.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static HEAVY: Mutex<()> = Mutex::new(());
    HEAVY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks until `probe` gives something, for at most `limit`; `None` when it never did.
pub(crate) fn poll<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() > deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until `holds`, or fails the test with `what`.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let held = poll(PATIENCE, || holds().then_some(()));
    assert!(held.is_some(), "not within {PATIENCE:?}: {what}");
}
