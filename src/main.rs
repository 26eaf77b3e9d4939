//! The command line: which command, with which settings, and what it says when it can't.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use glissade::cli::bench::BenchCommand;
use glissade::cli::check::{self, CheckArgs};
use glissade::cli::db::{self, DbCommand};
use glissade::cli::scrub::{self, ScrubArgs};
use glissade::cli::serve::{self, ConfigArgs, ServeArgs};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An image data plane for OpenStack
#[derive(Debug, Parser)]
#[command(name = "glissade", version = glissade::observe::VERSION)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the Image API
    Serve(ServeArgs),
    /// Say what becomes of each option and whether a server would start here
    Check(CheckArgs),
    /// Look after the database
    Db {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(subcommand)]
        command: DbCommand,
    },
    /// Remove the data of images that were deleted under `delayed_delete`
    Scrub(ScrubArgs),
    /// Measure this machine
    Bench {
        #[command(subcommand)]
        command: BenchCommand,
    },
    /// Print the version
    Version,
}

fn main() -> ExitCode {
    let status = match run(Cli::parse().command) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("glissade: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            1
        }
    };
    glissade::rbd::leave(status);
    ExitCode::from(status)
}

fn run(command: Command) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        Command::Serve(args) => {
            let runtime = runtime()?;
            let served = runtime.block_on(serve::run(&args));
            // Dropped, it would wait for a call that a hung disk never answers.
            runtime.shutdown_timeout(glissade::limits::BLOCKING_GRACE);
            Ok(served?)
        }
        Command::Check(args) => Ok(runtime()?.block_on(check::run(&args))?),
        Command::Db { config, command } => {
            let settings = config.load()?;
            println!("{}", runtime()?.block_on(db::run(&command, &settings))?);
            Ok(())
        }
        Command::Scrub(args) => {
            println!("{}", runtime()?.block_on(scrub::run(&args))?);
            Ok(())
        }
        Command::Bench { command } => Ok(command.run()?),
        Command::Version => {
            println!("glissade {}", glissade::observe::VERSION);
            Ok(())
        }
    }
}

/// The control runtime. Its blocking pool runs downloads, disk calls and, without io_uring, one
/// thread for each upload.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .thread_name("control")
        .max_blocking_threads(glissade::limits::BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
}
