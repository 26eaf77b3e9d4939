//! Drafts of the file store against a plain file: written, synced, named, removed.
//!
//! Both are as durable as `durability = full` says. Where they are written decides everything:
//! the directory is below the build's target directory.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::BytesCount;
use glissade::buffer::{Arena, Frozen};
use glissade::config::{DataDir, Durability, FileStore as Options, IoUring, MetadataCalls};
use glissade::image::ImageId;
use glissade::limits::{SLOT_BYTES, SLOTS_WARM};
use glissade::ring::Engines;
use glissade::store::file::{FileStore, Policy};
use glissade::store::{SizeHint, Store};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const CHUNKS: usize = 64;
const BYTES: usize = CHUNKS * SLOT_BYTES;

fn main() {
    divan::main();
}

fn scratch() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn store(dir: &Path) -> Arc<dyn Store> {
    let options = Options {
        datadirs: vec![DataDir { path: dir.to_owned(), priority: 0 }],
        file_perm: None,
        chunk_size_bytes: 64 * 1024,
        thin_provisioning: false,
        metadata_file: None,
        metadata_calls: MetadataCalls::default(),
    };
    let policy = Policy { durability: Durability::Full, direct_io: true };
    Arc::new(FileStore::open("bench", options, policy, false).unwrap())
}

async fn upload(store: Arc<dyn Store>, chunk: Frozen) {
    let size = SizeHint::Known(BYTES as u64);
    let mut draft = store.begin(&ImageId::random(), size).await.unwrap();
    for _ in 0..CHUNKS {
        draft.write(chunk.clone()).await.unwrap();
    }
    let location = draft.seal().await.unwrap();
    store.delete(&location).await.unwrap();
}

/// `off` is the threads engine; `required` fails where the kernel grants no ring.
#[divan::bench(args = [IoUring::Required, IoUring::Off], sample_count = 20)]
fn file_draft(bencher: Bencher<'_, '_>, mode: &IoUring) {
    let runtime = Runtime::new().unwrap();
    let dir = scratch();
    let arena = Arena::new(SLOTS_WARM * SLOT_BYTES, SLOTS_WARM).unwrap();
    let engines = Engines::start(*mode, 1, &arena).unwrap();
    let chunk = runtime.block_on(arena.share(1).take()).freeze(SLOT_BYTES);
    let store = store(dir.path());
    bencher.counter(BytesCount::new(BYTES)).bench(|| {
        let (store, chunk) = (Arc::clone(&store), chunk.clone());
        runtime.block_on(engines.run(move || upload(store, chunk))).unwrap();
    });
}

#[divan::bench(sample_count = 20)]
fn plain_file(bencher: Bencher<'_, '_>) {
    let dir = scratch();
    let (partial, path) = (dir.path().join("partial"), dir.path().join("image"));
    let block = vec![0_u8; SLOT_BYTES];
    bencher.counter(BytesCount::new(BYTES)).bench(|| {
        let mut file = File::create(&partial).unwrap();
        for _ in 0..CHUNKS {
            file.write_all(&block).unwrap();
        }
        file.sync_data().unwrap();
        fs::rename(&partial, &path).unwrap();
        File::open(dir.path()).unwrap().sync_all().unwrap();
        fs::remove_file(&path).unwrap();
    });
}
