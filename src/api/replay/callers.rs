//! Callers who are no administrators, as Glance answers them: a member of the project that owns
//! everything here, one who may only read, and one of another project.

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::api::data;
use crate::image::{Image, ImageId, Visibility};
use crate::meta::Members;
use crate::upload::Framing;

const UPLOADED: &str = "ff9febe4-872b-4821-859d-a7635daf86d9";
const STRANGER: &str = "33333333333333333333333333333333";

/// A world with this image of the project's.
async fn with_owned(id: &str, change: impl FnOnce(&mut Image)) -> World {
    let world = World::new().await;
    world
        .seed_queued(id, |image| {
            image.owner = Some(recording::OWNER.to_owned());
            change(image);
        })
        .await;
    world
}

/// Answers a request for a hot route over a socket, and hands back what came.
pub(super) async fn over_a_socket(world: &World, request: Request<Bytes>) -> Answer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let (head, body) = request.into_parts();
    let framing = Framing::Length(body.len() as u64);
    let kept = data::serve(&world.app, server, head, framing, body).await;
    drop(kept);
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    Answer::parse(&text.replace("\r\n", "\n"))
}

pub(super) async fn replay_data(world: &World, number: &str) {
    let recording = Recording::read(number);
    let ours = over_a_socket(world, recording.request()).await;
    assert_eq!(ours.comparable(), recording.response.comparable(), "recording {number}");
}

#[tokio::test]
async fn cr_04_who_may_make_images() {
    replay_all(&["057", "058", "059", "060"]).await;
}

#[tokio::test]
async fn vi_01_another_projects_image_is_not_there() {
    let id = "2bb7e59a-3b51-42dc-9b96-7907f1635f13";
    let world = with_owned(id, |image| image.visibility = Visibility::Private).await;
    replay(&world, "071").await;
    replay(&world, "108").await;
    // A shared one is not there either, as long as nobody has shared it with the caller.
    replay(&with_owned(id, |_| {}).await, "071").await;
    replay_data(&with_owned(UPLOADED, |_| {}).await, "122").await;
}

#[tokio::test]
async fn up_03_vi_03_what_members_may_not_change() {
    let id = "2bb7e59a-3b51-42dc-9b96-7907f1635f13";
    let world = with_owned(id, |_| {}).await;
    let before = world.record(id).await;
    replay(&world, "106").await;
    replay(&world, "107").await;
    assert_eq!(world.record(id).await, before);
}

#[tokio::test]
async fn po_04_readers_change_nothing() {
    let id = "d3bf68f5-7924-42d4-8e06-9b6e18def470";
    let world = with_owned(id, |_| {}).await;
    replay(&world, "365").await;
    let id = "4c732d6c-af66-4b14-8a6b-aafa34f15846";
    replay_data(&with_owned(id, |_| {}).await, "163").await;
}

#[tokio::test]
async fn po_09_po_12_po_13_what_is_for_administrators_and_services() {
    replay_all(&["018", "280"]).await;
    let image = "7bb2986c-5a75-48ff-af79-e8617537425f";
    replay(&with_owned(image, |_| {}).await, "291").await;
}

/// A world with the recorded image, shared with the stranger.
async fn with_shared() -> World {
    let world = World::new().await;
    let json = json_of("316");
    // The recording has gone through the visibility, the member and back.
    let id = world.seed(&json).await;
    world.repo.add_member(&id, STRANGER, None).await.unwrap();
    world
}

#[tokio::test]
async fn me_02_members_of_an_image() {
    let world = with_shared().await;
    for number in ["313", "314", "315", "316", "318", "319"] {
        replay(&world, number).await;
    }
    let stored = world.repo.members(&ImageId::parse(UPLOADED).unwrap()).await.unwrap();
    assert_eq!(stored[0].status, crate::image::MemberStatus::Accepted);
}

/// The recording tells length and digest of random data that nobody has: the head is compared, and
/// how much comes.
#[tokio::test]
async fn po_08_a_member_of_the_image_may_download_it() {
    let (world, recording) = (with_shared().await, Recording::read("317"));
    let image = world.record(UPLOADED).await;
    let size = image.size.unwrap();
    for shelf in [&world.fast, &world.slow, &world.web] {
        let urls = image.locations.iter().map(|location| (location.url.clone(), size));
        shelf.sizes.lock().unwrap().extend(urls);
    }
    let ours = over_a_socket(&world, recording.request()).await;
    assert_eq!(ours.status, recording.response.status);
    for header in ["content-type", "content-md5", "content-length"] {
        assert_eq!(ours.header(header), recording.response.header(header), "{header}");
    }
    assert_eq!(ours.body.len() as u64, size);
    let stranger = World::new().await;
    stranger.seed(&json_of("316")).await;
    let ours = over_a_socket(&stranger, recording.request()).await;
    assert_eq!(ours.status, 404);
}

#[tokio::test]
async fn vi_01_vi_02_public_images_are_seen_and_not_changed() {
    let world = World::new().await;
    world.seed(&json_of("322")).await;
    replay(&world, "322").await;
    replay(&world, "323").await;
}

#[tokio::test]
async fn vi_05_a_deactivated_image_keeps_its_data() {
    let world = World::new().await;
    world.seed_with(&json_of("118"), |image| image.status = Status::Deactivated).await;
    let recording = Recording::read("326");
    replay_data(&world, "326").await;
    let uri = format!("/v2/images/{UPLOADED}");
    let request = Request::get(&uri).extension(recording.caller()).body(Bytes::new()).unwrap();
    let shown: Value = serde_json::from_slice(respond(&world.app, request).await.body()).unwrap();
    assert_eq!(shown["status"], "deactivated");
    assert_eq!(shown["locations"], serde_json::json!([]));
    assert!(shown.get("direct_url").is_none() && shown.get("stores").is_none(), "{shown}");
    let admin: Value = serde_json::from_str(&get(&world, &uri).await.body).unwrap();
    assert!(admin["direct_url"].is_string(), "an administrator sees them");
}

#[tokio::test]
async fn li_11_another_projects_list() {
    let world = World::new().await;
    world.seed_page(&json_of("357")).await;
    for visibility in [Visibility::Private, Visibility::Shared, Visibility::Community] {
        world
            .seed_queued(ImageId::random().as_str(), |image| {
                image.owner = Some(recording::OWNER.to_owned());
                image.visibility = visibility;
            })
            .await;
    }
    replay(&world, "357").await;
}
