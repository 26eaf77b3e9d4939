//! Lanes against the loop that they replace: MD5, then SHA-512, of each block in turn.
//!
//! Bytes are counted over all streams. The baseline hashes its streams one after the other on
//! one core; the lanes have every core, which is the point of them. Its hashes are the md-5 and
//! ring crates', about a third dearer than OpenSSL's.
#![allow(clippy::unwrap_used)]

use std::thread::available_parallelism;

use divan::Bencher;
use divan::counter::BytesCount;
use glissade::buffer::{Arena, Frozen};
use glissade::image::{Digests, HashAlgo};
use glissade::lanes::Lanes;
use glissade::limits::{KIB, SLOT_BYTES};
use md5::{Digest, Md5};
use ring::digest::{Context, SHA512};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const STREAMS: [usize; 3] = [1, 4, 8];
const CHUNKS: usize = 16;

fn main() {
    divan::main();
}

fn bytes(streams: usize) -> BytesCount {
    BytesCount::new(streams * CHUNKS * SLOT_BYTES)
}

/// One slot of noise, shared by everybody who hashes.
async fn chunk(arena: &Arena) -> Frozen {
    let mut slot = arena.share(1).take().await;
    for (at, byte) in slot.as_mut_slice().iter_mut().enumerate() {
        *byte = at.wrapping_mul(31).to_le_bytes()[0];
    }
    slot.freeze(SLOT_BYTES)
}

async fn hash(lanes: Lanes, chunk: Frozen) -> Digests {
    let stream = lanes.open(HashAlgo::Sha512);
    for _ in 0..CHUNKS {
        stream.feed(chunk.clone()).await;
    }
    stream.finish().await.unwrap()
}

#[divan::bench(args = STREAMS)]
fn lanes(bencher: Bencher<'_, '_>, streams: usize) {
    let runtime = Runtime::new().unwrap();
    let arena = Arena::new(SLOT_BYTES, 1).unwrap();
    let chunk = runtime.block_on(chunk(&arena));
    let lanes = Lanes::start(available_parallelism().unwrap().get()).unwrap();
    bencher.counter(bytes(streams)).bench(|| {
        let mut running = JoinSet::new();
        for _ in 0..streams {
            running.spawn_on(hash(lanes.clone(), chunk.clone()), runtime.handle());
        }
        runtime.block_on(running.join_all())
    });
}

#[divan::bench(args = STREAMS)]
fn serial_loop(bencher: Bencher<'_, '_>, streams: usize) {
    let block = vec![7_u8; 64 * KIB];
    let blocks = streams * CHUNKS * SLOT_BYTES / block.len();
    bencher.counter(bytes(streams)).bench(|| {
        let (mut md5, mut sha512) = (Md5::new(), Context::new(&SHA512));
        for _ in 0..blocks {
            md5.update(&block);
            sha512.update(&block);
        }
        (md5.finalize(), sha512.finish())
    });
}
