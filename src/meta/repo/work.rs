//! Tasks as they are worked on. Each change is one transaction that locks the image's row first, so
//! that of task, image, lists and lock none is ever seen without the others.

use async_trait::async_trait;
use serde_json::Value as Json;
use time::OffsetDateTime;

use super::SqlRepo;
use super::change::{
    clear_sizes, drop_property, forget_property, insert_location, put_property, set_data, step,
    withdraw_row,
};
use super::locks::take_lock;
use super::select::{WORKED_ON, live_image, lock};
use crate::image::{Image, ImageId, Task};
use crate::meta::record::{self, bigint};
use crate::meta::sql::{Tx, Value, exact, sql};
use crate::meta::urls::Urls;
use crate::meta::{
    Hold, IMPORT_LOCK_PROPERTY, ImageChange, LiveTask, MetaError, NewTask, TASK_HOST_PROPERTY,
    TaskChange, TaskWork,
};

#[async_trait]
impl TaskWork for SqlRepo {
    async fn begin_task(&self, new: &NewTask) -> Result<(), MetaError> {
        self.db
            .change(|mut tx| async move {
                let (id, now) = (&new.hold.image_id, OffsetDateTime::now_utc());
                let actual = lock(&mut tx, id).await?;
                if actual != new.from {
                    let wanted = new.from;
                    return Err(MetaError::Conflict { id: id.clone(), actual, wanted });
                }
                if let Some(other) = &new.preempted {
                    preempt(&mut tx, id, other, now).await?;
                }
                take_lock(&mut tx, id, &new.hold.task_id, now).await?;
                put_property(&mut tx, id, TASK_HOST_PROPERTY, &new.hold.token(), now).await?;
                change_image(&mut tx, id, &new.change, &self.urls, now).await?;
                insert_task(&mut tx, &new.task, now).await?;
                Ok(tx.commit().await?)
            })
            .await
    }

    async fn step_task(
        &self,
        hold: &Hold,
        task: &TaskChange,
        image: &ImageChange,
    ) -> Result<Image, MetaError> {
        self.db
            .change(|mut tx| async move {
                let now = OffsetDateTime::now_utc();
                prove(&mut tx, hold).await?;
                change_image(&mut tx, &hold.image_id, image, &self.urls, now).await?;
                change_task(&mut tx, &hold.task_id, task, now).await?;
                if task.is_end() {
                    give_up(&mut tx, hold).await?;
                }
                let image = live_image(&mut tx, &hold.image_id, &self.urls).await?;
                tx.commit().await?;
                Ok(image)
            })
            .await
    }

    async fn renew_task(&self, hold: &Hold, message: Option<&str>) -> Result<(), MetaError> {
        self.db
            .change(|mut tx| async move {
                prove(&mut tx, hold).await?;
                touch(&mut tx, vec![hold.task_id.clone()]).await?;
                if let Some(message) = message {
                    tell(&mut tx, &hold.task_id, message, None).await?;
                }
                Ok(tx.commit().await?)
            })
            .await
    }

    async fn touch_tasks(&self, ids: Vec<String>) -> Result<(), MetaError> {
        self.db
            .change(|mut tx| {
                let ids = ids.clone();
                async move {
                    touch(&mut tx, ids).await?;
                    Ok(tx.commit().await?)
                }
            })
            .await
    }

    async fn fail_task(
        &self,
        id: &str,
        message: &str,
        expires_at: OffsetDateTime,
    ) -> Result<(), MetaError> {
        let change = TaskChange::Failure { message: message.to_owned(), expires_at };
        let failed = self.db.change(|mut tx| {
            let change = &change;
            async move {
                change_task(&mut tx, id, change, OffsetDateTime::now_utc()).await?;
                Ok(tx.commit().await?)
            }
        });
        match failed.await {
            Err(MetaError::TaskLost(_)) => Ok(()),
            done => done,
        }
    }

    async fn live_tasks(&self) -> Result<Vec<LiveTask>, MetaError> {
        let rows = self.db.ask(sql(WORKED_ON).bind(exact(TASK_HOST_PROPERTY))).await?;
        let mut live = Vec::new();
        for row in &rows {
            let task = record::task(row)?;
            let token = row.text("host").ok().flatten().unwrap_or_default();
            live.extend(LiveTask::new(task, &token));
        }
        Ok(live)
    }

    async fn take_over(&self, live: &LiveTask, node_id: &str) -> Result<Hold, MetaError> {
        let ours = Hold { node_id: node_id.to_owned(), ..live.hold.clone() };
        self.db
            .change(|mut tx| {
                let (theirs, ours) = (&live.hold, &ours);
                async move {
                    prove(&mut tx, theirs).await?;
                    let beat = sql("SELECT updated_at FROM tasks WHERE id = ?1");
                    let row = tx.row(beat.bind(&theirs.task_id)).await?;
                    let heard = row.and_then(|row| row.time("updated_at").ok().flatten());
                    if heard.is_some_and(|heard| heard != live.task.updated_at) {
                        return Err(MetaError::TaskLost(theirs.task_id.clone()));
                    }
                    let (id, now) = (&theirs.image_id, OffsetDateTime::now_utc());
                    put_property(&mut tx, id, TASK_HOST_PROPERTY, &ours.token(), now).await?;
                    touch(&mut tx, vec![theirs.task_id.clone()]).await?;
                    Ok(tx.commit().await?)
                }
            })
            .await?;
        Ok(ours)
    }
}

/// Makes sure that the task is still the holder's; the image's row is locked from now on.
async fn prove(tx: &mut Tx, hold: &Hold) -> Result<(), MetaError> {
    lock(tx, &hold.image_id).await?;
    for (name, value) in
        [(IMPORT_LOCK_PROPERTY, &hold.task_id), (TASK_HOST_PROPERTY, &hold.token())]
    {
        let there = sql("SELECT 1 FROM image_properties
             WHERE image_id = ?1 AND name = ?2 AND value = ?3 AND deleted = false");
        let there = there.bind(&hold.image_id).bind(exact(name)).bind(exact(value));
        if tx.row(there).await?.is_none() {
            return Err(MetaError::TaskLost(hold.task_id.clone()));
        }
    }
    Ok(())
}

/// Gives the lock of a task that has ended back.
async fn give_up(tx: &mut Tx, hold: &Hold) -> Result<(), MetaError> {
    drop_property(tx, &hold.image_id, IMPORT_LOCK_PROPERTY, &hold.task_id).await?;
    forget_property(tx, &hold.image_id, TASK_HOST_PROPERTY).await?;
    Ok(())
}

/// Ends a task that has had the lock for too long, as Glance does it. Whoever was quicker has the
/// lock by now, so that taking it fails.
async fn preempt(
    tx: &mut Tx,
    id: &ImageId,
    task: &str,
    now: OffsetDateTime,
) -> Result<(), MetaError> {
    if !drop_property(tx, id, IMPORT_LOCK_PROPERTY, task).await? {
        return Ok(());
    }
    let end = sql("UPDATE tasks SET status = 'failure', updated_at = ?2
         WHERE id = ?1 AND status IN ('pending', 'processing')");
    if tx.run(end.bind(task).bind(now)).await? > 0 {
        tell(tx, task, "Expired lock preempted", None).await?;
    }
    Ok(())
}

async fn change_image(
    tx: &mut Tx,
    id: &ImageId,
    change: &ImageChange,
    urls: &Urls,
    now: OffsetDateTime,
) -> Result<(), MetaError> {
    if let Some((from, to)) = change.status {
        step(tx, id, from, to, now).await?;
    }
    if change.clears_sizes {
        clear_sizes(tx, id).await?;
    }
    if let Some(data) = &change.data {
        set_data(tx, id, data).await?;
    }
    set_facts(tx, id, change).await?;
    for (column, format) in
        [("disk_format", &change.disk_format), ("container_format", &change.container_format)]
    {
        if let Some(format) = format {
            let set = format!("UPDATE images SET {column} = ?2 WHERE id = ?1");
            tx.run(sql(&set).bind(id).bind(format)).await?;
        }
    }
    for location in &change.locations {
        insert_location(tx, id, location, urls, now).await?;
    }
    for &location in &change.withdrawn {
        withdraw_row(tx, id, location, now).await?;
    }
    for (name, value) in &change.set {
        put_property(tx, id, name, value, now).await?;
    }
    for name in &change.dropped {
        forget_property(tx, id, name).await?;
    }
    if change != &ImageChange::default() {
        let touched = sql("UPDATE images SET updated_at = ?2 WHERE id = ?1");
        tx.run(touched.bind(id).bind(now)).await?;
    }
    Ok(())
}

/// Writes what is known of data that is not known as a whole.
async fn set_facts(tx: &mut Tx, id: &ImageId, change: &ImageChange) -> Result<(), MetaError> {
    let ImageChange { size, digests, multihash, .. } = change;
    if let Some(size) = size {
        let set = sql("UPDATE images SET size = ?2 WHERE id = ?1");
        tx.run(set.bind(id).bind(bigint(Some(*size)))).await?;
    }
    if let Some(digests) = digests {
        let set = sql("UPDATE images SET checksum = ?2 WHERE id = ?1");
        tx.run(set.bind(id).bind(&digests.checksum)).await?;
    }
    let found = digests.as_ref().map(|found| (found.os_hash_algo.name(), &found.os_hash_value));
    let said = multihash.as_ref().map(|(algo, value)| (algo.as_str(), value));
    if let Some((algo, value)) = found.or(said) {
        let set = sql("UPDATE images SET os_hash_algo = ?2, os_hash_value = ?3 WHERE id = ?1");
        tx.run(set.bind(id).bind(algo).bind(value)).await?;
    }
    Ok(())
}

async fn insert_task(tx: &mut Tx, task: &Task, now: OffsetDateTime) -> Result<(), MetaError> {
    let insert = sql("INSERT INTO tasks (id, type, status, owner, created_at, updated_at, deleted,
            image_id, request_id, user_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5, false, ?6, ?7, ?8)")
    .bind(&task.id)
    .bind(&task.kind)
    .bind(&task.status)
    .bind(&task.owner)
    .bind(now)
    .bind(&task.image_id)
    .bind(&task.request_id)
    .bind(&task.user_id);
    tx.run(insert).await?;
    let input = task.input.as_ref().map(Json::to_string);
    let info = sql("INSERT INTO task_info (task_id, input, result, message)
         VALUES (?1, ?2, NULL, ?3)");
    let message = task.message.as_deref().unwrap_or_default();
    tx.run(info.bind(&task.id).bind(&input).bind(message)).await?;
    Ok(())
}

async fn change_task(
    tx: &mut Tx,
    id: &str,
    change: &TaskChange,
    now: OffsetDateTime,
) -> Result<(), MetaError> {
    let (status, told, expires_at) = match change {
        TaskChange::Unchanged => return Ok(()),
        TaskChange::Processing => ("processing", None, None),
        TaskChange::Success { message, result, expires_at } => {
            ("success", Some((message, Some(result))), Some(*expires_at))
        }
        TaskChange::Failure { message, expires_at } => {
            ("failure", Some((message, None)), Some(*expires_at))
        }
    };
    let update = sql("UPDATE tasks SET status = ?2, updated_at = ?3, expires_at = ?4
         WHERE id = ?1 AND status IN ('pending', 'processing') AND deleted = false")
    .bind(id)
    .bind(status)
    .bind(now)
    .bind(expires_at);
    if tx.run(update).await? == 0 {
        return Err(MetaError::TaskLost(id.to_owned()));
    }
    match told {
        Some((message, result)) => tell(tx, id, message, result).await,
        None => Ok(()),
    }
}

/// Says something of a task, and what came of it where that is known.
async fn tell(
    tx: &mut Tx,
    id: &str,
    message: &str,
    result: Option<&Json>,
) -> Result<(), MetaError> {
    let result = Value::Text(result.map(Json::to_string));
    let told = sql("UPDATE task_info SET message = ?2, result = ?3 WHERE task_id = ?1");
    tx.run(told.bind(id).bind(message).bind(result)).await?;
    Ok(())
}

async fn touch(tx: &mut Tx, ids: Vec<String>) -> Result<(), MetaError> {
    let touched = sql("UPDATE tasks SET updated_at = ?2
         WHERE id IN ?1 AND status IN ('pending', 'processing')");
    tx.run(touched.bind(Value::AnyOf(ids)).bind(OffsetDateTime::now_utc())).await?;
    Ok(())
}
