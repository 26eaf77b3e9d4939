//! Goal: a server either starts on what it was given or says, in one sentence, where and what to
//! change (`CF-*`, design 5).
//!
//! Method: the program with good and bad configurations, judged by exit status and standard error.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::json;

use crate::common::{Body, Conn, PATIENCE, Setup, Upload, glissade, log_lines, poll};

/// Runs a command that has to end by itself.
#[track_caller]
fn run(mut command: Command) -> Output {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = poll(PATIENCE, || child.try_wait().unwrap());
    if status.is_none() {
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        panic!("{command:?} goes on: {output:?}");
    }
    child.wait_with_output().unwrap()
}

fn serve(setup: &Setup, more: &[&str]) -> Command {
    let config = setup.write().display().to_string();
    let mut command = glissade(&["serve", "--config-file", &config]);
    command.args(more).current_dir(setup.root());
    command
}

/// Fails the test unless the server refuses to start and names all of `parts`.
#[track_caller]
fn assert_refused(command: Command, parts: &[&str]) {
    let what = format!("{command:?}");
    let output = run(command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{what} succeeds");
    for part in parts {
        assert!(said.contains(part), "{what}: no {part:?} in {said:?}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

const LOOPBACK: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

/// Section, key, wrong value, and what else the refusal has to say.
const WRONG: &[(&str, &str, &str, &str)] = &[
    ("glissade", "io_uring", "maybe", "required"),
    ("glissade", "durability", "half", "full"),
    ("glissade", "engines", "many", "many"),
    ("glissade", "engines", "0", "0"),
    ("glissade", "hash_workers", "-1", "-1"),
    ("glissade", "slots_per_upload_max", "0", "0"),
    ("glissade", "slot_arena_bytes", "lots", "lots"),
    ("glissade", "direct_io", "perhaps", "perhaps"),
    ("glissade", "admin_listen", "nowhere", "nowhere"),
    ("glissade", "stall_grace_secs", "soon", "soon"),
    ("glissade", "log_format", "xml", "json"),
    ("DEFAULT", "image_size_cap", "big", "big"),
    ("DEFAULT", "image_size_cap", "9223372036854775809", "9223372036854775809"),
    ("DEFAULT", "bind_port", "99999", "99999"),
    ("DEFAULT", "bind_host", "somewhere.invalid.", "somewhere.invalid."),
    ("DEFAULT", "limit_param_default", "x", "x"),
    ("DEFAULT", "api_limit_max", "0", "0"),
    ("DEFAULT", "show_multiple_locations", "perhaps", "perhaps"),
    ("DEFAULT", "hashing_algorithm", "crc32", "sha512"),
    ("DEFAULT", "enabled_backends", "fast:file,os_glance_mine:file", "os_glance_"),
    ("DEFAULT", "enabled_backends", "fast:floppy", "floppy"),
    ("DEFAULT", "enabled_backends", "fast", "fast"),
    ("DEFAULT", "enabled_backends", "fast:file,fast:file", "fast"),
    ("DEFAULT", "public_endpoint", "http://$nowhere", "nowhere"),
    ("DEFAULT", "enabled_import_methods", "carrier-pigeon", "carrier-pigeon"),
    ("DEFAULT", "metadata_encryption_key", "too short", "16, 24 or 32"),
    ("glance_store", "default_backend", "nope", "nope"),
    ("glance_store", "default_backend", "os_glance_staging_store", "os_glance_staging_store"),
    ("fast", "weight", "heavy", "heavy"),
    ("fast", "filesystem_store_file_perm", "077", "077"),
    ("fast", "filesystem_store_file_perm", "rw", "rw"),
    ("fast", "filesystem_store_datadirs", "/tmp/a:10", "filesystem_store_datadir"),
    ("fast", "filesystem_thin_provisioning", "2", "2"),
    ("database", "connection", "oracle://glance:secret@db/glance", "sqlite"),
    ("database", "connection", "postgresql://glance:secret@db/", "names no database"),
    ("database", "max_retries", "-2", "never gives up"),
    ("paste_deploy", "flavor", "magic", "keystone"),
    ("paste_deploy", "flavor", "trusted-auth", "trusted_proxies"),
    ("glissade", "trusted_proxies", "nearby", "192.0.2.0/24"),
    ("glissade", "listen_mode", "077", "660"),
    ("cors", "max_age", "soon", "3600"),
    ("healthcheck", "backends", "magic", "disable_by_file"),
    ("oslo_middleware", "enable_proxy_headers_parsing", "perhaps", "true"),
];

#[test]
fn wrong_values_are_refused_by_name() {
    for (section, key, value, also) in WRONG {
        println!("[{section}] {key} = {value}");
        let setup = Setup::new().set(section, key, value);
        // The command line takes precedence over these, so they are left to the file.
        let is_listener = key.starts_with("bind_") || *key == "admin_listen";
        let more = if is_listener { &[][..] } else { &LOOPBACK };
        assert_refused(serve(&setup, more), &["glance-api.conf", section, key, also]);
    }
}

/// `GLISSADE_LANES` forces a tier of kernels, and one that isn't there is refused.
#[test]
fn an_unknown_tier_of_lanes_is_refused_by_name() {
    let setup = Setup::new();
    let mut command = serve(&setup, &LOOPBACK);
    command.env("GLISSADE_LANES", "neon");
    assert_refused(command, &["GLISSADE_LANES=neon", "avx512, avx2, portable"]);
}

/// Secrets in what is refused are not repeated.
#[test]
fn a_refusal_keeps_secrets() {
    for url in ["oracle://glance:hunter2@db/glance", "mysql://glance:hunter2@127.0.0.1:1/glance"] {
        let setup = Setup::new().set("database", "connection", url);
        let setup = setup.set("database", "max_retries", "0").set("database", "pool_timeout", "1");
        let output = run(serve(&setup, &LOOPBACK));
        let said = [output.stderr, output.stdout].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("[database] connection") && !said.contains("hunter2"), "{said}");
    }
}

#[test]
fn missing_pieces_are_refused_by_name() {
    let setup = Setup::new().unset("glance_store", "default_backend");
    assert_refused(serve(&setup, &LOOPBACK), &["glance_store", "default_backend"]);
    let setup = Setup::new();
    let missing = setup.root().join("missing.conf").display().to_string();
    assert_refused(glissade(&["serve", "--config-file", &missing]), &["missing.conf"]);
    let occupied = setup.root().join("occupied");
    fs::write(&occupied, b"a file").unwrap();
    let below = occupied.join("store").display().to_string();
    let setup = setup.set("fast", "filesystem_store_datadir", &below);
    assert_refused(serve(&setup, &LOOPBACK), &["store fast", &below]);
}

/// A line that is neither a section nor a key names file and line.
#[test]
fn a_broken_file_is_refused_by_line() {
    for (text, line) in [("[DEFAULT]\nno sign\n", "2"), ("key = 1\n[DEFAULT]\n", "1")] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("broken.conf");
        fs::write(&path, text).unwrap();
        let command = glissade(&["serve", "--config-file", &path.display().to_string()]);
        assert_refused(command, &["broken.conf", line]);
    }
}

/// Without authentication everyone is an administrator, so nobody outside may reach it.
#[test]
fn only_loopback_without_authentication() {
    let setup = Setup::new();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9292"] {
        let command = serve(&setup, &["--listen", address, "--admin-listen", "127.0.0.1:0"]);
        assert_refused(command, &["administrator", "127.0.0.1"]);
    }
    let setup = Setup::new().set("DEFAULT", "bind_host", "0.0.0.0");
    assert_refused(serve(&setup, &[]), &["administrator", "bind_host"]);
}

/// A port that is taken is named.
#[test]
fn a_taken_port_is_refused() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let setup = Setup::new();
    let more = ["--listen", &address, "--admin-listen", "127.0.0.1:0"];
    assert_refused(serve(&setup, &more), &[&address]);
}

/// A misspelt key has no effect, so the operator hears of it, once.
#[test]
fn unknown_keys_warn_once() {
    let setup = Setup::new().log_may_complain();
    let setup = setup.set("DEFAULT", "frobnicate", "1").set("cinder", "sped", "fast");
    let setup = setup.set("glissade", "durabilty", "none");
    let server = setup.start();
    for key in ["frobnicate", "cinder", "durabilty"] {
        let lines = log_lines(&server.log(), &[key]);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("WARN") && lines[0].contains("glance-api.conf"), "{lines:?}");
    }
}

/// References, the section of another file, and a later file that overrides an earlier one.
#[test]
fn files_are_read_as_oslo_config_does() {
    let setup = Setup::new().set("DEFAULT", "image_size_cap", "10");
    let setup = setup.set("DEFAULT", "my_root", "somewhere").log_may_complain();
    let config = setup.write().display().to_string();
    let later = setup.root().join("conf.d");
    fs::create_dir(&later).unwrap();
    let directory = setup.root().join("$my_root").display().to_string();
    let text =
        format!("[DEFAULT]\nimage_size_cap = 20\n[fast]\nfilesystem_store_datadir = {directory}\n");
    fs::write(later.join("10-more.conf"), text).unwrap();
    let later = later.display().to_string();
    let arguments =
        [&["serve", "--config-file", &config, "--config-dir", &later][..], &LOOPBACK].concat();
    let server = Loose::spawn(glissade(&arguments), setup.root());
    let image = server.create();
    assert_eq!(server.put(&image, 21), 413);
    assert_eq!(server.put(&image, 20), 204);
    assert!(setup.root().join("somewhere").join(&image).exists());
}

/// A server started by hand, for what [`Setup`] doesn't do.
struct Loose {
    child: Child,
    address: SocketAddr,
}

impl Loose {
    fn spawn(mut command: Command, directory: &Path) -> Self {
        let mut child = command.current_dir(directory).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("glissade: serving on http://") {
            line.clear();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "the server ended");
        }
        let address = line.trim().rsplit_once("http://").unwrap().1.parse().unwrap();
        std::thread::spawn(move || output.read_to_end(&mut Vec::new()));
        Self { child, address }
    }

    fn create(&self) -> String {
        let record = json!({"disk_format": "raw", "container_format": "bare"}).to_string();
        let headers = [("Content-Type", "application/json")];
        let answer =
            Conn::open(self.address).call("POST", "/v2/images", &headers, record.as_bytes());
        answer.assert(201, "").json()["id"].as_str().unwrap().to_owned()
    }

    fn put(&self, image: &str, bytes: u64) -> u16 {
        Upload::new(image, Body::new(1, bytes)).run(self.address).status()
    }
}

impl Drop for Loose {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The embedded default: an empty directory and no configuration at all.
#[test]
fn an_empty_directory_is_enough() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let arguments = [&["serve"][..], &LOOPBACK].concat();
    let image = {
        let server = Loose::spawn(glissade(&arguments), directory.path());
        let image = server.create();
        assert_eq!(server.put(&image, 100_000), 204);
        image
    };
    assert!(directory.path().join("glissade-data").is_dir());
    let server = Loose::spawn(glissade(&arguments), directory.path());
    let file = format!("/v2/images/{image}/file");
    let answer = Conn::open(server.address).call("GET", &file, &[], b"");
    assert_eq!(answer.body, Body::new(1, 100_000).to_vec());
}

#[test]
fn the_data_directory_can_be_chosen() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = directory.path().join("elsewhere").display().to_string();
    let arguments = [&["serve", "--data-dir", &data][..], &LOOPBACK].concat();
    let server = Loose::spawn(glissade(&arguments), directory.path());
    assert_eq!(server.put(&server.create(), 10), 204);
    assert!(directory.path().join("elsewhere").is_dir());
    assert!(!directory.path().join("glissade-data").exists());
}

#[test]
fn the_database_is_made_and_named() {
    let setup = Setup::new();
    let config = setup.write().display().to_string();
    let db = |verb| {
        let mut command = glissade(&["db", "--config-file", &config, verb]);
        command.current_dir(setup.root());
        let output = run(command);
        assert!(output.status.success(), "db {verb}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    db("sync");
    assert!(setup.root().join("glance.sqlite").exists());
    let version = db("version");
    assert!(!version.trim().is_empty());
    db("sync");
    assert_eq!(db("version"), version);
}

#[test]
fn the_program_says_what_it_is() {
    let output = run(glissade(&["version"]));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains(env!("CARGO_PKG_VERSION")), "{said}");
    let output = run(glissade(&["nonsense"]));
    assert!(!output.status.success());
}
