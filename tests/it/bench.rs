//! Goal: the benches that start servers of their own run, and leave nothing.
//!
//! Method: the command as an operator gives it, with images so small that a busy machine has them
//! done in a moment. What came of it is read from its JSON; no figure of time is judged.

use std::path::Path;

use serde_json::Value;

use crate::common::{MIB, glissade, names_in};

fn report(arguments: &[&str]) -> Value {
    let output = glissade(&[&["bench"], arguments, &["--json"]].concat()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn if_15_bench_import_reads_nothing_of_what_it_imports() {
    let dir = tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
    let path = dir.path().to_str().unwrap();
    let sizes = ["--size", "2MiB", "--zeros", "4MiB", "--rounds", "2"];
    let report = report(&[&["import", "--dir", path], &sizes[..]].concat());
    let images = report["images"].as_array().unwrap();
    assert_eq!(images.len(), 2, "{report:#}");
    for (images, bytes) in images.iter().zip([2 * MIB, 4 * MIB]) {
        assert_eq!(images["size"], bytes, "{report:#}");
        assert_eq!(images["rounds"].as_array().unwrap().len(), 2, "{report:#}");
        assert!(images["read"]["called"].as_u64().unwrap() < MIB, "{report:#}");
        assert!(images["import_ms_min"].as_f64().unwrap() > 0.0, "{report:#}");
        assert!(images["sync_ms"].as_f64().unwrap() > 0.0, "{report:#}");
    }
    assert!(report["first"]["import_ms"].as_f64().unwrap() > 0.0, "{report:#}");
    assert!(images[0]["ratio"].is_number() && images[1]["ratio"].is_null(), "{report:#}");
    assert_eq!(names_in(dir.path()), [""; 0]);
}

#[test]
fn bench_import_says_which_stores_there_are() {
    let dir = tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
    let path = dir.path().to_str().unwrap();
    let output = glissade(&["bench", "import", "--dir", path, "--data-dir", path, "--store", "x"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("there is no store x"), "{output:?}");
    assert_eq!(names_in(dir.path()), [""; 0]);
}
