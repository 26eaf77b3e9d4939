//! `glissade bench api`: requests per second of servers that run already, one beside the other.
//!
//! Meant for two servers of the Image API on one database with the same records, such as this one
//! and Glance: `benches/api.sh` starts both. What is asked is what most clients ask most: a page of
//! images, and one image. Before anything is measured both have to answer with the same images.
//! Each server is asked alone, in turns, odd rounds in reverse order; the first round warms caches
//! and pools up and does not count. Ratios are taken within a round.

mod load;
mod report;

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use super::BenchError;
use super::usage::{CpuSample, family};
use crate::limits::{BENCH_ROUNDS_MAX, BENCH_STREAMS_MAX};

use load::Load;
pub use report::ApiReport;
use report::{Column, Turn};

/// Arguments of `glissade bench api`.
#[derive(Clone, Debug, clap::Args)]
pub struct ApiBench {
    /// A server that runs, with its process: the first one is compared with the others
    #[arg(long = "server", value_name = "NAME=ADDR:PORT@PID", required = true)]
    pub servers: Vec<Subject>,
    /// The process of the database that they share, whose CPU time is shown beside theirs
    #[arg(long, value_name = "PID")]
    pub database: Option<u32>,
    /// Images on a page of the list
    #[arg(long, default_value_t = 1000)]
    pub limit: u32,
    /// Requests at the same time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=BENCH_STREAMS_MAX))]
    pub clients: u32,
    /// How long each server is asked for each kind of request, in each round
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: u32,
    /// Rounds that count; the report has their medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=BENCH_ROUNDS_MAX))]
    pub rounds: u32,
    /// Print the report as JSON, with every round
    #[arg(long)]
    pub json: bool,
}

/// A server under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    name: String,
    address: SocketAddr,
    pid: u32,
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = || {
            let (name, rest) = text.split_once('=')?;
            let (address, pid) = rest.rsplit_once('@')?;
            Some(Self {
                name: name.to_owned(),
                address: address.parse().ok()?,
                pid: pid.parse().ok()?,
            })
        };
        parts().ok_or_else(|| "write it like glance=127.0.0.1:9292@4711".to_owned())
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    List,
    Show,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::List => "GET /v2/images",
            Self::Show => "GET /v2/images/{id}",
        })
    }
}

impl ApiBench {
    /// Measures; progress goes to standard error.
    ///
    /// # Errors
    /// Whatever kept it from measuring, and answers that differ.
    pub fn run(&self) -> Result<ApiReport, BenchError> {
        let page = format!("/v2/images?limit={}", self.limit);
        let ids = self.same_images(&page)?;
        let shows = ids.iter().map(|id| format!("/v2/images/{id}")).collect();
        let mut columns = Vec::new();
        for (kind, targets) in [(Kind::List, vec![page]), (Kind::Show, shows)] {
            let load = Load::new(targets, self.clients, Duration::from_secs(self.seconds.into()));
            columns.extend(self.measure(kind, &load)?);
        }
        Ok(ApiReport::new(ids.len(), self.clients, self.rounds, columns))
    }

    /// The ids on the page, on which all servers have to agree.
    fn same_images(&self, page: &str) -> Result<Vec<String>, BenchError> {
        let mut agreed: Option<Vec<String>> = None;
        for server in &self.servers {
            let ids = load::ids(server.address, page)?;
            let expected = agreed.get_or_insert_with(|| ids.clone());
            if ids.is_empty() || *expected != ids {
                return Err(BenchError::Different {
                    server: server.name.clone(),
                    request: page.to_owned(),
                    count: ids.len(),
                    first: self.servers[0].name.clone(),
                    expected: expected.len(),
                });
            }
        }
        Ok(agreed.unwrap_or_default())
    }

    /// All rounds of one kind of request: a column for each server.
    fn measure(&self, kind: Kind, load: &Load) -> Result<Vec<Column>, BenchError> {
        let mut columns: Vec<Column> =
            self.servers.iter().map(|server| Column::new(kind.to_string(), &server.name)).collect();
        for round in 0..=self.rounds {
            let mut turns: Vec<_> = self.servers.iter().zip(&mut columns).collect();
            if !round.is_multiple_of(2) {
                turns.reverse();
            }
            for (server, column) in turns {
                let turn = self.turn(server, load)?;
                let (name, of) = (&server.name, self.rounds);
                eprintln!("round {round} of {of}: {kind}: {name}: {:.1}/s", turn.per_sec);
                if round > 0 {
                    column.turns.push(turn);
                }
            }
        }
        Ok(columns)
    }

    fn turn(&self, server: &Subject, load: &Load) -> Result<Turn, BenchError> {
        let before = [Spent::of(Some(server.pid))?, Spent::of(self.database)?];
        let sent = load.send(server.address)?;
        let [server, database] = before;
        Ok(Turn::new(sent.requests, sent.took, server.until_now()?, database.until_now()?))
    }
}

/// CPU time of a process and its children, from a moment on. Processes that end in between take
/// their figure along.
struct Spent(Vec<(u32, CpuSample)>);

impl Spent {
    fn of(pid: Option<u32>) -> Result<Self, BenchError> {
        let samples = pid.map(family).unwrap_or_default().into_iter().map(|pid| {
            let sample = CpuSample::of(pid);
            sample.map(|sample| (pid, sample)).map_err(reading(pid))
        });
        samples.collect::<Result<_, _>>().map(Self)
    }

    fn until_now(self) -> Result<Duration, BenchError> {
        let mut spent = Duration::ZERO;
        for (pid, before) in self.0 {
            spent += CpuSample::of(pid).map_err(reading(pid))?.since(&before).total;
        }
        Ok(spent)
    }
}

fn reading(pid: u32) -> impl FnOnce(std::io::Error) -> BenchError {
    BenchError::io(format!("reading the CPU time of process {pid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_with_address_and_process() {
        let subject = "glance=127.0.0.1:9292@4711".parse::<Subject>();
        let address = SocketAddr::from(([127, 0, 0, 1], 9292));
        assert_eq!(subject, Ok(Subject { name: "glance".to_owned(), address, pid: 4711 }));
        for bad in ["", "glance", "127.0.0.1:9292@1", "a=127.0.0.1@1", "a=127.0.0.1:1", "a=b:1@c"] {
            assert!(bad.parse::<Subject>().is_err(), "{bad}");
        }
    }
}
