//! The operations as submissions. Each hands the driver what the kernel will touch and gets it
//! back with the completion.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use io_uring::{cqueue, opcode, squeue, types};
use tokio_uring::{OneshotOutputTransform, UnsubmittedOneshot};

use super::{Span, Wait, engine};
use crate::buffer::{Frozen, Slot};

/// Gives the resources back beside the kernel's answer.
struct Return<D>(std::marker::PhantomData<D>);

impl<D> OneshotOutputTransform for Return<D> {
    type Output = (io::Result<usize>, D);
    type StoredData = D;

    fn transform_oneshot_output(self, data: D, entry: cqueue::Entry) -> Self::Output {
        let answer = usize::try_from(entry.result())
            .map_err(|_| io::Error::from_raw_os_error(entry.result().saturating_neg()));
        (answer, data)
    }
}

/// Submits an entry; the driver owns `resources` until its completion, even when the future is
/// dropped.
async fn submit<D: Unpin + 'static>(resources: D, entry: squeue::Entry) -> (io::Result<usize>, D) {
    UnsubmittedOneshot::new(resources, Return(std::marker::PhantomData), entry).submit().await
}

/// Kernel lengths are 32 bits wide; the callers' are at most a slot.
fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

pub(super) async fn recv(
    socket: &Arc<OwnedFd>,
    mut slot: Slot,
    at: usize,
    len: usize,
    wait: Wait,
) -> (io::Result<usize>, Slot) {
    let flags = match wait {
        Wait::Full => libc::MSG_WAITALL,
        Wait::Some => 0,
    };
    // Slicing checks that the range lies inside the slot.
    let into = slot.as_mut_slice()[at..at + len].as_mut_ptr();
    let entry =
        opcode::Recv::new(types::Fd(socket.as_raw_fd()), into, length(len)).flags(flags).build();
    // The entry names memory of `slot` and the descriptor of `socket`; both go to the driver with
    // it and come back with the completion.
    let (received, (_, slot)) = submit((Arc::clone(socket), slot), entry).await;
    (received, slot)
}

pub(super) async fn read(
    file: &Arc<OwnedFd>,
    mut slot: Slot,
    at: usize,
    len: usize,
    offset: u64,
) -> (io::Result<usize>, Slot) {
    // Slicing checks that the range lies inside the slot.
    let into = slot.as_mut_slice()[at..at + len].as_mut_ptr();
    let entry =
        opcode::Read::new(types::Fd(file.as_raw_fd()), into, length(len)).offset(offset).build();
    // The entry names memory of `slot` and the descriptor of `file`; both go to the driver with
    // it and come back with the completion.
    let (read, (_, slot)) = submit((Arc::clone(file), slot), entry).await;
    (read, slot)
}

pub(super) async fn write_all(
    file: Arc<OwnedFd>,
    chunk: Frozen,
    span: Span,
    offset: u64,
) -> io::Result<()> {
    let (mut done, mut resources) = (0, (file, chunk));
    loop {
        let (file, chunk) = &resources;
        let rest = &span.of(chunk)[done..];
        if rest.is_empty() {
            return Ok(());
        }
        let entry = write_entry(file, chunk, rest, offset + done as u64);
        let (answer, back) = submit(resources, entry).await;
        resources = back;
        match answer {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => done += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A fixed write for a slot that is registered with this thread's ring, else a plain one.
fn write_entry(file: &Arc<OwnedFd>, chunk: &Frozen, bytes: &[u8], offset: u64) -> squeue::Entry {
    let fd = types::Fd(file.as_raw_fd());
    match engine::registered_buffer(chunk.slot_index()) {
        Some(index) => opcode::WriteFixed::new(fd, bytes.as_ptr(), length(bytes.len()), index)
            .offset(offset)
            .build(),
        None => opcode::Write::new(fd, bytes.as_ptr(), length(bytes.len())).offset(offset).build(),
    }
}

pub(super) async fn allocate(file: &Arc<OwnedFd>, offset: u64, len: u64) -> io::Result<()> {
    let fd = types::Fd(file.as_raw_fd());
    loop {
        let entry = opcode::Fallocate::new(fd, len).offset(offset).build();
        match submit(Arc::clone(file), entry).await.0 {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer.map(|_| ()),
        }
    }
}
