//! Goal: `kill -9` at any point leaves nothing partial behind (design, promises 1 and 2).
//!
//! Method: rounds of several uploads and a delete in flight, cut at a pseudo-random moment; then
//! the server starts again on the same data. Every image has to be `queued` without a file or
//! `active` with exactly its bytes, what was acknowledged has to be there, and the stores hold
//! nothing else. The moments are drawn over the whole life of an upload and, in two rounds of
//! three, close to its end, where sync, link and commit follow each other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::common::{
    Body, Conn, Framing, KIB, MIB, Random, Server, Setup, Upload, alone, names_in, poll,
};

/// Uploads in flight in each round.
const UPLOADS: u64 = 3;

fn rounds(io_uring: &str, count: u64, seed: u64) {
    let _alone = alone();
    let began = Instant::now();
    let mut random = Random::new(seed);
    let mut server = Setup::new().set("glissade", "io_uring", io_uring).log_may_complain().start();
    let mut tally = Tally::default();
    let mut doomed = None;
    for round in 0..count {
        let plans: Vec<Plan> = (0..UPLOADS).map(|_| Plan::draw(&server, &mut random)).collect();
        let moment = Moment::draw(round, &mut random);
        let acknowledged = cut(&mut server, &plans, doomed.as_deref(), &moment);
        server.start_again();
        let bodies = plans.iter().map(|plan| (plan.image.as_str(), plan.body)).collect();
        doomed = check(&server, &bodies, &acknowledged, doomed.as_deref(), &mut tally);
    }
    println!("{count} rounds in {:?}: {tally:?}", began.elapsed());
    tally.assert_means_something();
}

/// What came of the uploads that were cut.
#[derive(Debug, Default)]
struct Tally {
    active: u64,
    queued: u64,
    deleted: u64,
}

impl Tally {
    /// Kills that always come too early or too late would prove nothing.
    fn assert_means_something(&self) {
        let all = self.active + self.queued;
        assert!(self.active * 20 > all && self.queued * 5 > all, "one-sided: {self:?}");
        assert!(self.deleted > 0, "no delete survived: {self:?}");
    }
}

/// One upload of a round.
struct Plan {
    image: String,
    body: Body,
    framing: Framing,
    /// Pause before each 64 KiB: some uploads are cut in the body, some past it.
    pause: Duration,
}

impl Plan {
    fn draw(server: &Server, random: &mut Random) -> Self {
        let framings =
            [Framing::Length, Framing::Chunked(64 * KIB as usize), Framing::Chunked(9999)];
        Self {
            image: server.create(),
            body: Body::new(random.next(), 1 + random.below(5 * MIB)),
            framing: framings[random.below(3) as usize],
            pause: Duration::from_micros(random.below(4) * 400),
        }
    }

    /// Whether the server answered 204 before it was killed.
    fn run(&self, mut conn: Conn, reached: &AtomicU64) -> bool {
        let upload = Upload::new(&self.image, self.body).framing(self.framing);
        let mut socket = conn.sender();
        let pause = self.pause;
        let sent = upload.send_through(|bytes| {
            std::thread::sleep(pause);
            std::io::Write::write_all(&mut socket, bytes)
        });
        if sent.is_ok() {
            reached.fetch_max(SENT, Ordering::Relaxed);
        }
        let is_stored = conn.response().is_ok_and(|answer| answer.status() == 204);
        if is_stored {
            reached.fetch_max(STORED, Ordering::Relaxed);
        }
        is_stored
    }
}

/// How far the first upload of a round has come.
const BEGUN: u64 = 0;
const SENT: u64 = 1;
const STORED: u64 = 2;

/// When the server is killed: so long after one upload has come so far.
struct Moment {
    after: u64,
    delay: Duration,
}

impl Moment {
    fn draw(round: u64, random: &mut Random) -> Self {
        let (after, micros) =
            [(BEGUN, 60_000), (SENT, 20_000), (STORED, 8_000)][(round % 3) as usize];
        Self { after, delay: Duration::from_micros(random.below(micros)) }
    }

    fn wait(&self, reached: &AtomicU64) {
        // Without the one that is waited for, every kill of a busy machine would come too early.
        let patience = Instant::now() + Duration::from_secs(120);
        while reached.load(Ordering::Relaxed) < self.after && Instant::now() < patience {
            std::thread::sleep(Duration::from_micros(100));
        }
        std::thread::sleep(self.delay);
    }
}

/// Runs the plans and a delete, kills the server, and names what had been acknowledged.
fn cut(server: &mut Server, plans: &[Plan], doomed: Option<&str>, moment: &Moment) -> Vec<String> {
    let conns: Vec<Conn> = plans.iter().map(|_| server.conn()).collect();
    let deleter = server.conn();
    let reached = &AtomicU64::new(BEGUN);
    std::thread::scope(|scope| {
        let pairs = plans.iter().zip(conns);
        let runs: Vec<_> =
            pairs.map(|(plan, conn)| scope.spawn(move || plan.run(conn, reached))).collect();
        if let Some(image) = doomed {
            let pause = moment.delay / 4;
            scope.spawn(move || delete(image, deleter, pause));
        }
        moment.wait(reached);
        server.kill9();
        let ended = plans.iter().zip(runs);
        ended.filter_map(|(plan, run)| run.join().unwrap().then(|| plan.image.clone())).collect()
    })
}

/// Deletes an image after a pause, whatever comes of it.
fn delete(image: &str, mut conn: Conn, pause: Duration) {
    std::thread::sleep(pause);
    let request = format!("DELETE /v2/images/{image} HTTP/1.1\r\nHost: test\r\n\r\n");
    let _ = conn.send(request.as_bytes()).and_then(|()| conn.response());
}

/// Judges what a restart found. Gives an active image for the next round to delete.
fn check(
    server: &Server,
    bodies: &BTreeMap<&str, Body>,
    acknowledged: &[String],
    doomed: Option<&str>,
    tally: &mut Tally,
) -> Option<String> {
    let active = settled(server, bodies, doomed);
    for image in acknowledged {
        assert!(active.contains(image), "{image} was acknowledged and is not active");
    }
    let names: Vec<&str> = active.iter().map(String::as_str).collect();
    server.assert_only(&names);
    let new: Vec<&String> = active.iter().filter(|id| bodies.contains_key(id.as_str())).collect();
    for image in &new {
        server.assert_holds(image, bodies[image.as_str()], "fast");
    }
    tally.active += new.len() as u64;
    tally.queued += UPLOADS - new.len() as u64;
    tally.deleted += u64::from(doomed.is_some_and(|image| !names.contains(&image)));
    retry_and_clean(server, bodies, &names)
}

/// Active images once no image is `saving` any more, which a restart has a minute for.
fn settled(server: &Server, bodies: &BTreeMap<&str, Body>, doomed: Option<&str>) -> Vec<String> {
    let limit = Duration::from_secs(60);
    let images = poll(limit, || {
        let images = server.list();
        images.iter().all(|image| image["status"] != "saving").then_some(images)
    });
    let images = images.unwrap_or_else(|| panic!("an image stays in saving: {:?}", server.list()));
    let known = |id: &str| bodies.contains_key(id) || doomed == Some(id);
    for image in &images {
        let (id, status) = (image["id"].as_str().unwrap(), image["status"].as_str().unwrap());
        assert!(known(id) && ["queued", "active"].contains(&status), "{id} is {status}");
    }
    let active = images.iter().filter(|image| image["status"] == "active");
    active.map(|image| image["id"].as_str().unwrap().to_owned()).collect()
}

/// Retries one image that is queued, then leaves one image for the next round to delete.
fn retry_and_clean(
    server: &Server,
    bodies: &BTreeMap<&str, Body>,
    active: &[&str],
) -> Option<String> {
    if let Some(queued) = bodies.keys().find(|image| !active.contains(image)) {
        server.assert_retry_works(queued);
    }
    let mut kept = None;
    for image in server.list() {
        let id = image["id"].as_str().unwrap();
        if kept.is_none() && image["status"] == "active" {
            kept = Some(id.to_owned());
        } else {
            assert_eq!(server.delete(id), 204);
        }
    }
    assert!(names_in(&server.store("fast")).len() <= 1);
    kept
}

#[test]
fn two_hundred_kills() {
    rounds("auto", 200, 0xdead_0001);
}

#[test]
fn twenty_kills_of_the_threads_engine() {
    rounds("off", 20, 0xdead_0002);
}
