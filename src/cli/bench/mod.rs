//! `glissade bench`: what this machine and its disks can do, shown beside honest controls.
//!
//! `bench upload` starts the real server as a child, uploads to it over loopback and reports
//! throughput, the server's CPU by kind of thread, and its memory. In the same run, round by
//! round, the same client sends the same bytes to two controls: the serial loop of Glance (read
//! 64 KiB, MD5, SHA-512, write) and a receiver that doesn't hash. With `--store` the server keeps the
//! images in a configured store, and what lies under that store takes the controls' place.
//! `bench import` measures how soon staged data is an image, beside uploads of the same bytes. Figures
//! of different runs or machines don't compare; ratios within one run do. `bench store` leaves the
//! server out, and `bench lanes` everything but the hashes; `bench api` asks servers for records,
//! and moves no data.

mod api;
mod client;
mod control;
mod import;
mod lanes;
mod limit;
mod machine;
mod process;
mod report;
mod scratch;
mod serve;
mod size;
mod store;
mod target;
mod upload;
mod usage;

use std::io;
use std::path::PathBuf;

use crate::config::ConfigError;
use crate::ring::RingRefused;
use crate::store::{OpenError, StoreError};

pub use api::{ApiBench, ApiReport};
pub use control::Control;
pub use import::{ImportBench, ImportReport};
pub use lanes::{HashBytes, LanesBench, LanesReport, Serial};
pub use report::Report;
pub use size::ByteSize;
pub use store::{StoreBench, StoreReport};
pub use upload::UploadBench;

/// What is measured.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum BenchCommand {
    /// Uploads to a server of this build, beside two controls
    Upload(UploadBench),
    /// Imports of staged data by a server of this build, beside uploads of the same bytes
    Import(ImportBench),
    /// Hashes on one core with each tier of kernels, beside a serial loop
    Lanes(LanesBench),
    /// Writes into a configured store, beside the shortest way to the same place
    Store(StoreBench),
    /// Requests per second of servers that run already, such as this one and Glance
    Api(ApiBench),
    /// A control that `bench upload` starts
    #[command(hide = true)]
    Control(Control),
}

impl BenchCommand {
    /// Measures, and prints the report to standard output.
    ///
    /// # Errors
    /// Whatever kept it from measuring; what it had started and made is gone by then.
    pub fn run(&self) -> Result<(), BenchError> {
        match self {
            Self::Upload(bench) => {
                let report = bench.run()?;
                print!("{}", if bench.json { report.json() } else { report.to_string() });
                Ok(())
            }
            Self::Import(bench) => {
                let report = bench.run()?;
                print!("{}", if bench.json { report.json() } else { report.to_string() });
                Ok(())
            }
            Self::Lanes(bench) => {
                let report = bench.run(&Serial::of_this_host());
                print!("{}", if bench.json { report.json() } else { report.to_string() });
                Ok(())
            }
            Self::Store(bench) => {
                let report = bench.run()?;
                print!("{}", if bench.json { report.json() } else { report.to_string() });
                Ok(())
            }
            Self::Api(bench) => {
                let report = bench.run()?;
                print!("{}", if bench.json { report.json() } else { report.to_string() });
                Ok(())
            }
            Self::Control(control) => control.run(),
        }
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The disk can't hold one round.
    #[error(
        "{dir} has {available} free and one round needs {needed}; \
         pass a smaller --size or --streams, or another --dir"
    )]
    Space {
        /// The directory of `--dir`.
        dir: PathBuf,
        /// Bytes of all streams, with what the server allocates ahead.
        needed: ByteSize,
        /// Free for this user.
        available: ByteSize,
    },
    /// A child did not come up.
    #[error("{name} did not start: {said}")]
    Start {
        /// `glissade` or a control.
        name: &'static str,
        /// The end of what it said on standard error.
        said: String,
    },
    /// The server answered, but not with what a healthy one says.
    #[error("{request} was answered with {status}: {said}; the server's log has the reason")]
    Refused {
        /// Method and path.
        request: String,
        /// HTTP status.
        status: u16,
        /// Body of the answer.
        said: String,
    },
    /// A stored image is not what was sent. Its figures would be worthless.
    #[error("{request} shows {found} where {expected} was sent; don't trust this build")]
    Corrupt {
        /// Method and path.
        request: String,
        /// Size and checksum sent.
        expected: String,
        /// Size and checksum shown.
        found: String,
    },
    /// Two servers that are to be compared don't serve the same.
    #[error(
        "{request}: {server} shows {count} images that are not the {expected} of {first}; \
         let both use one database that has images"
    )]
    Different {
        /// The one that differs.
        server: String,
        /// Path and query.
        request: String,
        /// Images it shows.
        count: usize,
        /// The one it is compared with.
        first: String,
        /// Images of that one.
        expected: usize,
    },
    /// The configuration is refused.
    #[error(transparent)]
    Config(ConfigError),
    /// A configured store can't be used.
    #[error(transparent)]
    Open(OpenError),
    /// io_uring is required and refused.
    #[error(transparent)]
    Ring(RingRefused),
    /// No store has the id.
    #[error("there is no store {id}; pass one of these as --store: {known}")]
    UnknownStore {
        /// What was asked for.
        id: String,
        /// The stores that are configured.
        known: String,
    },
    /// There is nothing to measure uploads to the store beside.
    #[error(
        "store {id} is of a kind that uploads are not measured to; pass a file or rbd store as \
         --store, or measure it alone with glissade bench store"
    )]
    NothingBeside {
        /// What was asked for.
        id: String,
    },
    /// The store failed a write, or a removal.
    #[error("store {store}: {source}; if it can be reached, look for what the run has left in it")]
    Store {
        /// Its id.
        store: String,
        /// What it said.
        source: StoreError,
    },
    /// A tool that we compare with failed, or printed something unexpected.
    #[error("{command}: {said}; does it work when you run it by hand?")]
    Tool {
        /// The command.
        command: String,
        /// What it printed.
        said: String,
    },
    /// The operating system refused something.
    #[error("{context}: {source}")]
    Io {
        /// What was being done, to what.
        context: String,
        /// What the operating system said.
        source: io::Error,
    },
}

impl BenchError {
    /// For `map_err`: an operating system error with what was being done.
    fn io(context: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let context = context.into();
        move |source| Self::Io { context, source }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Error, Parser};

    #[derive(Parser)]
    struct Line<B: Args> {
        #[command(flatten)]
        bench: B,
    }

    /// One benchmark by its arguments, for its own tests.
    pub(super) fn parsed<'a, B: Args>(
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Result<B, Error> {
        let line = Line::try_parse_from(std::iter::once("bench").chain(arguments));
        line.map(|line| line.bench)
    }
}
