//! `glissade check`: what becomes of each option, and how a server would fare here.
//!
//! It reads what `serve` would read, says of every option whether it is honoured, tries what a
//! server needs in the order in which one would, and ends as `serve` would end: with success, or
//! with the same message. It changes nothing: what is missing and would be made is told.

mod places;
mod probes;
mod report;

use std::io;

use super::serve::{ServeArgs, ServeError};
use crate::config::{Examination, examine};

use probes::Probe;
use report::Report;

/// Which configuration, and how to tell.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct CheckArgs {
    #[command(flatten)]
    serve: ServeArgs,
    /// Print one JSON document in place of lines
    #[arg(long)]
    json: bool,
}

/// Checks and prints.
///
/// # Errors
/// What `serve` would end with.
pub async fn run(args: &CheckArgs) -> Result<(), ServeError> {
    let Examination { options, loaded } = examine(&args.serve.sources());
    let (probes, warnings, refusal) = match loaded {
        Err(error) => (Vec::new(), Vec::new(), Some(ServeError::from(error))),
        Ok(settings) => (probes::all(&settings).await, settings.warnings, None),
    };
    let error = refusal.as_ref().or_else(|| probes.iter().find_map(Probe::error));
    let report = Report::new(&options, &probes, &warnings, error);
    let mut out = io::stdout().lock();
    // Nobody may be reading, which changes nothing about the answer.
    let _ = if args.json { report.write_json(&mut out) } else { report.write_text(&mut out) };
    let failed = || probes.into_iter().find_map(Probe::into_error);
    refusal.or_else(failed).map_or(Ok(()), Err)
}
