//! Sending data that comes in pieces: what is read ahead waits in slots for the socket.

use std::io;

use tokio::net::TcpStream;

use super::{Pace, SendError, in_time};
use crate::buffer::Share;
use crate::store::Reader;

/// Sends `len` bytes of what the reader gives.
pub(super) async fn send(
    stream: &TcpStream,
    mut reader: Box<dyn Reader>,
    mut len: u64,
    share: &Share,
    pace: Pace,
    sent: impl Fn(u64),
) -> Result<(), SendError> {
    while len > 0 {
        let Some(piece) = reader.next(share).await? else {
            return Err(SendError::Short { missing: len });
        };
        let wanted = piece.len().min(usize::try_from(len).unwrap_or(usize::MAX));
        push(stream, &piece[..wanted], pace).await?;
        sent(wanted as u64);
        len -= wanted as u64;
    }
    Ok(())
}

/// Writes all bytes. The client may take as long for them as they are worth.
async fn push(stream: &TcpStream, mut bytes: &[u8], pace: Pace) -> Result<(), SendError> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(gone) => bytes = &bytes[gone..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                in_time(pace, bytes.len() as u64, stream.writable()).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::super::{Outgoing, send};
    use super::*;
    use crate::buffer::Arena;
    use crate::image::{ImageId, Location};
    use crate::limits::{MIB, SLOT_BYTES, SLOTS_PER_DOWNLOAD_MAX};
    use crate::store::conformance::bytes;
    use crate::store::faulty::{Call, Fault, Faulty};
    use crate::store::memory::MemoryStore;
    use crate::store::{SizeHint, Store, StoreErrorKind};

    const PACE: Pace = Pace { rate_bytes_per_sec_min: 1, grace: Duration::from_secs(60) };

    async fn stored(arena: &Arena, data: &[u8]) -> (Arc<MemoryStore>, Location) {
        let store = Arc::new(MemoryStore::new("deep"));
        let mut draft = store.begin(&ImageId::random(), SizeHint::Unknown).await.unwrap();
        let share = arena.share(1);
        for piece in data.chunks(SLOT_BYTES) {
            let mut slot = share.take().await;
            slot.as_mut_slice()[..piece.len()].copy_from_slice(piece);
            draft.write(slot.freeze(piece.len())).await.unwrap();
        }
        let location = draft.seal().await.unwrap();
        (store, location)
    }

    /// A server's socket, and a task that gives what the client has received at its end.
    async fn connected() -> (TcpStream, tokio::task::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let received = tokio::spawn(async move {
            let mut received = Vec::new();
            client.read_to_end(&mut received).await.unwrap();
            received
        });
        (server, received)
    }

    /// Whichever reading fails, or ends early, the client has a part from the beginning, and the
    /// connection, which the caller then ends, is no whole answer (`DD-09`).
    #[tokio::test]
    async fn dd_09_a_store_that_fails_in_the_middle_breaks_the_download() {
        let arena = Arena::new(32 * MIB, 4).unwrap();
        let data = bytes(4 * MIB + 77);
        let (store, location) = stored(&arena, &data).await;
        let faults = [
            Fault::Fails(StoreErrorKind::Unavailable),
            Fault::Fails(StoreErrorKind::Io),
            Fault::EndsShort,
        ];
        for fault in faults {
            let mut nth = 0;
            loop {
                let inner: Arc<dyn Store> = store.clone();
                let faulty = Faulty::new(inner, Call::Next, nth, fault);
                let source = faulty.open(&location).await.unwrap();
                let (socket, received) = connected().await;
                let share = arena.share(SLOTS_PER_DOWNLOAD_MAX);
                let outgoing = Outgoing { source, share, offset: 0, len: data.len() as u64 };
                let sent = send(&socket, outgoing, PACE, |_| ()).await;
                drop(socket);
                let received = received.await.unwrap();
                assert_eq!(arena.figures().in_use, 0, "{fault:?} {nth}");
                if !faulty.has_struck() {
                    sent.unwrap();
                    assert!(received == data);
                    break;
                }
                let left = (data.len() - received.len()) as u64;
                assert!(left > 0 && data.starts_with(&received), "{fault:?} {nth}");
                match (fault, sent.unwrap_err()) {
                    (Fault::Fails(kind), SendError::Store(error)) => assert_eq!(error.kind(), kind),
                    (Fault::EndsShort, SendError::Short { missing }) => assert_eq!(missing, left),
                    (_, other) => panic!("{fault:?} {nth}: {other}"),
                }
                nth += 1;
            }
            assert!(nth > 1, "{fault:?}");
        }
    }
}
