//! Goal: staged, fetched and copied data becomes an image, whole and once, or everything is as it
//! was; without reading what need not be read, whoever else tries, and whenever the server dies.
//!
//! Method: a real server. Bytes read are counted by the kernel (`/proc/PID/io`), which does not count
//! what a ring reads, so those tests run on threads. Races are run over
//! several connections at once. For the crashes an import is asked for, the server killed at a
//! pseudo-random moment after it and started again; then the import has ended well, or it works when
//! it is asked for once more, and record, lists, task, stores and staging agree.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{
    Body, MIB, PATIENCE, Random, Server, Setup, Upload, Web, alone, direct, into, poll,
};

/// A server whose reading is counted.
fn counted(setup: Setup) -> Setup {
    setup.set("glissade", "io_uring", "off")
}

#[test]
fn if_15_on_one_file_system_no_byte_is_read_or_moved() {
    let _alone = alone();
    let server = counted(Setup::new()).start();
    let body = Body::new(1, 48 * MIB);
    let image = server.stage(body);
    let before = (server.read_bytes(), Instant::now());
    server.import(&image, &into(direct(), &["fast", "slow"])).assert(202, "");
    server.wait_for_status(&image, "active");
    let read = server.read_bytes() - before.0;
    println!("{read} bytes read, active after at most {:?}", before.1.elapsed());
    assert!(read < MIB, "{read} bytes were read");
    server.assert_imported(&image, body, &["fast", "slow"]);
    assert_eq!(server.ended_task(&image)["message"], "Copied 48 MiB");
    // Each copy has a life of its own.
    assert_eq!(server.call("DELETE", &format!("/v2/stores/fast/{image}")).status(), 204);
    server.assert_holds(&image, body, "slow");
    assert_eq!(server.delete(&image), 204);
    server.assert_only(&[]);
}

#[test]
fn st_05_a_restart_between_stage_and_import_reads_nothing_again() {
    let _alone = alone();
    let mut server = counted(Setup::new()).start();
    let body = Body::new(2, 16 * MIB);
    let image = server.stage(body);
    server.kill9();
    server.start_again();
    let before = server.read_bytes();
    server.import(&image, &direct()).assert(202, "");
    server.wait_for_status(&image, "active");
    assert!(server.read_bytes() - before < MIB);
    server.assert_imported(&image, body, &["fast"]);
    server.assert_holds(&image, body, "fast");
}

/// A server whose staging lies in memory, apart from its stores, of which it has a third.
fn apart(memory: &Path) -> Setup {
    let setup = Setup::new();
    std::os::unix::fs::symlink(memory, setup.root().join("staging")).unwrap();
    let third = setup.root().join("third").display().to_string();
    setup
        .set("DEFAULT", "enabled_backends", "fast:file,slow:file,third:file")
        .unset("web", "store_description")
        .set("third", "filesystem_store_datadir", &third)
}

#[test]
fn three_stores_cost_one_reading() {
    let _alone = alone();
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let server = counted(apart(memory.path())).start();
    let body = Body::new(3, 24 * MIB);
    let image = server.stage(body);
    let before = server.read_bytes();
    let mut request = direct();
    request["all_stores"] = json!(true);
    server.import(&image, &request).assert(202, "");
    assert_eq!(server.ended_task(&image)["status"], "success");
    let read = server.read_bytes() - before;
    println!("{read} bytes read of {}", body.bytes);
    assert!(read >= body.bytes, "staging and stores are one file system: {read} bytes read");
    // Records are read as well, in a few pages.
    assert!(read <= body.bytes + body.bytes / 100 + MIB, "{read} bytes were read");
    server.assert_imported(&image, body, &["fast", "slow", "third"]);
}

/// Direct writes and odd pieces do not go together: each page has one writer at a time.
#[test]
fn what_is_copied_from_a_slow_server_is_whole() {
    let body = Body::new(31, 3 * MIB + 5);
    let web = Web::slowly(body);
    let server = Setup::new()
        .set("DEFAULT", "show_multiple_locations", "true")
        .set("import_filtering_opts", "allowed_hosts", "127.0.0.1")
        .set("import_filtering_opts", "allowed_ports", &web.port())
        .start();
    for _ in 0..8 {
        let image = server.create();
        let place = json!({"url": web.url(), "metadata": {}});
        let add = json!([{"op": "add", "path": "/locations/-", "value": place}]);
        server.patch(&image, &add).assert(200, "active");
        let copy = into(json!({"method": {"name": "copy-image"}}), &["fast", "slow"]);
        server.import(&image, &copy).assert(202, "");
        assert_eq!(server.ended_task(&image)["status"], "success");
        for store in ["fast", "slow"] {
            body.assert_stored_at(&server.store(store).join(&image));
        }
    }
}

#[test]
fn d_16_d_18_of_six_stages_and_six_imports_one_wins() {
    let server = Setup::new().start();
    for round in 0..4 {
        let image = server.create();
        let bodies: Vec<Body> = (0..6).map(|n| Body::new(round * 10 + n, MIB + n)).collect();
        let staged: Vec<u16> = std::thread::scope(|scope| {
            let stage = |body: &Body| Upload::stage(&image, *body).run(server.address()).status();
            let runs: Vec<_> = bodies.iter().map(|body| scope.spawn(move || stage(body))).collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        });
        let won: Vec<usize> = (0..6).filter(|n| staged[*n] == 204).collect();
        assert_eq!(won.len(), 1, "{staged:?}");
        assert!(staged.iter().all(|status| [204, 409].contains(status)), "{staged:?}");
        let imports: Vec<u16> = std::thread::scope(|scope| {
            let runs: Vec<_> =
                (0..6).map(|_| scope.spawn(|| server.import(&image, &direct()).status())).collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        });
        let taken = imports.iter().filter(|status| **status == 202).count();
        assert!(imports.iter().all(|status| [202, 409].contains(status)), "{imports:?}");
        assert_eq!(taken, 1, "{imports:?}");
        assert_eq!(server.ended_task(&image)["status"], "success");
        assert_eq!(server.tasks(&image).len(), 1);
        server.assert_imported(&image, bodies[won[0]], &["fast"]);
    }
}

#[test]
fn sd_04_deleting_a_staged_image_removes_the_data() {
    let server = Setup::new().start();
    let image = server.stage(Body::new(5, MIB));
    assert_eq!(server.staged(), [image.as_str()]);
    assert_eq!(server.delete(&image), 204);
    assert_eq!(server.staged(), [""; 0]);
    // A running import notices, and leaves nothing either.
    let image = server.stage(Body::new(6, 32 * MIB));
    server.import(&image, &direct()).assert(202, "");
    assert_eq!(server.delete(&image), 204);
    server.assert_only(&[]);
    assert!(poll(PATIENCE, || server.staged().is_empty().then_some(())).is_some());
}

/// What is cut in a test of crashes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    Stage,
    Adopt,
    Pour,
    Copy,
    Web,
}

/// Kills of one kind. Every other one comes within 5 ms of the request, which an adoption takes.
fn kills(cut: Cut, rounds: u64) {
    let _alone = alone();
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let body = Body::new(77, 4 * MIB + 5);
    let web = Web::slowly(body);
    let uri = web.url();
    let setup = if cut == Cut::Pour { apart(memory.path()) } else { Setup::new() };
    let mut server = setup
        .set("import_filtering_opts", "allowed_hosts", "127.0.0.1")
        .set("import_filtering_opts", "allowed_ports", &web.port())
        .log_may_complain()
        .start();
    let mut random = Random::new(0xdead_0100 + cut as u64);
    let (mut whole, mut again) = (0, 0);
    for round in 0..rounds {
        let image = match cut {
            Cut::Stage | Cut::Web => server.create(),
            Cut::Copy => server.create_with(body),
            Cut::Adopt | Cut::Pour => server.stage(body),
        };
        let delay =
            Duration::from_micros(random.below(if round % 2 == 0 { 5_000 } else { 60_000 }));
        let is_taken = cut_off(&mut server, cut, &image, body, &uri, delay);
        server.start_again();
        let task = server.ended_task(&image);
        let is_active = server.status_of(&image) == "active";
        if is_taken && cut != Cut::Stage {
            assert_eq!(task["status"], "success", "{task:#}");
        }
        if is_taken && is_active {
            whole += 1;
        } else {
            again += 1;
        }
        settle(&server, cut, &image, body, &uri);
        server.assert_only(&stored(cut, &image));
        assert_eq!(server.delete(&image), 204);
        assert!(poll(PATIENCE, || server.staged().is_empty().then_some(())).is_some());
    }
    println!("{cut:?}: {whole} went on or had ended, {again} were asked for again");
}

fn stored(cut: Cut, image: &str) -> Vec<&str> {
    match cut {
        Cut::Adopt | Cut::Pour | Cut::Copy => vec![image, image],
        Cut::Stage | Cut::Web => vec![image],
    }
}

fn request(cut: Cut, uri: &str) -> Value {
    match cut {
        Cut::Stage => direct(),
        Cut::Adopt | Cut::Pour => into(direct(), &["fast", "slow"]),
        Cut::Copy => into(json!({"method": {"name": "copy-image"}}), &["slow"]),
        Cut::Web => json!({"method": {"name": "web-download", "uri": uri}}),
    }
}

/// Asks, and kills the server so long afterwards. Tells whether the request was answered.
fn cut_off(
    server: &mut Server,
    cut: Cut,
    image: &str,
    body: Body,
    uri: &str,
    delay: Duration,
) -> bool {
    let mut conn = server.conn();
    let request = server.import_bytes(image, &request(cut, uri));
    let (image, staging) = (image.to_owned(), cut == Cut::Stage);
    let asking = std::thread::spawn(move || {
        if staging {
            let answer = Upload::stage(&image, body).run_on(&mut conn);
            return answer.is_ok_and(|answer| answer.status() == 204);
        }
        let answer = conn.send(&request).and_then(|()| conn.response());
        answer.is_ok_and(|answer| answer.status() == 202)
    });
    std::thread::sleep(delay);
    server.kill9();
    asking.join().unwrap()
}

/// Brings what was cut to its end, and judges it.
#[track_caller]
fn settle(server: &Server, cut: Cut, image: &str, body: Body, uri: &str) {
    if cut == Cut::Stage && server.status_of(image) == "queued" {
        assert_eq!(server.staged(), [""; 0]);
        Upload::stage(image, body).run(server.address()).assert(204, "");
    }
    let is_done = match cut {
        Cut::Copy => server.show(image)["stores"] == "fast,slow",
        _ => server.status_of(image) == "active",
    };
    if !is_done {
        server.import(image, &request(cut, uri)).assert(202, "");
        let task = server.ended_task(image);
        assert_eq!(task["status"], "success", "{task:#}");
    }
    let stores: &[&str] = match cut {
        Cut::Stage | Cut::Web => &["fast"],
        _ => &["fast", "slow"],
    };
    server.assert_imported(image, body, stores);
}

#[test]
fn twelve_kills_of_stages() {
    kills(Cut::Stage, 12);
}

#[test]
fn twelve_kills_of_imports_that_move_nothing() {
    kills(Cut::Adopt, 12);
}

#[test]
fn twelve_kills_of_imports_that_move_bytes() {
    kills(Cut::Pour, 12);
}

#[test]
fn twelve_kills_of_copies() {
    kills(Cut::Copy, 12);
}

#[test]
fn twelve_kills_of_downloads() {
    kills(Cut::Web, 12);
}
