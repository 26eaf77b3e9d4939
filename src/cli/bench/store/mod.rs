//! `glissade bench store`: what a configured store takes, beside what lies under it.
//!
//! Data goes the way of an upload's, from a slot through a draft to a sealed object, but it comes
//! from memory and nobody hashes it. In turns with it the same bytes take the shortest way to the
//! same place ([`super::limit`]): `rbd bench` in the pool, or direct writes in the directory. The first
//! round warms everything up and does not count; ratios are taken within a round.

mod report;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::limit::{Limit, Turn, cpu_time};
use super::{BenchError, ByteSize};
use crate::buffer::{Arena, Frozen};
use crate::cli::serve::ConfigArgs;
use crate::config::Settings;
use crate::image::{ImageId, Location};
use crate::limits::{BENCH_ROUNDS_MAX, SLOT_BYTES, SLOTS_WARM};
use crate::ring::Engines;
use crate::store::{Draft, Registry, SizeHint, Store, StoreError, StoreErrorKind};

pub use report::StoreReport;

/// Arguments of `glissade bench store`.
#[derive(Clone, Debug, clap::Args)]
pub struct StoreBench {
    /// Where the store is configured.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The store, by its id in enabled_backends
    #[arg(long, value_name = "ID")]
    pub store: String,
    /// Size of each image, like 64MiB; rounded up to whole MiB
    #[arg(long, default_value = "1GiB")]
    pub size: ByteSize,
    /// Rounds that count; the report has their medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=BENCH_ROUNDS_MAX))]
    pub rounds: u32,
    /// Print the report as JSON, with every round
    #[arg(long)]
    pub json: bool,
}

impl StoreBench {
    /// Measures; progress goes to standard error. What it has written is gone afterwards, also
    /// after an interrupt.
    ///
    /// # Errors
    /// Whatever kept it from measuring.
    pub fn run(&self) -> Result<StoreReport, BenchError> {
        let settings = self.config.load().map_err(BenchError::Config)?;
        let writer = Writer::new(&settings, &self.store)?;
        let limit = Limit::of(&settings, writer.store.id());
        let slots = self.size.0.div_ceil(SLOT_BYTES as u64).max(1);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..=self.rounds {
            let beside = || limit.turn(&writer.chunk, slots).unwrap_or_else(|| writer.turn(slots));
            let (draft, least) = pair(round, || writer.turn(slots), beside)?;
            let [draft_rate, least_rate] = [draft, least].map(|turn| turn.mib_per_sec);
            let (name, of) = (limit.name(), self.rounds);
            eprintln!("round {round} of {of}: draft {draft_rate:.0} MiB/s, {name} {least_rate:.0}");
            if round > 0 {
                ours.push(draft);
                theirs.push(least);
            }
        }
        let size = ByteSize(slots * SLOT_BYTES as u64);
        Ok(StoreReport::new(&*writer.store, size, &limit, ours, theirs))
    }
}

/// Both, the second first in odd rounds.
pub(super) fn pair<T, U>(
    round: u32,
    first: impl FnOnce() -> Result<T, BenchError>,
    second: impl FnOnce() -> Result<U, BenchError>,
) -> Result<(T, U), BenchError> {
    if round.is_multiple_of(2) {
        let first = first()?;
        return Ok((first, second()?));
    }
    let second = second()?;
    Ok((first()?, second))
}

/// Writes images through the store under test.
struct Writer {
    store: Arc<dyn Store>,
    engines: Engines,
    /// The bytes of every write: none is zero, which a thin store would leave out.
    chunk: Frozen,
    /// Set by an interrupt.
    is_over: Arc<AtomicBool>,
    runtime: Runtime,
}

impl Writer {
    fn new(settings: &Settings, id: &str) -> Result<Self, BenchError> {
        let runtime = Runtime::new().map_err(BenchError::io("starting a runtime"))?;
        // A server of this node may be started meanwhile, and removes drafts that are the node's.
        let mut settings = settings.clone();
        settings.glissade.node_id.push_str("/bench");
        let registry = Registry::open(&settings).map_err(BenchError::Open)?;
        let store = registry.get(id).cloned().ok_or_else(|| unknown(&registry, id))?;
        let arena = Arena::new(SLOTS_WARM * SLOT_BYTES, SLOTS_WARM);
        let arena = arena.map_err(BenchError::io("mapping slots"))?;
        let mode = settings.glissade.io_uring;
        let engines = Engines::start(mode, 1, &arena).map_err(BenchError::Ring)?;
        let mut slot = runtime.block_on(arena.share(1).take());
        slot.as_mut_slice().fill(0x5a);
        let (chunk, is_over) = (slot.freeze(SLOT_BYTES), Arc::<AtomicBool>::default());
        let told = Arc::clone(&is_over);
        runtime.spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                told.store(true, Ordering::Relaxed);
            }
        });
        Ok(Self { store, engines, chunk, is_over, runtime })
    }

    /// One image: made and removed, and measured from its first byte to its seal.
    fn turn(&self, slots: u64) -> Result<Turn, BenchError> {
        let failed = |source| BenchError::Store { store: self.store.id().to_owned(), source };
        let size = SizeHint::Known(slots * SLOT_BYTES as u64);
        let draft = self.runtime.block_on(self.store.begin(&ImageId::random(), size));
        let draft = draft.map_err(failed)?;
        let (chunk, is_over) = (self.chunk.clone(), Arc::clone(&self.is_over));
        let (began, before) = (Instant::now(), cpu_time());
        let written = self.engines.run(move || fill(draft, chunk, slots, is_over));
        let written = self.runtime.block_on(written);
        let (took, cpu) = (began.elapsed(), cpu_time().saturating_sub(before));
        let gone = |_| StoreError::new(StoreErrorKind::Unavailable, "the engine is gone");
        let (location, sealing) = written.map_err(gone).and_then(|end| end).map_err(failed)?;
        self.runtime.block_on(self.store.delete(&location)).map_err(failed)?;
        Ok(Turn::new(slots, took, cpu).sealing(sealing))
    }
}

/// Writes and seals; tells how long the seal took.
async fn fill(
    mut draft: Box<dyn Draft>,
    chunk: Frozen,
    slots: u64,
    is_over: Arc<AtomicBool>,
) -> Result<(Location, Duration), StoreError> {
    for _ in 0..slots {
        let written = if is_over.load(Ordering::Relaxed) {
            Err(StoreError::new(StoreErrorKind::Unavailable, "interrupted"))
        } else {
            draft.write(chunk.clone()).await
        };
        if let Err(error) = written {
            draft.discard().await;
            return Err(error);
        }
    }
    let sealing = Instant::now();
    Ok((draft.seal().await?, sealing.elapsed()))
}

fn unknown(registry: &Registry, id: &str) -> BenchError {
    let known = registry.entries().iter().map(|entry| entry.store.id());
    BenchError::UnknownStore { id: id.to_owned(), known: known.collect::<Vec<_>>().join(", ") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::parsed;
    use super::*;

    fn bench(arguments: &[&str]) -> StoreBench {
        parsed(arguments.iter().copied()).unwrap()
    }

    /// The embedded default has one file store, `file`.
    #[test]
    fn a_file_store_is_measured_beside_direct_writes_and_left_empty() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let data = dir.path().to_str().unwrap();
        let store = crate::config::load(&crate::config::Sources {
            data_dir: Some(dir.path().to_owned()),
            ..crate::config::Sources::default()
        });
        let id = store.unwrap().stores.default;
        let report =
            bench(&["--store", &id, "--size", "3MiB", "--rounds", "1", "--data-dir", data]);
        let report = report.run().unwrap();
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!((&json["size"], &json["limit"]), (&(3 << 20).into(), &"direct writes".into()));
        assert!(json["ratio"].as_f64().unwrap() > 0.0, "{json}");
        assert!(report.to_string().contains("CPU-s per GiB"), "{report}");
        let images = std::fs::read_dir(dir.path().join("images")).unwrap();
        assert_eq!(images.count(), 0);
    }

    #[test]
    fn a_store_that_is_not_there_is_refused_with_those_that_are() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().to_str().unwrap();
        let refusal = bench(&["--store", "nosuch", "--data-dir", data]).run().unwrap_err();
        assert!(matches!(&refusal, BenchError::UnknownStore { known, .. } if !known.is_empty()));
        assert!(refusal.to_string().contains("nosuch"), "{refusal}");
    }

    #[test]
    fn odd_rounds_go_backwards() {
        let order = std::cell::RefCell::new(Vec::new());
        let say = |number: u32| {
            order.borrow_mut().push(number);
            Ok(number)
        };
        for round in 0..2 {
            assert_eq!(pair(round, || say(1), || say(2)).unwrap(), (1, 2));
        }
        assert_eq!(order.into_inner(), [1, 2, 2, 1]);
    }
}
