//! What a project has stored.

use super::*;

pub(super) async fn run_all(open: &impl AsyncFn(&'static str) -> Arc<dyn Repo>) {
    let repo = open("usage").await;
    let stored =
        async |owner: &str, except: &ImageId| repo.stored_bytes(owner, except).await.unwrap();
    let none = ImageId::random();
    assert_eq!(stored("p", &none).await, 0);
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
    assert_eq!(stored("p", &none).await, 5 + 2 * 7, "each copy counts, and only the owner's");
    assert_eq!(stored("p", &ids[1]).await, 5);
    let location = repo.get(&ids[1]).await.unwrap().locations[0].id.unwrap();
    repo.withdraw_location(&ids[1], location).await.unwrap();
    assert_eq!(stored("p", &none).await, 19, "until the data is gone");
    repo.forget_location(location).await.unwrap();
    assert_eq!(stored("p", &none).await, 12);
    repo.delete(&ids[0], false).await.unwrap();
    assert_eq!(stored("p", &none).await, 7);
}
