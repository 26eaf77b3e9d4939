//! The ring against its oracle: the same operations through both must give the same files.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use proptest::prelude::*;

use super::{EngineKind, Engines, Span, Wait, allocate, offload, read_at, recv, write_at};
use crate::buffer::Arena;
use crate::config::IoUring;
use crate::limits::{KIB, MIB, SLOT_BYTES};

/// One step of a random history of a file.
#[derive(Clone, Debug)]
enum Step {
    Write { offset: u64, len: usize, fill: u8, span: Span },
    Read { offset: u64, len: usize },
    Allocate { offset: u64, len: u64 },
    Truncate { len: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let span = prop_oneof![Just(Span::Exact), Just(Span::Padded)];
    prop_oneof![
        4 => (0..3 * MIB as u64, 0..64 * KIB, any::<u8>(), span)
            .prop_map(|(offset, len, fill, span)| Step::Write { offset, len, fill, span }),
        2 => (0..4 * MIB as u64, 0..=SLOT_BYTES)
            .prop_map(|(offset, len)| Step::Read { offset, len }),
        1 => (0..3 * MIB as u64, 1..MIB as u64)
            .prop_map(|(offset, len)| Step::Allocate { offset, len }),
        1 => (0..4 * MIB as u64).prop_map(|len| Step::Truncate { len }),
    ]
}

/// Runs a history and answers what was read on the way and the file's bytes at the end.
async fn play(engines: &Engines, arena: &Arena, steps: Vec<Step>) -> Vec<u8> {
    let file = tempfile::tempfile().unwrap();
    let kept = file.try_clone().unwrap();
    let share = arena.share(4);
    let job = move || async move {
        let file = Arc::new(OwnedFd::from(file));
        let mut seen = Vec::new();
        for step in steps {
            match step {
                Step::Read { offset, len } => {
                    let (read, mut slot) = read_at(&file, share.take().await, len, offset).await;
                    seen.extend_from_slice(&slot.as_mut_slice()[..read.unwrap()]);
                }
                Step::Write { offset, len, fill, span } => {
                    let mut slot = share.take().await;
                    slot.as_mut_slice()[..len].fill(fill);
                    write_at(&file, slot.freeze(len), span, offset).await.unwrap();
                }
                Step::Allocate { offset, len } => allocate(&file, offset, len).await.unwrap(),
                Step::Truncate { len } => {
                    let file = Arc::clone(&file);
                    offload(move || Ok(rustix::fs::ftruncate(&file, len)?)).await.unwrap();
                }
            }
        }
        seen
    };
    let mut bytes = engines.run(job).await.unwrap();
    let mut kept = kept;
    std::io::Seek::rewind(&mut kept).unwrap();
    std::io::Read::read_to_end(&mut kept, &mut bytes).unwrap();
    bytes
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn both(arena: &Arena) -> [Engines; 2] {
    let ring = Engines::start(IoUring::Required, 1, arena).unwrap();
    assert_eq!(ring.kind(), EngineKind::Ring);
    [ring, Engines::threads("asked for by a test")]
}

#[test]
fn random_operations_give_the_same_file_on_ring_and_threads() {
    let arena = Arena::new(8 * MIB, 4).unwrap();
    let engines = both(&arena);
    let runtime = runtime();
    proptest!(ProptestConfig::with_cases(64), |(steps in prop::collection::vec(step(), 1..40))| {
        let files = engines.each_ref().map(|e| runtime.block_on(play(e, &arena, steps.clone())));
        prop_assert!(files[0] == files[1]);
    });
    assert_eq!(arena.figures().in_use, 0);
}

#[test]
fn a_full_receive_waits_for_every_piece_and_ends_short_only_at_the_end() {
    let arena = Arena::new(4 * MIB, 2).unwrap();
    for engines in both(&arena) {
        let share = arena.share(1);
        let received = runtime().block_on(async {
            let (mut near, far) = pair();
            let job = engines.run(move || async move {
                let far = Arc::new(OwnedFd::from(far));
                let (first, slot) = recv(&far, share.take().await, 0, 10_000, Wait::Full).await;
                let (second, slot) = recv(&far, slot, 10_000, 10_000, Wait::Full).await;
                let mut slot = slot;
                (first.unwrap(), second.unwrap(), slot.as_mut_slice()[..12_000].to_vec())
            });
            let sender = std::thread::spawn(move || {
                for piece in vec![9; 12_000].chunks(700) {
                    near.write_all(piece).unwrap();
                }
                near.shutdown(Shutdown::Write).unwrap();
                near
            });
            let received = job.await.unwrap();
            sender.join().unwrap();
            received
        });
        assert_eq!(received, (10_000, 2_000, vec![9; 12_000]));
    }
}

#[test]
fn a_shutdown_ends_a_receive_and_nothing_is_lost() {
    let arena = Arena::new(4 * MIB, 2).unwrap();
    for engines in both(&arena) {
        let share = arena.share(1);
        runtime().block_on(async {
            let (near, far) = pair();
            let handle = far.try_clone().unwrap();
            let job = engines.run(move || async move {
                let far = Arc::new(OwnedFd::from(far));
                recv(&far, share.take().await, 0, SLOT_BYTES, Wait::Full).await.0.unwrap()
            });
            let stop = async {
                tokio::time::sleep(std::time::Duration::from_millis(30)).await;
                handle.shutdown(Shutdown::Read).unwrap();
            };
            let (received, ()) = tokio::join!(job, stop);
            assert_eq!(received.unwrap(), 0);
            drop(near);
        });
        assert_eq!(arena.figures().in_use, 0);
    }
}

#[test]
fn a_dropped_receive_keeps_its_slot_until_the_completion() {
    let arena = Arena::new(4 * MIB, 2).unwrap();
    let engines = Engines::start(IoUring::Required, 1, &arena).unwrap();
    let share = arena.share(1);
    runtime().block_on(async {
        let (mut near, far) = pair();
        let figures = arena.clone();
        let held = engines
            .run(move || async move {
                let far = Arc::new(OwnedFd::from(far));
                let mut receive =
                    Box::pin(recv(&far, share.take().await, 0, SLOT_BYTES, Wait::Full));
                let waker = std::task::Waker::noop();
                let mut context = std::task::Context::from_waker(waker);
                assert!(receive.as_mut().poll(&mut context).is_pending());
                drop(receive);
                figures.figures().in_use
            })
            .await
            .unwrap();
        assert_eq!(held, 1, "the kernel may still write to it");
        near.write_all(&[1; 100]).unwrap();
        drop(near);
        for _ in 0..6000 {
            if arena.figures().in_use == 0 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("the slot never came back");
    });
}

#[test]
fn a_failed_write_is_reported_by_both() {
    let arena = Arena::new(4 * MIB, 2).unwrap();
    for engines in both(&arena) {
        let share = arena.share(1);
        let file: File = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let error = runtime().block_on(async {
            let job = move || async move {
                let file = Arc::new(OwnedFd::from(file));
                let chunk = share.take().await.freeze(100);
                write_at(&file, chunk, Span::Exact, 0).await.unwrap_err().raw_os_error()
            };
            engines.run(job).await.unwrap()
        });
        assert_eq!(error, Some(libc::ENOSPC));
    }
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}
