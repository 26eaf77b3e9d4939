//! Goal: a location that was added goes on to be hashed after a crash, and image, location, digests
//! and task agree in the end (`SL-02`, `SL-03`, `LF-01` to `LF-04`).
//!
//! Method: a location on a server on the web that sends slowly, and `kill -9` at a pseudo-random
//! moment after it was asked for, again and again, with a right promise, a wrong one and none.

use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{Body, MIB, PATIENCE, Random, Response, Server, Setup, Web, alone, poll};

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// What is promised of the data.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Promise {
    None,
    Right,
    Wrong,
}

impl Promise {
    fn request(self, url: &str, body: Body) -> Value {
        let digest = match self {
            Self::None => return json!({ "url": url }),
            Self::Right => sha512(body),
            Self::Wrong => "0".repeat(128),
        };
        let validation = json!({"os_hash_algo": "sha512", "os_hash_value": digest});
        json!({ "url": url, "validation_data": validation })
    }
}

/// Which the system's own program has to say as well (`assert_holds`), elsewhere.
fn sha512(body: Body) -> String {
    let digest = openssl::hash::hash(openssl::hash::MessageDigest::sha512(), &body.to_vec());
    digest.unwrap().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn add(server: &Server, image: &str, request: &Value) -> Response {
    let target = format!("/v2/images/{image}/locations");
    server.conn().call("POST", &target, &[JSON], request.to_string().as_bytes())
}

/// Asks and kills, so long after the request was sent or answered. Tells whether it was answered.
fn cut_off(
    server: &mut Server,
    image: &str,
    request: &Value,
    after: After,
    delay: Duration,
) -> bool {
    let mut conn = server.conn();
    let request = request.to_string();
    let head = format!(
        "POST /v2/images/{image}/locations HTTP/1.1\r\nHost: test\r\nContent-Type: \
         application/json\r\nContent-Length: {}\r\n\r\n{request}",
        request.len()
    );
    let (answered, is_answered) = std::sync::mpsc::channel();
    let asking = std::thread::spawn(move || {
        let answer = conn.send(head.as_bytes()).and_then(|()| conn.response());
        let _ = answered.send(());
        answer.is_ok_and(|answer| answer.status() == 202)
    });
    if after == After::Answered {
        is_answered.recv().unwrap();
    }
    std::thread::sleep(delay);
    server.kill9();
    asking.join().unwrap()
}

/// What a kill waits for.
#[derive(Clone, Copy, PartialEq)]
enum After {
    Sent,
    Answered,
}

fn kills(promise: Promise, rounds: u64) {
    let _alone = alone();
    let body = Body::new(91, 4 * MIB + 7);
    let web = Web::slowly(body);
    let mut server = Setup::new()
        .set("DEFAULT", "show_multiple_locations", "true")
        .set("import_filtering_opts", "allowed_hosts", "127.0.0.1")
        .set("import_filtering_opts", "allowed_ports", &web.port())
        .log_may_complain()
        .start();
    let request = promise.request(&web.url(), body);
    let mut random = Random::new(0xdead_0200 + promise as u64);
    let (mut unasked, mut gone_on) = (0, 0);
    for round in 0..rounds {
        let image = server.create();
        // The request takes a few milliseconds, reading about fifty, or more of each.
        let (after, longest) =
            [(After::Sent, 8_000), (After::Sent, 40_000), (After::Answered, 60_000)]
                [(round % 3) as usize];
        let delay = Duration::from_micros(random.below(longest));
        let is_answered = cut_off(&mut server, &image, &request, after, delay);
        server.start_again();
        if !is_answered && server.tasks(&image).is_empty() {
            assert_queued(&server, &image);
            add(&server, &image, &request).assert(202, "");
            unasked += 1;
        } else {
            gone_on += 1;
        }
        let task = server.ended_task(&image);
        assert_eq!(server.tasks(&image).len(), 1, "{task:#}");
        match promise {
            Promise::Wrong => {
                assert_eq!(task["status"], "failure", "{task:#}");
                assert_queued(&server, &image);
            }
            _ => {
                assert_eq!(task["status"], "success", "{task:#}");
                assert_located(&server, &image, &web.url(), body);
            }
        }
        assert_eq!(server.delete(&image), 204);
        assert!(server.tasks_of_all().iter().all(|task| task["status"] != "processing"));
    }
    server.assert_only(&[]);
    println!("{promise:?}: {gone_on} went on or had ended, {unasked} were asked for again");
    assert!(gone_on > 0, "every kill came too early");
}

impl Server {
    fn tasks_of_all(&self) -> Vec<Value> {
        let answer = self.call("GET", "/v2/tasks?limit=1000").assert(200, "tasks").json();
        answer["tasks"].as_array().unwrap().clone()
    }
}

/// As it was before anybody asked.
#[track_caller]
fn assert_queued(server: &Server, image: &str) {
    let record = server.show(image);
    assert_eq!((&record["status"], &record["locations"]), (&json!("queued"), &json!([])));
    for key in ["size", "checksum", "os_hash_algo", "os_hash_value"] {
        assert_eq!(record[key], Value::Null, "{record:#}");
    }
}

/// One location, and digests that are the data's.
#[track_caller]
fn assert_located(server: &Server, image: &str, url: &str, body: Body) {
    let record = server.show(image);
    assert_eq!((&record["status"], &record["size"]), (&json!("active"), &json!(body.bytes)));
    let locations = record["locations"].as_array().unwrap();
    assert!(locations.len() == 1 && locations[0]["url"] == url, "{record:#}");
    assert_eq!(record["os_hash_algo"], "sha512", "{record:#}");
    assert_eq!(record["os_hash_value"], sha512(body).as_str());
    let downloaded = server.call("GET", &format!("/v2/images/{image}/file"));
    assert!(downloaded.body == body.to_vec(), "another body");
}

#[test]
fn twelve_kills_while_a_location_is_hashed_in_the_background() {
    kills(Promise::None, 12);
}

#[test]
fn twelve_kills_while_a_promise_is_verified() {
    kills(Promise::Right, 12);
}

#[test]
fn nine_kills_while_a_wrong_promise_is_found_out() {
    kills(Promise::Wrong, 9);
}

/// A delete ends the hashing, also one that a crash has cut short.
#[test]
fn lf_03_a_delete_ends_the_hashing() {
    let body = Body::new(92, 64 * MIB);
    let web = Web::slowly(body);
    let mut server = Setup::new()
        .set("import_filtering_opts", "allowed_hosts", "127.0.0.1")
        .set("import_filtering_opts", "allowed_ports", &web.port())
        .start();
    let request = Promise::None.request(&web.url(), body);
    for crashes in [false, true] {
        let image = server.create();
        add(&server, &image, &request).assert(202, "");
        server.wait_for_status(&image, "active");
        if crashes {
            server.kill9();
            server.start_again();
        }
        assert_eq!(server.delete(&image), 204);
        let over = poll(PATIENCE, || {
            let tasks = server.tasks_of_all();
            tasks.iter().all(|task| task["status"] != "processing").then_some(())
        });
        assert!(over.is_some(), "{:#?}", server.tasks_of_all());
        server.assert_only(&[]);
    }
}
