//! `glissade bench upload`: rounds of uploads to the server and to the controls.
//!
//! Every round asks each subject in turn, odd rounds in reverse order, and starts with a quiet
//! disk; ratios are taken within a round, so what drifts (heat, neighbours, a filling disk)
//! drifts for all. Only one subject is busy at a time, and its data is gone before the next.

use std::fs;
use std::path::{Path, PathBuf};

use super::client::{Framing, Payload, Uploads, exchange};
use super::control::Kind;
use super::limit::Limit;
use super::machine::MachineSample;
use super::process::{Launch, SERVING, Server};
use super::report::{Figures, Measured, Report, Setup};
use super::scratch::Scratch;
use super::serve::Serve;
use super::target::Target;
use super::usage::{CpuSample, Memory, forget_peak};
use super::{BenchError, ByteSize};
use crate::cli::serve::ConfigArgs;
use crate::limits::{
    ALLOCATE_AHEAD_BYTES, BENCH_ROUNDS_MAX, BENCH_STREAMS_MAX, MIB, SLOT_ALIGN_BYTES, SLOT_BYTES,
};
use crate::observe;

/// Arguments of `glissade bench upload`.
#[derive(Clone, Debug, clap::Args)]
pub struct UploadBench {
    /// Uploads at the same time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=BENCH_STREAMS_MAX))]
    pub streams: u32,
    /// Size of each image, like 64MiB
    #[arg(long, default_value = "1GiB")]
    pub size: ByteSize,
    /// Upload to this configured file or rbd store, by its id in enabled_backends, beside direct
    /// writes or `rbd bench` in the same place
    #[arg(long, value_name = "ID", conflicts_with = "against")]
    pub store: Option<String>,
    /// Where that store is configured.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where records and, without --store, images go: a directory on the disk to be measured
    #[arg(long, default_value = "glissade-data/bench")]
    pub dir: PathBuf,
    /// Send chunked bodies of unknown size, as python-glanceclient does
    #[arg(long)]
    pub chunked: bool,
    /// The server's option of that name
    #[arg(long, default_value = "auto", value_parser = ["auto", "required", "off"])]
    pub io_uring: String,
    /// The server's option of that name
    #[arg(long, default_value = "full", value_parser = ["full", "none"])]
    pub durability: String,
    /// Beside whom the server is measured: the two controls, or itself without io_uring
    #[arg(long, value_enum, default_value_t = Against::Controls)]
    pub against: Against,
    /// Rounds; the report has their medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=BENCH_ROUNDS_MAX))]
    pub rounds: u32,
    /// Print the report as JSON, with every round
    #[arg(long)]
    pub json: bool,
}

/// Beside whom the server is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Against {
    /// The serial loop, and receiving and writing without hashing
    Controls,
    /// The same server on the threads engine
    Engines,
}

impl UploadBench {
    /// Measures; progress goes to standard error.
    ///
    /// # Errors
    /// Whatever kept it from measuring. The children are stopped and the directory of the run is
    /// removed in every case, save when this process is killed.
    pub fn run(&self) -> Result<Report, BenchError> {
        let scratch = Scratch::make(&self.dir)?;
        let payload = Payload::new(self.size);
        let (store, mut subjects) = match &self.store {
            Some(id) => self.start_beside(id, scratch.path())?,
            None => {
                scratch.require(self.needed())?;
                (None, self.start(scratch.path())?)
            }
        };
        for round in 0..self.rounds {
            for subject in turns(round, &mut subjects) {
                scratch.settle()?;
                let figures = self.measure(subject, &payload)?;
                let (name, of) = (subject.name, self.rounds);
                eprintln!("round {} of {of}: {name}: {}", round + 1, figures.in_short());
                subject.rounds.push(figures);
            }
        }
        Ok(self.report(store, subjects))
    }

    /// A server on a configured store, and what lies under it. Gives the store's name, too.
    fn start_beside(
        &self,
        id: &str,
        dir: &Path,
    ) -> Result<(Option<String>, Vec<Subject>), BenchError> {
        let settings = self.config.load().map_err(BenchError::Config)?;
        let (target, limit) = Target::configured(&settings, id)?;
        let mut ours = self.start_server("glissade", &self.io_uring, &target, dir)?;
        ours.warm()?;
        let name = limit.name();
        let beside = Subject { name, runner: Runner::Limit(limit), rounds: Vec::new() };
        Ok((Some(target.name()), vec![ours, beside]))
    }

    /// Bytes of one subject's turn; sizes unknown to the server cost what it allocates ahead.
    fn needed(&self) -> ByteSize {
        let ahead = if self.chunked { ALLOCATE_AHEAD_BYTES } else { MIB as u64 };
        ByteSize(self.size.0.saturating_add(ahead).saturating_mul(u64::from(self.streams)))
    }

    /// Ours first, then those it is measured beside.
    fn start(&self, dir: &Path) -> Result<Vec<Subject>, BenchError> {
        match self.against {
            Against::Controls => {
                let serial = start_control(Kind::Serial, dir)?;
                let plain = start_control(Kind::Plain, dir)?;
                Ok(vec![self.start_in_dir("glissade", &self.io_uring, dir)?, serial, plain])
            }
            Against::Engines => {
                let threads = self.start_in_dir("threads", "off", dir)?;
                Ok(vec![self.start_in_dir("ring", "required", dir)?, threads])
            }
        }
    }

    fn start_in_dir(
        &self,
        name: &'static str,
        io_uring: &str,
        dir: &Path,
    ) -> Result<Subject, BenchError> {
        self.start_server(name, io_uring, &Target::in_dir(&dir.join(name)), dir)
    }

    fn start_server(
        &self,
        name: &'static str,
        io_uring: &str,
        target: &Target,
        dir: &Path,
    ) -> Result<Subject, BenchError> {
        let serve = Serve { name, io_uring, durability: &self.durability, target };
        let server = serve.start(&dir.join(name))?;
        let framing = if self.chunked { Framing::Chunked } else { Framing::Length };
        let runner = Runner::Server { server, framing, hashes: true };
        Ok(Subject { name, runner, rounds: Vec::new() })
    }

    /// One subject's turn.
    fn measure(&self, subject: &Subject, payload: &Payload) -> Result<Figures, BenchError> {
        match &subject.runner {
            Runner::Server { server, framing, hashes } => {
                Ok(self.upload(server, *framing, *hashes, payload)?.figures())
            }
            Runner::Limit(limit) => {
                let slots = self.size.0.div_ceil(SLOT_BYTES as u64) * u64::from(self.streams);
                let turn = limit.turn(a_slot_of(payload.block()), slots.max(1));
                turn.unwrap_or_else(|| Err(BenchError::NothingBeside { id: limit.name().into() }))
                    .map(Figures::of_limit)
            }
        }
    }

    /// Creates, uploads, verifies and deletes; only the upload is measured.
    fn upload(
        &self,
        server: &Server,
        framing: Framing,
        hashes: bool,
        payload: &Payload,
    ) -> Result<Measured, BenchError> {
        let uploads = Uploads::create(server.addresses[0], payload, framing, self.streams)?;
        let sample =
            || CpuSample::of(server.pid()).map_err(BenchError::io("reading a child's CPU time"));
        forget_peak(server.pid());
        let (machine, before) = (MachineSample::now(), sample()?);
        let spans = uploads.send()?;
        let cpu = sample()?.since(&before);
        let machine = MachineSample::now().since(&machine, cpu.total);
        let memory =
            Memory::of(server.pid()).map_err(BenchError::io("reading a child's memory"))?;
        uploads.verify(hashes)?;
        uploads.delete()?;
        let (size, peak, idle) = (self.size.0, memory.peak, server.idle);
        Ok(Measured { size, spans, cpu, machine, peak, idle })
    }

    fn report(&self, store: Option<String>, subjects: Vec<Subject>) -> Report {
        let setup = Setup {
            version: observe::VERSION,
            engine: subjects.first().and_then(Subject::engine),
            streams: self.streams,
            size: self.size,
            chunked: self.chunked,
            io_uring: self.io_uring.clone(),
            durability: self.durability.clone(),
            rounds: self.rounds,
            dir: self.dir.clone(),
            store,
        };
        Report::new(setup, subjects.into_iter().map(|subject| (subject.name, subject.rounds)))
    }
}

/// One of those who are measured.
#[derive(Debug)]
struct Subject {
    name: &'static str,
    runner: Runner,
    rounds: Vec<Figures>,
}

/// What has a turn.
#[derive(Debug)]
enum Runner {
    /// Takes uploads.
    Server { server: Server, framing: Framing, hashes: bool },
    /// Lies under the server's store.
    Limit(Limit),
}

impl Subject {
    /// One small upload, after which the server is connected to its store, and its memory counts as
    /// idle.
    fn warm(&mut self) -> Result<(), BenchError> {
        let Runner::Server { server, framing, hashes } = &mut self.runner else { return Ok(()) };
        let payload = Payload::new(WARM_SIZE);
        let uploads = Uploads::create(server.addresses[0], &payload, *framing, 1)?;
        uploads.send()?;
        uploads.verify(*hashes)?;
        uploads.delete()?;
        let memory =
            Memory::of(server.pid()).map_err(BenchError::io("reading a child's memory"))?;
        // Slots that are resident from the start are memory of uploads, too.
        let slots = server.addresses.get(1).map(|admin| exchange(*admin, "GET /metrics", ""));
        let slots = slots.transpose()?.map_or(0, |answer| slots_resident(&answer.body));
        server.idle = memory.resident.saturating_sub(slots * SLOT_BYTES as u64);
        Ok(())
    }

    /// The engine that a server runs, with its reason, as its metrics tell it.
    fn engine(&self) -> Option<String> {
        let Runner::Server { server, .. } = &self.runner else { return None };
        let admin = server.addresses.get(1)?;
        engine_of(&exchange(*admin, "GET /metrics", "").ok()?.body)
    }
}

/// As much as a slot holds, aligned as slots are: direct writes need it.
fn a_slot_of(block: &[u8]) -> &[u8] {
    let start = block.as_ptr().align_offset(SLOT_ALIGN_BYTES);
    &block[start..start + SLOT_BYTES]
}

/// Of the image that [`Subject::warm`] uploads.
const WARM_SIZE: ByteSize = ByteSize(64 << 10);

fn start_control(kind: Kind, dir: &Path) -> Result<Subject, BenchError> {
    let name = kind.name();
    let images = dir.join(name);
    fs::create_dir(&images).map_err(BenchError::io("making a control's directory"))?;
    let server = Server::start(&Launch {
        name,
        arguments: &["bench", "control", name, "--dir", &images.to_string_lossy()],
        announces: &[SERVING],
        dir,
    })?;
    let runner = Runner::Server { server, framing: Framing::Length, hashes: kind.hashes() };
    Ok(Subject { name, runner, rounds: Vec::new() })
}

/// Everybody once, backwards in odd rounds.
pub(super) fn turns<T>(round: u32, subjects: &mut [T]) -> Vec<&mut T> {
    let mut order: Vec<&mut T> = subjects.iter_mut().collect();
    if !round.is_multiple_of(2) {
        order.reverse();
    }
    order
}

/// Slots that have memory.
fn slots_resident(metrics: &str) -> u64 {
    let figure = metrics.lines().find_map(|line| line.strip_prefix("glissade_slots_resident "));
    figure.and_then(|figure| figure.trim().parse().ok()).unwrap_or_default()
}

fn engine_of(metrics: &str) -> Option<String> {
    let labels = metrics.lines().find_map(|line| line.strip_prefix("glissade_ring_info{"))?;
    let (engine, reason) = labels.strip_prefix("engine=\"")?.split_once("\",reason=\"")?;
    Some(format!("{engine} ({})", reason.strip_suffix("\"} 1")?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::parsed;
    use super::*;
    use crate::observe::Metrics;
    use crate::observe::metrics::{Engine, SlotFigures};

    fn parse(line: &str) -> Result<UploadBench, clap::Error> {
        parsed(line.split_whitespace())
    }

    #[test]
    fn the_defaults_are_one_upload_of_a_gibibyte() {
        let bench = parse("").unwrap();
        assert_eq!((bench.streams, bench.size, bench.rounds), (1, ByteSize(1 << 30), 3));
        assert_eq!((&*bench.io_uring, &*bench.durability), ("auto", "full"));
    }

    #[test]
    fn options_out_of_range_are_refused() {
        assert_eq!(parse("--streams 8 --size 64MiB --chunked").unwrap().size, ByteSize(64 << 20));
        for line in ["--streams 0", "--size 1GB", "--rounds 0", "--io-uring on", "--durability no"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("--store fast --against engines").is_err());
        assert_eq!(parse("--store fast --data-dir /x").unwrap().store.as_deref(), Some("fast"));
    }

    #[test]
    fn space_is_asked_for_every_stream_and_what_is_allocated_ahead() {
        let needed = |line| parse(line).unwrap().needed().0;
        assert_eq!(needed("--streams 2 --size 64MiB"), 2 * (65 << 20));
        assert_eq!(needed("--streams 2 --size 64MiB --chunked"), 2 * (320 << 20));
        assert_eq!(needed("--streams 9 --size 16777215TiB"), u64::MAX);
    }

    #[test]
    fn a_direct_write_finds_its_alignment() {
        let block = vec![1; 4 * MIB];
        for offset in [0, 1, SLOT_ALIGN_BYTES - 1] {
            let slot = a_slot_of(&block[offset..]);
            assert_eq!((slot.len(), slot.as_ptr().align_offset(SLOT_ALIGN_BYTES)), (SLOT_BYTES, 0));
        }
    }

    #[test]
    fn odd_rounds_go_backwards() {
        assert_eq!(turns(0, &mut [1, 2, 3]), [&1, &2, &3]);
        assert_eq!(turns(1, &mut [1, 2, 3]), [&3, &2, &1]);
    }

    #[test]
    fn the_engine_is_read_from_the_metrics_as_they_are_rendered() {
        let metrics = Metrics::new();
        assert_eq!(engine_of(&metrics.render()), None);
        metrics.set_engine(Engine::Threads, "io_uring = off");
        assert_eq!(engine_of(&metrics.render()).unwrap(), "threads (io_uring = off)");
        metrics.observe_slots(|| SlotFigures { in_use: 3, resident: 32 });
        assert_eq!((slots_resident(&metrics.render()), slots_resident("")), (32, 0));
    }
}
