//! An archive as a source of bytes: a thread of its own unpacks into slots, a few ahead of the
//! engine, which is never held up by it.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::archive::{Archive, Unpacked};
use crate::buffer::{Frozen, Share};
use crate::limits::{
    CONVERT_RATE_BYTES_PER_SEC_MIN, SLOT_BYTES, UNPACK_AHEAD_SLOTS, UNPACK_LOOK_BYTES,
};
use crate::store::Staged;
use crate::store::file::FileStore;
use crate::upload::{ByteSource, SourceError};

/// What users are told of an archive that takes too long.
const TOO_LONG: &str =
    "Unpacking the archive took too long; try again later, or stage the image unpacked";

/// What comes out of an archive.
#[derive(Debug)]
pub(super) struct Unpacking {
    state: State,
    pace: Arc<Pace>,
    place: Place,
    runtime: Handle,
}

#[derive(Debug)]
enum State {
    Fresh(Archive),
    Filling(mpsc::Receiver<Piece>),
    Over,
}

/// The next slot, or none at the end; a thread that ends otherwise has not come to it.
type Piece = Result<Option<Frozen>, String>;

/// Where what comes out goes.
#[derive(Clone, Debug)]
struct Place {
    staging: FileStore,
    staged: Staged,
}

/// How fast it goes, and whether anybody still waits for it.
#[derive(Debug)]
struct Pace {
    began: Instant,
    grace: Duration,
    moved_bytes: AtomicU64,
    is_unwanted: AtomicBool,
    /// Decoders keep the kinds of errors to themselves.
    is_late: AtomicBool,
}

impl Unpacking {
    /// An archive that lies there; the runtime has the thread.
    pub(super) fn new(
        archive: Archive,
        staged: &Staged,
        staging: &FileStore,
        grace: Duration,
        runtime: Handle,
    ) -> Self {
        let pace = Arc::new(Pace {
            began: Instant::now(),
            grace,
            moved_bytes: AtomicU64::new(0),
            is_unwanted: AtomicBool::new(false),
            is_late: AtomicBool::new(false),
        });
        let place = Place { staging: staging.clone(), staged: staged.clone() };
        Self { state: State::Fresh(archive), pace, place, runtime }
    }

    /// Starts the thread.
    fn begin(&self, archive: Archive, share: &Share) -> State {
        let (sender, slots) = mpsc::channel(UNPACK_AHEAD_SLOTS);
        let filling = Filling {
            pace: Arc::clone(&self.pace),
            place: self.place.clone(),
            share: share.clone(),
            sender,
            runtime: self.runtime.clone(),
        };
        drop(self.runtime.spawn_blocking(move || filling.run(archive)));
        State::Filling(slots)
    }
}

impl Drop for Unpacking {
    fn drop(&mut self) {
        self.pace.is_unwanted.store(true, Ordering::Relaxed);
    }
}

impl ByteSource for Unpacking {
    fn announced(&self) -> Option<u64> {
        None
    }

    fn slots_ahead(&self) -> usize {
        UNPACK_AHEAD_SLOTS
    }

    async fn next(&mut self, share: &Share) -> Result<Option<Frozen>, SourceError> {
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::Fresh(archive) => self.begin(archive, share),
            begun => begun,
        };
        let State::Filling(slots) = &mut self.state else { return Ok(None) };
        let next = slots.recv().await.unwrap_or_else(|| Err("Unpacking has failed".to_owned()));
        if !matches!(next, Ok(Some(_))) {
            self.state = State::Over;
        }
        next.map_err(SourceError::Fetch)
    }
}

impl Pace {
    /// So many bytes have been read or have come out.
    fn note(&self, bytes: usize) -> io::Result<()> {
        let moved = self.moved_bytes.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        let worth = Duration::from_secs(moved / CONVERT_RATE_BYTES_PER_SEC_MIN);
        let is_late = self.began.elapsed() > self.grace + worth;
        self.is_late.fetch_or(is_late, Ordering::Relaxed);
        match is_late || self.is_unwanted.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(()),
        }
    }
}

/// The archive, each reading of which is noted.
struct Packed {
    file: File,
    pace: Arc<Pace>,
}

impl Read for Packed {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(piece)?;
        self.pace.note(read)?;
        Ok(read)
    }
}

/// The thread that fills slots.
struct Filling {
    pace: Arc<Pace>,
    place: Place,
    share: Share,
    sender: mpsc::Sender<Piece>,
    runtime: Handle,
}

impl Filling {
    fn run(self, archive: Archive) {
        let end = self.fill(archive).map(|()| None);
        // Whoever wanted the data may have gone.
        let _ = self.sender.blocking_send(end);
    }

    /// Fills slot after slot, each to its end. The error is a sentence for whoever sent the
    /// archive.
    fn fill(&self, archive: Archive) -> Result<(), String> {
        let packed = |file| Packed { file, pace: Arc::clone(&self.pace) };
        let mut unpacked = archive.unpacked(packed).map_err(|why| why.to_string())?;
        let (mut come, mut looked) = (0, 0);
        loop {
            if come >= looked {
                self.look_for_room()?;
                looked = come + UNPACK_LOOK_BYTES;
            }
            let mut slot = self.runtime.block_on(self.share.take());
            let filled = fill_slot(&mut unpacked, slot.as_mut_slice(), &self.pace);
            let len = filled.map_err(|error| self.fault(&unpacked, &error))?;
            come += len as u64;
            let is_gone = len > 0 && self.sender.blocking_send(Ok(Some(slot.freeze(len)))).is_err();
            if is_gone || len < SLOT_BYTES {
                return Ok(());
            }
        }
    }

    fn fault(&self, unpacked: &Unpacked, error: &io::Error) -> String {
        tracing::info!(%error, "an archive can't be unpacked");
        match self.pace.is_late.load(Ordering::Relaxed) {
            true => TOO_LONG.to_owned(),
            false => unpacked.fault(error).to_string(),
        }
    }

    fn look_for_room(&self) -> Result<(), String> {
        self.place.staging.check_room(&self.place.staged).map_err(|error| {
            tracing::warn!(%error, "an archive is not unpacked");
            "The server has no room for what is in the archive; try again later".to_owned()
        })
    }
}

/// Fills a slot as far as there is something.
fn fill_slot(unpacked: &mut Unpacked, slot: &mut [u8], pace: &Pace) -> io::Result<usize> {
    let mut len = 0;
    while len < slot.len() {
        match unpacked.read(&mut slot[len..])? {
            0 => break,
            read => {
                pace.note(read)?;
                len += read;
            }
        }
    }
    Ok(len)
}
