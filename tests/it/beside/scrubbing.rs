//! Goal: a real glance-scrubber and ours remove the data of images that either has deleted, at the same
//! time and without harm to each other, and what one brings back is not removed by the other.
//!
//! Method: both programs on one configuration, as often as it takes; what is left is told by the
//! store and by what can still be brought back.

use std::process::Output;

use super::*;
use crate::common::{PATIENCE, alone, names_in};
use crate::scrub::{KEY, said, wrong_key_pass};

impl Pair {
    fn config(&self) -> String {
        self.ours.root().join("glance-api.conf").display().to_string()
    }

    fn our_scrubber(&self, arguments: &[&str]) -> Command {
        let config = self.config();
        glissade(&[&["scrub", "--config-file", &config], arguments].concat())
    }

    fn their_scrubber(&self, arguments: &[&str]) -> Command {
        let glance = env::directory("glance").unwrap();
        let mut command = Command::new(glance.join("bin/glance-scrubber"));
        command.arg("--config-file").arg(self.config()).args(arguments);
        command.env("OS_GLANCE_CONFIG_DIR", self.ours.root());
        command
    }

    /// A new image with data, that one side has deleted.
    fn deleted(&self, seed: u64, maker: Side, by: Side) -> String {
        let image = self.create(maker, &raw("to be scrubbed"));
        self.upload(maker, &image, Body::new(seed, 4000), Framing::Length).assert(204, "");
        self.call(by, OWNER, "DELETE", &format!("/v2/images/{image}")).assert(204, "");
        assert!(self.file(&image).exists(), "its data stays");
        image
    }
}

#[track_caller]
fn succeeded(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

fn scrubbing_on(server: &str) {
    // A glance-scrubber brings nothing back while another one runs on the machine.
    let _alone = alone();
    let delayed = |setup: Setup| setup.set("DEFAULT", "delayed_delete", "true");
    let Some(mut pair) = Pair::with(server, "scrubbing", delayed) else { return };
    several_scrubbers_do_no_harm(&pair);
    what_glance_brings_back_is_not_removed(&mut pair);
    what_we_bring_back_is_whole_there(&pair);
}

fn several_scrubbers_do_no_harm(pair: &Pair) {
    let mut deleted = Vec::new();
    for seed in 0..4 {
        for (maker, other) in TURNS {
            deleted.push(pair.deleted(seed, maker, other));
            deleted.push(pair.deleted(seed + 100, maker, maker));
        }
    }
    // Where times are whole seconds, the last one is due a moment later.
    let rounds = poll(PATIENCE, || {
        let start = |command: &mut Command| {
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let running = [
            start(&mut pair.their_scrubber(&[])),
            start(&mut pair.our_scrubber(&[])),
            start(&mut pair.our_scrubber(&[])),
        ];
        for scrubber in running {
            succeeded(&scrubber.wait_with_output().unwrap());
        }
        names_in(&pair.ours.store("fast")).is_empty().then_some(())
    });
    assert!(rounds.is_some(), "{:?}", names_in(&pair.ours.store("fast")));
    succeeded(&pair.our_scrubber(&[]).output().unwrap());
    for image in &deleted {
        let back = pair.our_scrubber(&["--restore", image]).output().unwrap();
        let said = String::from_utf8_lossy(&back.stderr).into_owned();
        assert!(!back.status.success() && said.contains("is deleted"), "{said}");
    }
}

/// Glance's way back leaves the image without its locations. Ours finds them again, and until then
/// nobody takes them for what a crash has left.
fn what_glance_brings_back_is_not_removed(pair: &mut Pair) {
    for by in [Side::Ours, Side::Theirs] {
        let image = pair.deleted(7, Side::Ours, by);
        succeeded(&pair.their_scrubber(&["--restore", &image]).output().unwrap());
        pair.ours.kill9();
        pair.ours.start_again();
        for _ in 0..2 {
            succeeded(&pair.our_scrubber(&[]).output().unwrap());
        }
        let body = Body::new(7, 4000);
        body.assert_stored_at(&pair.file(&image));
        succeeded(&pair.our_scrubber(&["--restore", &image]).output().unwrap());
        assert_eq!(pair.show(&image)["status"], "active");
        for side in [Side::Ours, Side::Theirs] {
            assert!(pair.data(side, OWNER, &image).body == body.to_vec(), "{side:?}");
        }
    }
}

fn what_we_bring_back_is_whole_there(pair: &Pair) {
    for (maker, other) in TURNS {
        let mut record = raw("comes back");
        record["tags"] = json!(["a", "b"]);
        record["os_distro"] = json!("x");
        let image = pair.create(maker, &record);
        let body = Body::new(9, 5000);
        pair.upload(maker, &image, body, Framing::Length).assert(204, "");
        let mut before = pair.show(&image);
        pair.call(other, OWNER, "DELETE", &format!("/v2/images/{image}")).assert(204, "");
        succeeded(&pair.our_scrubber(&["--restore", &image]).output().unwrap());
        let after = pair.show(&image);
        before["updated_at"] = after["updated_at"].clone();
        assert_eq!(after, before);
        for side in [maker, other] {
            assert!(pair.data(side, OWNER, &image).body == body.to_vec(), "{side:?}");
        }
    }
}

/// Locations that either has encrypted are removed by either, with the key alone.
fn scrubbing_encrypted_on(server: &str) {
    let _alone = alone();
    let encrypted = |setup: Setup| {
        let setup = setup.set("DEFAULT", "metadata_encryption_key", KEY);
        setup.set("DEFAULT", "delayed_delete", "true")
    };
    let Some(pair) = Pair::with(server, "scrubbing_encrypted", encrypted) else { return };
    for scrubber in [Side::Ours, Side::Theirs] {
        for (seed, (maker, other)) in TURNS.into_iter().enumerate() {
            pair.deleted(seed as u64, maker, other);
            pair.deleted(seed as u64 + 10, maker, maker);
        }
        // Where times are whole seconds, the last one is due a moment later.
        eventually("all are due", || said(&wrong_key_pass(&pair.ours)) == (0, 4));
        assert_eq!(names_in(&pair.ours.store("fast")).len(), 4);
        let mut with_the_key = match scrubber {
            Side::Ours => pair.our_scrubber(&[]),
            Side::Theirs => pair.their_scrubber(&[]),
        };
        eventually("all are gone", || {
            succeeded(&with_the_key.output().unwrap());
            names_in(&pair.ours.store("fast")).is_empty()
        });
    }
}

#[test]
fn scrubbing_encrypted_beside_glance_on_mariadb() {
    scrubbing_encrypted_on("mariadb");
}

#[test]
fn scrubbing_beside_glance_on_mariadb() {
    scrubbing_on("mariadb");
}

#[test]
fn scrubbing_beside_glance_on_postgresql() {
    scrubbing_on("postgres");
}
