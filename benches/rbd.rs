//! Drafts of the rbd store beside Ceph's own `rbd bench`, same bytes, size of object and of write,
//! same number in flight, in turns on the cluster that `GLISSADE_CEPH` names.
//!
//! Nothing is hashed: this is what the store can take. `GLISSADE_BENCH_MIB` is the size of an image
//! (512), `GLISSADE_BENCH_ROUNDS` how often both are run (5). The first round warms the OSD up and
//! does not count.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use glissade::buffer::{Arena, Frozen};
use glissade::config::{IoUring, RbdStore as Options};
use glissade::image::{ImageId, Location};
use glissade::limits::{RBD_WRITES_IN_FLIGHT_MAX, SLOT_BYTES, SLOTS_WARM};
use glissade::ring::Engines;
use glissade::store::rbd::{Connections, RbdStore};
use glissade::store::{SizeHint, Store};
use tokio::runtime::Runtime;

fn main() {
    let Some(directory) = std::env::var_os("GLISSADE_CEPH").map(PathBuf::from) else {
        println!("skipped: GLISSADE_CEPH names no cluster; see tests/env/ceph/start.sh");
        return;
    };
    let (mib, rounds) = (setting("GLISSADE_BENCH_MIB", 512), setting("GLISSADE_BENCH_ROUNDS", 5));
    let bench = Bench::new(&directory, mib);
    let (mut ours, mut cephs) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let pair = (bench.draft(), bench.rbd_bench());
        println!("round {round}: draft {:.0} MiB/s, rbd bench {:.0} MiB/s", pair.0, pair.1);
        if round > 0 {
            ours.push(pair.0);
            cephs.push(pair.1);
        }
    }
    let (ours, cephs) = (median(ours), median(cephs));
    println!("median: draft {ours:.0}, rbd bench {cephs:.0}, ratio {:.2}", ours / cephs);
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

struct Bench {
    conf: PathBuf,
    mib: usize,
    store: Arc<dyn Store>,
    engines: Engines,
    runtime: Runtime,
    chunk: Frozen,
}

impl Bench {
    fn new(directory: &Path, mib: usize) -> Self {
        let conf = directory.join("ceph.conf");
        let options = Options {
            pool: "images".into(),
            user: Some("glance".into()),
            ceph_conf: Some(conf.clone()),
            object_order: 23,
            thin_provisioning: false,
            connect_timeout: None,
        };
        let store = RbdStore::open("bench", options, false, &mut Connections::default()).unwrap();
        let runtime = Runtime::new().unwrap();
        let arena = Arena::new(SLOTS_WARM * SLOT_BYTES, SLOTS_WARM).unwrap();
        let engines = Engines::start(IoUring::Auto, 1, &arena).unwrap();
        let mut slot = runtime.block_on(arena.share(1).take());
        slot.as_mut_slice().fill(0x5a);
        Self { conf, mib, store: Arc::new(store), engines, runtime, chunk: slot.freeze(SLOT_BYTES) }
    }

    /// One upload without its hash, from the first byte to the last acknowledged, snapshot and
    /// name included.
    fn draft(&self) -> f64 {
        let size = SizeHint::Known((self.mib * SLOT_BYTES) as u64);
        let id = ImageId::random();
        let mut draft = self.runtime.block_on(self.store.begin(&id, size)).unwrap();
        let (chunk, chunks) = (self.chunk.clone(), self.mib);
        let began = Instant::now();
        let job = move || async move {
            for _ in 0..chunks {
                draft.write(chunk.clone()).await.unwrap();
            }
            draft.seal().await.unwrap()
        };
        let location: Location = self.runtime.block_on(self.engines.run(job)).unwrap();
        let rate = self.mib as f64 / began.elapsed().as_secs_f64();
        self.runtime.block_on(self.store.delete(&location)).unwrap();
        rate
    }

    fn rbd_bench(&self) -> f64 {
        let (size, depth) = (format!("{}M", self.mib), RBD_WRITES_IN_FLIGHT_MAX.to_string());
        self.rbd(&["create", "bench", "--size", &size, "--object-size", "8M"]);
        let began = Instant::now();
        self.rbd(&[
            "bench",
            "bench",
            "--io-type",
            "write",
            "--io-size",
            "1M",
            "--io-threads",
            &depth,
            "--io-total",
            &size,
            "--rbd-cache=false",
        ]);
        let rate = self.mib as f64 / began.elapsed().as_secs_f64();
        self.rbd(&["rm", "--no-progress", "bench"]);
        rate
    }

    fn rbd(&self, arguments: &[&str]) {
        let mut command = Command::new("rbd");
        command.env("CEPH_CONF", &self.conf).args(["--id", "glance", "-p", "images"]);
        assert!(command.args(arguments).stdout(Stdio::null()).status().unwrap().success());
    }
}
