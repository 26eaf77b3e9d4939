//! Goal: the whole program on a database server: a schema by `db sync` and not by itself, an image's
//! life, a purge (`PG-01`, `DW-12`, `DW-13`).
//!
//! Method: the program's own commands on a database that is empty at first, one after the other.

use std::fs;
use std::process::Output;

use crate::common::{Body, Setup, glissade};

/// Runs `glissade db` with a configuration file.
fn db(config: &str, arguments: &[&str]) -> Output {
    let command = [&["db"], arguments, &["--config-file", config]].concat();
    glissade(&command).output().unwrap()
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The server's own database is used by nobody else, and by one test only.
fn an_image_lives_on(server: &str) {
    let Some(directory) = crate::env::directory(server) else { return };
    let url = fs::read_to_string(directory.join("url")).unwrap();
    let setup = Setup::new().set("database", "connection", &url.trim().replace('$', "$$"));
    let config = setup.write().display().to_string();

    let version = succeeds(&db(&config, &["version"]));
    if version.contains("is empty") {
        let refused = glissade(&["serve", "--config-file", &config]).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("glissade db sync"), "{said}");
    }
    assert_eq!(succeeds(&db(&config, &["sync"])).trim(), "2024_1_contract01");

    let mut server = setup.start();
    let body = Body::new(5, 100_000);
    let image = server.create_with(body);
    assert_eq!(server.status_of(&image), "active");
    server.assert_holds(&image, body, "fast");
    server.kill9();
    server.start_again();
    server.assert_holds(&image, body, "fast");
    assert_eq!(server.delete(&image), 204);
    assert!(!server.list().iter().any(|listed| listed["id"] == image.as_str()));

    let purged = succeeds(&db(&config, &["purge", "--age-in-days", "0", "--max-rows", "-1"]));
    assert!(purged.contains("image_locations: ") && purged.contains("tasks: "), "{purged}");
    let images = db(&config, &["purge-images-table", "--age_in_days", "0"]);
    assert!(succeeds(&images).starts_with("images: "), "{images:?}");
}

#[test]
fn an_image_lives_on_mariadb() {
    an_image_lives_on("mariadb");
}

#[test]
fn an_image_lives_on_postgresql() {
    an_image_lives_on("postgres");
}
