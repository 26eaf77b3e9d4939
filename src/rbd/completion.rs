//! An asynchronous operation: memory that librbd works on, and the future that waits for it.

use std::ffi::{c_int, c_void};
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::error::RbdError;
use super::sys::{Ceph, rbd_completion_t};

/// An operation under way. Dropping it lets the operation go on; its memory stays owned by it.
pub struct Pending<R>(oneshot::Receiver<(isize, R)>);

impl<R> fmt::Debug for Pending<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pending")
    }
}

impl<R> Future for Pending<R> {
    /// What librbd answered, bytes for a read and 0 for a write, and what the operation gives
    /// back of its memory.
    type Output = Result<(usize, R), RbdError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answered| match answered {
            Ok((answer, back)) => match usize::try_from(answer) {
                Ok(bytes) => Ok((bytes, back)),
                Err(_) => Err(failed(c_int::try_from(answer).unwrap_or(-libc::EIO))),
            },
            // The callback panicked before it could answer.
            Err(_) => Err(failed(-libc::EIO)),
        })
    }
}

fn failed(answer: c_int) -> RbdError {
    RbdError::new("reading or writing", answer)
}

/// Operations of one image that have begun and not ended.
#[derive(Debug, Default)]
pub(super) struct Flights {
    count: Mutex<usize>,
    landed: Condvar,
    /// Whether one has failed, ever.
    has_failed: AtomicBool,
}

impl Flights {
    fn lock(&self) -> MutexGuard<'_, usize> {
        // A counter is valid whatever panicked.
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until none is under way.
    pub(super) fn wait(&self) {
        let none = self.landed.wait_while(self.lock(), |count| *count > 0);
        drop(none.unwrap_or_else(PoisonError::into_inner));
    }

    /// Takes note of a failure.
    pub(super) fn fail(&self) {
        self.has_failed.store(true, Ordering::Release);
    }

    /// Whether anything has failed that has ended.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }
}

/// Counts an operation while it lives.
struct Flight(Arc<Flights>);

impl Flight {
    fn begin(flights: &Arc<Flights>) -> Self {
        *flights.lock() += 1;
        Self(Arc::clone(flights))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
        self.0.landed.notify_all();
    }
}

/// What an operation owns from its start until its callback.
struct Operation<M, R> {
    ceph: &'static Ceph,
    memory: M,
    give_back: fn(M) -> R,
    answer: oneshot::Sender<(isize, R)>,
    /// Last, so that the operation counts until everything else is gone.
    flight: Flight,
}

/// Starts an operation. `start` makes the call with the completion it is given, on memory that
/// `memory` keeps valid and in place; it answers what librbd answered. `give_back` says what the
/// waiter gets of the memory when it is ours again.
///
/// # Errors
/// When librbd takes no operation; the memory is dropped.
pub(super) fn submit<M: Send + 'static, R: Send + 'static>(
    ceph: &'static Ceph,
    flights: &Arc<Flights>,
    memory: M,
    give_back: fn(M) -> R,
    start: impl FnOnce(rbd_completion_t) -> c_int,
) -> Result<Pending<R>, RbdError> {
    let (answer, answered) = oneshot::channel();
    let flight = Flight::begin(flights);
    let operation = Operation { ceph, memory, give_back, answer, flight };
    let operation = Box::into_raw(Box::new(operation));
    let mut completion = null_mut();
    // SAFETY: rbd_aio_create_completion stores the pointers and calls `done` with the second when
    // the operation ends. `operation` comes from Box::into_raw of the type that `done::<M, R>`
    // expects, and both M and R are Send, as `done` runs on a thread of librbd's.
    let created = unsafe {
        ceph.rbd_aio_create_completion(operation.cast(), Some(done::<M, R>), &raw mut completion)
    };
    if created < 0 {
        // SAFETY: Box::from_raw needs the pointer of into_raw, once. No completion knows it.
        drop(unsafe { Box::from_raw(operation) });
        return Err(failed(created));
    }
    let started = start(completion);
    if started < 0 {
        // SAFETY: rbd_aio_release needs a completion that nothing uses any more: librbd calls back
        // for operations that it has taken, and it has refused this one.
        unsafe { ceph.rbd_aio_release(completion) };
        // SAFETY: Box::from_raw needs the pointer of into_raw, once. `done` is never called for a
        // refused operation, as above.
        drop(unsafe { Box::from_raw(operation) });
        return Err(failed(started));
    }
    Ok(Pending(answered))
}

/// librbd's callback: the operation has ended, and its memory is ours again.
unsafe extern "C" fn done<M: Send, R: Send>(completion: rbd_completion_t, operation: *mut c_void) {
    // SAFETY: Box::from_raw needs the pointer of into_raw, once. `submit::<M, R>` made it, gave it to
    // this completion only, and librbd calls back once for each completion.
    let operation = unsafe { Box::from_raw(operation.cast::<Operation<M, R>>()) };
    // Nothing of the operation is seen again after a panic, so it can't be seen broken.
    let end = AssertUnwindSafe(move || operation.end(completion));
    if catch_unwind(end).is_err() {
        tracing::error!("a completed operation of librbd could not be handed over");
    }
}

impl<M, R> Operation<M, R> {
    fn end(self, completion: rbd_completion_t) {
        // SAFETY: rbd_aio_get_return_value needs a completion that has ended; `done` is called
        // when it has.
        let answer = unsafe { self.ceph.rbd_aio_get_return_value(completion) };
        // SAFETY: rbd_aio_release needs a completion that we don't use any more; librbd holds a
        // reference of its own during the callback.
        unsafe { self.ceph.rbd_aio_release(completion) };
        if answer < 0 {
            self.flight.0.fail();
        }
        // Nobody may be waiting; then what is given back is dropped here.
        let _ = self.answer.send((answer, (self.give_back)(self.memory)));
        drop(self.flight);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_end_of_an_image_waits_for_its_operations() {
        let flights = Arc::new(Flights::default());
        let flight = Flight::begin(&flights);
        let waiting = Arc::clone(&flights);
        let waiter = std::thread::spawn(move || waiting.wait());
        std::thread::sleep(Duration::from_millis(20));
        assert!(!waiter.is_finished());
        drop(flight);
        waiter.join().unwrap();
        flights.wait();
    }
}
