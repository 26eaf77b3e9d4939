//! The operations as plain system calls: the fallback, and the oracle that the ring is tested
//! against.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::Wait;
use crate::buffer::Slot;

pub(super) fn recv(
    socket: &Arc<OwnedFd>,
    mut slot: Slot,
    at: usize,
    len: usize,
    wait: Wait,
) -> (io::Result<usize>, Slot) {
    let flags = match wait {
        Wait::Full => RecvFlags::WAITALL,
        Wait::Some => RecvFlags::empty(),
    };
    let into = &mut slot.as_mut_slice()[at..at + len];
    let received = rustix::net::recv(socket, into, flags).map(|(received, _)| received);
    (received.map_err(io::Error::from), slot)
}

pub(super) fn read(
    file: &Arc<OwnedFd>,
    mut slot: Slot,
    at: usize,
    len: usize,
    offset: u64,
) -> (io::Result<usize>, Slot) {
    let read = rustix::io::pread(file, &mut slot.as_mut_slice()[at..at + len], offset);
    (read.map_err(io::Error::from), slot)
}

pub(super) fn write_all(file: impl AsFd, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(&file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

pub(super) fn allocate(file: impl AsFd, offset: u64, len: u64) -> io::Result<()> {
    loop {
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), offset, len) {
            Err(Errno::INTR) => {}
            answer => return answer.map_err(io::Error::from),
        }
    }
}
