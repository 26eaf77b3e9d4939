//! Data that is staged: hashed once, found again, and gone without a trace when anything fails.

use super::*;
use crate::meta::{CLAIM_PROPERTY, STAGE_HOST_PROPERTY, STAGED_PROPERTY, claim_token};

impl World {
    async fn stage(&self, id: &ImageId, data: &[u8]) -> Result<Image, UploadError> {
        let len = data.len() as u64;
        let uploads = &self.uploads;
        let prepared = uploads.prepare_stage(&self.stores, id, SizeHint::Known(len)).await?;
        let stream = fed(data.to_vec());
        uploads.receive(prepared, &stream, Framing::Length(len), bytes::Bytes::new()).await.outcome
    }

    async fn staged(&self, id: &ImageId) -> Option<u64> {
        let staged = self.stores.staging().unwrap().staged(id).await.unwrap();
        staged.map(|staged| staged.size)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn st_02_to_05_data_is_staged_and_known() {
    let url = "http://here:9292".to_owned();
    let world = World::with(IoUring::Off, |settings| {
        settings.api.worker_self_reference_url = Some(url);
    })
    .await;
    let (id, data) = (world.queued().await, bytes(MIB + 3));
    let image = world.stage(&id, &data).await.unwrap();
    assert_eq!((image.status, image.size), (Status::Uploading, Some(data.len() as u64)));
    assert_eq!((image.checksum.as_ref(), image.locations.len()), (None, 0));
    assert_eq!(image.properties.get(STAGE_HOST_PROPERTY).unwrap(), "http://here:9292");
    assert_eq!(image.properties.get(CLAIM_PROPERTY), None);
    assert_eq!(world.staged(&id).await, Some(data.len() as u64));
    let known = StageRecord::of(&image).unwrap();
    let whole = world.queued().await;
    let uploaded = world.upload(&whole, &data).await.unwrap();
    let digests = known.digests().unwrap();
    assert_eq!(known.size, data.len() as u64);
    assert_eq!(Some(digests.checksum), uploaded.checksum);
    assert_eq!(Some(digests.os_hash_value), uploaded.os_hash_value);
    // A second one, and an ordinary upload, find it taken.
    let again = world.stage(&id, &data).await.unwrap_err();
    let both = (Status::Uploading, Status::Uploading);
    assert!(
        matches!(again, UploadError::WrongState { actual, wanted } if (actual, wanted) == both)
    );
    assert!(world.upload(&id, &data).await.is_err());
    // What is staged and wanted is left alone by a start, with everything that is known of it.
    world.swept("node").await;
    assert_eq!(world.uploads.repo.get(&id).await.unwrap(), image);
    assert_eq!(world.staged(&id).await, Some(data.len() as u64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d_16_of_six_stages_one_wins_and_the_others_do_no_harm() {
    let world = Arc::new(World::new(IoUring::Off).await);
    for _ in 0..3 {
        let id = world.queued().await;
        let mut racers = tokio::task::JoinSet::new();
        for n in 0..6 {
            let (world, id) = (Arc::clone(&world), id.clone());
            let data = vec![n; MIB + usize::from(n)];
            racers.spawn(async move { world.stage(&id, &data).await });
        }
        let mut won = Vec::new();
        while let Some(raced) = racers.join_next().await {
            match raced.unwrap() {
                Ok(image) => won.push(image),
                Err(error) => assert!(matches!(error, UploadError::WrongState { .. }), "{error}"),
            }
        }
        assert_eq!(won.len(), 1);
        assert_eq!(world.uploads.repo.get(&id).await.unwrap(), won[0]);
        assert_eq!(world.staged(&id).await, won[0].size);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_dropped_at_any_poll_leaves_nothing() {
    let world = World::new(IoUring::Off).await;
    let data = bytes(2 * MIB + 77);
    for polls in 0.. {
        let id = world.queued().await;
        let ended = first_polls(world.stage(&id, &data), polls).await;
        let mut last = None;
        for _ in 0..6000 {
            let image = world.uploads.repo.get(&id).await.unwrap();
            let is_known = image.properties.contains_key(STAGED_PROPERTY);
            last = Some((image.status, is_known, world.staged(&id).await));
            let is_idle = world.uploads.arena.figures().in_use == 0;
            let is_whole = last == Some((Status::Uploading, true, Some(data.len() as u64)));
            if is_idle && (last == Some((Status::Queued, false, None)) || is_whole) {
                last = None;
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(last, None, "after {polls} polls");
        if ended.is_some() && polls >= POLLS_MIN {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cl_01_a_start_undoes_killed_stages_and_clears_strays() {
    let world = World::new(IoUring::Off).await;
    let (repo, staging) = (&world.uploads.repo, world.stores.staging().unwrap());
    let killed = world.queued().await;
    repo.claim_stage(&killed, &claim_token("node")).await.unwrap();
    let elsewhere = world.queued().await;
    repo.claim_stage(&elsewhere, &claim_token("other")).await.unwrap();
    let (deleted, active) = (world.queued().await, world.queued().await);
    world.stage(&deleted, b"x").await.unwrap();
    repo.delete(&deleted, false).await.unwrap();
    world.upload(&active, b"x").await.unwrap();
    let unknown = ImageId::random();
    let dir = staging.facts()[0].path.clone();
    let mut names: Vec<String> = [&killed, &elsewhere, &active, &unknown]
        .map(|id| id.to_string())
        .into_iter()
        .chain([format!("{unknown}.qcow2"), "README".into()])
        .collect();
    names.iter().for_each(|name| std::fs::write(dir.join(name), b"x").unwrap());
    world.swept("node").await;
    names = vec![elsewhere.to_string(), "README".into()];
    names.sort();
    let left = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut left: Vec<String> = left.map(|name| name.into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, names);
    assert_eq!(repo.get(&killed).await.unwrap().status, Status::Queued);
    assert_eq!(repo.get(&elsewhere).await.unwrap().status, Status::Uploading);
    world.stage(&killed, b"again").await.unwrap();
}
