//! Staging and imports, as Glance answers them up to the moment when the work begins.

use super::callers::{over_a_socket, replay_data};
use super::recording::OWNER;
use super::*;
use crate::image::{ImageId, Location};
use crate::meta::{IMPORT_LOCK_PROPERTY, STAGE_HOST_PROPERTY, TaskWork, Tasks};

/// The image that a recording is about.
fn subject(recording: &Recording) -> String {
    recording.request().uri().path().split('/').nth(3).unwrap().to_owned()
}

/// A world with the subject of a recording in a status.
async fn with_subject(number: &str, status: Status) -> World {
    with_changed(number, status, |_| {}).await
}

async fn with_changed(number: &str, status: Status, change: impl FnOnce(&mut Image)) -> World {
    let world = World::new().await;
    world
        .seed_queued(&subject(&Recording::read(number)), |image| {
            image.status = status;
            image.owner = Some(OWNER.to_owned());
            image.disk_format = Some("raw".into());
            image.container_format = Some("bare".into());
            if status == Status::Active {
                let url = format!("file:///var/lib/glance-peer/fast/{}", image.id);
                image.locations = vec![Location::new(url, Some("fast"))];
            }
            change(image);
        })
        .await;
    world
}

#[tokio::test]
async fn st_01_to_st_03_what_is_not_staged() {
    replay_data(&with_subject("166", Status::Saving).await, "166").await;
    replay_data(&with_subject("211", Status::Queued).await, "211").await;
    replay_data(&World::new().await, "212").await;
    let world = with_subject("215", Status::Uploading).await;
    for number in ["215", "216", "218"] {
        replay_data(&world, number).await;
    }
    replay(&world, "217").await;
    let off = World::with(|api| api.enabled_import_methods = vec!["copy-image".into()], true).await;
    let answer = over_a_socket(&off, Recording::read("211").request()).await;
    assert_eq!(answer.status, 404, "{}", answer.body);
}

#[tokio::test]
async fn im_01_im_03_requests_that_are_refused() {
    let world = with_subject("219", Status::Uploading).await;
    for number in ["219", "220", "221", "222", "223", "224", "225", "226", "227"] {
        replay(&world, number).await;
    }
    replay(&world, "228").await;
    replay(&world, "229").await;
    assert!(world.repo.live_tasks().await.unwrap().is_empty());
    let id = subject(&Recording::read("219"));
    let uri = format!("/v2/images/{id}/import");
    for (body, sentence_expected) in [
        ("[]", "Import request requires a 'method' field."),
        (r#"{"method": {}}"#, "Import request requires a 'name' field."),
        (r#"{"method": "x"}"#, "Import request requires a 'name' field."),
        (r#"{"method": {"name": 1}}"#, "Unknown import method name '1'."),
        (
            r#"{"method": {"name": "glance-direct"}, "all_stores": "yes"}"#,
            "'all_stores' must be boolean value only",
        ),
        (
            r#"{"method": {"name": "glance-direct"}, "all_stores_must_succeed": 1}"#,
            "'all_stores_must_succeed' must be boolean value only",
        ),
        (
            r#"{"method": {"name": "glance-direct"}, "stores": []}"#,
            "'stores' must be a list of store identifiers",
        ),
        (
            r#"{"method": {"name": "glance-direct"}, "stores": "fast"}"#,
            "'stores' must be a list of store identifiers",
        ),
    ] {
        let answer = ask(&world, Method::POST, &uri, body).await;
        assert_eq!((answer.status, sentence(&answer).as_str()), (400, sentence_expected), "{body}");
    }
}

#[tokio::test]
async fn im_02_the_image_has_to_be_in_the_methods_state() {
    replay(&with_subject("210", Status::Queued).await, "210").await;
    replay(&with_subject("233", Status::Active).await, "233").await;
    replay(&with_subject("267", Status::Queued).await, "267").await;
    let bare = with_changed("266", Status::Queued, |image| image.container_format = None).await;
    replay(&bare, "266").await;
}

/// The recordings were made where `127.0.0.1` and port 9393 are allowed.
#[tokio::test]
async fn im_05_an_address_has_to_pass_the_filter() {
    let world = with_subject("254", Status::Queued).await;
    for number in ["254", "255", "256", "257", "258"] {
        replay(&world, number).await;
    }
    assert!(world.repo.live_tasks().await.unwrap().is_empty());
    replay(&world, "259").await;
    assert_eq!(world.repo.live_tasks().await.unwrap().len(), 1);
    replay(&with_subject("262", Status::Active).await, "262").await;
}

#[tokio::test]
async fn im_06_another_glance_has_to_be_named() {
    let methods = |api: &mut crate::config::Api| {
        api.enabled_import_methods = vec!["glance-download".into()];
    };
    let world = World::with(methods, true).await;
    let id = ImageId::random();
    world
        .seed_queued(id.as_str(), |image| {
            image.disk_format = Some("raw".into());
            image.container_format = Some("bare".into());
        })
        .await;
    let uri = format!("/v2/images/{id}/import");
    for (rest, said) in [
        ("", "'glance_region' needs to be set for glance-download import method"),
        (
            r#", "glance_region": "r""#,
            "'glance_image_id' needs to be set for glance-download import method",
        ),
        (
            r#", "glance_region": "r", "glance_image_id": "x""#,
            "Remote image id does not look like a UUID: x",
        ),
    ] {
        let body = format!(r#"{{"method": {{"name": "glance-download"{rest}}}}}"#);
        let answer = ask(&world, Method::POST, &uri, &body).await;
        assert_eq!((answer.status, sentence(&answer).as_str()), (400, said));
    }
    let rest = format!(r#", "glance_region": "r", "glance_image_id": "{id}""#);
    let body = format!(r#"{{"method": {{"name": "glance-download"{rest}}}}}"#);
    assert_eq!(ask(&world, Method::POST, &uri, &body).await.status, 202);
    let task = &world.repo.live_tasks().await.unwrap()[0].task;
    let method = &task.input.as_ref().unwrap()["import_req"]["method"];
    assert_eq!(method["glance_service_interface"], "public");
}

#[tokio::test]
async fn im_10_a_task_is_recorded_before_the_answer() {
    let world = with_subject("230", Status::Uploading).await;
    replay(&world, "230").await;
    let id = subject(&Recording::read("230"));
    let live = world.repo.live_tasks().await.unwrap();
    let task = world.repo.task(&live[0].task.id).await.unwrap();
    let image = world.record(&id).await;
    assert_eq!(image.properties.get(IMPORT_LOCK_PROPERTY), Some(&task.id));
    assert_eq!((&*task.kind, &*task.status), ("api_image_import", "pending"));
    let recorded: Value = serde_json::from_str(&Recording::read("237").response.body).unwrap();
    assert_eq!(task.input.as_ref(), Some(&recorded["tasks"][0]["input"]));
    // The task is shown with the image, and nobody may import it beside that.
    let shown = get(&world, &format!("/v2/images/{id}")).await.body;
    assert!(shown.contains(&format!(r#""os_glance_import_task": "{}""#, task.id)), "{shown}");
    assert!(!shown.contains("os_glance_task_host"), "{shown}");
    let again = replayed(&world, &Recording::read("230")).await;
    assert_eq!(again.status, 409);
    assert!(again.body.contains("Image has active task"), "{}", again.body);
}

/// The locks of tasks that are gone, or that nobody has heard of for an hour, are taken away; those
/// of others are not.
#[tokio::test]
async fn im_07_stale_locks_are_taken_away() {
    let task = "5f0e7d5e-6f0b-4a44-9a2c-0d4f8a6f3b01";
    let insert = |status: &str, ago: i64| {
        let then = time::OffsetDateTime::now_utc() - time::Duration::minutes(ago);
        let then = then.format(&time::format_description::well_known::Rfc3339).unwrap();
        let then = then[..19].replace('T', " ");
        format!(
            "INSERT INTO tasks (id, type, status, owner, created_at, updated_at, deleted)
             VALUES ('{task}', 'api_image_import', '{status}', 'p', '{then}.000000',
                '{then}.000000', 0);
             INSERT INTO task_info (task_id, message) VALUES ('{task}', '');"
        )
    };
    for (status, ago, expected) in [
        (None, 0, 202),
        (Some("processing"), 59, 409),
        (Some("processing"), 61, 202),
        (Some("pending"), 61, 409),
        (Some("pending"), 121, 202),
        (Some("success"), 61, 202),
    ] {
        let world = with_changed("230", Status::Uploading, |image| {
            image.properties.insert(IMPORT_LOCK_PROPERTY.into(), task.into());
            image.properties.insert("os_glance_importing_to_stores".into(), "slow".into());
        })
        .await;
        if let Some(status) = status {
            world.repo.run(insert(status, ago)).await;
        }
        let answer = replayed(&world, &Recording::read("230")).await;
        assert_eq!(answer.status, expected, "{status:?} for {ago} minutes");
        if let (Some("processing" | "pending"), 202) = (status, expected) {
            let old = world.repo.task(task).await.unwrap();
            let told = (&*old.status, old.message.as_deref());
            assert_eq!(told, ("failure", Some("Expired lock preempted")));
        }
        if expected == 202 {
            let image = world.record(&subject(&Recording::read("230"))).await;
            assert_eq!(image.properties["os_glance_importing_to_stores"], "");
            assert_ne!(image.properties[IMPORT_LOCK_PROPERTY], task);
        }
    }
}

#[tokio::test]
async fn im_03_im_04_copies() {
    let world = with_subject("268", Status::Active).await;
    replay(&world, "271").await;
    replay(&world, "272").await;
    replay(&world, "268").await;
    let on_both = with_changed("270", Status::Active, |image| {
        let url = format!("file:///var/lib/glance-peer/slow/{}", image.id);
        image.locations.push(Location::new(url, Some("slow")));
    })
    .await;
    replay(&on_both, "270").await;
    // Nothing is left to copy to: accepted, and no task.
    replay(&on_both, "273").await;
    assert!(on_both.repo.live_tasks().await.unwrap().is_empty());
}

/// Differs: Glance takes reserved stores for targets (`D-24`), and read-only ones, where the import
/// then fails (`D-04`).
#[tokio::test]
async fn d_04_d_24_stores_that_can_not_be_targets() {
    for (number, said) in [
        ("235", "Store for identifier os_glance_tasks_store not found"),
        ("244", "Store web takes no data; name others"),
    ] {
        let world = with_subject(number, Status::Uploading).await;
        let answer = replayed(&world, &Recording::read(number)).await;
        assert_eq!(answer.status, 409, "{}", answer.body);
        assert!(answer.body.contains(said), "{}", answer.body);
        assert!(world.repo.live_tasks().await.unwrap().is_empty());
    }
    // With others beside it, and not all needed, it is for the list of those that have failed.
    replay(&with_subject("247", Status::Uploading).await, "247").await;
}

/// What is staged elsewhere is asked for there. That nobody answers is told, and is no reason not to
/// delete the image (`D-15`).
#[tokio::test]
async fn im_08_d_15_a_server_with_staged_data_that_is_away() {
    // Bound, and nobody listens: a port that is free can be somebody's a moment later.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let host = format!("http://127.0.0.1:{}", socket.local_addr().unwrap().port());
    let world = with_changed("230", Status::Uploading, |image| {
        image.properties.insert(STAGE_HOST_PROPERTY.into(), host);
    })
    .await;
    let answer = replayed(&world, &Recording::read("230")).await;
    assert_eq!(answer.status, 504, "{}", answer.body);
    assert!(answer.body.contains("Stage host is unavailable"), "{}", answer.body);
    assert!(world.repo.live_tasks().await.unwrap().is_empty());
    let uri = format!("/v2/images/{}", subject(&Recording::read("230")));
    assert_eq!(ask(&world, Method::DELETE, &uri, "").await.status, 204);
    let id = ImageId::parse(&subject(&Recording::read("230"))).unwrap();
    assert!(world.app.repo.get(&id).await.is_err());
}

/// What the other server answers is the answer, with its request id.
#[tokio::test]
async fn im_08_requests_go_to_the_server_with_the_staged_data() {
    for (status, body, sentence_expected) in
        [(202, "", ""), (409, r#"{"message": "Image has active task<br /><br />\n"}"#, "active")]
    {
        let (host, asked) = one_answer(status, body);
        let world = with_changed("230", Status::Uploading, |image| {
            image.properties.insert(STAGE_HOST_PROPERTY.into(), host);
        })
        .await;
        let answer = replayed(&world, &Recording::read("230")).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        assert!(answer.body.contains(sentence_expected), "{}", answer.body);
        assert_eq!(answer.header("x-openstack-request-id"), Some("req-theirs"));
        let asked = asked.join().unwrap();
        let id = subject(&Recording::read("230"));
        assert!(asked.starts_with(&format!("POST /v2/images/{id}/import HTTP/1.1")), "{asked}");
        assert!(asked.contains(r#""name":"glance-direct""#), "{asked}");
    }
}

/// A server for one request; gives it.
fn one_answer(status: u16, body: &'static str) -> (String, std::thread::JoinHandle<String>) {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        let mut piece = [0; 4096];
        while !asked.ends_with(b"}") {
            let read = stream.read(&mut piece).unwrap();
            asked.extend_from_slice(&piece[..read]);
        }
        let answer = format!(
            "HTTP/1.1 {status} x\r\nx-openstack-request-id: req-theirs\r\nContent-Type: \
             application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(asked).unwrap()
    });
    (host, serving)
}
