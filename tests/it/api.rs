//! Goal: the thin control plane speaks as Glance 33 does, over the real server (rows `PR-*`,
//! `CR-*`, `LI-*`, `SD-*`, `DI-*`).
//!
//! Method: one request each, judged against the recorded answers of Glance.

use serde_json::{Value, json};

use crate::common::{Body, Response, Server, Setup, Upload};

const UNKNOWN: &str = "7a1e9b1c-0000-4000-8000-000000000000";

fn server() -> Server {
    Setup::new().start()
}

fn ids(page: &Value) -> Vec<String> {
    let images = page["images"].as_array().unwrap().iter();
    images.map(|image| image["id"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn assert_request_id(answer: &Response) -> String {
    let id = answer.head.header("x-openstack-request-id").expect("a request id");
    assert!(id.starts_with("req-") && id.len() == 40, "{id}");
    id.to_owned()
}

#[test]
fn versions_are_offered() {
    let server = server();
    let hosted = format!("http://{}/v2/", server.address());
    let host = ("Host", server.address().to_string());
    for (target, status) in [("/", 300), ("/versions", 200), ("/v1/images", 300), ("/v3", 300)] {
        let request = format!("GET {target} HTTP/1.1\r\n{}: {}\r\n\r\n", host.0, host.1);
        let mut conn = server.conn();
        conn.send(request.as_bytes()).unwrap();
        let answer = conn.response().unwrap();
        assert_eq!(answer.status(), status, "{target}");
        assert_eq!(answer.head.header("content-type"), Some("application/json"));
        let versions = answer.json()["versions"].clone();
        let ids: Vec<&str> =
            versions.as_array().unwrap().iter().map(|v| v["id"].as_str().unwrap()).collect();
        // PR-03: without an image cache, with several stores.
        for (id, is_listed) in [
            ("v2.18", false),
            ("v2.16", false),
            ("v2.14", false),
            ("v2.17", true),
            ("v2.15", true),
            ("v2.13", true),
            ("v2.8", true),
            ("v2.0", true),
        ] {
            assert_eq!(ids.contains(&id), is_listed, "{id} of {ids:?}");
        }
        let current = versions.as_array().unwrap().iter().filter(|v| v["status"] == "CURRENT");
        assert_eq!(current.map(|v| &v["id"]).collect::<Vec<_>>(), ["v2.17"]);
        assert_eq!(versions[0]["links"][0]["href"], hosted.as_str());
    }
    let moved = server.call("GET", "/v2");
    assert_eq!(moved.status(), 302);
    assert!(moved.head.header("location").unwrap().ends_with("/v2/"));
    assert_eq!(server.call("GET", "/v2/").status(), 404);
    server.call("GET", "/v2.3/images").assert(200, "images");
}

/// Who asks what may be imported learns what becomes of it as well.
#[test]
fn di_01_what_becomes_of_images_is_told() {
    let plugins = "[image_decompression, image_conversion]";
    let setup = Setup::new()
        .set("image_import_opts", "image_import_plugins", plugins)
        .set("image_conversion", "output_format", "qcow2")
        .set("DEFAULT", "image_size_cap", "4096")
        .set("image_format", "disk_formats", "raw,qcow2");
    let told = setup.start().call("GET", "/v2/info/import").assert(200, "").json();
    let value = |name: &str| told[name]["value"].clone();
    assert_eq!(value("source_archive_formats"), json!(["gzip", "zip", "xz", "zstd", "bzip2"]));
    assert_eq!(value("target_disk_formats"), json!(["qcow2"]));
    assert_eq!(value("source_disk_formats"), json!(["raw", "qcow2"]));
    assert_eq!(value("max_upload_bytes"), 4096);
    assert!(value("import-methods").as_array().unwrap().contains(&json!("glance-direct")));
}

#[test]
fn health_is_told() {
    let server = server();
    let answer = server.call("GET", "/healthcheck");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "OK"));
}

#[test]
fn an_image_is_created_as_asked() {
    let server = server();
    let answer = server.create_from(&json!({
        "name": "full", "disk_format": "qcow2", "container_format": "bare",
        "visibility": "private", "min_ram": 512, "min_disk": 1, "tags": ["b", "a"],
        "os_distro": "debian", "custom": "x"
    }));
    answer.assert(201, "full");
    assert_request_id(&answer);
    let record = answer.json();
    let id = record["id"].as_str().unwrap();
    let location = answer.head.header("location").unwrap();
    assert!(location.ends_with(&format!("/v2/images/{id}")), "{location}");
    assert_eq!(answer.head.header("openstack-image-store-ids"), Some("fast,slow,web"));
    for (key, value) in [
        ("status", json!("queued")),
        ("tags", json!(["a", "b"])),
        ("custom", json!("x")),
        ("os_distro", json!("debian")),
        ("min_ram", json!(512)),
        ("size", Value::Null),
        ("os_hidden", json!(false)),
        ("protected", json!(false)),
        ("checksum", Value::Null),
        ("self", json!(format!("/v2/images/{id}"))),
        ("file", json!(format!("/v2/images/{id}/file"))),
        ("schema", json!("/v2/schemas/image")),
    ] {
        assert_eq!(record[key], value, "{key}");
    }
    assert!(record.get("locations").is_none() && record.get("direct_url").is_none());
    assert_eq!(server.show(id), record);
}

#[test]
fn wrong_records_are_refused() {
    let server = server();
    let known = server.create();
    for (record, status) in [
        (json!({"id": "not-a-uuid"}), 400),
        (json!({"id": known}), 409),
        (json!({"disk_format": "floppy"}), 400),
        (json!({"container_format": "jar"}), 400),
        (json!({"visibility": "secret"}), 400),
        (json!({"min_ram": -1}), 400),
        (json!({"min_disk": 2_147_483_648_u64}), 400),
        (json!({"min_ram": "12"}), 400),
        (json!({"custom": 5}), 400),
        (json!({"name": "n".repeat(256)}), 400),
        (json!({"tags": ["t".repeat(256)]}), 400),
        (json!({"name": "\u{1f600}"}), 400),
        (json!({"status": "active"}), 403),
        (json!({"checksum": "0"}), 403),
        (json!({"os_glance_mine": "x"}), 403),
        (json!({"locations": []}), 403),
        (json!("text"), 400),
        (json!([]), 400),
    ] {
        let answer = server.create_from(&record);
        assert_eq!(answer.status(), status, "{record}: {}", answer.text());
    }
    for body in ["{", "", "\u{0}"] {
        let headers = [("Content-Type", "application/json")];
        let answer = server.conn().call("POST", "/v2/images", &headers, body.as_bytes());
        assert_eq!(answer.status(), 400, "{body:?}");
    }
    let deleted = server.create();
    assert_eq!(server.delete(&deleted), 204);
    assert_eq!(server.create_from(&json!({"id": deleted})).status(), 409, "an id is never reused");
    let many: serde_json::Map<String, Value> =
        (0..129).map(|i| (format!("p{i}"), json!("x"))).collect();
    assert_eq!(server.create_from(&Value::Object(many)).status(), 413);
}

#[test]
fn lists_are_paged() {
    let server = server();
    let mut made: Vec<String> = (0..30).map(|_| server.create()).collect();
    let first = server.call("GET", "/v2/images").json();
    assert_eq!(ids(&first).len(), 25, "limit_param_default");
    assert_eq!(first["first"], "/v2/images");
    assert_eq!(first["schema"], "/v2/schemas/images");
    let mut listed: Vec<String> =
        server.list().iter().map(|image| image["id"].as_str().unwrap().to_owned()).collect();
    made.sort();
    listed.sort();
    assert_eq!(listed, made);
    let (mut seen, mut next) = (Vec::new(), Some("/v2/images?limit=7".to_owned()));
    while let Some(target) = next {
        let page = server.call("GET", &target).json();
        seen.extend(ids(&page));
        next = page["next"].as_str().map(str::to_owned);
    }
    seen.sort();
    assert_eq!(seen, made, "pages of seven");
    let none = server.call("GET", "/v2/images?limit=0").json();
    assert_eq!(
        none,
        json!({
            "images": [], "first": "/v2/images?limit=0", "schema": "/v2/schemas/images"
        })
    );
    server.call("GET", "/v2/images?limit=x").assert(400, "limit param must be an integer");
    assert_eq!(server.call("GET", "/v2/images?limit=-1").status(), 400);
    server.call("GET", &format!("/v2/images?marker={UNKNOWN}")).assert(400, UNKNOWN);
    let marker = server.call("GET", &format!("/v2/images?limit=3&marker={}", ids(&first)[4]));
    assert_eq!(ids(&marker.json()), ids(&first)[5..8]);
}

#[test]
fn an_image_is_shown_and_deleted() {
    let server = server();
    let image = server.create_with(Body::new(1, 1000));
    assert_eq!(server.show(&image)["stores"], "fast");
    let path = server.store("fast").join(&image);
    assert!(path.exists());
    assert_eq!(server.delete(&image), 204);
    assert!(!path.exists());
    let target = format!("/v2/images/{image}");
    server.call("GET", &target).assert(404, "No image found with ID");
    server.call("DELETE", &target).assert(404, "Failed to find image");
    server.call("GET", "/v2/images/nonsense").assert(404, "");
    let kept = server.create_from(&json!({"protected": true})).json();
    let target = format!("/v2/images/{}", kept["id"].as_str().unwrap());
    server.call("DELETE", &target).assert(403, "is protected and cannot be deleted.");
    server.assert_only(&[]);
}

/// A file that is gone does not keep its record (`FS-07`).
#[test]
fn a_delete_survives_a_missing_file() {
    let server = Setup::new().log_may_complain().start();
    let image = server.create_with(Body::new(1, 1000));
    std::fs::remove_file(server.store("fast").join(&image)).unwrap();
    assert_eq!(server.delete(&image), 204);
}

#[test]
fn locations_are_shown_when_asked() {
    let setup = Setup::new().set("DEFAULT", "show_multiple_locations", "true");
    let server = setup.set("DEFAULT", "show_image_direct_url", "true").start();
    let image = server.create();
    assert_eq!(server.show(&image)["locations"], json!([]));
    Upload::new(&image, Body::new(1, 10)).run(server.address()).assert(204, "");
    let url = format!("file://{}", server.store("fast").join(&image).display());
    let record = server.show(&image);
    assert_eq!(record["locations"], json!([{"url": url, "metadata": {"store": "fast"}}]));
    assert_eq!(record["direct_url"], url);
}

#[test]
fn a_store_can_be_chosen() {
    let server = server();
    for store in ["fast", "slow"] {
        let image = server.create();
        let body = Body::new(2, 50_000);
        let upload = Upload::new(&image, body).header("X-Image-Meta-Store", store);
        upload.run(server.address()).assert(204, "");
        server.assert_holds(&image, body, store);
    }
}

#[test]
fn stores_are_told_without_the_reserved() {
    let server = server();
    let stores = server.call("GET", "/v2/info/stores").assert(200, "").json();
    assert_eq!(
        stores,
        json!({"stores": [
            {"id": "fast", "default": "true"}, {"id": "slow"},
            {"id": "web", "description": "read-only", "read-only": "true"}
        ]})
    );
    let detail = server.call("GET", "/v2/info/stores/detail").assert(200, "").json();
    let fast = &detail["stores"][0];
    assert_eq!((&fast["type"], &fast["weight"]), (&json!("file"), &json!(0)));
    let directory = server.store("fast").display().to_string();
    assert_eq!(
        fast["properties"],
        json!({
            "data_dir": directory, "chunk_size": 65536, "thin_provisioning": false
        })
    );
    assert!(!detail.to_string().contains("os_glance_"));
    let methods = server.call("GET", "/v2/info/import").assert(200, "").json();
    assert_eq!(methods["import-methods"]["type"], "array");
}

/// Without `enabled_backends` there is one store and no word of it (`CF-20`, `DU-03`, `DI-02`).
#[test]
fn the_older_single_store_works() {
    let setup = Setup::new().unset("DEFAULT", "enabled_backends");
    let setup = setup.unset("glance_store", "default_backend");
    let staging = format!("file://{}/staging", setup.root().display());
    let directory = setup.root().join("fast").display().to_string();
    let setup = setup.set("DEFAULT", "node_staging_uri", &staging);
    let setup = setup.set("glance_store", "filesystem_store_datadir", &directory);
    let server = setup.log_may_complain().start();
    let image = server.create();
    let upload = Upload::new(&image, Body::new(1, 1000)).header("X-Image-Meta-Store", "nope");
    upload.run(server.address()).assert(204, "");
    Body::new(1, 1000).assert_stored_at(&server.store("fast").join(&image));
    assert!(server.show(&image).get("stores").is_none());
    assert_eq!(server.call("GET", "/v2/info/stores").status(), 404);
}

#[test]
fn errors_follow_accept() {
    let server = server();
    let target = format!("/v2/images/{UNKNOWN}");
    let ask = |accept| server.conn().call("GET", &target, &[("Accept", accept)], b"");
    let html = ask("*/*");
    html.assert(404, "<h1>404 Not Found</h1>");
    assert_eq!(html.head.header("content-type"), Some("text/html; charset=UTF-8"));
    let json = ask("application/json").json();
    assert_eq!((&json["code"], &json["title"]), (&json!("404 Not Found"), &json!("Not Found")));
    assert!(json["message"].as_str().unwrap().contains(UNKNOWN));
    let text = ask("text/plain");
    assert!(text.text().starts_with("404 Not Found"), "{}", text.text());
    assert_ne!(assert_request_id(&html), assert_request_id(&text));
}

#[test]
fn methods_are_judged() {
    let server = server();
    let image = server.create();
    for (method, target, allow) in [
        ("HEAD", format!("/v2/images/{image}"), "GET"),
        ("POST", format!("/v2/images/{image}"), "DELETE"),
        ("PUT", "/v2/images".to_owned(), "POST"),
        ("DELETE", "/v2/images".to_owned(), "GET"),
        ("DELETE", format!("/v2/images/{image}/file"), "PUT"),
    ] {
        let mut conn = server.conn();
        conn.send(format!("{method} {target} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).unwrap();
        let head = conn.head().unwrap();
        assert_eq!(head.status, 405, "{method} {target}");
        assert!(head.header("allow").unwrap().contains(allow), "{method} {target}");
    }
    server.call("GET", "/v2/nope").assert(404, "The resource could not be found.");
    let target = format!("/v2/images/{image}");
    assert_eq!(server.conn().call("GET", &target, &[], b"x").status(), 400, "PR-06");
}

/// What clients do with a record besides uploading, over a real connection.
#[test]
fn records_are_changed_listed_and_shared() {
    let server = server();
    let id = server.create_with(Body::new(1, 10_000));
    let image = format!("/v2/images/{id}");
    let change = json!([{"op": "add", "path": "/os_distro", "value": "debian"}]);
    server.patch(&id, &change).assert(200, "\"os_distro\": \"debian\"");
    let json = ("Content-Type", "application/json");
    let change = change.to_string();
    server
        .conn()
        .call("PATCH", &image, &[json], change.as_bytes())
        .assert(415, "Image PATCH expects");

    let conn = &mut server.conn();
    conn.call("PUT", &format!("{image}/tags/t1"), &[], b"").assert(204, "");
    let list = "/v2/images?tag=t1&os_distro=debian&sort=name:asc&size_min=10000";
    conn.call("GET", list, &[], b"").assert(200, &id);
    conn.call("GET", &format!("{list}&name=no"), &[], b"").assert(200, "{\"images\": []");
    conn.call("GET", "/v2/images?size=x", &[], b"").assert(400, "must be an integer");

    let members = format!("{image}/members");
    conn.call("POST", &members, &[json], br#"{"member": "p"}"#).assert(200, "pending");
    let accept = br#"{"status": "accepted"}"#;
    conn.call("PUT", &format!("{members}/p"), &[json], accept).assert(200, "accepted");
    conn.call("DELETE", &format!("{members}/p"), &[], b"").assert(204, "");

    conn.call("POST", &format!("{image}/actions/deactivate"), &[], b"").assert(204, "");
    let file = format!("{image}/file");
    assert_eq!(server.call("GET", &file).status(), 200, "an administrator still reads it");
    conn.call("POST", &format!("{image}/actions/reactivate"), &[], b"").assert(204, "");
    conn.call("GET", "/v2/schemas/image", &[], b"").assert(200, "\"disk_format\"");
    conn.call("GET", "/v2/tasks", &[], b"").assert(200, "{\"tasks\": []");
}

/// An upload's stages and its result are counted.
#[test]
fn uploads_are_counted() {
    let server = server();
    let count = |server: &Server| server.metrics().sum("glissade_uploads_total");
    server.create_with(Body::new(1, 3_000_000));
    let before = count(&server);
    server.create_with(Body::new(1, 3_000_000));
    assert_eq!(count(&server), before + 1.0);
    let metrics = server.metrics();
    assert_eq!(metrics.sum("glissade_uploads_active"), 0.0);
    assert_eq!(metrics.sum("glissade_lane_queue_chunks"), 0.0);
    assert_eq!(metrics.sum("glissade_ring_info"), 1.0);
}

/// Versions that are not listed are none: the choices come back, for image data too.
#[test]
fn pr_04_only_listed_versions_may_be_named() {
    let server = Setup::new().start();
    let image = server.create();
    server.call("GET", "/v2.13/images").assert(200, "images");
    for path in ["/v2.14/images".to_owned(), format!("/v2.16/images/{image}/file")] {
        server.call("GET", &path).assert(300, "v2.13");
    }
    let cache = server.root().join("cache").display().to_string();
    let server = Setup::new().set("DEFAULT", "image_cache_dir", &cache).start();
    server.call("GET", "/v2.14/images").assert(200, "images");
    server.call("GET", "/versions").assert(200, "v2.18");
}
