//! Engines: threads that move body bytes, each with a ring, or a pool of blocking threads.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use io_uring::{IoUring, Probe, opcode};
use tokio::sync::{mpsc as jobs, oneshot};
use tokio_uring::buf::fixed::FixedBufRegistry;
use tokio_uring::buf::{IoBuf, IoBufMut};

use crate::buffer::Arena;
use crate::config::IoUring as Mode;

/// Submission entries of a ring: more than the operations that 100 uploads have in flight.
const ENTRIES: u32 = 512;

thread_local! {
    /// On an engine thread with a ring: how many slots are registered with it.
    static RING: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Whether the current thread has a ring.
pub(super) fn has_ring() -> bool {
    RING.get().is_some()
}

/// The number of a slot's registered buffer on this thread's ring.
pub(super) fn registered_buffer(slot_index: usize) -> Option<u16> {
    let registered = RING.get()?;
    (slot_index < registered).then(|| u16::try_from(slot_index).ok()).flatten()
}

/// What moves body bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// io_uring.
    Ring,
    /// A blocking thread for each transfer.
    Threads,
}

impl EngineKind {
    /// The word used in metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Threads => "threads",
        }
    }
}

/// `io_uring = required`, and the kernel does not grant it.
#[derive(Debug, thiserror::Error)]
#[error("[glissade] io_uring = required, but {0}")]
pub struct RingRefused(String);

/// The engine that ran a job is gone: the process is shutting down, or the job panicked.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the engine that ran the transfer is gone")]
pub struct EngineGone;

type Story = Pin<Box<dyn Future<Output = ()>>>;
type Job = Box<dyn FnOnce() -> Story + Send>;

/// A handle to every engine.
#[derive(Clone)]
pub struct Engines {
    rings: Arc<[Ring]>,
    reason: Arc<str>,
}

impl fmt::Debug for Engines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engines").field("kind", &self.kind()).field("why", &self.reason).finish()
    }
}

/// The control side of one engine thread.
struct Ring {
    jobs: jobs::UnboundedSender<Job>,
    active: Arc<AtomicUsize>,
}

impl Engines {
    /// Starts `count` ring threads, or none of them where io_uring is off or refused: then jobs
    /// run on blocking threads.
    ///
    /// # Errors
    /// [`RingRefused`] when rings are required and can't be had.
    pub fn start(mode: Mode, count: usize, arena: &Arena) -> Result<Self, RingRefused> {
        if mode == Mode::Off {
            return Ok(Self::threads("switched off by [glissade] io_uring"));
        }
        match (0..count).map(|number| Ring::start(number, arena)).collect::<Result<Vec<_>, _>>() {
            Ok(rings) => Ok(Self { rings: rings.into(), reason: "granted by the kernel".into() }),
            Err(why) if mode == Mode::Required => Err(RingRefused(why)),
            Err(why) => Ok(Self::threads(&why)),
        }
    }

    /// Engines without a ring.
    #[must_use]
    pub fn threads(reason: &str) -> Self {
        Self { rings: Arc::new([]), reason: reason.into() }
    }

    /// What moves body bytes.
    #[must_use]
    pub fn kind(&self) -> EngineKind {
        if self.rings.is_empty() { EngineKind::Threads } else { EngineKind::Ring }
    }

    /// Why it is that kind.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Runs a job to its end on an engine. `make` is called there, so the job itself need not be
    /// `Send`. Dropping the returned future does not stop the job, only its answer is lost; the
    /// job must own what has to be cleaned up.
    ///
    /// Without rings it must be called within a tokio runtime, whose blocking pool runs the job.
    ///
    /// # Errors
    /// [`EngineGone`] when the job did not finish.
    pub async fn run<T, F, S>(&self, make: F) -> Result<T, EngineGone>
    where
        T: Send + 'static,
        F: FnOnce() -> S + Send + 'static,
        S: Future<Output = T> + 'static,
    {
        let Some(ring) = self.least_loaded() else {
            let here = tokio::runtime::Handle::current();
            let job = move || here.block_on(make());
            return tokio::task::spawn_blocking(job).await.map_err(|_| EngineGone);
        };
        let (answer, answered) = oneshot::channel();
        let load = Load::begin(&ring.active);
        let job: Job = Box::new(move || {
            Box::pin(async move {
                let _load = load;
                // Nobody may be waiting any more; the job has cleaned up after itself.
                let _ = answer.send(make().await);
            })
        });
        ring.jobs.send(job).map_err(|_| EngineGone)?;
        answered.await.map_err(|_| EngineGone)
    }

    fn least_loaded(&self) -> Option<&Ring> {
        self.rings.iter().min_by_key(|ring| ring.active.load(Ordering::Relaxed))
    }
}

/// Counts a job in for as long as it lives.
struct Load(Arc<AtomicUsize>);

impl Load {
    fn begin(active: &Arc<AtomicUsize>) -> Self {
        active.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(active))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Ring {
    /// Starts one engine thread; the error says why there is no ring and which knob to turn.
    fn start(number: usize, arena: &Arena) -> Result<Self, String> {
        probe()?;
        let (jobs, inbox) = jobs::unbounded_channel();
        let (ready, is_ready) = mpsc::channel();
        let arena = arena.clone();
        thread::Builder::new()
            .name(format!("engine-{number}"))
            .spawn(move || run(&arena, inbox, &ready))
            .map_err(|error| format!("no thread for it could be started: {error}"))?;
        is_ready.recv().map_err(|_| "its thread ended at once".to_owned())??;
        Ok(Self { jobs, active: Arc::new(AtomicUsize::new(0)) })
    }
}

/// An engine thread's life: make the ring, register the warm slots, take jobs until the last
/// handle is gone.
fn run(
    arena: &Arena,
    inbox: jobs::UnboundedReceiver<Job>,
    ready: &mpsc::Sender<Result<(), String>>,
) {
    let mut setup = tokio_uring::uring_builder();
    setup.setup_cqsize(ENTRIES * 4).setup_coop_taskrun().setup_single_issuer();
    let mut builder = tokio_uring::builder();
    builder.entries(ENTRIES).uring_builder(&setup);
    match tokio_uring::Runtime::new(&builder) {
        Ok(runtime) => runtime.block_on(async {
            RING.set(Some(register(arena)));
            // The starter may have given up; then the inbox is closed and the loop ends at once.
            let _ = ready.send(Ok(()));
            serve(inbox).await;
        }),
        Err(error) => drop(ready.send(Err(explain(&error)))),
    }
}

async fn serve(mut inbox: jobs::UnboundedReceiver<Job>) {
    while let Some(job) = inbox.recv().await {
        tokio_uring::spawn(job());
    }
}

/// A warm slot as tokio-uring's registry wants it. It only lends its address: nothing is ever
/// checked out of the registry.
struct Registered {
    start: *mut u8,
    len: usize,
    /// Keeps the mapping for as long as the ring may know it.
    _arena: Arena,
}

// SAFETY: IoBuf needs that the address stays valid and unmoved while the value lives. It is an
// address inside the mapping of `_arena`, which neither moves nor goes while an `Arena` exists.
// `bytes_init` is 0, so the registry itself never reads through it.
unsafe impl IoBuf for Registered {
    fn stable_ptr(&self) -> *const u8 {
        self.start
    }

    fn bytes_init(&self) -> usize {
        0
    }

    fn bytes_total(&self) -> usize {
        self.len
    }
}

// SAFETY: as for IoBuf; writing through the address is done by nobody, because no buffer is ever
// checked out. Slots are written through `Slot`, which owns them.
unsafe impl IoBufMut for Registered {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.start
    }

    unsafe fn set_init(&mut self, _: usize) {}
}

/// Registers the warm slots with this thread's ring and answers how many it knows: all or none.
/// None costs a page lookup for each write, so it is worth a line but no refusal.
fn register(arena: &Arena) -> usize {
    let slots: Vec<Registered> = arena
        .warm_slots()
        .map(|(start, len)| Registered { start, len, _arena: arena.clone() })
        .collect();
    let count = slots.len();
    match FixedBufRegistry::new(slots).register() {
        Ok(()) => count,
        Err(error) => {
            tracing::warn!(%error, "slots are not registered with the ring; raise LimitMEMLOCK");
            0
        }
    }
}

/// Asks the kernel for a small ring and for every opcode that this program submits.
fn probe() -> Result<(), String> {
    let ring = IoUring::new(8).map_err(|error| explain(&error))?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| explain(&error))?;
    let needed = [
        ("recv", opcode::Recv::CODE),
        ("read", opcode::Read::CODE),
        ("write", opcode::Write::CODE),
        ("write_fixed", opcode::WriteFixed::CODE),
        ("fallocate", opcode::Fallocate::CODE),
    ];
    match needed.iter().find(|(_, code)| !probe.is_supported(*code)) {
        Some((name, _)) => {
            Err(format!("this kernel's io_uring has no {name}; use Linux 5.15 or newer"))
        }
        None => Ok(()),
    }
}

/// Says which knob refused.
fn explain(error: &io::Error) -> String {
    let knob = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "check sysctl kernel.io_uring_disabled and the container's seccomp profile"
        }
        Some(libc::ENOSYS) => "this kernel has none, or a seccomp profile hides it",
        Some(libc::ENOMEM) => "raise the memlock limit (LimitMEMLOCK)",
        Some(libc::EINVAL) => "this kernel is too old for it; use Linux 6.0 or newer",
        Some(libc::EMFILE | libc::ENFILE) => "raise the limit of open files (LimitNOFILE)",
        _ => "see the error",
    };
    format!("io_uring was refused: {error}; {knob}")
}
