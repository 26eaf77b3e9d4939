//! Goal: of many who stage or import one image at the same time, over several servers, one gets to do
//! it and all others change nothing (`D-16` to `D-18`).
//!
//! Method: two real servers on one database server, with common stores and staging, and requests to
//! both that start together, in several rounds of each kind.

use std::fs;
use std::sync::Barrier;

use serde_json::{Value, json};

use crate::beside::database;
use crate::common::{
    Body, MIB, Response, Server, Setup, Upload, Web, direct, eventually, glissade, into,
};
use crate::env;

const ROUNDS: u64 = 3;
/// Requests at the same time, half of them to each server.
const REQUESTS: usize = 8;

/// Two servers that are one service.
struct Nodes {
    one: Server,
    two: Server,
}

impl Nodes {
    /// On a database of its own of this server; `None` where there is none.
    fn on(kind: &str) -> Option<Self> {
        let (glance, directory) = (env::directory("glance")?, env::directory(kind)?);
        let url = fs::read_to_string(directory.join("url")).unwrap();
        let url = database(&glance, url.trim(), "nodes").replace('$', "$$");
        let node = |setup: Setup, name: &str| {
            setup
                .set("database", "connection", &url)
                .set("glissade", "node_id", name)
                .set("import_filtering_opts", "allowed_hosts", "127.0.0.1")
                .set("import_filtering_opts", "allowed_ports", "[]")
        };
        let one = node(Setup::new(), "one");
        let config = one.write().display().to_string();
        let synced = glissade(&["db", "sync", "--config-file", &config]).output().unwrap();
        assert!(synced.status.success(), "{synced:?}");
        let mut two = node(Setup::new(), "two");
        for (section, name) in [
            ("fast", "fast"),
            ("slow", "slow"),
            ("os_glance_staging_store", "staging"),
            ("os_glance_tasks_store", "tasks"),
        ] {
            let common = one.root().join(name).display().to_string();
            two = two.set(section, "filesystem_store_datadir", &common);
        }
        Some(Self { one: one.start(), two: two.start() })
    }

    /// Asks both at once, and gives who was taken and with what; all others have to be refused.
    #[track_caller]
    fn race(&self, taken: u16, ask: impl Fn(&Server, usize) -> Response + Sync) -> usize {
        let start = Barrier::new(REQUESTS);
        let answers: Vec<Response> = std::thread::scope(|scope| {
            let (start, ask) = (&start, &ask);
            let asking = (0..REQUESTS).map(|number| {
                let server = if number % 2 == 0 { &self.one } else { &self.two };
                scope.spawn(move || {
                    start.wait();
                    ask(server, number)
                })
            });
            let asking: Vec<_> = asking.collect();
            asking.into_iter().map(|asking| asking.join().unwrap()).collect()
        });
        let told: Vec<u16> = answers.iter().map(Response::status).collect();
        let won: Vec<usize> = (0..REQUESTS).filter(|number| told[*number] == taken).collect();
        // Whoever comes when a copy is there already is told so.
        let is_late = |answer: &Response| answer.text().contains("already present");
        let others = answers.iter().filter(|answer| answer.status() != taken);
        let mut refused = others.map(|answer| answer.status() == 409 || is_late(answer));
        assert!(refused.all(|is_refused| is_refused), "{told:?}");
        assert_eq!(won.len(), 1, "{told:?}");
        won[0]
    }

    /// One import of many is done, and nothing is seen of the others.
    #[track_caller]
    fn one_import(&self, image: &str, request: &Value, body: Body, stores: &[&str]) {
        let before = self.one.tasks(image).len();
        self.race(202, |server, _| server.import(image, request));
        let task = self.one.ended_task(image);
        assert_eq!(task["status"], "success", "{task:#}");
        assert_eq!(self.one.tasks(image).len(), before + 1);
        for server in [&self.one, &self.two] {
            let record = server.show(image);
            assert_eq!(record["os_glance_failed_import"], "", "{record:#}");
            assert_eq!(record["size"], body.bytes);
        }
        self.one.assert_imported(image, body, stores);
    }
}

fn of_many_one_is_taken(kind: &str) {
    let Some(nodes) = Nodes::on(kind) else { return };
    let mut winners = [0, 0];
    for round in 0..ROUNDS {
        let body = |number: usize| Body::new(round * 100 + number as u64, MIB / 4 + number as u64);
        let image = nodes.one.create();
        let won = nodes
            .race(204, |server, number| Upload::stage(&image, body(number)).run(server.address()));
        winners[won % 2] += 1;
        nodes.one_import(&image, &direct(), body(won), &["fast"]);
        let copy = into(json!({"method": {"name": "copy-image"}}), &["slow"]);
        nodes.one_import(&image, &copy, body(won), &["fast", "slow"]);
        assert_eq!(nodes.two.delete(&image), 204);

        let image = nodes.two.create();
        let web = Web::serving(body(50));
        let fetch = json!({"method": {"name": "web-download", "uri": web.url()}});
        nodes.one_import(&image, &into(fetch, &["slow", "fast"]), body(50), &["slow", "fast"]);
        assert_eq!(nodes.one.delete(&image), 204);
        nodes.one.assert_only(&[]);
        eventually("staging is empty", || nodes.one.staged().is_empty());
    }
    println!("of {ROUNDS} stages the servers have won {winners:?}");
}

#[test]
fn d_16_d_18_of_many_one_is_taken_on_mariadb() {
    of_many_one_is_taken("mariadb");
}

#[test]
fn d_16_d_18_of_many_one_is_taken_on_postgresql() {
    of_many_one_is_taken("postgres");
}
