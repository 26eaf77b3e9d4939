//! The rbd store against the contract, on a real cluster.
//!
//! They run where `GLISSADE_CEPH` names a cluster's directory (`tests/env/with.sh`). Names of
//! images are random, so tests don't meet in the pool.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::buffer::Arena;
use crate::config::IoUring;
use crate::limits::{MIB, SLOT_BYTES};
use crate::ring::Engines;
use crate::store::conformance::{Bench, bytes, run_all};

fn options() -> Option<Options> {
    let directory = crate::env::directory("ceph")?;
    Some(Options {
        pool: "images".into(),
        user: Some("glance".into()),
        ceph_conf: Some(directory.join("ceph.conf")),
        object_order: 22,
        thin_provisioning: false,
        connect_timeout: None,
    })
}

fn open(options: Options) -> RbdStore {
    RbdStore::open("deep", options, true, "node", &mut Connections::default()).unwrap()
}

fn arena() -> Arena {
    Arena::new(64 * MIB, 4).unwrap()
}

async fn put(store: &RbdStore, data: Vec<u8>) -> Result<Location, StoreError> {
    let (mut draft, arena) = (store.begin(&ImageId::random(), SizeHint::Unknown).await?, arena());
    let share = arena.share(store.slots_wanted());
    let job = move || async move {
        for piece in data.chunks(SLOT_BYTES) {
            let mut slot = share.take().await;
            slot.as_mut_slice()[..piece.len()].copy_from_slice(piece);
            draft.write(slot.freeze(piece.len())).await?;
        }
        draft.seal().await
    };
    Engines::threads("a test").run(job).await.unwrap()
}

async fn pieces(store: &RbdStore, location: &Location) -> Vec<u8> {
    let Source::Stream(mut reader) = store.open(location).await.unwrap() else { panic!("a file") };
    let (mut data, share) = (Vec::new(), arena().share(9));
    while let Some(piece) = reader.next(&share).await.unwrap() {
        data.extend_from_slice(&piece);
    }
    data
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_on_every_engine() {
    let Some(options) = options() else { return };
    let arena = arena();
    let ring = Engines::start(IoUring::Required, 1, &arena).unwrap();
    let threads = Engines::threads("a test");
    for thin_provisioning in [false, true] {
        let store = open(Options { thin_provisioning, ..options.clone() });
        for engines in [&ring, &threads] {
            run_all(Bench { store: &store, engines, arena: &arena }).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rb_04_zeros_are_left_out_and_read_as_zeros() {
    let Some(options) = options() else { return };
    let store = open(Options { thin_provisioning: true, ..options });
    let mut data = bytes(MIB);
    data.extend(vec![0; 40 * MIB]);
    data.extend(bytes(100));
    data.extend(vec![0; 30 * MIB]);
    let location = put(&store, data.clone()).await.unwrap();
    assert!(pieces(&store, &location).await == data);
    store.delete(&location).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_cut_is_made_again() {
    let Some(options) = options() else { return };
    let store = open(options);
    let location = put(&store, bytes(1000)).await.unwrap();
    let cut = store.0.connection.connected().unwrap();
    let name = Place::of(&location).unwrap().image;
    let other = open(store.0.options.clone());
    // Another client sees the address of the first on an image that it has open.
    let image = cut.pool("images").unwrap().open(&name, None).unwrap();
    let cluster = other.0.connection.cluster().unwrap();
    let seen = cluster.pool("images").unwrap().open(&name, None).unwrap();
    let watchers = seen.other_watchers().unwrap();
    assert_eq!(watchers.len(), 1);
    cluster.cut_off(&watchers[0]).unwrap();
    drop((image, seen));
    let fresh = put(&store, bytes(2000)).await.unwrap();
    assert!(!Arc::ptr_eq(&store.0.connection.connected().unwrap(), &cut));
    for location in [location, fresh] {
        while let Err(error) = store.delete(&location).await {
            assert_eq!(error.kind(), StoreErrorKind::InUse, "{error}");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_being_read_is_not_deleted() {
    let Some(options) = options() else { return };
    let (store, other) = (open(options.clone()), open(options));
    let location = put(&store, bytes(3 * MIB)).await.unwrap();
    let source = other.open(&location).await.unwrap();
    assert_eq!(store.may_delete(&location).await.unwrap_err().kind(), StoreErrorKind::InUse);
    assert_eq!(store.delete(&location).await.unwrap_err().kind(), StoreErrorKind::InUse);
    // What could not be removed is what it was.
    assert!(pieces(&store, &location).await == bytes(3 * MIB));
    drop(source);
    while store.may_delete(&location).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    store.delete(&location).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_missing_and_a_cluster_that_is_away() {
    let Some(options) = options() else { return };
    let store = open(Options { pool: "nosuch".into(), ..options.clone() });
    let refused = put(&store, bytes(1)).await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Unavailable);
    assert!(refused.to_string().contains("nosuch"), "{refused}");
    let nobody = Options { user: Some("nobody".into()), ..options.clone() };
    let refused = put(&open(nobody), bytes(1)).await.unwrap_err().kind();
    assert!([StoreErrorKind::Unavailable, StoreErrorKind::Denied].contains(&refused));
    let short = open(options);
    let missing = Location::new("rbd://nosuch-image".into(), None);
    assert_eq!(short.open(&missing).await.unwrap_err().kind(), StoreErrorKind::NotFound);
}
