//! Downloads: bytes that nobody has to read go from the file to the socket inside the kernel; data
//! that is no file comes through pooled memory, read a little ahead (see [`pieces`]).
//!
//! `sendfile(2)` runs on the blocking pool, because a file may have to come from a disk, with the
//! socket in non-blocking mode, so that a slow client holds no thread: when the socket is full the
//! transfer waits for it on the runtime. Deadlines are by minimum rate, as for uploads.
//!
//! Data that ends before the bytes that were promised breaks the connection (`DD-09`); an
//! answer never ends cleanly short.

mod pieces;

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::TcpStream;

use crate::buffer::Share;
use crate::limits::{SENDFILE_BYTES, SENDFILE_TURN_BYTES};
use crate::store::{Source, StoreError};

/// Slowest transfer that is kept.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Bytes per second.
    pub rate_bytes_per_sec_min: u64,
    /// Time without which no transfer is judged.
    pub grace: Duration,
}

/// Part of an image's data.
#[derive(Debug)]
pub struct Outgoing {
    /// Opened for reading.
    pub source: Source,
    /// Memory for a source that comes in pieces.
    pub share: Share,
    /// First byte.
    pub offset: u64,
    /// How many bytes.
    pub len: u64,
}

/// Why a download broke off. The connection is of no further use.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The data ended too early: it was changed under its record.
    #[error("the stored data ended {missing} bytes too early")]
    Short {
        /// Bytes that were promised and are not there.
        missing: u64,
    },
    /// The client took the data too slowly.
    #[error("the client took the data too slowly")]
    TooSlow,
    /// The store failed in the middle.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// Sending or reading failed; most often the client was gone.
    #[error("sending failed")]
    Io(#[from] io::Error),
}

/// One visit to the blocking pool.
enum Turn {
    /// All bytes are sent, or this turn's share of them.
    Sent(u64),
    /// The socket took so many and is full.
    Full(u64),
    /// The file ended after so many.
    Ended(u64),
}

/// Sends part of an image's data; `sent` is told as bytes go.
///
/// # Errors
/// [`SendError`]; some bytes may have been sent.
pub async fn send(
    stream: &TcpStream,
    outgoing: Outgoing,
    pace: Pace,
    sent: impl Fn(u64),
) -> Result<(), SendError> {
    let Outgoing { source, share, offset, len } = outgoing;
    match source {
        Source::File(file, _) => send_file(stream, file, (offset, len), pace, sent).await,
        Source::Stream(mut reader) => {
            reader.select(offset..offset.saturating_add(len));
            pieces::send(stream, reader, len, &share, pace, sent).await
        }
    }
}

async fn send_file(
    stream: &TcpStream,
    file: File,
    (mut offset, mut left): (u64, u64),
    pace: Pace,
    sent: impl Fn(u64),
) -> Result<(), SendError> {
    let file = Arc::new(file);
    let socket = Arc::new(rustix::io::dup(stream).map_err(io::Error::from)?);
    while left > 0 {
        let (file, socket) = (Arc::clone(&file), Arc::clone(&socket));
        let share = left.min(SENDFILE_TURN_BYTES as u64);
        let turn = tokio::task::spawn_blocking(move || push(&socket, &file, offset, share));
        let (gone, is_full) = match turn.await.map_err(io::Error::other)?? {
            Turn::Sent(gone) => (gone, false),
            Turn::Full(gone) => (gone, true),
            Turn::Ended(gone) => return Err(SendError::Short { missing: left - gone }),
        };
        sent(gone);
        (offset, left) = (offset + gone, left - gone);
        if is_full {
            wait_for_room(stream, pace, gone).await?;
        }
    }
    Ok(())
}

/// Pushes bytes until they are gone, the socket is full or the file ends.
fn push(socket: &impl std::os::fd::AsFd, file: &File, offset: u64, share: u64) -> io::Result<Turn> {
    let (mut at, mut gone) = (offset, 0);
    while gone < share {
        let count = usize::try_from(share - gone).unwrap_or(usize::MAX).min(SENDFILE_BYTES);
        match rustix::fs::sendfile(socket, file, Some(&mut at), count) {
            Ok(0) => return Ok(Turn::Ended(gone)),
            Ok(sent) => gone += sent as u64,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(Turn::Full(gone)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Turn::Sent(gone))
}

/// Waits until the socket takes more. `gone` bytes have just filled it: the client may take as
/// long for them as they are worth.
async fn wait_for_room(stream: &TcpStream, pace: Pace, gone: u64) -> Result<(), SendError> {
    let ready = async {
        stream.writable().await?;
        // Readiness is remembered until a call finds the socket full; sendfile is not tokio's.
        match stream.try_io(tokio::io::Interest::WRITABLE, || probe(stream)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await,
            ready => ready,
        }
    };
    in_time(pace, gone, ready).await
}

/// Waits for a socket that `bytes` have filled, for as long as they are worth.
async fn in_time(
    pace: Pace,
    bytes: u64,
    ready: impl Future<Output = io::Result<()>>,
) -> Result<(), SendError> {
    let worth = Duration::from_secs(bytes / pace.rate_bytes_per_sec_min.max(1));
    tokio::time::timeout(pace.grace + worth, ready).await.map_err(|_| SendError::TooSlow)??;
    Ok(())
}

/// Asks the kernel whether the socket has room.
fn probe(stream: &TcpStream) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(stream, PollFlags::OUT)];
    match poll(&mut fds, Some(&Timespec::default()))? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(()),
    }
}
