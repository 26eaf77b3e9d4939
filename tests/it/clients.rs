//! Goal: the clients that people use work unmodified: python-openstackclient, python-glanceclient
//! and openstacksdk, with tokens of a real Keystone and an address from its catalog.
//!
//! Method: `tests/clients/suite.py` does with each of them what its users do, imports of every kind
//! included, and asserts every step. Imports from the web and from another region's Glance come from
//! loopback, which the server is told to trust.

use std::path::Path;
use std::process::Command;

use crate::common::{Cloud, Setup};
use crate::env;

/// All that there are; a default server leaves the last out.
const METHODS: &str = "[glance-direct,web-download,copy-image,glance-download]";

#[test]
fn unmodified_clients_work() {
    let Some((cloud, _present)) = Cloud::present() else { return };
    let Some(clients) = env::directory("clients") else { return };
    let server = Setup::new()
        .asking(&cloud)
        .set("import_filtering_opts", "allowed_hosts", "127.0.0.1")
        .set("import_filtering_opts", "allowed_ports", "[]")
        .set("DEFAULT", "enabled_import_methods", METHODS)
        .start();
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/suite.py");
    let python = std::fs::read_to_string(clients.join("python")).unwrap();
    let output = Command::new(python.trim())
        .arg(suite)
        .arg(cloud.file())
        .arg(format!("http://{}", server.address()))
        .env("PYTHONWARNINGS", "ignore")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(server.root())
        .output()
        .unwrap();
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{}\n{}", said[0], said[1]);
    assert!(said[0].contains(" passed, 0 failed"), "{}", said[0]);
}
