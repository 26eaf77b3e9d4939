//! One reading poured into two file stores, beside the same into one store and a second plain write.
//!
//! A second copy should cost its writing and nothing else: one read, one hash. What is compared is
//! the CPU of the whole process, kernel included, in turns within one run; the median of the rounds'
//! ratios is the result. `GLISSADE_BENCH_MIB` is the size of an image (256), `GLISSADE_BENCH_ROUNDS`
//! how often everything is run (7). The first round warms up and does not count.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use glissade::buffer::{Arena, Frozen};
use glissade::config::{
    self, DataDir, Durability, FileStore as Options, FormatRules, MetadataCalls, Sources,
};
use glissade::image::{Expected, ImageId, Location};
use glissade::lanes::Lanes;
use glissade::limits::{MIB, SLOT_ARENA_BYTES, SLOT_BYTES, SLOTS_WARM};
use glissade::meta::{Repo, SqlRepo};
use glissade::observe::Metrics;
use glissade::ring::Engines;
use glissade::store::file::{FileStore, Policy};
use glissade::store::{Draft, Registry, SizeHint, Store};
use glissade::upload::{Gate, Janitor, StoreSource, Target, Uploads};
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;
use tokio::runtime::Runtime;

fn main() {
    // `cargo test` runs benches too, with this argument: one small round then.
    let is_test = std::env::args().any(|argument| argument == "--test");
    let mib = setting("GLISSADE_BENCH_MIB", if is_test { 4 } else { 256 });
    let rounds = setting("GLISSADE_BENCH_ROUNDS", if is_test { 1 } else { 7 });
    let runtime = Runtime::new().unwrap();
    let bench = runtime.block_on(Bench::new(mib));
    let mut ratios = Vec::new();
    for round in 0..=rounds {
        let one = bench.measure(&runtime, |bench| Box::pin(bench.pour(1)));
        let second = bench.measure(&runtime, |bench| Box::pin(bench.write()));
        let two = bench.measure(&runtime, |bench| Box::pin(bench.pour(2)));
        let ratio = two.cpu / (one.cpu + second.cpu);
        println!("round {round}: one {one}, plain write {second}, two {two}, ratio {ratio:.2}");
        if round > 0 {
            ratios.push(ratio);
        }
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    println!("median: two stores / (one store + plain write) = {median:.2} of CPU");
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// CPU seconds per GiB and wall time of one run.
struct Cost {
    cpu: f64,
    wall: Duration,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} CPU-s/GiB ({:.2} s)", self.cpu, self.wall.as_secs_f64())
    }
}

struct Bench {
    mib: usize,
    uploads: Uploads,
    stores: [Arc<dyn Store>; 2],
    staged: Location,
    chunk: Frozen,
    _dir: TempDir,
}

type Done<'a> = std::pin::Pin<Box<dyn Future<Output = Vec<(Arc<dyn Store>, Location)>> + 'a>>;

impl Bench {
    async fn new(mib: usize) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let data_dir = Some(dir.path().into());
        let settings = config::load(&Sources { data_dir, ..Sources::default() }).unwrap();
        let repo =
            SqlRepo::open(&settings.database, Durability::None, &Metrics::new()).await.unwrap();
        let repo: Arc<dyn Repo> = Arc::new(repo);
        let registry = Arc::new(Registry::open(&settings).unwrap());
        let (_, janitor) = Janitor::new(Arc::clone(&repo), registry);
        let arena = Arena::new(SLOT_ARENA_BYTES, SLOTS_WARM).unwrap();
        let engines = Engines::start(settings.glissade.io_uring, 1, &arena).unwrap();
        let lanes = Lanes::start(settings.glissade.hash_workers).unwrap();
        println!("engine {}, lanes {}", engines.kind().as_str(), lanes.tier());
        let chunk = arena.share(1).take().await.freeze(SLOT_BYTES);
        let metrics = Metrics::new();
        let uploads = Uploads::new(&settings, repo, engines, arena, lanes, metrics, janitor);
        let stores = ["a", "b"].map(|id| store(id, &dir.path().join(id)));
        let staged = dir.path().join("staged");
        std::fs::write(&staged, vec![0x5a; mib * MIB]).unwrap();
        let staged = Location::new(format!("file://{}", staged.display()), None);
        Self { mib, uploads, stores, staged, chunk, _dir: dir }
    }

    /// Runs one side and removes what it made, which does not count.
    fn measure(&self, runtime: &Runtime, side: impl Fn(&Self) -> Done<'_>) -> Cost {
        let (began, before) = (Instant::now(), cpu());
        let made = runtime.block_on(side(self));
        let cost = Cost {
            cpu: (cpu() - before).as_secs_f64() * 1024.0 / self.mib as f64,
            wall: began.elapsed(),
        };
        for (store, location) in made {
            runtime.block_on(store.delete(&location)).unwrap();
        }
        cost
    }

    fn hint(&self) -> SizeHint {
        SizeHint::Known((self.mib * MIB) as u64)
    }

    async fn begin(&self, store: &Arc<dyn Store>) -> Box<dyn Draft> {
        store.begin(&ImageId::random(), self.hint()).await.unwrap()
    }

    /// Reads once, hashes once, writes so many times.
    async fn pour(&self, stores: usize) -> Vec<(Arc<dyn Store>, Location)> {
        let source = StoreSource::new(self.stores[0].open(&self.staged).await.unwrap());
        let mut targets = Vec::new();
        for store in &self.stores[..stores] {
            targets.push(Target { store: Arc::clone(store), draft: self.begin(store).await });
        }
        let gate = Gate::new(Some("bare"), Some("raw"), &FormatRules::default());
        let (hint, expected) = (self.hint(), Expected::default());
        let pouring = self.uploads.pouring(source, targets, hint, expected, gate);
        let poured = self.uploads.engines.run(move || pouring.run(|_, _| {})).await.unwrap();
        assert_eq!(poured.arrived.unwrap().size, (self.mib * MIB) as u64);
        let sealed = poured.stores.iter();
        sealed.map(|outcome| (outcome.store.clone(), outcome.location().unwrap().clone())).collect()
    }

    /// Writes memory, unread and unhashed, to one store.
    async fn write(&self) -> Vec<(Arc<dyn Store>, Location)> {
        let mut draft = self.begin(&self.stores[1]).await;
        let (chunk, chunks) = (self.chunk.clone(), self.mib * MIB / SLOT_BYTES);
        let job = move || async move {
            for _ in 0..chunks {
                draft.write(chunk.clone()).await.unwrap();
            }
            draft.seal().await.unwrap()
        };
        let location = self.uploads.engines.run(job).await.unwrap();
        vec![(Arc::clone(&self.stores[1]), location)]
    }
}

fn store(id: &str, dir: &Path) -> Arc<dyn Store> {
    let options = Options {
        datadirs: vec![DataDir { path: dir.to_owned(), priority: 0 }],
        file_perm: None,
        chunk_size_bytes: 64 * 1024,
        thin_provisioning: false,
        metadata_file: None,
        metadata_calls: MetadataCalls::default(),
    };
    let policy = Policy { durability: Durability::Full, direct_io: true };
    Arc::new(FileStore::open(id, options, policy, true).unwrap())
}

/// CPU time of all threads of this process, the ring's helpers included.
fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec.try_into().unwrap(), spent.tv_nsec.try_into().unwrap())
}
