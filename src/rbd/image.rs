//! Images of a pool: made, written, read, given snapshots, removed.

use std::ffi::{CStr, c_int};
use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::{null, null_mut};
use std::sync::Arc;

use super::cluster::Pool;
use super::completion::{Flights, Pending, submit};
use super::error::{RbdError, check};
use super::sys::{
    Ceph, LOCK_MODE_EXCLUSIVE, RBD_FEATURE_EXCLUSIVE_LOCK, RBD_FEATURE_FAST_DIFF,
    RBD_FEATURE_OBJECT_MAP, c_string, iovec, rbd_image_spec_t, rbd_image_t, rbd_image_watcher_t,
    text_at, text_in,
};
use crate::buffer::{Frozen, Slot};
use crate::limits::SLOT_BYTES;

/// How often a list is asked for again because it grew meanwhile.
const LIST_TRIES: usize = 8;

/// The entries of a list whose length nobody knows before. `fill` writes as many as there is room
/// for and the number that there are; when that is more, it is asked again.
fn list<E>(
    empty: impl Fn() -> E,
    fill: impl Fn(*mut E, *mut usize) -> c_int,
) -> Result<Vec<E>, c_int> {
    let mut entries = Vec::new();
    for _ in 0..LIST_TRIES {
        let mut count = entries.len();
        match fill(entries.as_mut_ptr(), &raw mut count) {
            0.. => {
                entries.truncate(count);
                return Ok(entries);
            }
            answer if answer == -libc::ERANGE => entries.resize_with(count, &empty),
            answer => return Err(answer),
        }
    }
    Err(-libc::EAGAIN)
}

/// A chunk, as C describes it.
fn piece(chunk: &Frozen) -> iovec {
    iovec { iov_base: chunk.as_ptr().cast_mut().cast(), iov_len: chunk.len() }
}

/// Lets go of chunks and tells how many they were.
fn released(chunks: Vec<Frozen>) -> usize {
    chunks.len()
}

impl Pool {
    fn ceph(&self) -> &'static Ceph {
        self.cluster().ceph
    }

    /// Makes an image of format 2 with objects of `1 << order` bytes and the cluster's features.
    ///
    /// # Errors
    /// [`super::RbdErrorKind::Exists`] when the name is taken.
    pub fn create(&self, name: &str, size: u64, order: u8) -> Result<(), RbdError> {
        let (c_name, mut order) = (c_string(name)?, c_int::from(order));
        let features = self.cluster().features();
        // SAFETY: rbd_create3 needs a pool's handle and a string; it reads and writes `order`.
        let made = unsafe {
            self.ceph().rbd_create3(self.raw, c_name.as_ptr(), size, features, &raw mut order, 0, 0)
        };
        check(made, || self.doing("making", name))
    }

    /// Opens an image, or a snapshot of it, and watches it, so that nobody removes it meanwhile.
    ///
    /// # Errors
    /// [`super::RbdErrorKind::NotFound`] when there is none.
    pub fn open(self: &Arc<Self>, name: &str, snapshot: Option<&str>) -> Result<Image, RbdError> {
        let (c_name, c_snapshot) = (c_string(name)?, snapshot.map(c_string).transpose()?);
        let c_snapshot = c_snapshot.as_deref().map_or(null(), CStr::as_ptr);
        let mut raw = null_mut();
        // SAFETY: rbd_open needs a pool's handle, a string, and a string or null; it writes a
        // handle. The strings live on this frame.
        let opened =
            unsafe { self.ceph().rbd_open(self.raw, c_name.as_ptr(), &raw mut raw, c_snapshot) };
        check(opened, || self.doing("opening", name))?;
        let open = Open { raw, pool: Arc::clone(self), flights: Arc::default() };
        Ok(Image { open: ManuallyDrop::new(open), name: name.to_owned() })
    }

    /// Removes an image without snapshots.
    ///
    /// # Errors
    /// [`super::RbdErrorKind::HasSnapshots`], or [`super::RbdErrorKind::Busy`] when it is open
    /// anywhere.
    pub fn remove(&self, name: &str) -> Result<(), RbdError> {
        let c_name = c_string(name)?;
        // SAFETY: rbd_remove needs a pool's handle and a string.
        let removed = unsafe { self.ceph().rbd_remove(self.raw, c_name.as_ptr()) };
        check(removed, || self.doing("removing", name))
    }

    /// Gives an image another name, at once and whole.
    ///
    /// # Errors
    /// [`super::RbdErrorKind::Exists`] when the new name is taken.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), RbdError> {
        let (c_from, c_to) = (c_string(from)?, c_string(to)?);
        // SAFETY: rbd_rename needs a pool's handle and two strings.
        let renamed = unsafe { self.ceph().rbd_rename(self.raw, c_from.as_ptr(), c_to.as_ptr()) };
        check(renamed, || format!("{} to {to}", self.doing("renaming", from)))
    }

    /// Moves an image to the trash, from where the cluster frees it when nothing needs it.
    ///
    /// # Errors
    /// [`super::RbdErrorKind::Busy`] when it is open anywhere.
    pub fn move_to_trash(&self, name: &str) -> Result<(), RbdError> {
        let c_name = c_string(name)?;
        // SAFETY: rbd_trash_move needs a pool's handle and a string.
        let moved = unsafe { self.ceph().rbd_trash_move(self.raw, c_name.as_ptr(), 0) };
        check(moved, || self.doing("moving to the trash", name))
    }

    /// The names of all images.
    ///
    /// # Errors
    /// When the pool can't be read.
    pub fn names(&self) -> Result<Vec<String>, RbdError> {
        let empty = || rbd_image_spec_t { id: null_mut(), name: null_mut() };
        let mut specs = list(empty, |specs, count| {
            // SAFETY: rbd_list2 needs a pool's handle, and room for as many entries as `count`
            // says, which `list` gives.
            unsafe { self.ceph().rbd_list2(self.raw, specs, count) }
        })
        .map_err(|answer| RbdError::new(format!("listing pool {}", self.name()), answer))?;
        // SAFETY: text_at needs a string; librbd has filled in each of these.
        let names = specs.iter().map(|spec| unsafe { text_at(spec.name) }).collect();
        // SAFETY: the entries are those that rbd_list2 filled in, freed once.
        unsafe { self.ceph().rbd_image_spec_list_cleanup(specs.as_mut_ptr(), specs.len()) };
        Ok(names)
    }

    fn doing(&self, verb: &str, name: &str) -> String {
        format!("{verb} image {name} in pool {}", self.name())
    }
}

/// An open image.
pub struct Image {
    /// Taken by [`Image::close`] or the drop, whichever comes.
    open: ManuallyDrop<Open>,
    name: String,
}

/// The handle. Dropping it waits for its operations and closes it. Blocking.
struct Open {
    raw: rbd_image_t,
    pool: Arc<Pool>,
    flights: Arc<Flights>,
}

// SAFETY: Send needs that another thread may use and close the handle. librbd's handles belong to
// no thread.
unsafe impl Send for Open {}
// SAFETY: Sync needs that several threads may use the handle at once. librbd locks it itself, and
// only `Open::drop`, which has it alone, closes it.
unsafe impl Sync for Open {}

impl Drop for Open {
    fn drop(&mut self) {
        self.flights.wait();
        // SAFETY: rbd_close needs an open handle without operations under way: none begins without
        // a borrow of `self`, and those that had begun have ended.
        let closed = unsafe { self.pool.ceph().rbd_close(self.raw) };
        if let Err(error) = check(closed, || "closing an image".to_owned()) {
            tracing::debug!(%error, "librbd has let go of it all the same");
        }
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Image {
    /// Writes chunks that follow each other from `offset`. The operation holds them until librbd
    /// has let go of them; its end tells how many they were.
    ///
    /// # Errors
    /// When librbd takes no operation; the future tells what became of it.
    pub fn write(&self, chunks: Vec<Frozen>, offset: u64) -> Result<Pending<usize>, RbdError> {
        let pieces: Vec<iovec> = chunks.iter().map(piece).collect();
        let count = c_int::try_from(pieces.len()).unwrap_or(c_int::MAX);
        submit(self.ceph(), &self.open.flights, chunks, released, |completion| {
            // SAFETY: rbd_aio_writev needs an open handle, which `self` is, an array that lives
            // until it returns, and memory in the array's pieces that stays and doesn't change
            // until the callback. They lie in the slots of `chunks`, which the operation owns until
            // then; slots don't move, and a frozen one is never written. librbd only reads them
            // although the type says otherwise.
            unsafe {
                self.ceph().rbd_aio_writev(
                    self.open.raw,
                    pieces.as_ptr(),
                    count,
                    offset,
                    completion,
                )
            }
        })
    }

    /// Reads `len` bytes at `offset` into a slot; fewer where the image ends.
    ///
    /// # Errors
    /// When librbd takes no operation; the future tells what became of it.
    pub fn read(&self, mut slot: Slot, offset: u64, len: usize) -> Result<Pending<Slot>, RbdError> {
        let len = len.min(SLOT_BYTES);
        let into = slot.as_mut_slice().as_mut_ptr();
        submit(
            self.ceph(),
            &self.open.flights,
            slot,
            |slot| slot,
            |completion| {
                // SAFETY: rbd_aio_read needs an open handle, which `self` is, and room for `len` bytes
                // that nobody else uses until the callback. They lie in the slot, which is at least
                // that long, does not move, and is owned by the operation until then.
                unsafe {
                    self.ceph().rbd_aio_read(self.open.raw, offset, len, into.cast(), completion)
                }
            },
        )
    }

    /// Size in bytes.
    ///
    /// # Errors
    /// When the cluster does not say.
    pub fn size(&self) -> Result<u64, RbdError> {
        let mut size = 0;
        // SAFETY: rbd_get_size needs an open handle and writes a number.
        let got = unsafe { self.ceph().rbd_get_size(self.open.raw, &raw mut size) };
        check(got, || self.doing("asking for the size of"))?;
        Ok(size)
    }

    /// The id that stays with the image when its name changes.
    ///
    /// # Errors
    /// When the cluster does not say.
    pub fn id(&self) -> Result<String, RbdError> {
        let mut id = [0_u8; 128];
        // SAFETY: rbd_get_id needs an open handle and writes at most the given length.
        let got =
            unsafe { self.ceph().rbd_get_id(self.open.raw, id.as_mut_ptr().cast(), id.len()) };
        check(got, || self.doing("asking for the id of"))?;
        Ok(text_in(&id))
    }

    fn features(&self) -> Result<u64, RbdError> {
        let mut features = 0;
        // SAFETY: rbd_get_features needs an open handle and writes a number.
        let got = unsafe { self.ceph().rbd_get_features(self.open.raw, &raw mut features) };
        check(got, || self.doing("asking for the features of"))?;
        Ok(features)
    }

    /// Takes the image's lock, where it has one, until it is closed. Do so before the first write:
    /// librbd would take it then, and a write for which it can't be had, because an OSD has just
    /// ended, is never called back (seen with 16.2.15). librbd tells it that it has failed when its
    /// memory is let go of, and lets go of the memory of a zero-copy write when it is told.
    ///
    /// # Errors
    /// [`super::RbdErrorKind::Denied`] when somebody else has it; what the cluster answers.
    pub fn lock(&self) -> Result<(), RbdError> {
        if self.features()? & u64::from(RBD_FEATURE_EXCLUSIVE_LOCK) == 0 {
            return Ok(());
        }
        // SAFETY: rbd_lock_acquire needs an open handle and one of librbd's modes.
        let locked = unsafe { self.ceph().rbd_lock_acquire(self.open.raw, LOCK_MODE_EXCLUSIVE) };
        self.checked(locked, "locking")
    }

    /// Makes the image larger or smaller.
    ///
    /// # Errors
    /// What the cluster answers.
    pub fn resize(&self, size: u64) -> Result<(), RbdError> {
        tracing::debug!(image = self.name, size, "resizing");
        // SAFETY: rbd_resize needs an open handle.
        let resized = unsafe { self.ceph().rbd_resize(self.open.raw, size) };
        self.checked(resized, "resizing")
    }

    /// Makes it an image without an object map, where it is one with. Then its removal looks for
    /// every object that it may have, and not only for those that the map knows.
    ///
    /// # Errors
    /// [`super::RbdErrorKind::Busy`] when somebody else has the image's lock, be it a connection of
    /// which an OSD has not heard the end.
    pub fn drop_object_map(&self) -> Result<(), RbdError> {
        // The second needs the first.
        let maps = self.features()? & u64::from(RBD_FEATURE_OBJECT_MAP | RBD_FEATURE_FAST_DIFF);
        if maps == 0 {
            return Ok(());
        }
        // SAFETY: rbd_update_features needs an open handle.
        let dropped = unsafe { self.ceph().rbd_update_features(self.open.raw, maps, 0) };
        // What librbd says to whoever can't have the lock.
        let dropped = if dropped == -libc::EROFS { -libc::EBUSY } else { dropped };
        self.checked(dropped, "dropping the object map of")
    }

    /// Waits until everything that was written is with the cluster.
    ///
    /// # Errors
    /// What the cluster answers.
    pub fn flush(&self) -> Result<(), RbdError> {
        // SAFETY: rbd_flush needs an open handle.
        let flushed = unsafe { self.ceph().rbd_flush(self.open.raw) };
        self.checked(flushed, "flushing")
    }

    /// Makes a snapshot.
    ///
    /// # Errors
    /// What the cluster answers.
    pub fn snap(&self, snapshot: &str) -> Result<(), RbdError> {
        let c_snapshot = c_string(snapshot)?;
        // SAFETY: rbd_snap_create needs an open handle and a string.
        let made = unsafe { self.ceph().rbd_snap_create(self.open.raw, c_snapshot.as_ptr()) };
        self.checked(made, "making the snapshot of")
    }

    /// Removes a snapshot that is not protected.
    ///
    /// # Errors
    /// What the cluster answers.
    pub fn remove_snap(&self, snapshot: &str) -> Result<(), RbdError> {
        let c_snapshot = c_string(snapshot)?;
        // SAFETY: rbd_snap_remove needs an open handle and a string.
        let removed = unsafe { self.ceph().rbd_snap_remove(self.open.raw, c_snapshot.as_ptr()) };
        self.checked(removed, "removing the snapshot of")
    }

    /// Lets a snapshot be cloned, and keeps it from being removed.
    ///
    /// # Errors
    /// What the cluster answers.
    pub fn protect(&self, snapshot: &str) -> Result<(), RbdError> {
        let c_snapshot = c_string(snapshot)?;
        // SAFETY: rbd_snap_protect needs an open handle and a string.
        let done = unsafe { self.ceph().rbd_snap_protect(self.open.raw, c_snapshot.as_ptr()) };
        self.checked(done, "protecting the snapshot of")
    }

    /// Lets a snapshot be removed.
    ///
    /// # Errors
    /// [`super::RbdErrorKind::Busy`] when a clone of the first kind needs it; it stays protected.
    pub fn unprotect(&self, snapshot: &str) -> Result<(), RbdError> {
        let c_snapshot = c_string(snapshot)?;
        // SAFETY: rbd_snap_unprotect needs an open handle and a string.
        let done = unsafe { self.ceph().rbd_snap_unprotect(self.open.raw, c_snapshot.as_ptr()) };
        self.checked(done, "unprotecting the snapshot of")
    }

    /// Whether a snapshot is protected; `None` when there is none of this name.
    ///
    /// # Errors
    /// What the cluster answers.
    pub fn is_protected(&self, snapshot: &str) -> Result<Option<bool>, RbdError> {
        let (c_snapshot, mut is_protected) = (c_string(snapshot)?, 0);
        // SAFETY: rbd_snap_is_protected needs an open handle and a string, and writes a number.
        let got = unsafe {
            self.ceph().rbd_snap_is_protected(
                self.open.raw,
                c_snapshot.as_ptr(),
                &raw mut is_protected,
            )
        };
        if got == -libc::ENOENT {
            return Ok(None);
        }
        check(got, || self.doing("asking for the snapshot of"))?;
        Ok(Some(is_protected != 0))
    }

    /// Addresses of other clients that have the image open. A client that was killed is among them
    /// for half a minute.
    ///
    /// # Errors
    /// What the cluster answers.
    pub fn other_watchers(&self) -> Result<Vec<String>, RbdError> {
        let empty = || rbd_image_watcher_t { addr: null_mut(), id: 0, cookie: 0 };
        let mut watchers = list(empty, |watchers, count| {
            // SAFETY: rbd_watchers_list needs an open handle, and room for as many entries as
            // `count` says, which `list` gives.
            unsafe { self.ceph().rbd_watchers_list(self.open.raw, watchers, count) }
        })
        .map_err(|answer| RbdError::new(self.doing("listing watchers of"), answer))?;
        // SAFETY: text_at needs a string; librbd has filled in each of these.
        let all: Vec<String> = watchers.iter().map(|one| unsafe { text_at(one.addr) }).collect();
        // SAFETY: the entries are those that rbd_watchers_list filled in, freed once.
        unsafe { self.ceph().rbd_watchers_list_cleanup(watchers.as_mut_ptr(), watchers.len()) };
        let ours = self.open.pool.cluster().addresses()?;
        Ok(all.into_iter().filter(|address| !ours.contains(address)).collect())
    }

    /// Closes the image and waits for that. Blocking.
    pub fn close(self) {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: ManuallyDrop::drop must be called once; `this` is never dropped itself.
        unsafe { ManuallyDrop::drop(&mut this.open) };
        drop(std::mem::take(&mut this.name));
    }

    /// Waits for what is under way and tells whether anything that was done to the image through
    /// this handle has failed, and so may or may not have happened. Blocking.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.open.flights.wait();
        self.open.flights.has_failed()
    }

    /// The answer of a call that changes the image.
    fn checked(&self, answer: c_int, verb: &str) -> Result<(), RbdError> {
        if answer < 0 {
            self.open.flights.fail();
        }
        check(answer, || self.doing(verb))
    }

    fn ceph(&self) -> &'static Ceph {
        self.open.pool.ceph()
    }

    fn doing(&self, verb: &str) -> String {
        self.open.pool.doing(verb, &self.name)
    }
}

impl Drop for Image {
    /// Closes on the blocking pool where there is one, because the dropper may not wait.
    fn drop(&mut self) {
        // SAFETY: ManuallyDrop::take must be called once; `close` never runs this drop.
        let open = unsafe { ManuallyDrop::take(&mut self.open) };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(open))),
            Err(_) => drop(open),
        }
    }
}
