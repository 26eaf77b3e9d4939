//! Goal: what was uploaded is what Ceph's own tools see, whole, in its place and shape.
//!
//! Method: `rbd info`, `snap ls`, `export` and `clone` on what a real server wrote.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Ceph, assert_holds};
use crate::check::{LOOPBACK, document, probe};
use crate::common::{Body, Framing, KIB, MIB, Setup, Upload, eventually, glissade};

#[test]
fn rb_01_rb_02_rb_03_cephs_tools_see_what_was_uploaded() {
    let Some(ceph) = Ceph::open() else { return };
    let server = ceph.setup().start();
    let fsid = ceph.run("ceph", &["fsid"]);
    let bodies = [
        (Body::new(1, 0), Framing::Length),
        (Body::new(2, 1), Framing::Chunked(1)),
        (Body::new(3, 45 * MIB + 7), Framing::Length),
        (Body::new(4, 45 * MIB + 7), Framing::Chunked(64 * KIB as usize)),
    ];
    for (body, framing) in bodies {
        let image = server.create();
        Upload::new(&image, body).framing(framing).run(server.address()).assert(204, "");
        let info = ceph.rbd_json(&["info", &image]);
        assert_eq!((&info["size"], &info["order"]), (&body.bytes.into(), &23.into()), "{info}");
        assert_eq!(info["format"], 2);
        let snapshots = ceph.rbd_json(&["snap", "ls", &image]);
        assert_eq!(snapshots[0]["name"], "snap");
        assert_eq!(snapshots[0]["protected"], "true");
        assert_eq!(snapshots.as_array().unwrap().len(), 1);
        let location = &server.show(&image)["locations"][0];
        assert_eq!(location["url"], format!("rbd://{}/images/{image}/snap", fsid.trim()));
        assert_eq!(location["metadata"]["store"], "deep");
        assert_holds(&ceph, &server, &image, body);
        assert_eq!(server.delete(&image), 204);
        ceph.assert_only(&[]);
    }
}

/// What the cluster does for a resize holds up the upload, and once more at the end of it.
#[test]
fn rb_03_an_image_of_known_size_is_never_resized_and_others_a_few_times() {
    let Some(ceph) = Ceph::open() else { return };
    let server = ceph.setup().set("DEFAULT", "debug", "true").start();
    let (body, chunked) = (Body::new(9, 45 * MIB + 7), Framing::Chunked(64 * KIB as usize));
    let upload = |image: &str| Upload::new(image, body);
    let size = body.bytes.to_string();
    let mut resizes = 0;
    let mut resizes_of = |upload: Upload| {
        let image = upload.image().to_owned();
        upload.run(server.address()).assert(204, "");
        assert_eq!(ceph.rbd_json(&["info", &image])["size"], body.bytes);
        assert_eq!(server.delete(&image), 204);
        let before = std::mem::replace(&mut resizes, server.log().matches("resizing").count());
        resizes - before
    };
    assert_eq!(resizes_of(upload(&server.create())), 0);
    let told = upload(&server.create()).framing(chunked).header("x-openstack-image-size", &size);
    assert_eq!(resizes_of(told), 0);
    // To 8, 24 and 56 MiB, and back to what has come.
    assert_eq!(resizes_of(upload(&server.create()).framing(chunked)), 4);
    ceph.assert_only(&[]);
}

#[test]
fn dd_05_any_range_is_served() {
    let Some(ceph) = Ceph::open() else { return };
    let server = ceph.setup().start();
    let body = Body::new(5, 20 * MIB + 3);
    let image = server.create_with(body);
    server.assert_ranges(&image, body);
    assert_eq!(server.delete(&image), 204);
    ceph.assert_only(&[]);
}

#[test]
fn rb_06_clones_of_the_first_kind_keep_an_image() {
    let Some(ceph) = Ceph::open() else { return };
    let server = ceph.setup().start();
    let body = Body::new(6, 3 * MIB);
    let image = server.create_with(body);
    let snapshot = format!("{image}@snap");
    ceph.rbd(&["clone", "--rbd-default-clone-format", "1", &snapshot, "images/child"]);
    let refused = server.call("DELETE", &format!("/v2/images/{image}"));
    refused.assert(409, "could not be deleted because it is in use");
    assert_holds(&ceph, &server, &image, body);
    assert_eq!(ceph.rbd_json(&["snap", "ls", &image])[0]["protected"], "true");
    ceph.rbd(&["rm", "--no-progress", "child"]);
    assert_eq!(server.delete(&image), 204);
    ceph.assert_only(&[]);
}

#[test]
fn rb_06_clones_of_the_second_kind_and_other_snapshots_send_it_to_the_trash() {
    let Some(ceph) = Ceph::open() else { return };
    let server = ceph.setup().start();
    let body = Body::new(7, 3 * MIB);
    let image = server.create_with(body);
    let snapshot = format!("{image}@snap");
    ceph.rbd(&["clone", "--rbd-default-clone-format", "2", &snapshot, "images/child"]);
    assert_eq!(server.delete(&image), 204);
    ceph.assert_only(&["child"]);
    let exported = server.root().join("child");
    ceph.rbd(&["export", "--no-progress", "child", exported.to_str().unwrap()]);
    body.assert_stored_at(&exported);
    ceph.rbd(&["rm", "--no-progress", "child"]);
    let other = server.create_with(body);
    ceph.rbd(&["snap", "create", "--no-progress", &format!("{other}@mine")]);
    assert_eq!(server.delete(&other), 204);
    assert!(ceph.images().is_empty());
    assert_eq!(ceph.rbd_json(&["trash", "ls"]).as_array().unwrap().len(), 2);
    for trashed in ceph.rbd_json(&["trash", "ls"]).as_array().unwrap() {
        let id = trashed["id"].as_str().unwrap();
        if trashed["name"] == other.as_str() {
            ceph.rbd(&["snap", "rm", "--no-progress", "--image-id", id, "--snap", "mine"]);
        }
        ceph.rbd(&["trash", "rm", "--no-progress", id]);
    }
    ceph.assert_only(&[]);
}

#[test]
fn di_03_the_pool_is_shown_to_the_operator() {
    let Some(ceph) = Ceph::open() else { return };
    let server = ceph.setup().set("deep", "rbd_store_chunk_size", "4").start();
    let fsid = ceph.run("ceph", &["fsid"]).trim().to_owned();
    let wanted = serde_json::json!({
        "chunk_size": 4 * MIB, "pool": "images", "thin_provisioning": false, "fsid": fsid
    });
    eventually("the cluster is known", || {
        let stores = server.call("GET", "/v2/info/stores/detail").json();
        let stores = stores["stores"].as_array().unwrap().clone();
        let deep = stores.iter().find(|store| store["id"] == "deep").unwrap();
        assert_eq!(deep["type"], "rbd");
        deep["properties"] == wanted
    });
}

#[test]
fn cf_33_check_looks_into_the_pool() {
    let Some(ceph) = Ceph::open() else { return };
    let fine = document(&ceph.setup(), &LOOPBACK);
    let (outcome, said) = probe(&fine, "store deep");
    assert!(outcome == "ok" && said.contains("pool images, 0 images"), "{said}");
    for (key, value) in [("rbd_store_pool", "no-such-pool"), ("rbd_store_user", "nobody")] {
        let setup = ceph.setup().set("deep", key, value).set("deep", "rados_connect_timeout", "3");
        let lost = document(&setup, &LOOPBACK);
        let (outcome, said) = probe(&lost, "store deep");
        assert_eq!(outcome, "doubtful", "{key}: {said}");
        assert_eq!(lost["starts"], true, "{key}");
    }
}

#[test]
fn a_host_without_librbd_refuses_the_store_and_names_the_package() {
    let setup = Setup::new().set("DEFAULT", "enabled_backends", "deep:rbd").set(
        "glance_store",
        "default_backend",
        "deep",
    );
    let Some(library) = librbd() else {
        let config = setup.write();
        let output = glissade(&["serve", "--config-file", config.to_str().unwrap()]).output();
        return assert_names_the_package(&output.unwrap());
    };
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: hiding librbd needs root");
    }
    let script = "mount --bind /dev/null \"$1\" && exec \"$2\" serve --config-file \"$3\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(library);
    command.arg(env!("CARGO_BIN_EXE_glissade")).arg(setup.write());
    assert_names_the_package(&command.output().unwrap());
}

/// Where this host keeps librbd, if it has it.
fn librbd() -> Option<PathBuf> {
    let output = Command::new("/sbin/ldconfig").arg("-p").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.trim_start().starts_with("librbd.so.1 "))?;
    Some(std::fs::canonicalize(Path::new(line.split("=> ").nth(1)?)).unwrap())
}

#[track_caller]
fn assert_names_the_package(output: &std::process::Output) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(text.contains("store deep") && text.contains("librbd1"), "{text}");
}
