//! `glissade bench import`: how soon staged data is an image.
//!
//! All images are staged first, through the server, which hashes them then. Each round has one of
//! each size imported with `glance-direct`, and uploads the same bytes with `PUT .../file` beside it,
//! in odd rounds before it. An import is measured as a client sees it: from its request to the
//! first answer that says `active`. What the server has read meanwhile is the kernel's count, which
//! leaves out what a ring reads, so the server runs without one. An import consists of little but
//! waiting for the disk, which others may be writing to: right before each, a bare sync is measured
//! beside it. The server's first import is one of its own.
//!
//! Images of nothing but zeros may be of any size: the staging area keeps holes of them. They are
//! hashed like any other, and their digest is checked in the end; nobody uploads them once more.
//! Staging them takes minutes, which is told as it goes on. Each import needs staged data of its
//! own, so that of large ones one round may be enough.

mod report;

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use super::client::{Framing, Payload, Uploads, import};
use super::process::Server;
use super::scratch::Scratch;
use super::serve::Serve;
use super::store::pair;
use super::target::Target;
use super::upload::turns;
use super::usage::BytesRead;
use super::{BenchError, ByteSize};
use crate::cli::serve::ConfigArgs;
use crate::limits::{BENCH_ROUNDS_MAX, BENCH_TELL, MIB};

pub use report::ImportReport;
use report::{Images, Turn};

/// Arguments of `glissade bench import`.
#[derive(Clone, Debug, clap::Args)]
pub struct ImportBench {
    /// Sizes of images, like 64MiB,1GiB
    #[arg(long, default_value = "1GiB", value_delimiter = ',')]
    pub size: Vec<ByteSize>,
    /// Sizes of images of zeros, which take no room, like 100GiB. They are sent and hashed once for
    /// each round: minutes for 100GiB, which --rounds 1 has but once
    #[arg(long, value_name = "SIZE", value_delimiter = ',')]
    pub zeros: Vec<ByteSize>,
    /// Import into this configured file or rbd store, by its id in enabled_backends; staged data
    /// lies under --dir
    #[arg(long, value_name = "ID")]
    pub store: Option<String>,
    /// Where that store is configured.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where records, staged data and, without --store, images go
    #[arg(long, default_value = "glissade-data/bench")]
    pub dir: PathBuf,
    /// The server's option of that name
    #[arg(long, default_value = "full", value_parser = ["full", "none"])]
    pub durability: String,
    /// Rounds; the report has their medians, and as many images of each size are staged at once
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=BENCH_ROUNDS_MAX))]
    pub rounds: u32,
    /// Print the report as JSON, with every round
    #[arg(long)]
    pub json: bool,
}

impl ImportBench {
    /// Measures; progress goes to standard error.
    ///
    /// # Errors
    /// Whatever kept it from measuring. The server is stopped and the directory of the run is
    /// removed in every case, save when this process is killed.
    pub fn run(&self) -> Result<ImportReport, BenchError> {
        let scratch = Scratch::make(&self.dir)?;
        scratch.require(self.needed())?;
        let dir = scratch.path().join("glissade");
        let target = self.target(&dir)?;
        let durability = &self.durability;
        let serve = Serve { name: "glissade", io_uring: "off", durability, target: &target };
        let server = serve.start(&dir)?;
        let first = warm(&server, &scratch)?;
        let (noise, zeros) = (self.size.iter(), self.zeros.iter());
        let payloads: Vec<(bool, Payload)> = noise
            .map(|size| (false, Payload::new(*size)))
            .chain(zeros.map(|size| (true, Payload::zeros(*size))))
            .collect();
        let sizes = self.size.iter().chain(&self.zeros);
        let mut rows = Vec::new();
        for (size, (is_zeros, payload)) in sizes.zip(&payloads) {
            rows.push(Row::stage(&server, *size, *is_zeros, payload, self.rounds)?);
        }
        for round in 0..self.rounds {
            for row in turns(round, &mut rows) {
                row.turn(&server, &scratch, round)?;
                eprintln!("round {} of {}: {}", round + 1, self.rounds, row.in_short());
            }
        }
        let to =
            self.store.as_ref().map_or_else(|| self.dir.display().to_string(), |_| target.name());
        let images = rows.into_iter().map(Row::end).collect::<Result<_, _>>()?;
        Ok(ImportReport::new(to, durability.clone(), first, images))
    }

    fn target(&self, dir: &Path) -> Result<Target, BenchError> {
        let Some(id) = &self.store else { return Ok(Target::in_dir(dir)) };
        let settings = self.config.load().map_err(BenchError::Config)?;
        Target::configured(&settings, id).map(|(target, _)| target)
    }

    /// What is staged and imported, and one upload beside it.
    fn needed(&self) -> ByteSize {
        let images = u64::from(self.rounds) + 1;
        let each = self.size.iter().map(|size| size.0.saturating_add(MIB as u64));
        ByteSize(each.fold(0, |sum, size| sum.saturating_add(size.saturating_mul(images))))
    }
}

/// Images of one size.
struct Row<'p> {
    size: ByteSize,
    is_zeros: bool,
    payload: &'p Payload,
    /// One for each round.
    staged: Uploads<'p>,
    turns: Vec<Turn>,
}

impl<'p> Row<'p> {
    /// Stages all of them at the same time, which lanes hash for less than one after the other.
    fn stage(
        server: &Server,
        size: ByteSize,
        is_zeros: bool,
        payload: &'p Payload,
        rounds: u32,
    ) -> Result<Self, BenchError> {
        let uploads = Uploads::create(server.addresses[0], payload, Framing::Length, rounds)?;
        let all = ByteSize(size.0.saturating_mul(u64::from(rounds)));
        let (staging, is_over) = mpsc::channel::<()>();
        let staged = &uploads;
        thread::scope(|scope| {
            scope.spawn(|| payload.checksum());
            scope.spawn(move || tell(staged, all, &is_over));
            let done = staged.stage();
            drop(staging);
            done
        })?;
        eprintln!("staged: {rounds} x {size}");
        Ok(Self { size, is_zeros, payload, staged: uploads, turns: Vec::new() })
    }

    /// An import, and beside it an upload.
    fn turn(&mut self, server: &Server, scratch: &Scratch, round: u32) -> Result<(), BenchError> {
        let image = self.staged.images().get(round as usize).cloned().unwrap_or_default();
        let import = || {
            scratch.settle()?;
            timed(server, scratch, &image)
        };
        let upload = || {
            if self.is_zeros {
                return Ok(None);
            }
            scratch.settle()?;
            put(server, self.payload).map(Some)
        };
        let (import, put_ms) = pair(round, import, upload)?;
        self.turns.push(Turn { put_ms, ..import });
        Ok(())
    }

    /// Every image has to be what was staged.
    fn end(self) -> Result<Images, BenchError> {
        self.staged.verify(true)?;
        self.staged.delete()?;
        Ok(Images::new(self.size, self.is_zeros, self.turns))
    }

    /// For the progress line.
    fn in_short(&self) -> String {
        let took = self.turns.last().map_or(0.0, |turn| turn.import_ms);
        format!("{} is active after {took:.1} ms", self.size)
    }
}

/// Says how far the staging is until it is over.
fn tell(staged: &Uploads<'_>, all: ByteSize, is_over: &mpsc::Receiver<()>) {
    while is_over.recv_timeout(BENCH_TELL) == Err(mpsc::RecvTimeoutError::Timeout) {
        eprintln!("staging: {} of {all} are sent", ByteSize(staged.sent_bytes()));
    }
}

/// One import, with what the server read for it, and a bare sync right before.
fn timed(server: &Server, scratch: &Scratch, image: &str) -> Result<Turn, BenchError> {
    let sync = scratch.bare_sync()?;
    let read = || BytesRead::of(server.pid()).map_err(BenchError::io("reading a child's reading"));
    let before = read()?;
    let (took, asked) = import(server.addresses[0], image)?;
    let read = read()?.since(before);
    let [import_ms, sync_ms] = [took, sync].map(|took| took.as_secs_f64() * 1000.0);
    Ok(Turn { import_ms, asked, read, sync_ms, put_ms: None })
}

/// The same bytes by an upload, in milliseconds.
fn put(server: &Server, payload: &Payload) -> Result<f64, BenchError> {
    let upload = Uploads::create(server.addresses[0], payload, Framing::Length, 1)?;
    let spans = upload.send()?;
    upload.verify(true)?;
    upload.delete()?;
    let took = spans.first().map(|span| span.ended - span.begun).unwrap_or_default();
    Ok(took.as_secs_f64() * 1000.0)
}

/// One small import, the server's first, after which it has its store and its database at hand.
fn warm(server: &Server, scratch: &Scratch) -> Result<Turn, BenchError> {
    let payload = Payload::zeros(ByteSize(64 << 10));
    let staged = Uploads::create(server.addresses[0], &payload, Framing::Length, 1)?;
    staged.stage()?;
    let image = staged.images().first().cloned().unwrap_or_default();
    scratch.settle()?;
    let first = timed(server, scratch, &image)?;
    staged.verify(true)?;
    staged.delete()?;
    Ok(first)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::parsed;
    use super::*;

    fn parse(line: &str) -> Result<ImportBench, clap::Error> {
        parsed(line.split_whitespace())
    }

    #[test]
    fn sizes_are_listed_and_zeros_take_no_room() {
        let bench = parse("--size 1MiB,2GiB --zeros 100GiB,1TiB --rounds 2").unwrap();
        assert_eq!(bench.size, [ByteSize(1 << 20), ByteSize(2 << 30)]);
        assert_eq!(bench.zeros, [ByteSize(100 << 30), ByteSize(1 << 40)]);
        assert_eq!(bench.needed().0, 3 * ((2 << 20) + (2 << 30) + (1 << 20)));
        assert_eq!(parse("").unwrap().size, [ByteSize(1 << 30)]);
        assert_eq!(parse("--size 16777215TiB").unwrap().needed().0, u64::MAX);
        for line in ["--size 1GB", "--zeros", "--rounds 0", "--durability some"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
