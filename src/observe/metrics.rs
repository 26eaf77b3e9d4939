//! Every metric of the program, declared once.
//!
//! Callers see typed methods and enums, never label strings, so a misspelt label or an unbounded
//! one can't be written. Every series of a known label stands at zero from the start: a rate over
//! a counter that appears late is wrong. A [`Metrics`] has its own registry; two servers in one
//! process (tests) don't add to each other's figures.
//!
//! What others count (slots, lanes) is read when somebody looks, through the closures
//! given to [`Metrics::observe_slots`] and [`Metrics::observe_lanes`].

mod labels;

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::StatusCode;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Counter, CounterVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use super::VERSION;
use labels::Label;
pub use labels::{
    DbRetry, DownloadResult, Engine, Route, ScrubResult, Stage, StoreCall, StoreFailure,
    TaskResult, TokenLookup, UploadResult,
};

/// Limits of the histogram of a store's answers: a chunk that is only accepted, a disk, a cluster,
/// one that is overloaded, one that is given up.
const STORE_CALL_SECONDS: [f64; 6] = [0.0001, 0.001, 0.01, 0.1, 1.0, 10.0];

/// What one store has done; clones share it.
#[derive(Clone, Debug)]
pub struct StoreFigures {
    written_bytes: IntCounter,
    calls: Vec<Histogram>,
    failures: Vec<IntCounter>,
}

impl StoreFigures {
    /// Adds bytes of drafts that the store has accepted.
    pub fn written(&self, bytes: u64) {
        self.written_bytes.inc_by(bytes);
    }

    /// Counts a call that was answered, whatever the answer.
    pub fn called(&self, call: StoreCall, took: Duration) {
        self.calls[call.index()].observe(took.as_secs_f64());
    }

    /// Counts a failure.
    pub fn failed(&self, failure: StoreFailure) {
        self.failures[failure.index()].inc();
    }
}

/// Slots, as their arena counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotFigures {
    /// Slots that somebody holds.
    pub in_use: usize,
    /// Slots that have memory, held or not.
    pub resident: usize,
}

/// Lanes, as they count themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneFigures {
    /// Chunks that wait for or are inside a lane.
    pub queued_chunks: usize,
    /// Bytes hashed since the start.
    pub bytes: u64,
}

/// Totals since the start, for people; scrapers read [`Metrics::render`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Uploads under way.
    pub uploads_active: i64,
    /// Uploads stored.
    pub uploads_stored: u64,
    /// Uploads that ended in any other way.
    pub uploads_not_stored: u64,
    /// Body bytes received.
    pub upload_bytes: u64,
    /// Downloads sent in full.
    pub downloads_sent: u64,
    /// Image bytes sent.
    pub download_bytes: u64,
    /// Lanes.
    pub lanes: LaneFigures,
    /// Slots.
    pub slots: SlotFigures,
    /// Open client connections.
    pub connections: i64,
}

/// The program's metrics; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    registry: Registry,
    uploads: Vec<IntCounter>,
    uploads_active: IntGauge,
    upload_bytes: IntCounter,
    upload_stage_seconds: Vec<Counter>,
    downloads: Vec<IntCounter>,
    download_bytes: IntCounter,
    tasks: Vec<IntCounter>,
    scrubs: Vec<IntCounter>,
    staging_swept_files: IntCounter,
    staging_swept_bytes: IntCounter,
    requests: IntCounterVec,
    token_lookups: Vec<IntCounter>,
    connections: IntGauge,
    db_retries: Vec<IntCounter>,
    slots_in_use: IntGauge,
    slots_resident: IntGauge,
    slots: Probe<SlotFigures>,
    lane_queue_chunks: IntGauge,
    lane_bytes: IntCounter,
    lanes: Probe<LaneFigures>,
    /// Held from taking over others' figures until they are gathered.
    scrape: Mutex<()>,
    ring_info: IntGaugeVec,
    store_written_bytes: IntCounterVec,
    store_call_seconds: HistogramVec,
    store_failures: IntCounterVec,
}

impl Metrics {
    /// Declares every metric.
    #[must_use]
    pub fn new() -> Self {
        let declare = Declare(Registry::new());
        declare
            .labelled_gauge("build_info", "This build.", &["version"])
            .with_label_values(&[VERSION])
            .set(1);
        let shared = Shared {
            uploads: declare.counters::<UploadResult>(
                "uploads_total",
                "Uploads by result.",
                "result",
            ),
            uploads_active: declare.gauge("uploads_active", "Uploads under way."),
            upload_bytes: declare.counter("upload_bytes_total", "Body bytes received."),
            upload_stage_seconds: declare.seconds::<Stage>(
                "upload_stage_seconds_total",
                "Wall time that uploads spent in each stage.",
                "stage",
            ),
            downloads: declare.counters::<DownloadResult>(
                "downloads_total",
                "Downloads by result.",
                "result",
            ),
            download_bytes: declare.counter("download_bytes_total", "Image bytes sent."),
            tasks: declare.counters::<TaskResult>(
                "tasks_total",
                "Runs of tasks by result.",
                "result",
            ),
            scrubs: declare.counters::<ScrubResult>(
                "scrubs_total",
                "Deleted images whose data was due, by what became of it.",
                "result",
            ),
            staging_swept_files: declare.counter(
                "staging_swept_files_total",
                "Staged files removed because nobody needed them.",
            ),
            staging_swept_bytes: declare
                .counter("staging_swept_bytes_total", "Bytes of staged files removed so."),
            requests: declare.labelled_counter(
                "requests_total",
                "Requests answered.",
                &["route", "status"],
            ),
            token_lookups: declare.counters::<TokenLookup>(
                "token_lookups_total",
                "Tokens to be validated, by what came of it.",
                "result",
            ),
            connections: declare.gauge("connections", "Open client connections."),
            db_retries: declare.counters::<DbRetry>(
                "db_retries_total",
                "Database transactions that were run again.",
                "reason",
            ),
            slots_in_use: declare.gauge("slots_in_use", "Slots that somebody holds."),
            slots_resident: declare.gauge("slots_resident", "Slots that have memory, held or not."),
            slots: Probe::default(),
            lane_queue_chunks: declare
                .gauge("lane_queue_chunks", "Chunks that wait for or are inside a lane."),
            lanes: Probe::default(),
            scrape: Mutex::default(),
            lane_bytes: declare.counter("lane_bytes_total", "Bytes hashed."),
            ring_info: declare.labelled_gauge(
                "ring_info",
                "What moves body bytes, and why that was chosen.",
                &["engine", "reason"],
            ),
            store_written_bytes: declare.labelled_counter(
                "store_written_bytes_total",
                "Bytes of drafts that a store has accepted.",
                &["store"],
            ),
            store_call_seconds: declare.histogram(
                "store_call_seconds",
                "How long a store took to answer.",
                &["store", "call"],
                &STORE_CALL_SECONDS,
            ),
            store_failures: declare.labelled_counter(
                "store_failures_total",
                "Calls to a store that failed, by what a caller can do about it.",
                &["store", "kind"],
            ),
            registry: declare.0,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Counts an upload as active until the guard is dropped.
    pub fn upload_begins(&self) -> ActiveUpload {
        ActiveUpload { _raised: Raised::new(&self.shared.uploads_active) }
    }

    /// Counts an upload that has ended.
    pub fn upload_ended(&self, result: UploadResult) {
        self.shared.uploads[result.index()].inc();
    }

    /// Adds body bytes received.
    pub fn upload_bytes(&self, bytes: u64) {
        self.shared.upload_bytes.inc_by(bytes);
    }

    /// Adds the wall time that an upload spent in a stage.
    pub fn stage(&self, stage: Stage, spent: Duration) {
        self.shared.upload_stage_seconds[stage.index()].inc_by(spent.as_secs_f64());
    }

    /// Counts a run of a task that has ended.
    pub fn task_ended(&self, result: TaskResult) {
        self.shared.tasks[result.index()].inc();
    }

    /// Counts a deleted image whose data was due.
    pub fn scrubbed(&self, result: ScrubResult) {
        self.shared.scrubs[result.index()].inc();
    }

    /// Counts staged files that were removed because nobody needed them.
    pub fn staging_swept(&self, files: u64, bytes: u64) {
        self.shared.staging_swept_files.inc_by(files);
        self.shared.staging_swept_bytes.inc_by(bytes);
    }

    /// Counts a download that has ended.
    pub fn download_ended(&self, result: DownloadResult) {
        self.shared.downloads[result.index()].inc();
    }

    /// Adds image bytes sent.
    pub fn download_bytes(&self, bytes: u64) {
        self.shared.download_bytes.inc_by(bytes);
    }

    /// Counts a request that was answered.
    pub fn request(&self, route: Route, status: StatusCode) {
        self.shared.requests.with_label_values(&[route.name(), status.as_str()]).inc();
    }

    /// Counts a token that was to be validated.
    pub fn token_lookup(&self, result: TokenLookup) {
        self.shared.token_lookups[result.index()].inc();
    }

    /// Counts a database transaction that is run again.
    pub fn db_retry(&self, reason: DbRetry) {
        self.shared.db_retries[reason.index()].inc();
    }

    /// The figures of a configured store, by its id. Its series stand at zero from now on.
    #[must_use]
    pub fn store(&self, id: &str) -> StoreFigures {
        let Shared { store_written_bytes, store_call_seconds, store_failures, .. } = &*self.shared;
        let call = |call: &StoreCall| store_call_seconds.with_label_values(&[id, call.name()]);
        let failure =
            |failure: &StoreFailure| store_failures.with_label_values(&[id, failure.name()]);
        StoreFigures {
            written_bytes: store_written_bytes.with_label_values(&[id]),
            calls: StoreCall::ALL.iter().map(call).collect(),
            failures: StoreFailure::ALL.iter().map(failure).collect(),
        }
    }

    /// Counts a client connection as open until the guard is dropped.
    pub fn connection_opens(&self) -> OpenConnection {
        OpenConnection { _raised: Raised::new(&self.shared.connections) }
    }

    /// Says which engine moves body bytes and why; only the last word is shown.
    pub fn set_engine(&self, engine: Engine, reason: &str) {
        self.shared.ring_info.reset();
        self.shared.ring_info.with_label_values(&[engine.name(), reason]).set(1);
    }

    /// Reads the slots through `figures` at every scrape. The first closure given stays.
    pub fn observe_slots(&self, figures: impl Fn() -> SlotFigures + Send + Sync + 'static) {
        self.shared.slots.set(figures);
    }

    /// Reads the lanes through `figures` at every scrape. The first closure given stays.
    pub fn observe_lanes(&self, figures: impl Fn() -> LaneFigures + Send + Sync + 'static) {
        self.shared.lanes.set(figures);
    }

    /// All metrics in Prometheus' text format, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let families = self.shared.gather();
        // Encoding into a String fails only for a family without a name, and none is declared.
        TextEncoder::new().encode_to_string(&families).unwrap_or_default()
    }

    /// The totals that the status page shows.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let shared = &self.shared;
        let ended: u64 = shared.uploads.iter().map(IntCounter::get).sum();
        let stored = shared.uploads[UploadResult::Stored.index()].get();
        Totals {
            uploads_active: shared.uploads_active.get(),
            uploads_stored: stored,
            uploads_not_stored: ended.saturating_sub(stored),
            upload_bytes: shared.upload_bytes.get(),
            downloads_sent: shared.downloads[DownloadResult::Sent.index()].get(),
            download_bytes: shared.download_bytes.get(),
            lanes: shared.lanes.read(),
            slots: shared.slots.read(),
            connections: shared.connections.get(),
        }
    }
}

impl Shared {
    /// Takes over the figures that others keep, then gathers everything; one scrape at a time,
    /// because a counter is taken over by setting it back first.
    fn gather(&self) -> Vec<MetricFamily> {
        let _one_at_a_time = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        let (slots, lanes) = (self.slots.read(), self.lanes.read());
        self.slots_in_use.set(gauge(slots.in_use));
        self.slots_resident.set(gauge(slots.resident));
        self.lane_queue_chunks.set(gauge(lanes.queued_chunks));
        self.lane_bytes.reset();
        self.lane_bytes.inc_by(lanes.bytes);
        self.registry.gather()
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// An upload under way; dropping it lowers `glissade_uploads_active`.
#[derive(Debug)]
#[must_use = "the upload counts as active only while this is held"]
pub struct ActiveUpload {
    _raised: Raised,
}

/// An open connection; dropping it lowers `glissade_connections`.
#[derive(Debug)]
#[must_use = "the connection counts as open only while this is held"]
pub struct OpenConnection {
    _raised: Raised,
}

/// A gauge that is one higher for as long as this lives.
#[derive(Debug)]
struct Raised(IntGauge);

impl Raised {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A figure that somebody else keeps; the default until a closure is given.
struct Probe<T>(OnceLock<Box<dyn Fn() -> T + Send + Sync>>);

impl<T: Default> Probe<T> {
    fn set(&self, probe: impl Fn() -> T + Send + Sync + 'static) {
        self.0.get_or_init(|| Box::new(probe));
    }

    fn read(&self) -> T {
        self.0.get().map(|probe| probe()).unwrap_or_default()
    }
}

impl<T> Default for Probe<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T> fmt::Debug for Probe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "Probe(set)" } else { "Probe(unset)" })
    }
}

/// Makes metrics and enters them into the registry.
struct Declare(Registry);

// A metric is refused only for a malformed or repeated name. Names are literals in this file and
// `Metrics::new` declares all of them, so a mistake here fails every test and can't reach a user.
#[allow(clippy::expect_used)]
impl Declare {
    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.enter(IntCounter::with_opts(opts(name, help)))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.enter(IntGauge::with_opts(opts(name, help)))
    }

    fn labelled_counter(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.enter(IntCounterVec::new(opts(name, help), labels))
    }

    fn labelled_gauge(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.enter(IntGaugeVec::new(opts(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let opts = HistogramOpts::from(opts(name, help)).buckets(buckets.to_vec());
        self.enter(HistogramVec::new(opts, labels))
    }

    /// One counter for each case of `L`, in the order of [`Label::index`].
    fn counters<L: Label>(&self, name: &str, help: &str, label: &str) -> Vec<IntCounter> {
        let family = self.labelled_counter(name, help, &[label]);
        L::ALL.iter().map(|case| family.with_label_values(&[case.name()])).collect()
    }

    /// One counter of seconds for each case of `L`, in the order of [`Label::index`].
    fn seconds<L: Label>(&self, name: &str, help: &str, label: &str) -> Vec<Counter> {
        let family = self.enter(CounterVec::new(opts(name, help), &[label]));
        L::ALL.iter().map(|case| family.with_label_values(&[case.name()])).collect()
    }

    fn enter<M: Collector + Clone + 'static>(&self, made: prometheus::Result<M>) -> M {
        let metric = made.expect("the metric's name and labels are well formed");
        self.0.register(Box::new(metric.clone())).expect("the metric is declared once");
        metric
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("glissade")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Whether the rendered metrics hold exactly this sample line.
    fn shows(metrics: &Metrics, line: &str) -> bool {
        metrics.render().lines().any(|found| found == line)
    }

    #[test]
    fn every_known_series_starts_at_zero() {
        let metrics = Metrics::new();
        for result in UploadResult::ALL {
            let line = format!("glissade_uploads_total{{result=\"{}\"}} 0", result.name());
            assert!(shows(&metrics, &line), "{line} in:\n{}", metrics.render());
        }
        for stage in Stage::ALL {
            let line =
                format!("glissade_upload_stage_seconds_total{{stage=\"{}\"}} 0", stage.name());
            assert!(shows(&metrics, &line), "{line}");
        }
        assert!(shows(&metrics, "glissade_upload_bytes_total 0"));
    }

    #[test]
    fn a_label_counts_under_its_own_name() {
        let metrics = Metrics::new();
        metrics.upload_ended(UploadResult::TooSlow);
        metrics.download_ended(DownloadResult::ClientGone);
        metrics.stage(Stage::Seal, Duration::from_millis(1500));
        metrics.stage(Stage::Seal, Duration::from_millis(500));
        assert!(shows(&metrics, "glissade_uploads_total{result=\"too_slow\"} 1"));
        assert!(shows(&metrics, "glissade_uploads_total{result=\"failed\"} 0"));
        assert!(shows(&metrics, "glissade_downloads_total{result=\"client_gone\"} 1"));
        assert!(shows(&metrics, "glissade_upload_stage_seconds_total{stage=\"seal\"} 2"));
        assert!(shows(&metrics, "glissade_upload_stage_seconds_total{stage=\"pour\"} 0"));
    }

    #[test]
    fn requests_count_by_route_and_status() {
        let metrics = Metrics::new();
        metrics.request(Route::PutFile, StatusCode::NO_CONTENT);
        metrics.request(Route::PutFile, StatusCode::NO_CONTENT);
        metrics.request(Route::Image, StatusCode::NOT_FOUND);
        assert!(shows(&metrics, "glissade_requests_total{route=\"put_file\",status=\"204\"} 2"));
        assert!(shows(&metrics, "glissade_requests_total{route=\"image\",status=\"404\"} 1"));
    }

    #[test]
    fn a_store_counts_under_its_own_id() {
        let metrics = Metrics::new();
        let (fast, _) = (metrics.store("fast"), metrics.store("deep"));
        fast.written(7);
        fast.called(StoreCall::Write, Duration::from_millis(50));
        fast.failed(StoreFailure::NoSpace);
        for line in [
            "glissade_store_written_bytes_total{store=\"fast\"} 7",
            "glissade_store_written_bytes_total{store=\"deep\"} 0",
            "glissade_store_call_seconds_count{call=\"write\",store=\"fast\"} 1",
            "glissade_store_call_seconds_bucket{call=\"write\",store=\"fast\",le=\"0.01\"} 0",
            "glissade_store_call_seconds_bucket{call=\"write\",store=\"fast\",le=\"0.1\"} 1",
            "glissade_store_call_seconds_count{call=\"write\",store=\"deep\"} 0",
            "glissade_store_failures_total{kind=\"no_space\",store=\"fast\"} 1",
            "glissade_store_failures_total{kind=\"no_space\",store=\"deep\"} 0",
        ] {
            assert!(shows(&metrics, line), "{line} in:\n{}", metrics.render());
        }
    }

    #[test]
    fn guards_lower_their_gauge_when_dropped() {
        let metrics = Metrics::new();
        let first = metrics.upload_begins();
        let second = metrics.upload_begins();
        let connection = metrics.connection_opens();
        assert!(shows(&metrics, "glissade_uploads_active 2"));
        assert!(shows(&metrics, "glissade_connections 1"));
        drop((first, connection));
        assert!(shows(&metrics, "glissade_uploads_active 1"));
        assert!(shows(&metrics, "glissade_connections 0"));
        drop(second);
        assert_eq!(metrics.totals().uploads_active, 0);
    }

    #[test]
    fn observed_figures_are_read_at_every_scrape() {
        let metrics = Metrics::new();
        assert!(shows(&metrics, "glissade_slots_in_use 0"));
        let hashed = Arc::new(AtomicU64::new(3));
        let seen = Arc::clone(&hashed);
        metrics.observe_lanes(move || LaneFigures {
            queued_chunks: 2,
            bytes: seen.load(Ordering::Relaxed),
        });
        metrics.observe_slots(|| SlotFigures { in_use: 5, resident: 32 });
        assert!(shows(&metrics, "glissade_lane_bytes_total 3"));
        hashed.store(7, Ordering::Relaxed);
        assert!(shows(&metrics, "glissade_lane_bytes_total 7"));
        assert!(shows(&metrics, "glissade_lane_queue_chunks 2"));
        assert!(shows(&metrics, "glissade_slots_in_use 5"));
        assert!(shows(&metrics, "glissade_slots_resident 32"));
    }

    #[test]
    fn only_the_last_engine_is_shown() {
        let metrics = Metrics::new();
        metrics.set_engine(Engine::Ring, "probed");
        metrics.set_engine(Engine::Threads, "io_uring_setup: EPERM");
        let line = "glissade_ring_info{engine=\"threads\",reason=\"io_uring_setup: EPERM\"} 1";
        assert!(shows(&metrics, line));
        assert!(!metrics.render().contains("engine=\"ring\""));
    }

    #[test]
    fn totals_tell_stored_from_the_rest() {
        let metrics = Metrics::new();
        metrics.upload_ended(UploadResult::Stored);
        metrics.upload_ended(UploadResult::Refused);
        metrics.upload_ended(UploadResult::Failed);
        metrics.upload_bytes(42);
        let totals = metrics.totals();
        assert_eq!((totals.uploads_stored, totals.uploads_not_stored), (1, 2));
        assert_eq!(totals.upload_bytes, 42);
    }

    #[test]
    fn two_servers_in_one_process_do_not_share_figures() {
        let (one, other) = (Metrics::new(), Metrics::new());
        one.clone().upload_bytes(1);
        assert_eq!((one.totals().upload_bytes, other.totals().upload_bytes), (1, 0));
    }

    #[test]
    fn the_build_names_its_version() {
        assert!(shows(&Metrics::new(), &format!("glissade_build_info{{version=\"{VERSION}\"}} 1")));
        assert!(VERSION.starts_with(env!("CARGO_PKG_VERSION")));
    }
}
