//! What came of `glissade bench api`: medians over rounds, ratios within rounds.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::super::report::{median, ratio};

/// One server's turn with one kind of request.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Turn {
    pub(super) per_sec: f64,
    /// CPU seconds of the server, for each thousand requests.
    cpu_per_thousand: f64,
    /// CPU seconds of the database, for each thousand requests.
    database_per_thousand: f64,
}

impl Turn {
    pub(super) fn new(requests: u64, took: Duration, server: Duration, database: Duration) -> Self {
        let thousands = requests as f64 / 1000.0;
        Self {
            per_sec: ratio(requests as f64, took.as_secs_f64()),
            cpu_per_thousand: ratio(server.as_secs_f64(), thousands),
            database_per_thousand: ratio(database.as_secs_f64(), thousands),
        }
    }
}

/// All rounds of one server with one kind of request.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Column {
    request: String,
    server: String,
    pub(super) turns: Vec<Turn>,
}

impl Column {
    pub(super) fn new(request: String, server: &str) -> Self {
        Self { request, server: server.to_owned(), turns: Vec::new() }
    }

    fn median(&self, figure: fn(&Turn) -> f64) -> f64 {
        median(self.turns.iter().map(figure))
    }

    /// Requests per second over those of `other`: the median of the rounds' ratios.
    fn over(&self, other: &Self) -> f64 {
        let rounds = self.turns.iter().zip(&other.turns);
        median(rounds.map(|(ours, theirs)| ratio(ours.per_sec, theirs.per_sec)))
    }
}

/// How much faster the first server is than another one.
#[derive(Clone, Debug, Serialize)]
struct Gain {
    request: String,
    against: String,
    ratio: f64,
}

/// A run's outcome; `Display` is a table for people.
#[derive(Clone, Debug, Serialize)]
pub struct ApiReport {
    /// Images on the page.
    images: usize,
    clients: u32,
    rounds: u32,
    columns: Vec<Column>,
    gains: Vec<Gain>,
}

impl ApiReport {
    pub(super) fn new(images: usize, clients: u32, rounds: u32, columns: Vec<Column>) -> Self {
        let mut gains = Vec::new();
        for (n, column) in columns.iter().enumerate() {
            let first = columns.iter().position(|other| other.request == column.request);
            if let Some(first) = first.filter(|first| *first != n) {
                gains.push(Gain {
                    request: column.request.clone(),
                    against: column.server.clone(),
                    ratio: columns[first].over(column),
                });
            }
        }
        Self { images, clients, rounds, columns, gains }
    }

    /// The report with every round, as one JSON document.
    #[must_use]
    pub fn json(&self) -> String {
        // Only maps with keys that are no strings can fail, and there are none.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

impl fmt::Display for ApiReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { images, clients, rounds, .. } = self;
        writeln!(f, "{images} images on a page, {clients} requests at the same time")?;
        writeln!(f, "medians of {rounds} rounds, interleaved; CPU-s per 1,000 requests\n")?;
        let (server, database) = ("server CPU-s", "database CPU-s");
        writeln!(f, "{:<22}{:<12}{:>12}{server:>15}{database:>16}", "", "", "requests/s")?;
        for column in &self.columns {
            let rate = column.median(|turn| turn.per_sec);
            let cpu = column.median(|turn| turn.cpu_per_thousand);
            let database = column.median(|turn| turn.database_per_thousand);
            let Column { request, server, .. } = column;
            writeln!(f, "{request:<22}{server:<12}{rate:>12.1}{cpu:>15.2}{database:>16.2}")?;
        }
        writeln!(f)?;
        for Gain { request, against, ratio } in &self.gains {
            writeln!(f, "{request}: {ratio:.1} times the requests per second of {against}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(request: &str, server: &str, rates: &[f64]) -> Column {
        let turn =
            |rate: &f64| Turn { per_sec: *rate, cpu_per_thousand: 1.0, database_per_thousand: 0.0 };
        let turns = rates.iter().map(turn).collect();
        Column { turns, ..Column::new(request.to_owned(), server) }
    }

    #[test]
    fn the_first_server_is_compared_within_each_round() {
        let report = ApiReport::new(
            10,
            4,
            3,
            vec![
                column("GET a", "ours", &[20.0, 300.0, 40.0]),
                column("GET a", "theirs", &[1.0, 10.0, 1.0]),
                column("GET b", "ours", &[7.0]),
                column("GET b", "theirs", &[2.0]),
            ],
        );
        let gains: Vec<_> = report.gains.iter().map(|gain| gain.ratio).collect();
        assert_eq!(gains, [30.0, 3.5]);
        assert!(report.to_string().contains("GET a: 30.0 times the requests per second of theirs"));
    }

    #[test]
    fn costs_are_for_a_thousand_requests() {
        let second = Duration::from_secs(1);
        let turn = Turn::new(500, second * 2, second * 3, second);
        assert_eq!((turn.per_sec, turn.cpu_per_thousand), (250.0, 6.0));
        assert_eq!(turn.database_per_thousand, 2.0);
    }
}
