//! Goal: under `delayed_delete` the data of a deleted image stays until its time, can be brought back
//! until then, and goes after it, whole and once, whoever else scrubs and whenever a scrubber dies
//! (`CF-05`, `PG-02`); and staged files that nobody needs go while a server runs, and no others
//! (`CL-01`).
//!
//! Method: real servers and `glissade scrub` as an operator runs it. Crashes are SIGKILLs at
//! pseudo-random moments; what is left has to be data that can be brought back, or is gone with its
//! record. Files are made old by their time of change.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::common::{
    Body, PATIENCE, Random, Server, Setup, Upload, eventually, glissade, names_in, poll,
};

/// Keys to encrypt locations with.
pub(crate) const KEY: &str = "0123456789abcdef";
pub(crate) const WRONG_KEY: &str = "fedcba9876543210";

pub(crate) fn delayed() -> Setup {
    Setup::new().set("DEFAULT", "delayed_delete", "true")
}

pub(crate) fn command(root: &Path, arguments: &[&str]) -> Command {
    let config = root.join("glance-api.conf").display().to_string();
    glissade(&[&["scrub", "--config-file", &config], arguments].concat())
}

/// Runs `glissade scrub` on a server's configuration.
pub(crate) fn scrub(server: &Server, arguments: &[&str]) -> Output {
    command(server.root(), arguments).output().unwrap()
}

/// Images scrubbed and kept, as one pass says.
#[track_caller]
pub(crate) fn pass(server: &Server) -> (u64, u64) {
    said(&scrub(server, &[]))
}

#[track_caller]
pub(crate) fn said(output: &Output) -> (u64, u64) {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[track_caller]
pub(crate) fn refuses(output: &Output, why: &str) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains(why), "{output:?}");
}

/// Another file for the scrubber than the server's, as clouds have it: only the time differs.
pub(crate) fn scrub_at_once(server: &Server) {
    replace_in_configuration(server, "scrub_time = 3600", "scrub_time = 0");
}

pub(crate) fn replace_in_configuration(server: &Server, from: &str, to: &str) {
    let path = server.root().join("glance-api.conf");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

/// A pass with the wrong `metadata_encryption_key`.
pub(crate) fn wrong_key_pass(server: &Server) -> Output {
    replace_in_configuration(server, KEY, WRONG_KEY);
    let output = scrub(server, &[]);
    replace_in_configuration(server, WRONG_KEY, KEY);
    output
}

/// It keeps so many images and says why.
#[track_caller]
pub(crate) fn wrong_key_keeps(server: &Server, images: u64) {
    let output = wrong_key_pass(server);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said(&output), (0, images), "{log}");
    assert!(log.contains("metadata_encryption_key") && log.contains("image data stays"), "{log}");
}

#[test]
fn cf_05_a_deleted_image_comes_back_until_its_time() {
    let server = delayed().set("DEFAULT", "scrub_time", "3600").start();
    let body = Body::new(1, 300_000);
    let image = server.create_with(body);
    let change = json!([
        {"op": "add", "path": "/os_distro", "value": "x"},
        {"op": "replace", "path": "/tags", "value": ["a"]},
    ]);
    let target = format!("/v2/images/{image}");
    server.patch(&image, &change).assert(200, "os_distro");
    let before = server.show(&image);
    assert_eq!(server.delete(&image), 204);
    assert_eq!(server.call("GET", &target).status(), 404);
    assert_eq!(pass(&server), (0, 0), "it is not due");
    body.assert_stored_at(&server.store("fast").join(&image));

    let back = scrub(&server, &["--restore", &image]);
    assert!(back.status.success(), "{back:?}");
    let mut after = server.show(&image);
    after["updated_at"] = before["updated_at"].clone();
    assert_eq!(after, before);
    server.assert_holds(&image, body, "fast");
    refuses(&scrub(&server, &["--restore", &image]), "is active, not pending_delete");

    assert_eq!(server.delete(&image), 204);
    scrub_at_once(&server);
    eventually("it is due", || pass(&server) == (1, 0));
    assert!(names_in(&server.store("fast")).is_empty());
    refuses(&scrub(&server, &["-R", &image]), "is deleted, not pending_delete");
    refuses(&scrub(&server, &["-R", "x"]), "UUID");
    assert_eq!(pass(&server), (0, 0));
}

#[test]
fn pg_02_data_that_somebody_has_removed_counts_as_removed() {
    let server = delayed().start();
    let image = server.create_with(Body::new(2, 1000));
    assert_eq!(server.delete(&image), 204);
    fs::remove_file(server.store("fast").join(&image)).unwrap();
    refuses(&scrub(&server, &["--restore", &image]), "is gone");
    eventually("it is due", || pass(&server) == (1, 0));
}

#[test]
fn pg_02_a_server_scrubs_as_it_serves_when_it_is_told_to() {
    let setup = delayed().set("DEFAULT", "wakeup_time", "1").set("glissade", "scrubber", "true");
    let server = setup.start();
    let (gone, kept) = (server.create_with(Body::new(3, 1000)), server.create());
    let kept_body = Body::new(4, 2000);
    Upload::new(&kept, kept_body).run(server.address()).assert(204, "");
    assert_eq!(server.delete(&gone), 204);
    server.assert_only(&[&kept]);
    let removed = || server.metrics().with("glissade_scrubs_total", "removed");
    eventually("it is counted", || removed() == 1.0);
    server.assert_holds(&kept, kept_body, "fast");
}

#[test]
fn pg_02_a_daemon_scrubs_until_it_is_told_to_stop() {
    let server = delayed().set("DEFAULT", "wakeup_time", "1").start();
    let mut daemon = command(server.root(), &["--daemon"]);
    let mut daemon = daemon.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    for seed in 0..2 {
        let image = server.create_with(Body::new(seed, 1000));
        assert_eq!(server.delete(&image), 204);
        server.assert_only(&[]);
    }
    let pid = rustix::process::Pid::from_child(&daemon);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ended = poll(PATIENCE, || daemon.try_wait().unwrap());
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
}

#[test]
fn pg_02_several_scrubbers_share_the_work() {
    let server = delayed().set("DEFAULT", "scrub_pool_size", "4").start();
    const IMAGES: u64 = 24;
    for seed in 0..IMAGES {
        let image = server.create_with(Body::new(seed, 500));
        assert_eq!(server.delete(&image), 204);
    }
    let start = || {
        let mut command = command(server.root(), &[]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let scrubbers: Vec<_> = (0..4).map(|_| start()).collect();
    let done = scrubbers.into_iter().map(|scrubber| said(&scrubber.wait_with_output().unwrap()));
    let done: Vec<_> = done.collect();
    println!("{done:?}");
    assert!(done.iter().map(|(removed, _)| removed).sum::<u64>() >= IMAGES);
    assert!(done.iter().all(|(_, kept)| *kept == 0));
    assert!(names_in(&server.store("fast")).is_empty());
    assert_eq!(pass(&server), (0, 0));
}

#[test]
fn pg_02_a_killed_scrubber_loses_nothing() {
    let mut server = delayed().set("DEFAULT", "scrub_pool_size", "3").start();
    let live_body = Body::new(99, 5000);
    let live = server.create_with(live_body);
    let images: Vec<String> =
        (0..40).map(|seed| server.create_with(Body::new(seed, 900))).collect();
    for image in &images {
        assert_eq!(server.delete(image), 204);
    }
    // Each is killed a moment after it has removed something.
    let (mut random, mut was_cut) = (Random::new(0x5c2b), 0);
    let left = || names_in(&server.store("fast")).len();
    for _ in 0..12 {
        let before = left();
        let mut scrubber = command(server.root(), &[]);
        let mut scrubber = scrubber.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = poll(PATIENCE, || (left() < before || before == 1).then_some(()));
        assert!(begun.is_some(), "nothing is removed");
        std::thread::sleep(Duration::from_micros(random.below(4000)));
        scrubber.kill().unwrap();
        scrubber.wait().unwrap();
        was_cut += u32::from(left() > 1);
    }
    println!("{was_cut} scrubbers were cut short");
    assert!(was_cut > 0, "no scrubber was cut short");
    server.kill9();
    server.start_again();
    let (_, kept) = pass(&server);
    assert_eq!(kept, 0);
    server.assert_only(&[&live]);
    server.assert_holds(&live, live_body, "fast");
    for image in &images {
        refuses(&scrub(&server, &["-R", image]), "is deleted, not pending_delete");
    }
    assert_eq!(pass(&server), (0, 0));
}

/// What a killed scrubber has claimed and not removed is the next start's, too.
#[test]
fn pg_02_a_server_goes_on_with_what_a_scrubber_has_left() {
    let mut server = delayed().start();
    let image = server.create_with(Body::new(7, 900));
    let file = server.store("fast").join(&image);
    assert_eq!(server.delete(&image), 204);
    let kept = server.root().join("kept");
    fs::rename(&file, &kept).unwrap();
    // A directory of that name can't be removed as a file: the pass fails half way.
    fs::create_dir(&file).unwrap();
    let failed = poll(PATIENCE, || (pass(&server) == (0, 1)).then_some(()));
    assert!(failed.is_some());
    refuses(&scrub(&server, &["-R", &image]), "is deleted, not pending_delete");
    fs::remove_dir(&file).unwrap();
    fs::rename(&kept, &file).unwrap();
    server.kill9();
    server.start_again();
    server.assert_only(&[]);
    assert_eq!(pass(&server), (0, 0));
}

/// Where locations are encrypted, they are removed by who has the key and by nobody else. Without it
/// nothing is removed, claimed or forgotten, a server starts all the same, and says what it can't
/// read.
#[test]
fn dw_10_a_scrubber_with_another_key_removes_nothing() {
    let setup = delayed().set("DEFAULT", "metadata_encryption_key", KEY).log_may_complain();
    let mut server = setup.start();
    let body = Body::new(10, 900);
    let [waiting, begun] = [(); 2].map(|()| server.create_with(body));
    let database = fs::read(server.root().join("glance.sqlite")).unwrap();
    let wal = fs::read(server.root().join("glance.sqlite-wal")).unwrap_or_default();
    let stored = String::from_utf8_lossy(&[database, wal].concat()).into_owned();
    assert!(stored.contains(&waiting) && !stored.contains("file://"), "locations are readable");

    // Of one the removal has begun, and failed.
    assert_eq!(server.delete(&begun), 204);
    let (file, aside) = (server.store("fast").join(&begun), server.root().join("aside"));
    fs::rename(&file, &aside).unwrap();
    fs::create_dir(&file).unwrap();
    eventually("it is due", || pass(&server) == (0, 1));
    fs::remove_dir(&file).unwrap();
    fs::rename(&aside, &file).unwrap();
    assert_eq!(server.delete(&waiting), 204);

    wrong_key_keeps(&server, 2);
    replace_in_configuration(&server, KEY, WRONG_KEY);
    refuses(&scrub(&server, &["--restore", &waiting]), "metadata_encryption_key");
    server.kill9();
    server.start_again();
    assert!(server.log().contains("metadata_encryption_key"), "{}", server.log());
    for image in [&waiting, &begun] {
        body.assert_stored_at(&server.store("fast").join(image));
    }
    replace_in_configuration(&server, WRONG_KEY, KEY);
    assert_eq!(pass(&server), (2, 0));
    assert!(names_in(&server.store("fast")).is_empty());
}

/// A file that nobody has written to for two hours.
fn old_file(path: &Path, bytes: usize) {
    fs::write(path, vec![7; bytes]).unwrap();
    grow_old(path);
}

pub(crate) fn grow_old(path: &Path) {
    let then = SystemTime::now() - Duration::from_secs(7200);
    File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
}

#[test]
fn cl_01_staged_files_that_nobody_needs_go_while_a_server_runs() {
    let server = Setup::new().set("glissade", "staging_sweep_secs", "1").start();
    let staging = server.store("staging");
    let waiting = server.create();
    let body = Body::new(8, 10_000);
    Upload::stage(&waiting, body).run(server.address()).assert(204, "");
    grow_old(&staging.join(&waiting));
    // By-products of an import of it: they are as old, and may be wanted.
    old_file(&staging.join(format!("{waiting}.raw")), 10);
    let young = "11111111-2222-4333-8444-555555555555";
    fs::write(staging.join(young), b"of an image that is not known yet").unwrap();
    old_file(&staging.join("README"), 5);
    let active = server.create_with(body);
    let stray = "99999999-2222-4333-8444-555555555555";
    old_file(&staging.join(stray), 1000);
    old_file(&staging.join(format!("{stray}.qcow2")), 100);
    old_file(&staging.join(format!("{active}.raw")), 10);

    let mut kept = vec![waiting.clone(), format!("{waiting}.raw"), young.into(), "README".into()];
    kept.sort();
    let names = || {
        let mut names = names_in(&staging);
        names.sort();
        names
    };
    eventually("only what is needed is left", || names() == kept);
    let metrics = server.metrics();
    assert_eq!(metrics.sum("glissade_staging_swept_files_total"), 3.0);
    assert_eq!(metrics.sum("glissade_staging_swept_bytes_total"), 1110.0);
    assert!(server.log().contains("nobody needs what was staged"));
    // Another look leaves it at that, and the image's data is still good for its import.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(names(), kept);
    let request = json!({"method": {"name": "glance-direct"}}).to_string();
    let target = format!("/v2/images/{waiting}/import");
    let json = ("Content-Type", "application/json");
    server.conn().call("POST", &target, &[json], request.as_bytes()).assert(202, "");
    server.wait_for_status(&waiting, "active");
    server.assert_holds(&waiting, body, "fast");
}

/// Each server has a staging directory of its own; the one that deletes does not see the other's.
#[test]
fn cl_01_data_that_is_staged_here_and_deleted_elsewhere_goes() {
    let here = Setup::new().set("glissade", "staging_sweep_secs", "1").start();
    let database = format!("sqlite:///{}", here.root().join("glance.sqlite").display());
    let elsewhere = Setup::new().set("database", "connection", &database).start();
    let image = here.create();
    Upload::stage(&image, Body::new(9, 4000)).run(here.address()).assert(204, "");
    let file = here.store("staging").join(&image);
    assert_eq!(elsewhere.delete(&image), 204);
    assert!(file.exists(), "nobody has told this server");
    grow_old(&file);
    eventually("the file goes", || !file.exists());
}
