//! Goal: `glissade check` fares as `glissade serve` would, says so of every option, and changes
//! nothing (`CF-33`).
//!
//! Method: both programs on the same configurations, judged by exit status and what they say.

use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::common::{Cloud, Setup, glissade, names_in};

pub(crate) const LOOPBACK: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

fn command(verb: &str, setup: &Setup, more: &[&str]) -> Command {
    let config = setup.write().display().to_string();
    let mut command = glissade(&[verb, "--config-file", &config]);
    command.args(more).current_dir(setup.root()).stdin(Stdio::null());
    command
}

#[track_caller]
fn check(setup: &Setup, more: &[&str]) -> Output {
    command("check", setup, more).output().unwrap()
}

/// What `glissade check --json` prints.
#[track_caller]
pub(crate) fn document(setup: &Setup, more: &[&str]) -> Value {
    let output = check(setup, &[&["--json"][..], more].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e} in {output:?}"))
}

/// How a probe went, and what is said of it.
#[track_caller]
pub(crate) fn probe<'a>(document: &'a Value, name: &str) -> (&'a str, &'a str) {
    let probes = document["probes"].as_array().unwrap();
    let found = probes.iter().find(|probe| probe["name"] == name);
    let found = found.unwrap_or_else(|| panic!("no {name} in {document:#}"));
    (found["outcome"].as_str().unwrap(), found["detail"].as_str().unwrap())
}

fn standing<'a>(document: &'a Value, section: &str, key: &str) -> &'a Value {
    let options = document["options"].as_array().unwrap();
    let found = options.iter().find(|o| o["section"] == section && o["key"] == key);
    found.unwrap_or_else(|| panic!("no [{section}] {key} in {document:#}"))
}

#[test]
fn cf_33_what_is_checked_is_not_changed() {
    let setup = Setup::new();
    let output = check(&setup, &LOOPBACK);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{said}");
    assert!(said.contains("honoured   ") && said.contains("a server would start"), "{said}");
    assert!(said.contains("is not there; a server that may write to"), "{said}");
    assert_eq!(names_in(setup.root()), ["glance-api.conf"]);
}

#[test]
fn cf_33_one_document_says_all() {
    let setup = Setup::new()
        .set("DEFAULT", "bind_hots", "x")
        .set("DEFAULT", "workers", "4")
        .set("DEFAULT", "use_syslog", "false")
        .set("DEFAULT", "delayed_delete", "true")
        .set("DEFAULT", "scrub_time", "86400")
        .set("DEFAULT", "scrub_pool_size", "2")
        .set("DEFAULT", "wakeup_time", "60")
        .set("DEFAULT", "daemon", "false")
        .set("DEFAULT", "transport_url", "rabbit://u:hunter2@h");
    for name in ["fast", "slow", "staging", "tasks"] {
        fs::create_dir(setup.root().join(name)).unwrap();
    }
    let config = setup.write().display().to_string();
    let synced = glissade(&["db", "--config-file", &config, "sync"]).output().unwrap();
    assert!(synced.status.success(), "{synced:?}");
    let document = document(&setup, &LOOPBACK);
    assert!(document["starts"] == true && document["error"].is_null(), "{document:#}");
    let honoured = standing(&document, "fast", "filesystem_store_datadir");
    assert_eq!(honoured["standing"], "honoured");
    assert!(honoured["file"] == config && honoured["line"].as_u64().unwrap() > 1);
    for key in ["delayed_delete", "scrub_time", "scrub_pool_size", "wakeup_time", "daemon"] {
        assert_eq!(standing(&document, "DEFAULT", key)["standing"], "honoured", "{key}");
    }
    let unknown = standing(&document, "DEFAULT", "bind_hots");
    assert_eq!(unknown["standing"], "unknown");
    assert_eq!(unknown["reason"], "no such option; bind_host is near to it");
    let workers = standing(&document, "DEFAULT", "workers");
    assert_eq!((&workers["standing"], &workers["why"]), (&"ignored".into(), &"elsewhere".into()));
    assert_eq!(standing(&document, "DEFAULT", "use_syslog")["standing"], "met");
    assert_eq!(standing(&document, "DEFAULT", "transport_url")["why"], "needless");
    assert!(!document.to_string().contains("hunter2"));
    assert_eq!(probe(&document, "database").0, "ok");
    let (outcome, said) = probe(&document, "store fast");
    assert!(outcome == "ok" && said.contains("imports move no bytes"), "{said}");
    for name in ["store slow", "store web", "os_glance_staging_store", "os_glance_tasks_store"] {
        assert_eq!(probe(&document, name).0, "ok", "{name}");
    }
    for name in ["listen", "admin listen", "io_uring", "open files"] {
        assert_ne!(probe(&document, name).0, "failed", "{name}");
    }
}

/// The server's own words, whether options, directories or addresses are at fault.
#[test]
fn cf_32_cf_33_both_refuse_alike() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let occupied = Setup::new();
    fs::write(occupied.root().join("occupied"), "a file").unwrap();
    let below = occupied.root().join("occupied/store").display().to_string();
    let inside = occupied.root().join("fast/staging").display().to_string();
    let setups = [
        Setup::new().set("DEFAULT", "enabled_backends", "fast:file,slow:swift"),
        Setup::new().set("DEFAULT", "enabled_backends", "fast:file,os_glance_x:file"),
        Setup::new().set("glance_store", "default_backend", "nope"),
        Setup::new().unset("glance_store", "default_backend"),
        Setup::new().set("DEFAULT", "image_size_cap", "big"),
        Setup::new().set("image_import_opts", "image_import_plugins", "acme_scanner"),
        Setup::new().set("DEFAULT", "log_file", "/no/such/directory/glissade.log"),
        Setup::new().set("DEFAULT", "log_file", "/tmp"),
        Setup::new().set("image_import_opts", "image_import_plugins", "external_command"),
        Setup::new().set("image_import_opts", "image_import_plugins", "external_command").set(
            "glissade",
            "external_command",
            "scan --fast",
        ),
        Setup::new().set("image_import_opts", "image_import_plugins", "external_command").set(
            "glissade",
            "external_command",
            "/no/such/program",
        ),
        Setup::new().set("os_glance_staging_store", "filesystem_store_datadir", &inside).set(
            "fast",
            "filesystem_store_datadir",
            &inside.replace("/staging", ""),
        ),
        Setup::new().set("paste_deploy", "flavor", "cachemanagement"),
        Setup::new().set("slow", "filesystem_store_datadir", &below),
        // Nobody makes files there, whatever the rights say.
        Setup::new().set("fast", "filesystem_store_datadir", "/proc"),
        Setup::new().set("slow", "filesystem_store_datadir", "/proc/images/slow"),
        Setup::new().set("os_glance_staging_store", "filesystem_store_datadir", "/proc/staging"),
        Setup::new().set("os_glance_tasks_store", "filesystem_store_datadir", "/proc/self"),
        Setup::new().set("DEFAULT", "bind_port", &port),
        Setup::new().set("glissade", "admin_listen", &format!("127.0.0.1:{port}")),
    ];
    for setup in setups {
        let more = ["--listen", "127.0.0.1:0"];
        let is_address = fs::read_to_string(setup.write()).unwrap().contains(&port);
        let more = if is_address { &[][..] } else { &more[..] };
        let served = command("serve", &setup, more).output().unwrap();
        let said = String::from_utf8_lossy(&served.stderr).into_owned();
        let refusal = said.lines().filter(|line| line.starts_with("glissade: "));
        let refusal: Vec<_> = refusal.collect();
        assert!(!served.status.success() && refusal.len() == 1, "{said}");
        let checked = check(&setup, more);
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert_eq!(checked.status.code(), served.status.code());
        assert!(said.starts_with(refusal[0]), "{said:?} in place of {refusal:?}");
        let document = document(&setup, more);
        assert_eq!(document["starts"], false);
        let message = document["error"].as_str().unwrap();
        assert_eq!(format!("glissade: {message}"), refusal[0]);
    }
}

#[test]
fn cf_33_of_several_directories_those_that_are_not_there_are_told() {
    let setup = Setup::new().set("fast", "filesystem_store_datadir", "");
    let place = |name: &str| setup.root().join(name).display().to_string();
    fs::create_dir(place("here")).unwrap();
    // The key is there once for each.
    let dirs = format!("{}:1\nfilesystem_store_datadirs = {}:2", place("here"), place("there"));
    let setup = setup.set("fast", "filesystem_store_datadirs", &dirs);
    let document = document(&setup, &LOOPBACK);
    let (outcome, said) = probe(&document, "store fast");
    assert_eq!(outcome, "doubtful", "{said}");
    assert!(
        said.contains("there is not there; a server") && said.contains("here: writable"),
        "{said}"
    );
    let mut left = names_in(setup.root());
    left.sort();
    assert_eq!(left, ["glance-api.conf", "here"]);
    assert!(names_in(&setup.root().join("here")).is_empty());
}

/// As oslo.config has it: over the files, under the command line.
#[test]
fn cf_01_the_environment_is_heard() {
    let setup = Setup::new().set("DEFAULT", "debug", "false");
    let said = |name: &str, value: &str| {
        let mut command = command("check", &setup, &[&LOOPBACK[..], &["--json"]].concat());
        let output = command.env(name, value).env("OS_AUTH_URL", "http://k").output().unwrap();
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.success(), document)
    };
    let (starts, document) = said("OS_DEFAULT__DEBUG", "maybe");
    assert!(!starts, "{document:#}");
    let message = document["error"].as_str().unwrap();
    assert!(message.starts_with("OS_DEFAULT__DEBUG: [DEFAULT] debug = maybe"), "{message}");
    let (starts, document) = said("OS_DEFAULT__DEBUG", "true");
    assert!(starts, "{document:#}");
    let options = document["options"].as_array().unwrap();
    let debug = options.iter().filter(|option| option["key"] == "debug");
    let standings: Vec<_> = debug.map(|option| &option["standing"]).collect();
    assert_eq!(standings, ["overridden", "honoured"]);
    let debug = options.iter().rfind(|option| option["key"] == "debug").unwrap();
    assert_eq!(debug["variable"], "OS_DEFAULT__DEBUG");
    assert!(debug["line"].is_null() && debug["file"].is_null(), "{debug:#}");
    let (starts, document) = said("OS_FAST__FILESYSTEM_STORE_FILE_PERM", "rw");
    assert!(
        !starts && document.to_string().contains("OS_FAST__FILESYSTEM_STORE_FILE_PERM: [fast]")
    );
}

#[test]
fn cf_09_a_pipeline_says_who_tells_who_calls() {
    let shipped = include_str!("../fixtures/config/glance-api-paste-33.ini");
    let setup = Setup::new();
    assert!(probe(&document(&setup, &LOOPBACK), "callers").1.ends_with("by flavor alone"));
    fs::write(setup.root().join("glance-api-paste.ini"), shipped).unwrap();
    let said = document(&setup, &LOOPBACK);
    let (outcome, said) = probe(&said, "callers");
    assert!(outcome == "ok" && said.contains("everyone is an administrator, by the pipeline in"));
    let scanned = shipped.replace("osprofiler unauthenticated", "scanner unauthenticated");
    fs::write(setup.root().join("glance-api-paste.ini"), scanned).unwrap();
    let refused = document(&setup, &LOOPBACK);
    assert!(refused["starts"] == false && refused.to_string().contains("filter scanner of"));
    let setup = setup.set("paste_deploy", "config_file", "elsewhere.ini");
    assert!(document(&setup, &LOOPBACK).to_string().contains("there is no such file"));
}

#[test]
fn cf_33_keystone_is_asked_for_a_token() {
    let Some((cloud, _present)) = Cloud::present() else { return };
    let setup = Setup::new().asking(&cloud);
    let document_of = |setup: &Setup| document(setup, &LOOPBACK);
    let fine = document_of(&setup);
    let (outcome, said) = probe(&fine, "keystone");
    assert!(outcome == "ok" && said.contains("lets this server in"), "{said}");
    assert!(probe(&fine, "callers").1.starts_with("tokens are checked with Keystone"));
    let refused = document_of(&setup.set("keystone_authtoken", "password", "hunter2"));
    let (outcome, said) = probe(&refused, "keystone");
    assert!(outcome == "doubtful" && said.contains("are refused"), "{said}");
    assert!(refused["starts"] == true && !refused.to_string().contains("hunter2"));
}
