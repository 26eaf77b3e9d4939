//! Goal: what we have staged and a glance-api on another host has deleted goes after its time, and
//! nothing else of what is staged, here or there (`CL-01`).
//!
//! Method: two hosts with staging directories of their own, one database and one store. Neither knows
//! where the other can be reached, so that Glance deletes the record and leaves the file. Files are
//! made old by their time of change.

use super::*;
use crate::common::names_in;
use crate::scrub::grow_old;

impl Pair {
    /// A new image with data that waits for its import.
    fn staged(&self, side: Side, body: Body) -> String {
        let image = self.create(side, &raw("staged"));
        let stage = by(Upload::stage(&image, body), OWNER);
        stage.run_on(&mut self.conn(side)).unwrap().assert(204, "");
        image
    }

    fn import(&self, side: Side, image: &str) {
        let request = json!({"method": {"name": "glance-direct"}, "stores": ["fast"]});
        let path = format!("/v2/images/{image}/import");
        let asked = self.send(side, OWNER, "POST", &path, &request);
        assert_eq!(asked.status(), 202, "{side:?}: {}", asked.text());
        self.imported(image, "fast");
    }
}

fn sweeping_on(server: &str) {
    let often = |setup: Setup| setup.set("glissade", "staging_sweep_secs", "1");
    let Some(pair) = Pair::apart(server, "sweeping", often) else { return };
    let body = Body::new(30, 500_001);
    let delete = |image: &str| {
        let answer = pair.call(Side::Theirs, OWNER, "DELETE", &format!("/v2/images/{image}"));
        assert_eq!(answer.status(), 204, "{}", answer.text());
    };
    let [first, second, young, kept] = [(); 4].map(|()| pair.staged(Side::Ours, body));
    let theirs = pair.staged(Side::Theirs, body);
    let active = pair.create(Side::Ours, &raw("active"));
    pair.upload(Side::Ours, &active, body, Framing::Length).assert(204, "");
    for image in [&first, &second, &young] {
        delete(image);
    }
    let file = |image: &str| pair.ours.store("staging").join(image);
    let mut left = vec![first.clone(), second.clone(), young.clone(), kept.clone()];
    left.sort();
    assert_eq!(sorted(pair.ours.staged()), left, "nobody has told us");

    // It waits for its import and is as old.
    grow_old(&file(&kept));
    for image in [&first, &second] {
        // The second tells that a whole look has passed since the first.
        grow_old(&file(image));
        eventually("what was deleted goes", || !file(image).exists());
        left.retain(|name| name != image);
    }
    assert_eq!(sorted(pair.ours.staged()), left);
    let swept = pair.ours.metrics().sum("glissade_staging_swept_bytes_total");
    assert_eq!(swept, 2.0 * body.bytes as f64);
    let their_staging = pair.theirs.root.join("staging");
    assert_eq!(names_in(&their_staging), [theirs.as_str()]);
    grow_old(&file(&young));
    eventually("its time has come", || pair.ours.staged() == [kept.as_str()]);

    pair.import(Side::Ours, &kept);
    pair.import(Side::Theirs, &theirs);
    for image in [&active, &kept, &theirs] {
        body.assert_stored_at(&pair.file(image));
    }
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[test]
fn cl_01_what_glance_has_deleted_is_swept_on_mariadb() {
    sweeping_on("mariadb");
}

#[test]
fn cl_01_what_glance_has_deleted_is_swept_on_postgresql() {
    sweeping_on("postgres");
}
