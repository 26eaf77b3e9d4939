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
