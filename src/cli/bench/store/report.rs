//! What came of `glissade bench store`: medians over rounds, the ratio within rounds.

use std::fmt;

use serde::Serialize;

use super::super::ByteSize;
use super::super::limit::{Limit, Turn};
use super::super::report::{median, ratio};
use crate::store::Store;

/// A run's outcome; `Display` is a table for people.
#[derive(Clone, Debug, Serialize)]
pub struct StoreReport {
    store: String,
    scheme: &'static str,
    size: ByteSize,
    limit: &'static str,
    /// Writes of the limit in flight, of a MiB each.
    depth: usize,
    /// Throughput of the draft over the limit's, the median of the rounds'; above 1 is faster.
    ratio: f64,
    draft: Vec<Turn>,
    beside: Vec<Turn>,
}

impl StoreReport {
    pub(super) fn new(
        store: &dyn Store,
        size: ByteSize,
        limit: &Limit,
        draft: Vec<Turn>,
        beside: Vec<Turn>,
    ) -> Self {
        let rounds = draft.iter().zip(&beside);
        let ratio = median(rounds.map(|(ours, least)| ratio(ours.mib_per_sec, least.mib_per_sec)));
        let (store, scheme) = (store.id().to_owned(), store.scheme());
        Self {
            store,
            scheme,
            size,
            limit: limit.name(),
            depth: limit.depth(),
            ratio,
            draft,
            beside,
        }
    }

    /// Throughput of the draft over the limit's.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.ratio
    }

    /// The report with every round, as one JSON document.
    #[must_use]
    pub fn json(&self) -> String {
        // Only maps with keys that are no strings can fail, and there are none.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

impl fmt::Display for StoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, scheme, size, limit, depth, ratio, .. } = self;
        let rounds = self.draft.len();
        writeln!(f, "store {store} ({scheme}): {size}, {depth} writes of 1 MiB in flight")?;
        writeln!(f, "medians of {rounds} rounds, interleaved\n")?;
        writeln!(f, "{:<18}{:>14}{limit:>15}", "", "draft")?;
        let mut row = |label: &str, figure: fn(&Turn) -> f64| {
            let [ours, least] =
                [&self.draft, &self.beside].map(|turns| median(turns.iter().map(figure)));
            let [ours, least] = [ours, least].map(|figure| match figure.is_nan() {
                true => "-".to_owned(),
                false => format!("{figure:.2}"),
            });
            writeln!(f, "{label:<18}{ours:>14}{least:>15}")
        };
        row("throughput, MiB/s", |turn| turn.mib_per_sec)?;
        row("CPU-s per GiB", |turn| turn.cpu_per_gib)?;
        row("sealing, ms", |turn| turn.sealing_ms)?;
        writeln!(f, "\ndraft / {limit}: throughput {ratio:.2}")
    }
}
