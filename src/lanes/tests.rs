//! Digests equal OpenSSL's; bounds, rotation and cancellation hold.

use std::time::Duration;

use futures_util::FutureExt as _;

use super::*;
use crate::buffer::{Arena, Share};
use crate::limits::{MIB, SLOT_BYTES};

fn reference(bytes: &[u8], algo: HashAlgo) -> Digests {
    oracle::oracle(algo, bytes)
}

/// Bytes that differ from each other and from stream to stream.
fn bytes(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ seed).to_le_bytes()[0]).collect()
}

async fn chunk(share: &Share, bytes: &[u8]) -> Frozen {
    let mut slot = share.take().await;
    slot.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
    slot.freeze(bytes.len())
}

async fn hash(lanes: &Lanes, share: &Share, algo: HashAlgo, data: &[u8], piece: usize) -> Digests {
    let stream = lanes.open(algo);
    for piece in data.chunks(piece) {
        stream.feed(chunk(share, piece).await).await;
    }
    stream.finish().await.unwrap()
}

#[tokio::test]
async fn known_answers_for_nothing_and_abc() {
    let arena = Arena::new(4 * MIB, 1).unwrap();
    let lanes = Lanes::start(2).unwrap();
    let empty = hash(&lanes, &arena.share(2), HashAlgo::Sha512, b"", 1).await;
    assert_eq!(empty.checksum, "d41d8cd98f00b204e9800998ecf8427e");
    assert!(empty.os_hash_value.starts_with("cf83e1357eefb8bdf1542850d66d8007"));
    let abc = hash(&lanes, &arena.share(2), HashAlgo::Sha512, b"abc", 1).await;
    assert_eq!(abc.checksum, "900150983cd24fb0d6963f7d28e17f72");
    assert!(abc.os_hash_value.starts_with("ddaf35a193617abacc417349ae204131"));
}

#[tokio::test]
async fn every_algorithm_and_piece_size_agrees_with_one_go() {
    let arena = Arena::new(8 * MIB, 1).unwrap();
    let lanes = Lanes::start(2).unwrap();
    let data = bytes(1, 3 * MIB + 77);
    for algo in HashAlgo::ALL {
        for piece in [1013, 16 * 1024, 16 * 1024 + 1, SLOT_BYTES] {
            let digests = hash(&lanes, &arena.share(4), algo, &data, piece).await;
            assert_eq!(digests, reference(&data, algo), "{algo} by {piece}");
        }
    }
    assert_eq!(arena.figures().in_use, 0);
    assert_eq!(lanes.figures().queued_chunks, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_streams_come_and_go_and_none_mixes_with_another() {
    let arena = Arena::new(64 * MIB, 1).unwrap();
    let lanes = Lanes::start(2).unwrap();
    let tasks: Vec<_> = (0..24)
        .map(|seed| {
            let (lanes, share) = (lanes.clone(), arena.share(3));
            tokio::spawn(async move {
                let data = bytes(seed, seed * 70_001);
                let digests = hash(&lanes, &share, HashAlgo::Sha512, &data, 50_000 + seed).await;
                assert_eq!(digests, reference(&data, HashAlgo::Sha512), "stream {seed}");
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(arena.figures().in_use, 0);
}

/// Lanes whose worker is the test.
fn without_threads() -> Lanes {
    Lanes(Arc::new(Pool::without_threads(Tier::PORTABLE, 1)))
}

/// Goal: every stream gets its slice in turn. Method: the test is the worker, and counts what it
/// has hashed when the short stream's digests are there.
#[tokio::test]
async fn a_short_stream_does_not_wait_behind_long_ones() {
    let arena = Arena::new(64 * MIB, 1).unwrap();
    let lanes = without_threads();
    let share = arena.share(64);
    let large = bytes(0, SLOT_BYTES);
    let long = [(); 8].map(|()| lanes.open(HashAlgo::Sha512));
    for stream in &long {
        stream.feed(chunk(&share, &large).await).await;
    }
    let short = lanes.open(HashAlgo::Sha512);
    short.feed(chunk(&share, &[7; 1000]).await).await;
    let mut short = std::pin::pin!(short.finish());
    let digests = loop {
        match short.as_mut().now_or_never() {
            Some(digests) => break digests.unwrap(),
            None => lanes.0.turn(),
        }
    };
    assert_eq!(digests, reference(&[7; 1000], HashAlgo::Sha512));
    let meanwhile = lanes.figures().bytes;
    let queued = (long.len() * SLOT_BYTES) as u64;
    assert!(meanwhile < queued / 4, "{meanwhile} bytes went first");
}

/// Nobody hashes here, so that what is queued stays queued however late this test is woken.
#[tokio::test]
async fn feeding_waits_at_the_depth_and_dropping_a_stream_frees_its_chunks() {
    let arena = Arena::new(64 * MIB, 1).unwrap();
    let lanes = without_threads();
    let share = arena.share(64);
    let streams = [(); 8].map(|()| lanes.open(HashAlgo::Sha512));
    for stream in &streams {
        for _ in 0..LANE_DEPTH {
            stream.feed(chunk(&share, b"queued").await).now_or_never().expect("there is room");
        }
        assert!(stream.feed(chunk(&share, b"too many").await).now_or_never().is_none());
    }
    assert_eq!(lanes.figures().queued_chunks, streams.len() * LANE_DEPTH);
    assert_eq!(arena.figures().in_use, streams.len() * LANE_DEPTH);
    drop(streams);
    assert_eq!(arena.figures().in_use, 0);
    assert_eq!(lanes.figures().queued_chunks, 0);
}

/// Dropping streams that are being hashed frees their chunks too, and leaves the others' digests.
#[tokio::test]
async fn dropping_streams_in_work_frees_their_chunks() {
    let arena = Arena::new(64 * MIB, 1).unwrap();
    let lanes = Lanes::start(1).unwrap();
    let share = arena.share(64);
    let large = bytes(0, SLOT_BYTES);
    let streams = [(); 8].map(|()| lanes.open(HashAlgo::Sha512));
    for stream in &streams {
        stream.feed(chunk(&share, &large).await).await;
    }
    let [kept, dropped @ ..] = streams;
    drop(dropped);
    assert_eq!(kept.finish().await.unwrap(), reference(&large, HashAlgo::Sha512));
    assert_eq!(settled(&arena).await, 0);
    assert_eq!(lanes.figures().queued_chunks, 0);
}

#[tokio::test]
async fn stopping_the_lanes_ends_a_waiting_stream() {
    let lanes = Lanes::start(1).unwrap();
    let stream = lanes.open(HashAlgo::Sha512);
    let pool = Arc::clone(&stream.pool);
    drop(lanes);
    assert_eq!(stream.finish().await.unwrap().checksum, "d41d8cd98f00b204e9800998ecf8427e");
    drop(pool);
}

/// Goal: streams that come and go on every tier have OpenSSL's digests, whoever runs beside them.
/// Method: more streams than lanes, random lengths and pieces, some of them dropped half way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_tier_survives_streams_that_come_and_go() {
    let arena = Arena::new(64 * MIB, 1).unwrap();
    for (tier, workers) in Tier::available().into_iter().zip([1, 2, 2]) {
        let lanes = Lanes::start_on(tier, workers).unwrap();
        let tasks: Vec<_> = (0..40_usize)
            .map(|seed| {
                let (lanes, share) = (lanes.clone(), arena.share(3));
                tokio::spawn(async move {
                    let algo = HashAlgo::ALL[seed % HashAlgo::ALL.len()];
                    let data = bytes(seed, seed.wrapping_mul(7_919_777) % 400_000);
                    if seed % 5 == 4 {
                        let stream = lanes.open(algo);
                        stream.feed(chunk(&share, &data).await).await;
                        return; // dropped
                    }
                    let digests = hash(&lanes, &share, algo, &data, 9_001 + 977 * seed).await;
                    assert_eq!(digests, reference(&data, algo), "{tier:?} {algo} stream {seed}");
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }
    assert_eq!(settled(&arena).await, 0);
}

/// Goal: lanes are packed before they are spread, and nobody waits busily. Method: the number of
/// workers awake, once those that start have gone to sleep.
#[tokio::test]
async fn an_idle_pool_uses_no_cpu_and_few_streams_use_one_worker() {
    let packing = Tier::available().into_iter().find(|tier| *tier != Tier::PORTABLE);
    let Some(tier) = packing else { return };
    let arena = Arena::new(64 * MIB, 1).unwrap();
    let lanes = Lanes::start_on(tier, 2).unwrap();
    let share = arena.share(12);
    let large = bytes(0, SLOT_BYTES);
    asleep(&lanes).await;
    let streams = [(); 3].map(|()| lanes.open(HashAlgo::Sha512));
    for _ in 0..4 {
        for stream in &streams {
            stream.feed(chunk(&share, &large).await).await;
            assert!(lanes.0.awake() <= 1, "a second worker for three streams");
        }
    }
    for stream in streams {
        stream.finish().await.unwrap();
    }
    asleep(&lanes).await;
}

/// Waits until no worker is awake.
async fn asleep(lanes: &Lanes) {
    for _ in 0..30_000 {
        if lanes.0.awake() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{} workers awake with nothing to do", lanes.0.awake());
}

/// Slots in use once the workers have let go of what was dropped.
async fn settled(arena: &Arena) -> usize {
    for _ in 0..30_000 {
        if arena.figures().in_use == 0 {
            return 0;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    arena.figures().in_use
}
