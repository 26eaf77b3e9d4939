//! What came of `glissade bench import`: medians over rounds, the ratio within rounds.

use std::fmt;

use serde::Serialize;

use super::super::ByteSize;
use super::super::report::{median, ratio};
use super::super::usage::BytesRead;
use crate::observe::VERSION;

/// One import, and the upload beside it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Turn {
    /// From the request to the first answer that says `active`.
    pub(super) import_ms: f64,
    /// How often the record was asked for meanwhile.
    pub(super) asked: u32,
    pub(super) read: BytesRead,
    /// A bare sync on the same disk, right before.
    pub(super) sync_ms: f64,
    /// `None` for zeros.
    pub(super) put_ms: Option<f64>,
}

/// All imports of one size.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Images {
    size: ByteSize,
    zeros: bool,
    import_ms: f64,
    import_ms_min: f64,
    import_ms_max: f64,
    /// Bare syncs beside them.
    sync_ms: f64,
    sync_ms_max: f64,
    /// Of the import that read most.
    read: BytesRead,
    put_ms: Option<f64>,
    /// The upload's time over the import's, the median of the rounds'.
    ratio: Option<f64>,
    rounds: Vec<Turn>,
}

impl Images {
    pub(super) fn new(size: ByteSize, zeros: bool, rounds: Vec<Turn>) -> Self {
        let imports = || rounds.iter().map(|turn| turn.import_ms);
        let syncs = || rounds.iter().map(|turn| turn.sync_ms);
        let puts = || rounds.iter().filter_map(|turn| Some((turn.put_ms?, turn.import_ms)));
        let has_puts = puts().next().is_some();
        let read = |of: fn(&BytesRead) -> u64| rounds.iter().map(|turn| of(&turn.read)).max();
        Self {
            size,
            zeros,
            import_ms: median(imports()),
            import_ms_min: imports().fold(f64::INFINITY, f64::min),
            import_ms_max: imports().fold(0.0, f64::max),
            sync_ms: median(syncs()),
            sync_ms_max: syncs().fold(0.0, f64::max),
            read: BytesRead {
                called: read(|read| read.called).unwrap_or_default(),
                disk: read(|read| read.disk).unwrap_or_default(),
            },
            put_ms: has_puts.then(|| median(puts().map(|(put, _)| put))),
            ratio: has_puts.then(|| median(puts().map(|(put, import)| ratio(put, import)))),
            rounds,
        }
    }
}

/// A run's outcome; `Display` is a table for people.
#[derive(Clone, Debug, Serialize)]
pub struct ImportReport {
    version: &'static str,
    to: String,
    durability: String,
    /// The server's first import, of a small image.
    first: Turn,
    images: Vec<Images>,
}

impl ImportReport {
    pub(super) fn new(to: String, durability: String, first: Turn, images: Vec<Images>) -> Self {
        Self { version: VERSION, to, durability, first, images }
    }

    /// The report with every round, as one JSON document.
    #[must_use]
    pub fn json(&self) -> String {
        // Only maps with keys that are no strings can fail, and there are none.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, to, durability, first, images } = self;
        let rounds = images.first().map_or(0, |images| images.rounds.len());
        writeln!(f, "glissade {version}: glance-direct to {to}, durability {durability}")?;
        writeln!(f, "medians of {rounds} rounds; milliseconds, and KiB that the server read\n")?;
        let head =
            ["until active", "soonest", "latest", "bare sync", "read", "from disk", "PUT file"];
        write!(f, "{:<20}", "")?;
        head.iter().try_for_each(|name| write!(f, "{name:>13}"))?;
        writeln!(f)?;
        for images in &self.images {
            let kib = |bytes: u64| bytes as f64 / 1024.0;
            let zeros = if images.zeros { " of zeros" } else { "" };
            write!(f, "{:<20}", format!("{}{zeros}", images.size))?;
            let Images { import_ms, import_ms_min, import_ms_max, sync_ms, .. } = images;
            for figure in [import_ms, import_ms_min, import_ms_max, sync_ms] {
                write!(f, "{figure:>13.1}")?;
            }
            write!(f, "{:>13.0}{:>13.0}", kib(images.read.called), kib(images.read.disk))?;
            match images.put_ms {
                Some(took) => writeln!(f, "{took:>13.0}")?,
                None => writeln!(f, "{:>13}", "-")?,
            }
        }
        let Turn { import_ms, sync_ms, .. } = first;
        writeln!(
            f,
            "\nthe server's first import, of 64 KiB: {import_ms:.1}, bare sync {sync_ms:.1}"
        )?;
        for Images { size, ratio, .. } in &self.images {
            if let Some(ratio) = ratio {
                writeln!(f, "{size}: PUT file takes {ratio:.1} times as long")?;
            }
        }
        f.write_str(LEGEND)
    }
}

const LEGEND: &str = "
An import is over for a client when its record says active; the record is asked for without a pause.
A bare sync makes one small file durable, right before an import; an import makes three records and
a name so, one after the other.
What was read is of the import that read most, pages of the database and caches included.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(import_ms: f64, called: u64, put_ms: Option<f64>) -> Turn {
        Turn { import_ms, asked: 3, read: BytesRead { called, disk: 0 }, sync_ms: 0.5, put_ms }
    }

    #[test]
    fn medians_and_extremes_are_of_all_rounds_and_ratios_of_each() {
        let rounds = vec![
            turn(10.0, 2048, Some(100.0)),
            turn(20.0, 7168, Some(800.0)),
            turn(90.0, 1024, Some(900.0)),
        ];
        let images = Images::new(ByteSize(1 << 30), false, rounds);
        assert_eq!(
            (images.import_ms, images.import_ms_min, images.import_ms_max),
            (20.0, 10.0, 90.0)
        );
        assert_eq!((images.put_ms, images.ratio), (Some(800.0), Some(10.0)));
        let zeros = Images::new(ByteSize(100 << 30), true, vec![turn(11.0, 0, None)]);
        assert_eq!((zeros.put_ms, zeros.ratio), (None, None));
        let report =
            ImportReport::new("/x".into(), "full".into(), turn(12.5, 0, None), vec![images, zeros]);
        let text = report.to_string();
        assert!(text.contains("1 GiB: PUT file takes 10.0 times as long"), "{text}");
        assert!(text.contains("100 GiB of zeros"), "{text}");
        let row = text.lines().find(|line| line.starts_with("1 GiB ")).unwrap_or_default();
        let figures: Vec<&str> = row.split_whitespace().skip(2).collect();
        assert_eq!(figures, ["20.0", "10.0", "90.0", "0.5", "7", "0", "800"], "{text}");
        assert!(text.contains("first import, of 64 KiB: 12.5, bare sync 0.5"), "{text}");
    }
}
