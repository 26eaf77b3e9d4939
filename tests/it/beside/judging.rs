//! Goal: whoever may do something with an image of a Glance may do it with ours, whoever may not is
//! refused in the same words, and it does not matter which of both is asked (`PO-01` to `PO-19`,
//! `VI-01` to `VI-05`).
//!
//! Method: for each request, caller and visibility two images alike, of which ours is asked about one
//! and a real Glance about the other. Callers have one role where they mostly have several, because
//! that is where rules that imply each other in most clouds do not.

use super::*;

/// What an image has gone through before it is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Queued,
    Staged,
    Active,
    Deactivated,
}

/// A request about an image, which is `ID`; a place on the web is `WEB`.
struct Request {
    state: State,
    method: &'static str,
    target: &'static str,
    media: &'static str,
    body: &'static str,
}

const fn plain(state: State, method: &'static str, target: &'static str) -> Request {
    Request { state, method, target, media: "", body: "" }
}

const fn json(
    state: State,
    method: &'static str,
    target: &'static str,
    body: &'static str,
) -> Request {
    Request { state, method, target, media: JSON, body }
}

const fn patch(state: State, body: &'static str) -> Request {
    Request { state, method: "PATCH", target: "/v2/images/ID", media: PATCH, body }
}

const fn data(target: &'static str) -> Request {
    let media = "application/octet-stream";
    Request { state: State::Queued, method: "PUT", target, media, body: "data" }
}

const REQUESTS: &[Request] = &[
    plain(State::Queued, "GET", "/v2/images"),
    json(State::Queued, "POST", "/v2/images", r#"{"name": "x"}"#),
    json(State::Queued, "POST", "/v2/images", r#"{"visibility": "public"}"#),
    json(State::Queued, "POST", "/v2/images", r#"{"owner": "owners", "visibility": "community"}"#),
    json(State::Queued, "POST", "/v2/images", r#"{"owner": null}"#),
    // What is wrong with it is found after the policies have been asked, or before.
    json(State::Queued, "POST", "/v2/images", r#"{"owner": "nobody", "status": "active"}"#),
    json(State::Queued, "POST", "/v2/images", r#"{"owner": "nobody", "min_ram": -1}"#),
    json(State::Queued, "POST", "/v2/images", r#"{"owner": "nobody", "deleted": "x"}"#),
    json(State::Queued, "POST", "/v2/images", r#"{"owner": "nobody", "size": "1"}"#),
    plain(State::Queued, "GET", "/v2/tasks"),
    plain(State::Queued, "GET", "/v2/info/stores/detail"),
    plain(State::Queued, "GET", "/v2/images/ID"),
    patch(State::Queued, "[]"),
    patch(State::Queued, r#"[{"op": "replace", "path": "/name", "value": "new"}]"#),
    patch(State::Queued, r#"[{"op": "add", "path": "/os_distro", "value": "new"}]"#),
    patch(State::Queued, r#"[{"op": "remove", "path": "/os_version"}]"#),
    patch(State::Queued, r#"[{"op": "replace", "path": "/visibility", "value": "community"}]"#),
    patch(State::Queued, r#"[{"op": "replace", "path": "/visibility", "value": "public"}]"#),
    patch(State::Queued, r#"[{"op": "replace", "path": "/visibility", "value": "private"}]"#),
    patch(State::Queued, r#"[{"op": "replace", "path": "/owner", "value": "strangers"}]"#),
    patch(
        State::Queued,
        r#"[{"op": "add", "path": "/locations/-",
        "value": {"url": "WEB", "metadata": {}}}]"#,
    ),
    patch(State::Active, r#"[{"op": "remove", "path": "/locations/0"}]"#),
    patch(State::Active, r#"[{"op": "replace", "path": "/locations", "value": []}]"#),
    plain(State::Queued, "DELETE", "/v2/images/ID"),
    plain(State::Active, "DELETE", "/v2/images/ID"),
    plain(State::Queued, "PUT", "/v2/images/ID/tags/new"),
    plain(State::Queued, "DELETE", "/v2/images/ID/tags/there"),
    plain(State::Queued, "DELETE", "/v2/images/ID/tags/missing"),
    plain(State::Queued, "GET", "/v2/images/ID/members"),
    plain(State::Queued, "GET", "/v2/images/ID/members/friends"),
    plain(State::Queued, "GET", "/v2/images/ID/members/nobody"),
    json(State::Queued, "POST", "/v2/images/ID/members", r#"{"member": "others"}"#),
    json(State::Queued, "PUT", "/v2/images/ID/members/friends", r#"{"status": "accepted"}"#),
    json(State::Queued, "PUT", "/v2/images/ID/members/nobody", r#"{"status": "accepted"}"#),
    plain(State::Queued, "DELETE", "/v2/images/ID/members/friends"),
    plain(State::Queued, "DELETE", "/v2/images/ID/members/nobody"),
    plain(State::Active, "POST", "/v2/images/ID/actions/deactivate"),
    plain(State::Deactivated, "POST", "/v2/images/ID/actions/reactivate"),
    plain(State::Queued, "POST", "/v2/images/ID/actions/deactivate"),
    data("/v2/images/ID/file"),
    data("/v2/images/ID/stage"),
    json(State::Staged, "POST", "/v2/images/ID/import", r#"{"method": {"name": "glance-direct"}}"#),
    json(State::Queued, "POST", "/v2/images/ID/import", r#"{"method": {"name": "glance-direct"}}"#),
    json(
        State::Queued,
        "POST",
        "/v2/images/ID/import",
        r#"{"method": {"name": "web-download", "uri": "WEB"}}"#,
    ),
    json(
        State::Active,
        "POST",
        "/v2/images/ID/import",
        r#"{"method": {"name": "copy-image"}, "stores": ["slow"]}"#,
    ),
    json(State::Queued, "POST", "/v2/images/ID/locations", r#"{"url": "WEB"}"#),
    plain(State::Active, "GET", "/v2/images/ID/locations"),
    plain(State::Active, "DELETE", "/v2/stores/fast/ID"),
    plain(State::Active, "GET", "/v2/images/ID/file"),
    plain(State::Deactivated, "GET", "/v2/images/ID/file"),
    plain(State::Active, "GET", "/v2/images/ID/tasks"),
];

/// A project and the roles that somebody of it has; `friends` is a member of what is shared.
pub(super) type Caller = (&'static str, &'static str);

/// Who asks, by the visibility of what they ask about.
const CALLERS: &[(&str, &[Caller])] = &[
    (
        "shared",
        &[
            ("owners", "member"),
            ("owners", "reader"),
            ("owners", "member,reader"),
            ("owners", "MEMBER"),
            ("owners", "other"),
            ("owners", "service"),
            ("friends", "member"),
            ("friends", "reader"),
            ("friends", "member,reader"),
            ("strangers", "member"),
            ("strangers", "admin"),
        ],
    ),
    (
        "public",
        &[
            ("owners", "member"),
            ("owners", "other"),
            ("strangers", "member"),
            ("strangers", "reader"),
            ("strangers", "service"),
        ],
    ),
    ("private", &[("owners", "member"), ("strangers", "member"), ("strangers", "admin")]),
];

/// What says who calls, and which media type there is.
pub(super) fn headers_of((project, roles): Caller, media: &str) -> Vec<(&str, &str)> {
    let mut headers = vec![
        ("X-Identity-Status", "Confirmed"),
        ("X-User-Id", "somebody"),
        ("X-Project-Id", project),
        ("X-Roles", roles),
    ];
    if !media.is_empty() {
        headers.push(("Content-Type", media));
    }
    headers
}

impl Pair {
    /// An image of the project `owners` in that state.
    fn in_state(&self, state: State, visibility: &str) -> String {
        let mut record = raw("judged");
        record["owner"] = json!("owners");
        record["visibility"] = json!(visibility);
        record["tags"] = json!(["there"]);
        record["os_version"] = json!("1");
        let made = self.send(Side::Ours, ADMIN, "POST", "/v2/images", &record);
        let image = made.assert(201, "").json()["id"].as_str().unwrap().to_owned();
        let path = format!("/v2/images/{image}");
        if visibility == "shared" {
            let friends = json!({"member": "friends"});
            self.send(Side::Ours, ADMIN, "POST", &format!("{path}/members"), &friends)
                .assert(200, "");
        }
        let body = Body::new(1, 1000);
        let upload = match state {
            State::Queued => return image,
            State::Staged => Upload::stage(&image, body),
            State::Active | State::Deactivated => Upload::new(&image, body),
        };
        by(upload, ADMIN).run_on(&mut self.conn(Side::Ours)).unwrap().assert(204, "");
        if state == State::Deactivated {
            let action = format!("{path}/actions/deactivate");
            self.call(Side::Ours, ADMIN, "POST", &action).assert(204, "");
        }
        image
    }

    /// Status and, where something is refused, the words, of an image of its own.
    fn verdict(
        &self,
        side: Side,
        request: &Request,
        caller: Caller,
        visibility: &str,
        web: &str,
    ) -> (u16, String) {
        let image = self.in_state(request.state, visibility);
        let target = request.target.replace("ID", &image);
        let headers = headers_of(caller, request.media);
        let body = request.body.replace("WEB", web);
        let answer = self.conn(side).call(request.method, &target, &headers, body.as_bytes());
        match answer.status() {
            status @ ..400 => (status, String::new()),
            status => (status, answer.text().replace(&image, "ID")),
        }
    }
}

/// One question to both.
#[derive(Clone, Copy)]
struct Case {
    request: &'static Request,
    visibility: &'static str,
    caller: Caller,
}

impl Case {
    fn all() -> Vec<Self> {
        let mut cases = Vec::new();
        for request in REQUESTS {
            for (visibility, callers) in CALLERS {
                cases.extend(callers.iter().map(|caller| Self {
                    request,
                    visibility,
                    caller: *caller,
                }));
            }
        }
        cases
    }

    /// The status that both answer, or how they differ.
    fn judge(self, pair: &Pair, web: &str) -> Result<u16, String> {
        let Self { request, visibility, caller } = self;
        let Request { state, method, target, body, .. } = request;
        let [ours, theirs] = [Side::Ours, Side::Theirs]
            .map(|side| pair.verdict(side, request, caller, visibility, web));
        match ours == theirs {
            true => Ok(ours.0),
            false => Err(format!(
                "{method} {target} {body} ({state:?}, {visibility}) by {caller:?}:\n  {ours:?}\n  \
                 {theirs:?}"
            )),
        }
    }
}

pub(super) fn assert_alike(differences: &[String]) {
    let count = differences.len();
    assert!(differences.is_empty(), "{count}, ours first:\n{}", differences.join("\n"));
}

fn roles_have_what_they_have_with_glance(pair: &Pair) {
    let web = Web::serving(Body::new(2, 1000)).url();
    let cases = Case::all();
    // Glance has as many workers.
    let answers: Vec<_> = std::thread::scope(|scope| {
        let shares = cases.chunks(cases.len().div_ceil(3)).map(|share| {
            let web = &web;
            scope.spawn(move || share.iter().map(|case| case.judge(pair, web)).collect::<Vec<_>>())
        });
        let shares: Vec<_> = shares.collect();
        shares.into_iter().flat_map(|share| share.join().unwrap()).collect()
    });
    assert_eq!(answers.len(), cases.len());
    let differences: Vec<_> = answers.iter().filter_map(|it| it.as_ref().err().cloned()).collect();
    assert_alike(&differences);
    for status in [200, 201, 202, 204, 400, 403, 404, 409] {
        assert!(answers.contains(&Ok(status)), "nobody was answered {status}");
    }
}

/// What a new image is asked to have, of any type: which of a body's faults counts, and in which
/// words (`CR-02` to `CR-06`).
fn bodies_are_refused_as_by_glance(pair: &Pair) {
    let values = [
        json!(null),
        json!(true),
        json!(1),
        json!(-1.5),
        json!("queued"),
        json!("x".repeat(256)),
        json!([]),
        json!(["x"]),
        json!({"a": 1}),
    ];
    let keys = [
        "status",
        "checksum",
        "os_hash_algo",
        "os_hash_value",
        "size",
        "virtual_size",
        "created_at",
        "updated_at",
        "direct_url",
        "self",
        "file",
        "schema",
        "stores",
        "locations",
        "location",
        "deleted",
        "deleted_at",
        "id",
        "name",
        "owner",
        "visibility",
        "protected",
        "os_hidden",
        "disk_format",
        "container_format",
        "min_disk",
        "min_ram",
        "tags",
        "os_glance_x",
        "image_id",
        "extra_properties",
        "own",
    ];
    let mut differences = Vec::new();
    for key in keys {
        for value in &values {
            let body = json!({ key: value });
            let [ours, theirs] = [Side::Ours, Side::Theirs].map(|side| {
                let answer = pair.send(side, OWNER, "POST", "/v2/images", &body);
                match answer.status() {
                    201 => (201, String::new()),
                    status => (status, answer.text()),
                }
            });
            // Glance keeps a property of that name, which then hides the attribute that it will have.
            let is_hidden = key.starts_with("os_hash_") && theirs.0 == 201;
            if is_hidden {
                assert_eq!(ours.0, 403, "{body}");
            } else if ours != theirs {
                differences.push(format!("{body}:\n  {ours:?}\n  {theirs:?}"));
            }
        }
    }
    assert_alike(&differences);
}

#[test]
fn po_19_what_glance_refuses_is_refused() {
    let Some(pair) = Pair::with("postgres", "judging", |setup| setup) else { return };
    bodies_are_refused_as_by_glance(&pair);
    roles_have_what_they_have_with_glance(&pair);
}
