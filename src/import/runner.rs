//! Works on tasks: so many at a time, in the order in which they came, until each has ended.
//!
//! The queue is the database. A task of this server that nobody here works on is begun, or begun
//! again after a crash; one whose server has not been heard of for [`TASK_LEASE`] is taken over
//! first. While a task waits or runs, its record's `updated_at` is renewed, by which a glance-api on
//! the same database knows that the image's lock is alive (`DW-03`, `IM-07`).
//!
//! A run that ends is recorded until that succeeds or the task is another's. Whoever finds out that
//! a task is lost stops, and removes what it has written unless the record names it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

use super::run::{Done, Job, Object, Run, Secret, Stop, Watch};
use crate::image::ImageId;
use crate::limits::{
    JANITOR_GRACE, TASK_BEAT, TASK_LEASE, TASK_RECORD_PAUSES, TASK_STOP_WAIT, TASK_SWEEP,
    TASK_TRIES_MAX,
};
use crate::meta::{Hold, ImageChange, LiveTask, MetaError, NewTask, Repo, TaskChange};
use crate::observe::Metrics;
use crate::observe::metrics::TaskResult;

/// Takes tasks; clones are the same.
#[derive(Clone, Debug)]
pub struct Imports(Arc<Shared>);

/// Works on them: run it beside the server.
#[derive(Debug)]
pub struct Runner(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    repo: Arc<dyn Repo>,
    node_id: String,
    workers: usize,
    /// How long the record of a task stays after its end.
    life: Duration,
    jobs: Vec<Arc<dyn Job>>,
    metrics: Metrics,
    wake: Notify,
    running: Mutex<HashMap<String, Running>>,
    /// Told whenever a run has ended.
    idle: Notify,
    /// Images whose tasks are not begun at the moment, and how many wish it.
    held: Mutex<HashMap<ImageId, usize>>,
    secrets: Mutex<HashMap<String, Arc<Secret>>>,
    tries: Mutex<HashMap<String, u32>>,
}

#[derive(Debug)]
struct Running {
    image_id: ImageId,
    watch: Arc<Watch>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Imports {
    /// A handle, and the runner behind it.
    #[must_use]
    pub fn new(
        repo: Arc<dyn Repo>,
        node_id: &str,
        options: &crate::config::Import,
        jobs: Vec<Arc<dyn Job>>,
        metrics: Metrics,
    ) -> (Self, Runner) {
        let shared = Arc::new(Shared {
            repo,
            node_id: node_id.to_owned(),
            workers: options.workers,
            life: options.task_life,
            jobs,
            metrics,
            wake: Notify::new(),
            running: Mutex::default(),
            idle: Notify::new(),
            held: Mutex::default(),
            secrets: Mutex::default(),
            tries: Mutex::default(),
        });
        (Self(Arc::clone(&shared)), Runner(shared))
    }

    /// The hold of a new task of this server.
    #[must_use]
    pub fn hold(&self, image_id: &ImageId) -> Hold {
        Hold {
            image_id: image_id.clone(),
            task_id: uuid::Uuid::new_v4().to_string(),
            node_id: self.0.node_id.clone(),
        }
    }

    /// Records a task and has it worked on. It is safe when this returns.
    ///
    /// # Errors
    /// The records' own; nothing has happened then.
    pub async fn submit(&self, new: &NewTask, secret: Option<Secret>) -> Result<(), MetaError> {
        let id = &new.hold.task_id;
        if let Some(secret) = secret {
            lock(&self.0.secrets).insert(id.clone(), Arc::new(secret));
        }
        let begun = self.0.repo.begin_task(new).await;
        match &begun {
            Ok(()) => self.0.wake.notify_one(),
            Err(_) => drop(lock(&self.0.secrets).remove(id)),
        }
        begun
    }

    /// Ends the work on an image, because it was deleted.
    pub fn cancel(&self, image_id: &ImageId) {
        for running in lock(&self.0.running).values().filter(|run| run.image_id == *image_id) {
            running.watch.stop();
        }
    }

    /// Stops the work on an image while the guard lives, and waits until nothing of it is left,
    /// though not for ever: its data can't be removed while it is read (`LF-02`). A task whose image
    /// lives on is begun again.
    pub async fn hold_back(&self, image_id: &ImageId) -> HeldBack {
        *lock(&self.0.held).entry(image_id.clone()).or_default() += 1;
        let held = HeldBack(Arc::clone(&self.0), image_id.clone());
        self.cancel(image_id);
        let is_busy = || lock(&self.0.running).values().any(|run| run.image_id == *image_id);
        let ended = async {
            loop {
                let mut ended = std::pin::pin!(self.0.idle.notified());
                ended.as_mut().enable();
                if !is_busy() {
                    break;
                }
                ended.await;
            }
        };
        if tokio::time::timeout(TASK_STOP_WAIT, ended).await.is_err() {
            tracing::warn!(%image_id, "the work on an image goes on while it is deleted");
        }
        held
    }
}

/// Keeps an image's tasks from being begun.
#[derive(Debug)]
pub struct HeldBack(Arc<Shared>, ImageId);

impl Drop for HeldBack {
    fn drop(&mut self) {
        let mut held = lock(&self.0.held);
        if let Some(count) = held.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.1);
            }
        }
        drop(held);
        self.0.wake.notify_one();
    }
}

impl Runner {
    /// Works until `stop` says so. What runs then is stopped, and goes on after the next start.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let mut workers = JoinSet::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            if let Err(error) = self.dispatch(&mut workers).await {
                tracing::warn!(%error, "tasks can't be looked for; trying again");
            }
            tokio::select! {
                () = self.0.wake.notified() => {}
                Some(_) = workers.join_next() => {}
                () = tokio::time::sleep(TASK_SWEEP) => {}
                () = &mut stop => break,
            }
        }
        for running in lock(&self.0.running).values() {
            running.watch.stop();
        }
        let all = async { while workers.join_next().await.is_some() {} };
        if tokio::time::timeout(JANITOR_GRACE, all).await.is_err() {
            tracing::warn!("some tasks are cut short; they go on after the next start");
        }
    }

    /// Begins what is to be worked on here, as far as there are workers.
    async fn dispatch(&self, workers: &mut JoinSet<()>) -> Result<(), MetaError> {
        let mut waiting = Vec::new();
        for live in self.0.repo.live_tasks().await? {
            let is_ours = live.hold.node_id == self.0.node_id;
            let is_held = lock(&self.0.held).contains_key(&live.hold.image_id);
            if is_held || self.is_running(&live.task.id) || !(is_ours || is_forsaken(&live)) {
                continue;
            }
            if workers.len() >= self.0.workers {
                waiting.extend(is_ours.then_some(live.task.id));
                continue;
            }
            if let Some(run) = self.take(live, is_ours).await? {
                workers.spawn(work(Arc::clone(&self.0), run));
            }
        }
        match waiting.is_empty() {
            true => Ok(()),
            false => self.0.repo.touch_tasks(waiting).await,
        }
    }

    fn is_running(&self, task_id: &str) -> bool {
        lock(&self.0.running).contains_key(task_id)
    }

    /// A run of a task, once it is this server's.
    async fn take(&self, live: LiveTask, is_ours: bool) -> Result<Option<Run>, MetaError> {
        let hold = match is_ours {
            true => live.hold.clone(),
            false => match self.0.repo.take_over(&live, &self.0.node_id).await {
                Ok(hold) => {
                    let (task, from) = (&live.task.id, &live.hold.node_id);
                    tracing::warn!(task, from, "a task is taken over from a server that is gone");
                    hold
                }
                Err(MetaError::TaskLost(_) | MetaError::NotFound(_)) => return Ok(None),
                Err(error) => return Err(error),
            },
        };
        let watch = Arc::new(Watch::default());
        let running = Running { image_id: hold.image_id.clone(), watch: Arc::clone(&watch) };
        lock(&self.0.running).insert(live.task.id.clone(), running);
        let secret = lock(&self.0.secrets).get(&live.task.id).cloned();
        let is_resumed = !is_ours || live.task.status == "processing";
        Ok(Some(Run { task: live.task, hold, is_resumed, secret, watch }))
    }
}

/// Whether the server of a task has not been heard of for too long.
fn is_forsaken(live: &LiveTask) -> bool {
    OffsetDateTime::now_utc() - live.task.updated_at > TASK_LEASE
}

/// Takes a task out of the list of those that run, however its run ends.
struct Leave<'a>(&'a Shared, String);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        lock(&self.0.running).remove(&self.1);
        self.0.idle.notify_waiters();
    }
}

async fn work(shared: Arc<Shared>, run: Run) {
    let _leave = Leave(&shared, run.task.id.clone());
    let Some(job) = shared.jobs.iter().find(|job| job.kind() == run.task.kind) else {
        let reason = format!("This server has no tasks of type {}", run.task.kind);
        return shared.fail(&run, reason, ImageChange::default()).await;
    };
    if shared.count_try(&run.task.id) > TASK_TRIES_MAX {
        let reason = format!("The task was begun {TASK_TRIES_MAX} times and never ended");
        return shared.fail(&run, reason, ImageChange::default()).await;
    }
    let (done, is_done) = oneshot::channel();
    let working = async {
        let ended = job.run(&run).await;
        drop(done);
        ended
    };
    let (ended, ()) = tokio::join!(working, shared.beat(&run, is_done));
    shared.conclude(&run, &**job, ended).await;
}

impl Shared {
    fn count_try(&self, task_id: &str) -> u32 {
        let mut tries = lock(&self.tries);
        let count = tries.entry(task_id.to_owned()).or_default();
        *count += 1;
        *count
    }

    /// Says that the task is worked on, and how far it has come, until it is done. Stops the run
    /// when the task is lost, or may be by now.
    async fn beat(&self, run: &Run, mut is_done: oneshot::Receiver<()>) {
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                _ = &mut is_done => return,
                () = tokio::time::sleep(TASK_BEAT) => {}
            }
            match self.repo.renew_task(&run.hold, run.watch.message().as_deref()).await {
                Ok(()) => heard = Instant::now(),
                Err(error @ (MetaError::TaskLost(_) | MetaError::NotFound(_))) => {
                    tracing::info!(task = run.task.id, %error, "a task is stopped");
                    run.watch.stop();
                }
                Err(error) => {
                    tracing::warn!(task = run.task.id, %error, "a task can't be renewed");
                    if heard.elapsed() > TASK_LEASE {
                        run.watch.stop();
                    }
                }
            }
        }
    }

    async fn conclude(&self, run: &Run, job: &dyn Job, ended: Result<Done, Stop>) {
        let is_success = match ended {
            Ok(done) => match self.succeed(run, done).await {
                Some(is_success) => is_success,
                None => return self.abandon(run).await,
            },
            Err(Stop::Failed { .. } | Stop::Lost) if run.watch.is_stopped() => {
                return self.abandon(run).await;
            }
            Err(Stop::Lost) => return self.abandon(run).await,
            Err(Stop::Failed { reason, image }) => {
                self.fail(run, reason, image).await;
                false
            }
        };
        job.tidy(run, is_success).await;
    }

    /// Records a success; tells whether it is one, or nothing when the task is lost.
    async fn succeed(&self, run: &Run, done: Done) -> Option<bool> {
        let Done { image, message, result, objects, room } = done;
        let change = TaskChange::Success { message, result, expires_at: self.expiry() };
        match self.record(run, &change, &image).await {
            Ok(()) => {
                if let Some((room, bytes)) = room {
                    room.settle(bytes);
                }
                self.ended(run, TaskResult::Success);
                Some(true)
            }
            Err(MetaError::Conflict { actual, .. }) => {
                self.remove(run, objects).await;
                let reason = format!("The image became {actual} while its data came");
                self.fail(run, reason, ImageChange::default()).await;
                Some(false)
            }
            // It may be that the end was recorded and the answer was lost.
            Err(_) => match self.has_recorded(run, &objects).await {
                Some(true) => {
                    self.ended(run, TaskResult::Success);
                    Some(true)
                }
                Some(false) => {
                    self.remove(run, objects).await;
                    None
                }
                None => None,
            },
        }
    }

    /// Records a failure.
    async fn fail(&self, run: &Run, reason: String, image: ImageChange) {
        tracing::info!(task = run.task.id, image_id = %run.image_id(), reason, "a task has failed");
        let change = TaskChange::Failure { message: reason, expires_at: self.expiry() };
        let recorded = match self.record(run, &change, &image).await {
            // Whoever has changed the status has decided about it.
            Err(MetaError::Conflict { .. }) => {
                let image = ImageChange { status: None, clears_sizes: false, ..image };
                self.record(run, &change, &image).await
            }
            recorded => recorded,
        };
        match recorded {
            Ok(()) => self.ended(run, TaskResult::Failure),
            Err(_) => self.abandon(run).await,
        }
    }

    /// Leaves a task that is another's, or goes on later. One whose image is gone has ended.
    async fn abandon(&self, run: &Run) {
        let id = run.image_id();
        if let Err(MetaError::NotFound(_)) = self.repo.get(id).await {
            let (task, expires_at) = (&run.task.id, self.expiry());
            let ended = self.repo.fail_task(task, "The image was deleted", expires_at).await;
            if let Err(error) = ended {
                tracing::warn!(task, %error, "the end of a task is not recorded");
            }
            return self.ended(run, TaskResult::Failure);
        }
        self.metrics.task_ended(TaskResult::Left);
        lock(&self.tries).remove(&run.task.id);
        tracing::info!(task = run.task.id, image_id = %id, "a task is left to go on elsewhere");
    }

    fn ended(&self, run: &Run, result: TaskResult) {
        lock(&self.secrets).remove(&run.task.id);
        lock(&self.tries).remove(&run.task.id);
        self.metrics.task_ended(result);
    }

    /// Records an end, for as long as it takes.
    async fn record(
        &self,
        run: &Run,
        task: &TaskChange,
        image: &ImageChange,
    ) -> Result<(), MetaError> {
        let mut pause = TASK_RECORD_PAUSES.0;
        loop {
            match self.repo.step_task(&run.hold, task, image).await {
                Err(error @ MetaError::Database(_)) if !run.watch.is_stopped() => {
                    tracing::warn!(task = run.task.id, %error, "the end of a task can't be recorded");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(TASK_RECORD_PAUSES.1);
                }
                recorded => return recorded.map(|_| ()),
            }
        }
    }

    /// Whether the image's record names every object. Where nobody can tell they stay: they are
    /// found when the task is begun again.
    async fn has_recorded(&self, run: &Run, objects: &[Object]) -> Option<bool> {
        match self.repo.get(run.image_id()).await {
            Ok(image) => {
                let is_there = |url: &str| image.locations.iter().any(|at| at.url == url);
                Some(!objects.is_empty() && objects.iter().all(|(_, at)| is_there(&at.url)))
            }
            Err(MetaError::NotFound(_)) => Some(false),
            Err(_) => None,
        }
    }

    async fn remove(&self, run: &Run, objects: Vec<Object>) {
        let named = self.repo.get(run.image_id()).await.map(|image| image.locations);
        let named = named.unwrap_or_default();
        for (store, location) in objects {
            if !named.iter().any(|at| at.url == location.url) {
                remove_object(&*store, &location).await;
            }
        }
    }

    fn expiry(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc() + self.life
    }
}

/// Removes an object without a record. One that can't be removed is logged, and gone when the task
/// or another import of the image begins again.
pub(super) async fn remove_object(
    store: &dyn crate::store::Store,
    location: &crate::image::Location,
) {
    match store.delete(location).await {
        Err(error) if !error.is_gone() => {
            tracing::error!(store = store.id(), %error, "an object without a record stays");
        }
        _ => {}
    }
}

/// What a finished import answers.
pub(super) fn result_of(image_id: &ImageId) -> Value {
    serde_json::json!({ "image_id": image_id.as_str() })
}
