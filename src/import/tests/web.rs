//! Downloads from servers that behave, and from those that don't: each ends as a whole image, or as
//! a queued one with its reason.

use std::io::Read;

use super::*;
use crate::config::{AllowDeny, Settings};

/// Answers every connection's request by a script: which one it is, its head, the connection.
fn serve(script: impl Fn(usize, &str, &mut TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for (nth, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            script(nth, &String::from_utf8_lossy(&head).to_ascii_lowercase(), &mut stream);
        }
    });
    base
}

/// An answer with a length, which may be more than there is.
fn answer(status: &str, headers: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn from_here(settings: &mut Settings) {
    settings.api.web_filter.hosts = AllowDeny::Allowed(vec!["127.0.0.1".into()]);
    settings.api.web_filter.ports = AllowDeny::Denied(vec![]);
    settings.api.http_retries = 1;
    settings.api.image_size_cap_bytes = 8 * MIB as u64;
}

async fn world() -> World {
    World::with(Call::Write, usize::MAX, Fault::Stalls, from_here).await
}

fn web(uri: &str) -> Value {
    json!({"method": {"name": "web-download", "uri": uri}})
}

/// Imports from an address; gives the task and the image.
async fn fetched(world: &mut World, uri: &str) -> (Task, Image) {
    let id = world.queued().await;
    let file = world.file_id().to_owned();
    let task = world.import(&id, web(uri), &[&file, "memory"]).await;
    let image = world.repo.get(&id).await.unwrap();
    match task.status.as_str() {
        "success" => {
            assert_eq!((image.status, lists(&image)), (Status::Active, ("", "")));
            assert_eq!(image.size, Some(world.file(&id).unwrap().len() as u64));
            assert!(world.file(&id).unwrap() == *world.memory.object(&id).unwrap());
        }
        _ => {
            assert_eq!((image.status, image.size), (Status::Queued, None));
            assert_eq!(lists(&image), ("", &*format!("{file},memory")));
            assert_eq!((world.file(&id), world.memory.object(&id)), (None, None));
        }
    }
    assert_eq!(world.uploads.arena.figures().in_use, 0, "every slot is back");
    assert!(world.is_unstaged(&id).await, "nothing is staged on the way");
    (task, image)
}

/// The reason of an import that has to fail.
async fn refusal(uri: &str) -> String {
    let (task, _) = fetched(&mut world().await, uri).await;
    assert_eq!(task.status, "failure");
    task.message.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wf_05_an_image_is_fetched_into_its_stores() {
    let data = bytes(LEN);
    let body = data.clone();
    let known = serve(move |_, _, to| {
        to.write_all(&answer("200 OK", "", LEN, &body)).unwrap();
    });
    let mut world = world().await;
    let (_, image) = fetched(&mut world, &format!("{known}/image.raw")).await;
    assert_eq!((image.size, image.virtual_size), (Some(LEN as u64), Some(LEN as u64)));
    let body = data.clone();
    let chunked = serve(move |_, _, to| {
        to.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        for piece in body.chunks(100_000) {
            to.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).unwrap();
            to.write_all(piece).unwrap();
            to.write_all(b"\r\n").unwrap();
        }
        to.write_all(b"0\r\n\r\n").unwrap();
    });
    let (_, same) = fetched(&mut world, &chunked).await;
    assert_eq!((same.size, same.checksum), (image.size, image.checksum));
    let empty = serve(|_, _, to| to.write_all(&answer("200 OK", "", 0, b"")).unwrap());
    assert_eq!(fetched(&mut world, &empty).await.1.size, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wf_04_redirects_are_judged_again() {
    let data = bytes(1000);
    let there = serve(move |_, _, to| to.write_all(&answer("200 OK", "", 1000, &data)).unwrap());
    let to_there = serve(move |_, _, to| {
        let location = format!("Location: {there}/x\r\n");
        to.write_all(&answer("302 Found", &location, 0, b"")).unwrap();
    });
    assert_eq!(fetched(&mut world().await, &to_there).await.0.status, "success");
    for target in [
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:127.0.0.2]/",
        "http://2130706434/",
        "http://0177.0.0.2/",
        "http://localhost/",
        "file:///etc/passwd",
    ] {
        let location = format!("Location: {target}\r\n");
        let from =
            serve(move |_, _, to| to.write_all(&answer("301 x", &location, 0, b"")).unwrap());
        let reason = refusal(&from).await;
        assert!(reason.contains("is refused") || reason.contains("be asked"), "{reason}");
    }
    let around = serve(|_, head, to| {
        let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        let location = format!("Location: http://{host}/again\r\n");
        to.write_all(&answer("302 Found", &location, 0, b"")).unwrap();
    });
    assert!(refusal(&around).await.contains("more than 10 redirects"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wf_05_a_download_is_taken_up_where_it_broke_off() {
    let data = bytes(LEN);
    let body = data.clone();
    let broken = serve(move |nth, head, to| {
        let half = MIB + 11;
        let tag = "ETag: \"one\"\r\n";
        let sent = match nth {
            0 => answer("200 OK", tag, LEN, &body[..half]),
            _ => {
                assert!(head.contains(&format!("range: bytes={half}-")), "{head}");
                assert!(head.contains("if-range: \"one\""), "{head}");
                let range = format!("{tag}Content-Range: bytes {half}-{}/{LEN}\r\n", LEN - 1);
                answer("206 Partial Content", &range, LEN - half, &body[half..])
            }
        };
        to.write_all(&sent).unwrap();
    });
    let mut world = world().await;
    let (task, image) = fetched(&mut world, &broken).await;
    assert_eq!(task.status, "success", "{:?}", task.message);
    assert!(world.file(&image.id).unwrap() == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wf_05_what_is_short_or_has_changed_is_no_image() {
    let short = serve(|_, _, to| to.write_all(&answer("200 OK", "", LEN, &bytes(MIB))).unwrap());
    let reason = refusal(&short).await;
    assert!(reason.contains("can't go on in the middle"), "{reason}");
    let changed = serve(|nth, _, to| {
        let tag = format!("ETag: \"{nth}\"\r\n");
        to.write_all(&answer("200 OK", &tag, LEN, &bytes(MIB + nth))).unwrap();
    });
    let reason = refusal(&changed).await;
    assert!(reason.contains("the data has changed"), "{reason}");
    let missing = serve(|_, _, to| to.write_all(&answer("404 x", "", 0, b"")).unwrap());
    assert!(refusal(&missing).await.contains("the server answered 404"));
    // A server that is busy once is asked again.
    let busy = serve(|nth, _, to| {
        let status = if nth == 0 { "503 x" } else { "200 OK" };
        to.write_all(&answer(status, "", 4, b"data")).unwrap();
    });
    assert_eq!(fetched(&mut world().await, &busy).await.0.status, "success");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qu_02_an_endless_body_ends_at_the_cap() {
    let endless = serve(|_, _, to| {
        to.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        let piece = [format!("{MIB:x}\r\n").into_bytes(), vec![0; MIB], b"\r\n".to_vec()].concat();
        while to.write_all(&piece).is_ok() {}
    });
    assert!(refusal(&endless).await.contains("larger than image_size_cap"));
    // Told before a store is asked for the room.
    for announced in [9 * MIB, 1 << 60] {
        let answer = answer("200 OK", "", announced, b"begin");
        let announcing = serve(move |_, _, to| drop(to.write_all(&answer)));
        assert!(refusal(&announcing).await.contains("larger than image_size_cap"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wf_05_a_server_that_stalls_is_given_up() {
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let stalling = serve(move |_, _, to| {
        to.write_all(&answer("200 OK", "", LEN, &bytes(1000))).unwrap();
        // Until the test ends.
        let _ = held.recv();
    });
    let hasty = |settings: &mut Settings| {
        from_here(settings);
        settings.glissade.stall_grace = Duration::from_millis(200);
        settings.api.http_retries = 0;
    };
    let mut world = World::with(Call::Write, usize::MAX, Fault::Stalls, hasty).await;
    let (task, _) = fetched(&mut world, &stalling).await;
    assert!(task.message.unwrap().contains("no answer in time"));
    drop(hold);
}

/// Another Glance, with a record and data.
fn glance(record: &'static str, data: Vec<u8>) -> String {
    serve(move |_, head, to| {
        assert!(head.contains("x-auth-token: secret"), "{head}");
        let sent = match head.contains("/file ") {
            true => answer("200 OK", "", data.len(), &data),
            false => answer("200 OK", "", record.len(), record.as_bytes()),
        };
        to.write_all(&sent).unwrap();
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn im_06_if_02_an_image_comes_from_another_glance() {
    const RECORD: &str = r#"{"status": "active", "size": 4, "disk_format": "ploop",
        "container_format": "bare", "hw_a": "1", "other": "2",
        "checksum": "8d777f385d3dfec8815d20f7496026dc"}"#;
    for (data, is_right) in [(&b"data"[..], true), (b"dada", false)] {
        let base = glance(RECORD, data.to_vec());
        let mut world = world().await;
        let id = world.queued().await;
        let request = json!({"method": {"name": "glance-download", "glance_region": "two",
            "glance_image_id": id.as_str(), "glance_service_interface": "public"}});
        let new = world.new_task(&id, request, &["memory"]);
        let catalog = json!([{"type": "image", "endpoints":
            [{"interface": "public", "region": "two", "url": base}]}]);
        let catalog = Some(catalog.to_string().into());
        let secret = Secret { token: "secret".into(), catalog };
        world.imports.submit(&new, Some(secret)).await.unwrap();
        world.start();
        let task = world.ended(&new.task.id).await;
        let image = world.repo.get(&id).await.unwrap();
        if is_right {
            assert_eq!((&*task.status, image.status), ("success", Status::Active));
            assert_eq!(image.disk_format.as_deref(), Some("ploop"));
            assert_eq!(image.properties["hw_a"], "1");
            assert_eq!((image.properties.get("other"), image.virtual_size), (None, None));
        } else {
            assert!(task.message.unwrap().contains("hecksum mismatch"));
            assert_eq!(image.disk_format.as_deref(), Some("raw"));
            assert_eq!((image.status, lists(&image)), (Status::Queued, ("", "memory")));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn im_06_d_23_without_a_token_no_other_glance_is_asked() {
    let mut world = world().await;
    let id = world.queued().await;
    let request = json!({"method": {"name": "glance-download", "glance_region": "two",
        "glance_image_id": id.as_str()}});
    let task = world.import(&id, request, &["memory"]).await;
    assert!(task.message.unwrap().contains("or there was none"));
    let image = world.repo.get(&id).await.unwrap();
    assert_eq!((image.status, lists(&image)), (Status::Queued, ("", "memory")));
}
