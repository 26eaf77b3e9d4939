//! Deleting an image's data from one of its stores, as Glance answers it.

use super::*;
use crate::image::{ImageId, Location};

const ID: &str = "7bb2986c-5a75-48ff-af79-e8617537425f";

/// A world with an active image in these stores.
async fn with_copies(id: &str, stores: &[&str]) -> World {
    let world = World::new().await;
    let copy = |store: &&str| {
        Location::new(format!("file:///var/lib/glance-peer/{store}/{id}"), Some(store))
    };
    let status = Status::Active;
    world
        .seed_queued(id, |image| {
            image.status = status;
            image.locations = stores.iter().map(copy).collect();
        })
        .await;
    world
}

async fn delete(world: &World, store: &str) -> Answer {
    ask(world, Method::DELETE, &format!("/v2/stores/{store}/{ID}"), "").await
}

#[tokio::test]
async fn sl_01_one_copy_of_two() {
    let world = with_copies(ID, &["fast", "slow"]).await;
    replay(&world, "287").await;
    replay(&world, "284").await;
    let url = format!("file:///var/lib/glance-peer/slow/{ID}");
    assert_eq!(*world.slow.removed.lock().unwrap(), [url]);
    assert!(!world.has_unfinished_deletes().await);
    assert_eq!(world.record(ID).await.locations.len(), 1);
    replay(&world, "286").await;
    replay(&world, "290").await;
}

#[tokio::test]
async fn sl_01_what_can_not_be_deleted() {
    let elsewhere = with_copies("f1f7de67-cc09-4013-b180-71f17f106cb3", &["fast", "slow"]).await;
    replay(&elsewhere, "285").await;
    replay(&elsewhere, "288").await;
    elsewhere.seed_queued("119cfdec-e2dc-433b-9f0b-a16c7aba6de4", |_| {}).await;
    replay(&elsewhere, "289").await;
    for reserved in ["os_glance_staging_store", "os_glance_tasks_store"] {
        assert_eq!(delete(&elsewhere, reserved).await.status, 409, "{reserved}");
    }
    let single = World::with(|_| {}, false).await;
    assert_eq!(delete(&single, "fast").await.status, 404);
}

#[tokio::test]
async fn sl_01_a_store_that_refuses_keeps_the_copy() {
    let world = with_copies(ID, &["fast", "slow"]).await;
    for (kind, status) in [(StoreErrorKind::InUse, 409), (StoreErrorKind::Unavailable, 503)] {
        *world.slow.failure.lock().unwrap() = Some(kind);
        assert_eq!(delete(&world, "slow").await.status, status, "{kind:?}");
        assert_eq!(world.record(ID).await.locations.len(), 2, "{kind:?}");
        assert!(!world.has_unfinished_deletes().await);
    }
    *world.slow.failure.lock().unwrap() = Some(StoreErrorKind::NotFound);
    assert_eq!(delete(&world, "slow").await.status, 204, "gone already");
    assert_eq!(world.record(ID).await.locations.len(), 1);
}

/// Two requests at once for the two copies: one is refused, and the image keeps its data.
#[tokio::test]
async fn sl_01_the_last_copy_stays() {
    let world = with_copies(ID, &["fast", "slow"]).await;
    let (fast, slow) = tokio::join!(delete(&world, "fast"), delete(&world, "slow"));
    let mut statuses = [fast.status, slow.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 403]);
    assert_eq!(world.record(ID).await.locations.len(), 1);
}

#[tokio::test]
async fn sl_04_locations_of_an_image_that_is_not_there() {
    let world = World::new().await;
    let uri = format!("/v2/images/{}/locations", ImageId::random());
    assert_eq!(get(&world, &uri).await.status, 404);
}
