//! What a project has stored.

use super::*;

pub(super) async fn run_all(open: &impl AsyncFn(&'static str) -> Arc<dyn Repo>) {
    let repo = open("usage").await;
    let stored = async |owner: &str, except: Option<&ImageId>| {
        repo.stored_bytes(owner, except).await.unwrap()
    };
    assert_eq!(stored("p", None).await, 0);
    assert_eq!(stored("p", Some(&ImageId::random())).await, 0);
    let mut ids = Vec::new();
    for (owner, size, copies) in
        [("p", 5, 1), ("p", 7, 2), ("P", 100, 1), ("q", 1000, 1), ("p", 9, 0)]
    {
        let mut image = Image::queued(ImageId::random());
        image.owner = Some(owner.into());
        image.size = Some(size);
        image.status = Status::Active;
        let location = |n| Location::new(format!("file:///{n}"), None);
        image.locations = (0..copies).map(location).collect();
        repo.create(&image).await.unwrap();
        ids.push(image.id);
    }
    assert_eq!(stored("p", None).await, 5 + 2 * 7, "each copy counts, and only the owner's");
    assert_eq!(stored("p", Some(&ids[1])).await, 5);
    let location = repo.get(&ids[1]).await.unwrap().locations[0].id.unwrap();
    repo.withdraw_location(&ids[1], location).await.unwrap();
    assert_eq!(stored("p", None).await, 19, "until the data is gone");
    repo.forget_location(location).await.unwrap();
    assert_eq!(stored("p", None).await, 12);
    repo.delete(&ids[0], false).await.unwrap();
    assert_eq!(stored("p", None).await, 7);
    what_is_under_way(&*open("under way").await).await;
}

/// What is on its way to stores counts by its status, or by the stores it is being copied to.
async fn what_is_under_way(repo: &dyn Repo) {
    let figures = async || {
        let staged = repo.staged_bytes("p").await.unwrap();
        let images = repo.image_count("p").await.unwrap();
        (staged, images, repo.uploading_count("p").await.unwrap())
    };
    assert_eq!(figures().await, (0, 0, 0));
    let create =
        async |owner: &str, status: Status, size: Option<u64>, copying_to: Option<&str>| {
            let mut image = Image::queued(ImageId::random());
            (image.owner, image.status, image.size) = (Some(owner.into()), status, size);
            let name = "os_glance_importing_to_stores".to_owned();
            image.properties.extend(copying_to.map(|stores| (name, stores.to_owned())));
            repo.create(&image).await.unwrap();
            image.id
        };
    for (status, size) in [
        (Status::Queued, None),
        (Status::Saving, Some(1)),
        (Status::Uploading, Some(10)),
        (Status::Uploading, None),
        (Status::Importing, Some(100)),
        (Status::Active, Some(1000)),
        (Status::Deactivated, Some(1000)),
        (Status::Killed, Some(1000)),
    ] {
        create("p", status, size, None).await;
    }
    create("P", Status::Importing, Some(10_000), Some("fast")).await;
    assert_eq!(figures().await, (110, 7, 4), "saving is not staged, and P is another");
    let copied = create("p", Status::Active, Some(1000), Some("slow,fast")).await;
    create("p", Status::Active, Some(1000), Some("")).await;
    let importing = create("p", Status::Importing, Some(5), Some("fast")).await;
    assert_eq!(figures().await, (1115, 10, 6), "each counts once, and an empty list not at all");
    for id in [copied, importing] {
        repo.delete(&id, false).await.unwrap();
    }
    assert_eq!(figures().await, (110, 8, 4));
}
