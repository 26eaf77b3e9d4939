//! Receiving into slots on either engine, against a plain blocking read.
//!
//! The sender is a thread of its own on the same machine, so the figures are those of a pair.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;

use divan::Bencher;
use divan::counter::BytesCount;
use glissade::buffer::{Arena, Share};
use glissade::config::IoUring;
use glissade::limits::{SLOT_BYTES, SLOTS_WARM};
use glissade::ring::{Engines, Wait, recv};
use tokio::runtime::Runtime;

const BYTES: usize = 256 * SLOT_BYTES;

fn main() {
    divan::main();
}

/// A socket on which [`BYTES`] bytes arrive, then the end.
fn arriving() -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    thread::spawn(move || {
        let block = vec![0_u8; SLOT_BYTES];
        for _ in 0..BYTES / SLOT_BYTES {
            sender.write_all(&block).unwrap();
        }
    });
    listener.accept().unwrap().0
}

/// Receives to the end and returns how much came.
async fn receive(socket: Arc<OwnedFd>, share: Share) -> usize {
    let mut slot = share.take().await;
    let mut total = 0;
    loop {
        let (received, back) = recv(&socket, slot, 0, SLOT_BYTES, Wait::Full).await;
        match received.unwrap() {
            0 => return total,
            length => total += length,
        }
        slot = back;
    }
}

/// `off` is the threads engine; `required` fails where the kernel grants no ring.
#[divan::bench(args = [IoUring::Required, IoUring::Off], sample_count = 20)]
fn engine(bencher: Bencher<'_, '_>, mode: &IoUring) {
    let runtime = Runtime::new().unwrap();
    let arena = Arena::new(SLOTS_WARM * SLOT_BYTES, SLOTS_WARM).unwrap();
    let engines = Engines::start(*mode, 1, &arena).unwrap();
    bencher.counter(BytesCount::new(BYTES)).with_inputs(arriving).bench_values(|socket| {
        let (socket, share) = (Arc::new(OwnedFd::from(socket)), arena.share(1));
        let received = runtime.block_on(engines.run(move || receive(socket, share)));
        assert_eq!(received.unwrap(), BYTES);
    });
}

#[divan::bench(sample_count = 20)]
fn plain_read(bencher: Bencher<'_, '_>) {
    let mut buffer = vec![0_u8; SLOT_BYTES];
    bencher.counter(BytesCount::new(BYTES)).with_inputs(arriving).bench_local_values(
        |mut socket| {
            let mut total = 0;
            loop {
                match socket.read(&mut buffer).unwrap() {
                    0 => break,
                    length => total += length,
                }
            }
            assert_eq!(total, BYTES);
        },
    );
}
