//! From measurements to a report: medians over rounds, ratios within rounds.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::ByteSize;
use super::client::Span;
use super::control::Kind;
use super::limit::Turn;
use super::machine::Machine;
use super::usage::CpuSpent;

const MIB: f64 = 1024.0 * 1024.0;
const GIB: f64 = 1024.0 * MIB;

/// What one turn of one subject gave.
#[derive(Debug)]
pub(super) struct Measured {
    /// Bytes of each image.
    pub(super) size: u64,
    /// One for each stream.
    pub(super) spans: Vec<Span>,
    pub(super) cpu: CpuSpent,
    pub(super) machine: Machine,
    /// Highest resident memory during the turn, in bytes.
    pub(super) peak: u64,
    /// Resident memory before the first request, in bytes.
    pub(super) idle: u64,
}

impl Measured {
    pub(super) fn figures(&self) -> Figures {
        let seconds: Vec<f64> =
            self.spans.iter().map(|span| (span.ended - span.begun).as_secs_f64()).collect();
        let bytes = self.size as f64 * seconds.len() as f64;
        let per_gib = |spent: Duration| ratio(spent.as_secs_f64(), bytes / GIB);
        let cpu = &self.cpu;
        let above_idle = self.peak.saturating_sub(self.idle) as f64 / MIB;
        Figures {
            mib_per_sec: ratio(bytes / MIB, self.wall().as_secs_f64()),
            slowest_to_mean: slowest_to_mean(&seconds),
            cpu_total: per_gib(cpu.total),
            cpu_lanes: per_gib(cpu.lanes),
            cpu_above_lanes: per_gib(cpu.total - cpu.lanes),
            cpu_engine: per_gib(cpu.engine),
            cpu_control: per_gib(cpu.control),
            cpu_exited: per_gib(cpu.exited),
            lanes_busy: ratio(cpu.lanes.as_secs_f64(), self.wall().as_secs_f64()),
            lanes_waiting: ratio(cpu.lanes_waited.as_secs_f64(), self.wall().as_secs_f64()),
            machine: self.machine,
            peak_mib: self.peak as f64 / MIB,
            above_idle_mib: above_idle,
            upload_mib: ratio(above_idle, seconds.len() as f64),
        }
    }

    /// From the first byte of the first upload to the last answer.
    fn wall(&self) -> Duration {
        let begun = self.spans.iter().map(|span| span.begun).min();
        let ended = self.spans.iter().map(|span| span.ended).max();
        begun.zip(ended).map(|(begun, ended)| ended - begun).unwrap_or_default()
    }
}

/// The slowest stream's rate, as a part of the mean of all rates: 1 when nobody is behind.
fn slowest_to_mean(seconds: &[f64]) -> f64 {
    let slowest = seconds.iter().copied().fold(0.0, f64::max);
    let rates: f64 = seconds.iter().map(|seconds| ratio(1.0, *seconds)).sum();
    ratio(ratio(1.0, slowest), rates / seconds.len() as f64)
}

/// 0 where there is nothing to divide by.
pub(super) fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// Figures of one turn, or their medians. CPU is the server's, in seconds for each GiB.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Of all streams together.
    pub mib_per_sec: f64,
    /// Rate of the slowest stream over the mean rate.
    pub slowest_to_mean: f64,
    /// User and system time of the whole process.
    pub cpu_total: f64,
    /// Of threads that hash.
    pub cpu_lanes: f64,
    /// The total less the lanes': what it costs to move bytes and to answer.
    pub cpu_above_lanes: f64,
    /// Of threads that move bytes, the ring's kernel workers included.
    pub cpu_engine: f64,
    /// Of all other living threads.
    pub cpu_control: f64,
    /// Of threads that ended during the turn.
    pub cpu_exited: f64,
    /// Cores that hashed all the time: 1 for one upload is as fast as its hashes can be.
    pub lanes_busy: f64,
    /// Cores that lanes would have used and did not get: with `lanes_busy` 1 where one upload is
    /// bound by its hashes on a machine that others keep busy, too.
    pub lanes_waiting: f64,
    /// Who kept the machine's cores busy.
    pub machine: Machine,
    /// Highest resident memory.
    pub peak_mib: f64,
    /// The peak less what was resident before.
    pub above_idle_mib: f64,
    /// The same for each of the uploads.
    pub upload_mib: f64,
}

/// A row of the table.
type Row = (&'static str, fn(&Figures) -> f64);

/// The rows of the table, in order; indented ones are parts of the one above.
const ROWS: [Row; 21] = [
    ("throughput, MiB/s", |figures| figures.mib_per_sec),
    ("slowest stream / mean", |figures| figures.slowest_to_mean),
    ("server CPU-s per GiB", |figures| figures.cpu_total),
    ("  lanes", |figures| figures.cpu_lanes),
    ("  above the lanes", |figures| figures.cpu_above_lanes),
    ("    engine", |figures| figures.cpu_engine),
    ("    control", |figures| figures.cpu_control),
    ("    threads that ended", |figures| figures.cpu_exited),
    ("lanes busy, cores", |figures| figures.lanes_busy),
    ("  waiting for a core", |figures| figures.lanes_waiting),
    ("machine busy, cores", |figures| figures.machine.busy),
    ("  server", |figures| figures.machine.server),
    ("  client", |figures| figures.machine.client),
    ("  ceph-osd", |figures| figures.machine.osd),
    ("  everything else", |figures| figures.machine.others),
    ("machine idle, cores", |figures| figures.machine.idle),
    ("  waiting for a disk", |figures| figures.machine.waiting),
    ("stolen by the host, cores", |figures| figures.machine.stolen),
    ("peak memory, MiB", |figures| figures.peak_mib),
    ("  above idle, MiB", |figures| figures.above_idle_mib),
    ("  of each upload, MiB", |figures| figures.upload_mib),
];

impl Figures {
    /// Each figure's own median.
    fn median(rounds: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(rounds.iter().map(figure));
        Self {
            mib_per_sec: of(|round| round.mib_per_sec),
            slowest_to_mean: of(|round| round.slowest_to_mean),
            cpu_total: of(|round| round.cpu_total),
            cpu_lanes: of(|round| round.cpu_lanes),
            cpu_above_lanes: of(|round| round.cpu_above_lanes),
            cpu_engine: of(|round| round.cpu_engine),
            cpu_control: of(|round| round.cpu_control),
            cpu_exited: of(|round| round.cpu_exited),
            lanes_busy: of(|round| round.lanes_busy),
            lanes_waiting: of(|round| round.lanes_waiting),
            machine: Machine {
                busy: of(|round| round.machine.busy),
                server: of(|round| round.machine.server),
                client: of(|round| round.machine.client),
                osd: of(|round| round.machine.osd),
                others: of(|round| round.machine.others),
                idle: of(|round| round.machine.idle),
                waiting: of(|round| round.machine.waiting),
                stolen: of(|round| round.machine.stolen),
            },
            peak_mib: of(|round| round.peak_mib),
            above_idle_mib: of(|round| round.above_idle_mib),
            upload_mib: of(|round| round.upload_mib),
        }
    }

    /// Of something that has no streams, no kinds of threads and no memory to tell of: not a
    /// number, which is `null` in JSON.
    pub(super) fn of_limit(turn: Turn) -> Self {
        Self {
            mib_per_sec: turn.mib_per_sec,
            slowest_to_mean: f64::NAN,
            cpu_total: turn.cpu_per_gib,
            cpu_lanes: f64::NAN,
            cpu_above_lanes: f64::NAN,
            cpu_engine: f64::NAN,
            cpu_control: f64::NAN,
            cpu_exited: f64::NAN,
            lanes_busy: f64::NAN,
            lanes_waiting: f64::NAN,
            machine: Machine::UNKNOWN,
            peak_mib: f64::NAN,
            above_idle_mib: f64::NAN,
            upload_mib: f64::NAN,
        }
    }

    /// For the progress line.
    pub(super) fn in_short(&self) -> String {
        format!("{:.0} MiB/s, {:.2} CPU-s/GiB", self.mib_per_sec, self.cpu_total)
    }
}

/// The middle value, or the mean of the two middle ones; 0 of nothing.
pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// What was asked for, and what answered.
#[derive(Clone, Debug, Serialize)]
pub struct Setup {
    /// Of this build.
    pub version: &'static str,
    /// The engine that the server chose, and why; `None` when it doesn't say.
    pub engine: Option<String>,
    /// Uploads at the same time.
    pub streams: u32,
    /// Of each image, in bytes.
    pub size: ByteSize,
    /// Whether the server had chunked bodies; the controls never have.
    pub chunked: bool,
    /// `[glissade] io_uring`.
    pub io_uring: String,
    /// `[glissade] durability`; the controls never sync.
    pub durability: String,
    /// Rounds.
    pub rounds: u32,
    /// `--dir`.
    pub dir: PathBuf,
    /// The store of `--store`, with its kind; without it images go to `dir`.
    pub store: Option<String>,
}

/// One subject's column.
#[derive(Clone, Debug, Serialize)]
pub struct Subject {
    /// `glissade`, or a control.
    pub name: &'static str,
    /// Medians over the rounds.
    pub median: Figures,
    /// Round by round.
    pub rounds: Vec<Figures>,
}

/// Ours over a control's: the median of the ratios of each round.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// Which control.
    pub control: &'static str,
    /// Above 1 is faster.
    pub throughput: f64,
    /// Below 1 is cheaper.
    pub cpu: f64,
}

impl Ratio {
    fn new(ours: &Subject, control: &Subject) -> Self {
        let of = |figure: fn(&Figures) -> f64| {
            let rounds = ours.rounds.iter().zip(&control.rounds);
            median(rounds.map(|(ours, theirs)| ratio(figure(ours), figure(theirs))))
        };
        Self {
            control: control.name,
            throughput: of(|round| round.mib_per_sec),
            cpu: of(|round| round.cpu_total),
        }
    }
}

/// A run's outcome; `Display` is a table for people.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    setup: Setup,
    subjects: Vec<Subject>,
    ratios: Vec<Ratio>,
}

impl Report {
    /// From the rounds of each subject, ours first.
    pub(super) fn new(
        setup: Setup,
        subjects: impl Iterator<Item = (&'static str, Vec<Figures>)>,
    ) -> Self {
        let subjects: Vec<Subject> = subjects
            .map(|(name, rounds)| Subject { name, median: Figures::median(&rounds), rounds })
            .collect();
        let ratios = match subjects.split_first() {
            Some((ours, controls)) => {
                controls.iter().map(|control| Ratio::new(ours, control)).collect()
            }
            None => Vec::new(),
        };
        Self { setup, subjects, ratios }
    }

    /// What was asked for, and what answered.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Ours first, then the controls.
    #[must_use]
    pub fn subjects(&self) -> &[Subject] {
        &self.subjects
    }

    /// Ours over each control's.
    #[must_use]
    pub fn ratios(&self) -> &[Ratio] {
        &self.ratios
    }

    /// The report with every round, as one JSON document.
    #[must_use]
    pub fn json(&self) -> String {
        // Only maps with keys that are no strings can fail, and there are none.
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        text + "\n"
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, streams, size, io_uring, durability, rounds, .. } = self;
        let framing = if self.chunked { "chunked" } else { "Content-Length" };
        let engine = self.engine.as_deref().unwrap_or("not told");
        let to = self.store.clone().unwrap_or_else(|| self.dir.display().to_string());
        writeln!(f, "glissade {version}: {streams} x {size}, {framing}, to {to}")?;
        writeln!(f, "durability {durability}, io_uring {io_uring}, engine {engine}")?;
        writeln!(f, "medians of {rounds} rounds, interleaved")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.setup)?;
        let cells = |f: &mut fmt::Formatter<'_>, label: &str, cells: &[String]| {
            write!(f, "{label:<26}")?;
            cells.iter().try_for_each(|cell| write!(f, "{cell:>15}"))?;
            writeln!(f)
        };
        let names: Vec<String> = self.subjects.iter().map(|subject| subject.name.into()).collect();
        cells(f, "", &names)?;
        for (label, figure) in ROWS {
            let row = self.subjects.iter().map(|subject| match figure(&subject.median) {
                unknown if unknown.is_nan() => "-".to_owned(),
                known => format!("{known:.2}"),
            });
            cells(f, label, &row.collect::<Vec<_>>())?;
        }
        writeln!(f)?;
        let ours = self.subjects.first().map_or("", |subject| subject.name);
        for Ratio { control, throughput, cpu } in &self.ratios {
            writeln!(f, "{ours} / {control}: throughput {throughput:.2}, CPU {cpu:.2}")?;
        }
        if self.setup.store.is_some() {
            f.write_str(STORE_LEGEND)?;
        }
        let has_controls = self.ratios.iter().any(|ratio| ratio.control == Kind::Serial.name());
        if has_controls { f.write_str(LEGEND) } else { Ok(()) }
    }
}

const STORE_LEGEND: &str = "
Memory is above what the server holds after one small upload, which has connected it to the store,
with every slot that it has by then: 32 are there from the start.
One upload can't be faster than its hashes: it is bound by them where its lanes are busy all the time,
or wait for a core that others have.
Where no core of the machine is idle, it is bound by the machine.
";

const LEGEND: &str = "
serial: Glance's loop without Python: read 64 KiB, MD5, SHA-512, write; a thread each. Its hashes
        are the md-5 and ring crates', about a third dearer than Glance's own (OpenSSL)
plain:  read 256 KiB, write; no hash
The controls have Content-Length bodies and never sync. Nobody is charged for the kernel's own
write-back threads, so buffered writes look cheaper than they are.
";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Streams that all begin together and take so many seconds each, of 1 GiB each.
    fn measured(seconds: &[u64], lanes: u64, total: u64) -> Measured {
        let begun = Instant::now();
        let span = |&seconds| Span { begun, ended: begun + Duration::from_secs(seconds) };
        let (lanes, total) = (Duration::from_secs(lanes), Duration::from_secs(total));
        let cpu = CpuSpent { total, lanes, engine: total - lanes, ..CpuSpent::default() };
        let spans = seconds.iter().map(span).collect();
        let machine = Machine { busy: 1.5, ..Machine::UNKNOWN };
        Measured { size: 1 << 30, spans, cpu, machine, peak: 50 << 20, idle: 20 << 20 }
    }

    fn setup() -> Setup {
        Setup {
            version: "0.1.0",
            engine: Some("ring (probed)".into()),
            streams: 2,
            size: ByteSize(1 << 30),
            chunked: false,
            io_uring: "auto".into(),
            durability: "full".into(),
            rounds: 3,
            dir: "data".into(),
            store: None,
        }
    }

    fn close(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 1e-9
    }

    #[test]
    fn figures_are_per_gibibyte_and_per_wall_second() {
        let figures = measured(&[2, 4], 1, 3).figures();
        assert!(close(figures.mib_per_sec, 512.0), "{figures:?}");
        assert!(close(figures.cpu_total, 1.5) && close(figures.cpu_lanes, 0.5), "{figures:?}");
        assert!(close(figures.cpu_above_lanes, 1.0) && close(figures.cpu_engine, 1.0));
        assert!(close(figures.above_idle_mib, 30.0) && close(figures.peak_mib, 50.0));
        assert!(close(figures.upload_mib, 15.0) && close(figures.lanes_busy, 0.25), "{figures:?}");
        // Rates are 1/2 and 1/4, their mean 3/8, and the slowest is 2/3 of it.
        assert!(close(figures.slowest_to_mean, 2.0 / 3.0), "{figures:?}");
    }

    #[test]
    fn equal_streams_leave_nobody_behind() {
        assert!(close(measured(&[3, 3, 3], 0, 1).figures().slowest_to_mean, 1.0));
    }

    #[test]
    fn medians() {
        assert!(close(median([3.0, 1.0, 2.0].into_iter()), 2.0));
        assert!(close(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5));
        assert!(close(median([7.0].into_iter()), 7.0));
        assert!(close(median(std::iter::empty()), 0.0));
    }

    /// Rounds drift by a factor of ten; the ratio doesn't, as it is taken within each.
    #[test]
    fn ratios_are_paired_by_round() {
        let ours = [1, 10, 10].map(|seconds| measured(&[seconds], 0, 1).figures());
        let theirs = [2, 20, 20].map(|seconds| measured(&[seconds], 0, 4).figures());
        let subjects = [("glissade", ours.to_vec()), ("serial", theirs.to_vec())];
        let report = Report::new(setup(), subjects.into_iter());
        let [ratio] = report.ratios() else { panic!("{report:?}") };
        assert_eq!(ratio.control, "serial");
        assert!(close(ratio.throughput, 2.0) && close(ratio.cpu, 0.25), "{ratio:?}");
    }

    #[test]
    fn the_table_and_the_json_show_every_subject() {
        let figures = vec![measured(&[2, 4], 1, 3).figures()];
        let subjects = ["glissade", "serial", "plain"].map(|name| (name, figures.clone()));
        let report = Report::new(setup(), subjects.into_iter());
        let table = report.to_string();
        assert!(
            table.contains(
                "throughput, MiB/s                  512.00         512.00         512.00\n"
            ),
            "{table}"
        );
        assert!(
            table.contains(
                "machine busy, cores                  1.50           1.50           1.50\n"
            ),
            "{table}"
        );
        assert!(table.contains("2 x 1 GiB, Content-Length, to data\n"), "{table}");
        assert!(table.contains("glissade / plain: throughput 1.00, CPU 1.00\n"), "{table}");
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["subjects"][1]["name"], "serial");
        assert_eq!(json["subjects"][0]["rounds"][0]["cpu_total"], 1.5);
        assert_eq!(json["setup"]["size"], 1_u64 << 30);
    }

    #[test]
    fn what_is_not_known_of_a_limit_is_not_shown_as_a_figure() {
        let ours = vec![measured(&[2], 1, 3).figures()];
        let turn = Turn { mib_per_sec: 256.0, cpu_per_gib: 0.5, sealing_ms: f64::NAN };
        let subjects = [("glissade", ours), ("rbd bench", vec![Figures::of_limit(turn)])];
        let setup = Setup { store: Some("store deep (rbd)".into()), ..setup() };
        let report = Report::new(setup, subjects.into_iter());
        let table = report.to_string();
        assert!(table.contains(", to store deep (rbd)\n"), "{table}");
        assert!(
            table.contains("lanes busy, cores                    0.50              -\n"),
            "{table}"
        );
        assert!(table.contains("glissade / rbd bench: throughput 2.00, CPU 6.00\n"), "{table}");
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["subjects"][1]["median"]["peak_mib"], serde_json::Value::Null);
        assert_eq!(json["subjects"][1]["median"]["mib_per_sec"], 256.0);
    }
}
