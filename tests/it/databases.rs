//! Goal: the whole program on a database server: a schema by `db sync` and not by itself, an image's
//! life, a purge (`PG-01`, `DW-12`, `DW-13`); over TLS as the URL has it, and with nobody who is not
//! vouched for (`CF-11`).
//!
//! Method: the program's own commands on a database that is empty at first, one after the other. For
//! TLS the servers demand a certificate of whoever comes as `vouched`.

use std::fs;
use std::process::Output;

use crate::check::{LOOPBACK, document, probe};
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

/// A setup for the server's database that is reached over TLS; `{}` in the query is where the
/// certificates are.
pub(crate) fn over_tls(server: &str, query: &str) -> Option<Setup> {
    let directory = crate::env::directory(server)?;
    let url = fs::read_to_string(directory.join("tls-url")).unwrap();
    let certificates = fs::canonicalize(directory.join("data/tls")).unwrap();
    let query = query.replace("{}", &certificates.display().to_string());
    let url = format!("{}?{query}", url.trim()).replace('$', "$$");
    Some(Setup::new().set("database", "connection", &url))
}

/// Every query of `good` leads to the database, and each of `bad` is refused with these words, by
/// commands, at start and in what `check` says.
fn tls_is_as_the_url_has_it(server: &str, good: &[&str], bad: &[(&str, &str)]) {
    for query in good {
        let Some(setup) = over_tls(server, query) else { return };
        let config = setup.write().display().to_string();
        assert_eq!(succeeds(&db(&config, &["sync"])).trim(), "2024_1_contract01", "{query}");
        assert_eq!(probe(&document(&setup, &LOOPBACK), "database").0, "ok", "{query}");
        setup.start().create();
    }
    for (query, reason) in bad {
        let Some(setup) = over_tls(server, query) else { return };
        let config = setup.write().display().to_string();
        let serve = glissade(&["serve", "--config-file", &config]).output().unwrap();
        for refused in [db(&config, &["version"]), serve] {
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(!refused.status.success() && said.contains(reason), "{query}: {said}");
        }
        let document = document(&setup, &LOOPBACK);
        let (outcome, said) = probe(&document, "database");
        assert!(outcome == "failed" && said.contains(reason), "{query}: {said}");
        assert!(document["starts"] == false && !document.to_string().contains("p@ss"));
    }
}

#[test]
fn cf_11_mariadb_is_reached_over_tls() {
    let own = "ssl_cert={}/client.pem&ssl_key={}/client.key";
    let good = ["ssl_ca={}/ca.pem&", "ssl_mode=REQUIRED&", ""].map(|query| format!("{query}{own}"));
    let bad = [
        (format!("ssl_ca={{}}/other-ca.pem&{own}"), "UnknownIssuer"),
        (format!("ssl_verify_cert=true&{own}"), "UnknownIssuer"),
        (format!("ssl_ca={{}}/nothing.pem&{own}"), "nothing.pem: No such file"),
        ("ssl_ca={}/ca.pem&ssl_cert={}/client.pem&ssl_key={}/none".to_owned(), "none: No such"),
        ("ssl_ca={}/ca.pem".to_owned(), "Access denied"),
        ("ssl_disabled=true".to_owned(), "Access denied"),
        ("ssl_ca={}/ca.pem&ssl_cert={}/other.pem&ssl_key={}/other.key".to_owned(), "TLS was"),
    ];
    let bad = bad.each_ref().map(|(query, reason)| (query.as_str(), *reason));
    tls_is_as_the_url_has_it("mariadb", &good.each_ref().map(String::as_str), &bad);
}

#[test]
fn cf_11_postgresql_is_reached_over_tls() {
    let own = "sslcert={}/client.pem&sslkey={}/client.key";
    let good = ["sslmode=verify-full&sslrootcert={}/ca.pem&", "sslmode=require&", ""];
    let good = good.map(|query| format!("{query}{own}"));
    let bad = [
        (format!("sslmode=verify-full&sslrootcert={{}}/other-ca.pem&{own}"), "UnknownIssuer"),
        (format!("sslmode=require&sslrootcert={{}}/other-ca.pem&{own}"), "UnknownIssuer"),
        (format!("sslmode=verify-full&{own}"), "UnknownIssuer"),
        (format!("sslmode=verify-ca&sslrootcert={{}}/nothing&{own}"), "nothing: No such file"),
        ("sslmode=verify-full&sslrootcert={}/ca.pem".to_owned(), "valid client certificate"),
        ("sslmode=disable".to_owned(), "rejects connection"),
        ("sslcert={}/other.pem&sslkey={}/other.key".to_owned(), "TLS was"),
    ];
    let bad = bad.each_ref().map(|(query, reason)| (query.as_str(), *reason));
    tls_is_as_the_url_has_it("postgres", &good.each_ref().map(String::as_str), &bad);
}

/// Under another name than the certificate's.
#[test]
fn cf_11_the_hosts_name_counts() {
    for (server, wrong, right) in [
        ("mariadb", "ssl_ca={}/ca.pem", "ssl_ca={}/ca.pem&ssl_check_hostname=false"),
        (
            "postgres",
            "sslmode=verify-full&sslrootcert={}/ca.pem",
            "sslmode=verify-ca&sslrootcert={}/ca.pem",
        ),
    ] {
        let Some(directory) = crate::env::directory(server) else { continue };
        let own = match server {
            "mariadb" => "ssl_cert={}/client.pem&ssl_key={}/client.key",
            _ => "sslcert={}/client.pem&sslkey={}/client.key",
        };
        let url = fs::read_to_string(directory.join("tls-url")).unwrap();
        let url = url.trim().replace("127.0.0.1", "localhost").replace('$', "$$");
        let tls = fs::canonicalize(directory.join("data/tls")).unwrap().display().to_string();
        let version = |query: &str| {
            let query = format!("{query}&{own}").replace("{}", &tls);
            let setup = Setup::new().set("database", "connection", &format!("{url}?{query}"));
            db(&setup.write().display().to_string(), &["version"])
        };
        let refused = version(wrong);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("not valid for name"), "{said}");
        succeeds(&version(right));
    }
}

#[test]
fn cf_11_a_replica_is_looked_for() {
    for server in ["mariadb", "postgres"] {
        let Some(directory) = crate::env::directory(server) else { continue };
        let url = fs::read_to_string(directory.join("url")).unwrap().trim().replace('$', "$$");
        let gone = url.replace("@127.0.0.1:", "@127.0.0.2:");
        let setup = Setup::new().set("database", "slave_connection", &gone);
        let document = document(&setup, &LOOPBACK);
        let (outcome, said) = probe(&document, "database replica");
        assert!(outcome == "doubtful" && said.contains("lists fail until"), "{said}");
        assert!(document["starts"] == true, "{document:#}");
    }
}

#[test]
fn an_image_lives_on_mariadb() {
    an_image_lives_on("mariadb");
}

#[test]
fn an_image_lives_on_postgresql() {
    an_image_lives_on("postgres");
}
