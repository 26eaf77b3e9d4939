//! Goal: who calls is what Keystone says, and what it has said is not asked twice (`PR-07`,
//! `PR-12`, `PR-13`, `CF-10`).
//!
//! Method: a real Keystone (`tests/env/keystone`) and a real server that asks it; how often it has
//! asked stands in its metrics.

use serde_json::json;

use crate::common::{Body, Cloud, Conn, Response, Server, Setup, Upload, eventually};

#[track_caller]
fn list(server: &Server, headers: &[(&str, &str)]) -> Response {
    server.conn().call("GET", "/v2/images", headers, b"")
}

/// Tokens that came to an end, by how.
fn lookups(server: &Server, result: &str) -> f64 {
    server.metrics().with("glissade_token_lookups_total", &format!("result=\"{result}\""))
}

#[test]
fn pr_12_a_token_is_asked_about_once_however_many_bring_it() {
    let Some((cloud, _present)) = Cloud::present() else { return };
    let server = Setup::new().asking(&cloud).start();
    let token = cloud.token("member");
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                list(&server, &[("X-Auth-Token", &token)]).assert(200, "images");
            });
        }
    });
    assert_eq!((lookups(&server, "valid"), lookups(&server, "remembered")), (1.0, 11.0));
    list(&server, &[("X-Auth-Token", &cloud.token("member"))]).assert(200, "images");
    assert_eq!(lookups(&server, "valid"), 2.0, "another token is another question");
}

#[test]
fn pr_07_without_a_valid_token_clients_are_sent_to_keystone() {
    let Some((cloud, _present)) = Cloud::present() else { return };
    let server = Setup::new().asking(&cloud).start();
    let long = "x".repeat(9000);
    let any = ("Accept", "*/*");
    for headers in
        [&[any][..], &[any, ("X-Auth-Token", "garbage")], &[any, ("X-Auth-Token", &long)]]
    {
        for _ in 0..2 {
            let answer = list(&server, headers);
            answer.assert(401, "<h1>401 Unauthorized</h1>");
            let uri = format!("Keystone uri=\"{}\"", cloud.url());
            assert_eq!(answer.head.header("www-authenticate"), Some(uri.as_str()));
        }
    }
    assert_eq!(lookups(&server, "invalid"), 1.0, "garbage is remembered, too");
    let json = list(&server, &[("Accept", "application/json")]);
    assert_eq!(json.assert(401, "message").json()["code"], "401 Unauthorized");
    assert_eq!(server.call("GET", "/").status(), 300);
    assert_eq!(server.call("GET", "/healthcheck").status(), 200);
}

/// The hot routes ask as well, before they take a byte.
#[test]
fn pr_07_data_needs_a_token() {
    let Some((cloud, _present)) = Cloud::present() else { return };
    let server = Setup::new().asking(&cloud).start();
    let token = cloud.token("member");
    let mut conn = server.conn();
    let record = json!({"disk_format": "raw", "container_format": "bare"}).to_string();
    let headers = [("X-Auth-Token", token.as_str()), ("Content-Type", "application/json")];
    let image = conn.call("POST", "/v2/images", &headers, record.as_bytes()).assert(201, "").json();
    assert_eq!(image["owner"], cloud.project_id("member"));
    let file = format!("/v2/images/{}/file", image["id"].as_str().unwrap());
    let data = [("Content-Type", "application/octet-stream")];
    server.conn().call("PUT", &file, &data, b"data").assert(401, "");
    let known = [data[0], ("X-Auth-Token", &token)];
    server.conn().call("PUT", &file, &known, b"data").assert(204, "");
    server.conn().call("GET", &file, &[], b"").assert(401, "");
    let headers = [("X-Auth-Token", token.as_str())];
    assert_eq!(server.conn().call("GET", &file, &headers, b"").body, b"data");
}

#[test]
fn pr_12_a_revoked_token_is_found_out() {
    let Some((cloud, _present)) = Cloud::present() else { return };
    let server = Setup::new().asking(&cloud).set("keystone_authtoken", "token_cache_time", "-1");
    let server = server.start();
    let token = cloud.token("reader");
    list(&server, &[("X-Auth-Token", &token)]).assert(200, "images");
    cloud.revoke(&token);
    list(&server, &[("X-Auth-Token", &token)]).assert(401, "");
}

/// A caller is asked when a request begins; a token that ends meanwhile costs no data.
#[test]
fn du_11_a_token_may_end_during_an_upload() {
    let Some((cloud, _present)) = Cloud::present() else { return };
    let server = Setup::new().asking(&cloud).set("keystone_authtoken", "token_cache_time", "-1");
    let server = server.start();
    let token = cloud.token("member");
    let headers = [("X-Auth-Token", token.as_str()), ("Content-Type", "application/json")];
    let record = json!({"disk_format": "raw", "container_format": "bare"}).to_string();
    let made = server.conn().call("POST", "/v2/images", &headers, record.as_bytes());
    let id = made.assert(201, "queued").json()["id"].as_str().unwrap().to_owned();
    let body = Body::new(11, 6_000_000);
    let upload = Upload::new(&id, body).header("X-Auth-Token", &token);
    let (bytes, mut conn) = (body.to_vec(), server.conn());
    conn.send(upload.head().as_bytes()).unwrap();
    conn.send(&bytes[..3_000_000]).unwrap();
    eventually("the upload has begun", || {
        server.metrics().sum("glissade_upload_bytes_total") > 0.0
    });
    cloud.revoke(&token);
    list(&server, &[("X-Auth-Token", &token)]).assert(401, "");
    conn.send(&bytes[3_000_000..]).unwrap();
    assert_eq!(conn.response().unwrap().status(), 204);
    body.assert_stored_at(&server.store("fast").join(&id));
}

/// Another project's image is not there, and an administrator's role is what the policy makes of it.
#[test]
fn pr_12_projects_and_roles_count() {
    let Some((cloud, _present)) = Cloud::present() else { return };
    let server = Setup::new().asking(&cloud).start();
    let ask = |user: &str, method: &str, target: &str| {
        let token = cloud.token(user);
        let headers = [("X-Auth-Token", token.as_str()), ("Content-Type", "application/json")];
        let body = if method == "POST" { &b"{}"[..] } else { b"" };
        server.conn().call(method, target, &headers, body)
    };
    let made = ask("member", "POST", "/v2/images").assert(201, "queued").json();
    let image = format!("/v2/images/{}", made["id"].as_str().unwrap());
    assert_eq!(ask("reader", "GET", &image).status(), 200);
    assert_eq!(ask("stranger", "GET", &image).status(), 404);
    assert_eq!(ask("reader", "POST", "/v2/images").status(), 403);
    assert_eq!(ask("reader", "DELETE", &image).status(), 403);
    assert_eq!(ask("member", "GET", "/v2/info/stores/detail").status(), 403);
    assert_eq!(ask("admin", "GET", "/v2/info/stores/detail").status(), 200);
    assert_eq!(ask("admin", "DELETE", &image).status(), 204);
}

/// Roles in the system or in a domain are no roles in a project, however high they are.
#[test]
fn po_20_tokens_of_the_system_or_a_domain_are_refused() {
    let Some((cloud, _present)) = Cloud::present() else { return };
    let server = Setup::new().asking(&cloud).start();
    let token = cloud.token("admin");
    let admin = [("X-Auth-Token", token.as_str())];
    let roles = cloud.call("GET", "/roles?name=admin", &admin, None).assert(200, "").json();
    let role = roles["roles"][0]["id"].as_str().unwrap();
    let grant = format!("/domains/default/users/{}/roles/{role}", cloud.user_id("admin"));
    assert_eq!(cloud.call("PUT", &grant, &admin, None).status(), 204);
    list(&server, &admin).assert(200, "images");
    let of_system = cloud.token_for("admin", &json!({"system": {"all": true}}));
    let of_domain = cloud.token_for("admin", &json!({"domain": {"id": "default"}}));
    for token in [&of_system, &of_domain] {
        let headers = [("X-Auth-Token", token.as_str()), ("Content-Type", "application/json")];
        list(&server, &headers).assert(403, "not authorized to complete get_images");
        let made = server.conn().call("POST", "/v2/images", &headers, b"{}");
        made.assert(403, "not authorized to complete add_image");
        let detail = server.conn().call("GET", "/v2/info/stores/detail", &headers, b"");
        assert_eq!(detail.status(), 403);
    }
    let server = Setup::new().asking(&cloud).set("oslo_policy", "enforce_scope", "false").start();
    for token in [&of_system, &of_domain] {
        list(&server, &[("X-Auth-Token", token)]).assert(200, "images");
    }
}

/// What a service does for a user may take longer than the user's token lives.
#[test]
fn pr_12_an_expired_token_counts_with_a_service_beside_it() {
    let Some((cloud, _present)) = Cloud::present() else { return };
    let server = Setup::new().asking(&cloud).start();
    let expired = cloud.expired_token("member");
    let user = ("X-Auth-Token", expired.as_str());
    list(&server, &[user]).assert(401, "");
    let (nova, member) = (cloud.token("nova"), cloud.token("member"));
    list(&server, &[user, ("X-Service-Token", &nova)]).assert(200, "images");
    list(&server, &[user, ("X-Service-Token", &member)]).assert(401, "");
    list(&server, &[user]).assert(401, "");
    let valid = ("X-Auth-Token", member.as_str());
    list(&server, &[valid, ("X-Service-Token", "garbage")]).assert(401, "");
    list(&server, &[valid, ("X-Service-Token", &nova)]).assert(200, "images");
}

#[test]
fn pr_13_headers_are_no_identity_where_keystone_is_asked() {
    let Some((cloud, _present)) = Cloud::present() else { return };
    let setup = Setup::new().asking(&cloud).set("glissade", "trusted_proxies", "127.0.0.1");
    let server = setup.start();
    let claimed = [
        ("X-Identity-Status", "Confirmed"),
        ("X-User-Id", "somebody"),
        ("X-Project-Id", "theirs"),
        ("X-Roles", "admin"),
    ];
    list(&server, &claimed).assert(401, "");
    let token = cloud.token("member");
    let json = ("Content-Type", "application/json");
    let headers = [&claimed[..], &[("X-Auth-Token", token.as_str()), json]].concat();
    let made = server.conn().call("POST", "/v2/images", &headers, b"{}").assert(201, "").json();
    assert_eq!(made["owner"], cloud.project_id("member"));
}

/// Keystone's absence is not the caller's fault: 503 and not 401. Who is known stays known.
#[test]
fn pr_12_keystone_may_be_away_for_a_while() {
    let Some((cloud, _alone)) = Cloud::alone() else { return };
    let setup = Setup::new().asking(&cloud).log_may_complain();
    let server = setup.set("keystone_authtoken", "http_request_max_retries", "1").start();
    let (known, unknown) = (cloud.token("member"), cloud.token("reader"));
    list(&server, &[("X-Auth-Token", &known)]).assert(200, "images");
    cloud.stop();
    let answer = list(&server, &[("X-Auth-Token", &unknown)]);
    let back = std::panic::catch_unwind(|| {
        answer.assert(503, "The Keystone service is temporarily unavailable.");
        assert!(answer.head.header("www-authenticate").is_none());
        list(&server, &[("X-Auth-Token", &known)]).assert(200, "images");
    });
    cloud.start();
    back.unwrap();
    list(&server, &[("X-Auth-Token", &unknown)]).assert(200, "images");
    assert_eq!(lookups(&server, "unavailable"), 1.0);
    assert!(!server.log().contains(&unknown), "a token stands in the log");
}

#[test]
fn cf_10_an_application_credential_signs_in() {
    let Some((cloud, _present)) = Cloud::present() else { return };
    // A Keystone may serve several runs.
    let name = format!("of the server {}", std::process::id());
    let (id, secret) = cloud.application_credential("glance", &name);
    const SECTION: &str = "keystone_authtoken";
    let server = Setup::new()
        .asking(&cloud)
        .set(SECTION, "auth_type", "v3applicationcredential")
        .set(SECTION, "application_credential_id", &id)
        .set(SECTION, "application_credential_secret", &secret)
        .start();
    list(&server, &[("X-Auth-Token", &cloud.token("reader"))]).assert(200, "images");
}

/// A wrong password of the server's own is the operator's to mend, and the log says which.
#[test]
fn cf_10_an_account_that_is_refused_is_told_in_the_log() {
    let Some((cloud, _present)) = Cloud::present() else { return };
    let setup = Setup::new().asking(&cloud).set("keystone_authtoken", "password", "hunter2");
    let server = setup.log_may_complain().start();
    list(&server, &[("X-Auth-Token", &cloud.token("reader"))]).assert(503, "Keystone");
    let log = server.log();
    assert!(log.contains("password or project of this server are refused"), "{log}");
    assert!(!log.contains("hunter2"));
}

/// The connection outlives the refusal of a small body, and the next request is judged by itself.
#[test]
fn pr_07_each_request_of_a_connection_is_judged() {
    let Some((cloud, _present)) = Cloud::present() else { return };
    let server = Setup::new().asking(&cloud).start();
    let (token, mut conn) = (cloud.token("member"), Conn::open(server.address()));
    for (headers, status) in [
        (&[("X-Auth-Token", token.as_str())][..], 200),
        (&[], 401),
        (&[("X-Auth-Token", &token)], 200),
    ] {
        conn.call("GET", "/v2/images", headers, b"").assert(status, "");
    }
}
