//! The s3 store against the contract, on a real radosgw.
//!
//! They run where `GLISSADE_CEPH` names a cluster's directory (`tests/env/with.sh`). Keys are
//! random, so tests don't meet in the bucket.

#![allow(clippy::unwrap_used)]

use std::net::TcpListener;

use super::*;
use crate::buffer::Arena;
use crate::config::{IoUring, S3Addressing, Secret};
use crate::limits::{MIB, SLOT_BYTES};
use crate::ring::Engines;
use crate::store::conformance::{Bench, bytes, run_all};

fn options() -> Option<Options> {
    let text = std::fs::read_to_string(crate::env::directory("ceph")?.join("s3")).unwrap();
    let [host, access_key, secret_key] = text.lines().collect::<Vec<_>>()[..] else {
        panic!("{text}")
    };
    Some(Options {
        host: host.into(),
        region: None,
        access_key: access_key.into(),
        secret_key: Secret::new(secret_key),
        bucket: "contract".into(),
        create_bucket_on_put: true,
        addressing: S3Addressing::Auto,
        large_object_size_bytes: 13 * MIB as u64,
        part_size_bytes: 5 * MIB as u64,
        parts_in_flight: 10,
        ca_file: None,
        checks_requests: false,
    })
}

fn open(options: &Options) -> S3Store {
    S3Store::open("objects", options.clone(), true).unwrap()
}

/// Writes to a store with what slots it says that it keeps, and seals or breaks off.
async fn pour(
    store: &S3Store,
    id: &ImageId,
    data: Vec<u8>,
    hint: SizeHint,
    seals: bool,
) -> Result<Option<Location>, StoreError> {
    let mut draft = store.begin(id, hint).await?;
    let arena = Arena::new(64 * MIB, 4).unwrap();
    let share = match store.slots_kept(hint) {
        0 => arena.share(4),
        kept => arena.reserve(kept).await,
    };
    let job = move || async move {
        for piece in data.chunks(SLOT_BYTES) {
            let mut slot = share.take().await;
            slot.as_mut_slice()[..piece.len()].copy_from_slice(piece);
            draft.write(slot.freeze(piece.len())).await?;
        }
        match seals {
            true => draft.seal().await.map(Some),
            false => {
                draft.discard().await;
                Ok(None)
            }
        }
    };
    Engines::threads("a test").run(job).await.unwrap()
}

async fn put(store: &S3Store, data: Vec<u8>, hint: SizeHint) -> Result<Location, StoreError> {
    Ok(pour(store, &ImageId::random(), data, hint, true).await?.unwrap())
}

async fn read(store: &S3Store, location: &Location) -> Vec<u8> {
    let Source::Stream(mut reader) = store.open(location).await.unwrap() else { panic!("a file") };
    let (mut data, share) = (Vec::new(), Arena::new(8 * MIB, 1).unwrap().share(3));
    while let Some(piece) = reader.next(&share).await.unwrap() {
        data.extend_from_slice(&piece);
    }
    data
}

fn known(len: usize) -> SizeHint {
    SizeHint::Known(len as u64)
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_on_every_engine() {
    let Some(options) = options() else { return };
    let arena = Arena::new(64 * MIB, 4).unwrap();
    let ring = Engines::start(IoUring::Required, 1, &arena).unwrap();
    let threads = Engines::threads("a test");
    for checks_requests in [false, true] {
        let store = open(&Options { checks_requests, ..options.clone() });
        for engines in [&ring, &threads] {
            run_all(Bench { store: &store, engines, arena: &arena }).await;
        }
    }
}

/// Every way in which an image is cut, with sizes at the edges of slots and parts.
#[tokio::test(flavor = "multi_thread")]
async fn s3_02_every_cut_gives_the_same_bytes() {
    let Some(options) = options() else { return };
    let streamed =
        Options { large_object_size_bytes: 0, part_size_bytes: 12 << 20, ..options.clone() };
    let parts = Options { large_object_size_bytes: 0, ..options.clone() };
    let one = Options { large_object_size_bytes: 1 << 30, ..options.clone() };
    for options in [streamed, parts, one] {
        let store = open(&options);
        for len in [0, 1, 5 * MIB, 10 * MIB, 12 * MIB, 12 * MIB + 1, 24 * MIB, 25 * MIB + 77] {
            for hint in [known(len), SizeHint::Unknown] {
                let data = bytes(len);
                let location = put(&store, data.clone(), hint).await.unwrap();
                assert!(read(&store, &location).await == data, "{options:?} {len} {hint:?}");
                assert_eq!(store.size(&location).await.unwrap(), len as u64);
                store.delete(&location).await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_03_what_is_given_up_leaves_no_parts() {
    let Some(options) = options() else { return };
    let store = open(&options);
    for hint in [known(40 * MIB), SizeHint::Unknown, known(13 * MIB)] {
        let id = ImageId::random();
        pour(&store, &id, bytes(12 * MIB), hint, false).await.unwrap();
        assert_eq!(store.bucket.uploads(id.as_str()).await.unwrap(), [""; 0], "{hint:?}");
        assert_eq!(store.bucket.size(id.as_str()).await.unwrap(), None);
    }
}

/// A killed process can abort nothing; the next one finds it by the key.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_of_a_killed_process_is_an_orphan() {
    let Some(options) = options() else { return };
    let store = open(&options);
    store.need_bucket().await.unwrap();
    let id = ImageId::random();
    let upload = store.bucket.begin(id.as_str()).await.unwrap();
    store.bucket.part(id.as_str(), &upload, 1, vec![vec![1; 100].into()]).await.unwrap();
    assert_eq!(store.bucket.uploads(id.as_str()).await.unwrap(), [upload]);
    assert!(store.discard_orphan(&id).await.unwrap());
    assert!(!store.discard_orphan(&id).await.unwrap());
    assert_eq!(store.bucket.uploads(id.as_str()).await.unwrap(), [""; 0]);
}

/// A promise that is broken in a request that has begun can't be mended, and leaves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_known_length_is_never_short() {
    let Some(options) = options() else { return };
    let one = Options { large_object_size_bytes: 1 << 30, ..options.clone() };
    let streamed = Options { large_object_size_bytes: 0, part_size_bytes: 12 << 20, ..options };
    for options in [one, streamed] {
        let store = open(&options);
        for len in [13 * MIB, 15 * MIB] {
            let id = ImageId::random();
            let refused = pour(&store, &id, bytes(len), known(14 * MIB), true).await;
            assert_eq!(refused.unwrap_err().kind(), StoreErrorKind::Io, "{len}");
            assert!(store.removed(id.as_str()).await);
            let (uploads, size) =
                (store.bucket.uploads(id.as_str()), store.bucket.size(id.as_str()));
            let left = (uploads.await.unwrap(), size.await.unwrap());
            assert_eq!(left, (vec![], None), "{len} {options:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_says_why() {
    let Some(options) = options() else { return };
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let no_bucket =
        Options { bucket: "nosuch".into(), create_bucket_on_put: false, ..options.clone() };
    let wrong_key = Options { secret_key: Secret::new("wrong"), ..options.clone() };
    let nobody = Options { host: nobody, ..options };
    for (options, kind, word) in [
        (no_bucket, StoreErrorKind::Unavailable, "s3_store_create_bucket_on_put"),
        (wrong_key, StoreErrorKind::Denied, "s3_store_secret_key"),
        (nobody, StoreErrorKind::Unavailable, "no connection"),
    ] {
        let error = put(&open(&options), bytes(1), SizeHint::Unknown).await.unwrap_err();
        let text = error.to_string();
        assert!(error.kind() == kind && text.contains(word), "{text}");
        assert!(!text.contains("X-Amz"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_01_old_locations_are_read_and_missing_ones_are_told() {
    let Some(options) = options() else { return };
    let store = open(&options);
    let location = put(&store, bytes(1000), known(1000)).await.unwrap();
    assert_eq!(location.store_id(), Some("objects"));
    let (bucket, key) = ("contract", location.url.rsplit('/').next().unwrap());
    for url in [
        format!("s3+http://access:sec/ret@elsewhere/{bucket}/{key}"),
        format!("s3://elsewhere/{bucket}/{key}"),
    ] {
        assert_eq!(read(&store, &Location::new(url, None)).await, bytes(1000));
    }
    store.delete(&location).await.unwrap();
    let other = Location::new(format!("s3://h/nosuch/{key}"), None);
    for (location, kind) in
        [(&location, StoreErrorKind::NotFound), (&other, StoreErrorKind::Unavailable)]
    {
        assert_eq!(store.open(location).await.unwrap_err().kind(), kind);
    }
    assert_eq!(store.size(&location).await.unwrap_err().kind(), StoreErrorKind::NotFound);
}
