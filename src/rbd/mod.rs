//! Fence 2: the only code that knows librbd and librados.
//!
//! Both are opened at run time ([`sys`]), so one binary runs on hosts with and without Ceph. What
//! comes out of here are safe types: a [`Connection`] that is made when it is first used and made
//! again when the cluster has cut it, a [`Pool`], an [`Image`], and the [`Pending`] operation.
//!
//! **Ownership.** Memory under way is owned by the operation, never by the future that waits for
//! it. [`Image::write`] takes a chunk and [`Image::read`] a slot; both go into a box that librbd's
//! callback opens, and nobody else. The callback is the moment at which librbd has let go of the
//! memory, also with zero-copy writes, which go to the socket from where they lie. So a
//! [`Pending`] may be dropped at any time: the operation goes on, and the memory is recycled when
//! it ends. To be rid of an operation, wait for it; the cluster's time-outs bound how long. They bound
//! single operations on objects, though, and librbd has been seen to wait for none
//! ([`Image::lock`]): whoever has a client waiting gives up after [`Connection::call_wait`].
//!
//! **Order of ends.** An image holds its pool, a pool its cluster, so nothing is closed under
//! something that uses it. Closing an image waits for its operations. Operations hold no image:
//! otherwise the last one would close it from librbd's own thread, which would wait for itself.
//!
//! **Threads.** Everything but [`Image::write`] and [`Image::read`] waits for the cluster, and must
//! be called where waiting is allowed. Callbacks run on librbd's threads; they send an answer,
//! drop memory, and don't unwind into C. They go on to the last moment, so a program that may have
//! opened the library ends by [`leave`].

mod cluster;
mod completion;
mod error;
mod image;
mod sys;

pub use cluster::{Cluster, Connection, Options, Pool};
pub use completion::Pending;
pub use error::{RbdError, RbdErrorKind};
pub use image::Image;
pub use sys::{LibraryMissing, leave};
