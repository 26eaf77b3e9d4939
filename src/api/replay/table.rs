//! Every policy, asked through HTTP by everybody (`PO-01` to `PO-20`): an administrator, a member
//! and a reader of the project that owns the image, a member of another project, and somebody
//! nobody knows, who may look. A service asks too, where services may more.

use http::Method;

use super::callers::over_a_socket;
use super::recording::OWNER;
use super::*;
use crate::auth::Identity;
use crate::image::{ImageId, Visibility};
use crate::meta::Members;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    Admin,
    Member,
    Reader,
    Stranger,
    Nobody,
    Service,
}

const EVERYBODY: [Who; 6] =
    [Who::Admin, Who::Member, Who::Reader, Who::Stranger, Who::Nobody, Who::Service];

impl Who {
    fn identity(self) -> Identity {
        let of = |project: &str, roles: &[&str]| Identity {
            user_id: Some("user".into()),
            project_id: Some(project.into()),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            ..Identity::default()
        };
        match self {
            Self::Admin => of("admins", &["admin", "member", "reader"]),
            Self::Member => of(OWNER, &["member", "reader"]),
            Self::Reader => of(OWNER, &["reader"]),
            Self::Stranger => of("strangers", &["member", "reader"]),
            Self::Nobody => Identity { is_read_only: true, ..Identity::default() },
            Self::Service => of("services", &["service"]),
        }
    }
}

/// What the image is when it is asked for.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Private,
    Public,
    Shared,
    /// Shared, and the stranger is a member.
    SharedWithStranger,
    Deactivated,
}

/// One request, and the status for each of [`EVERYBODY`].
struct Row {
    what: &'static str,
    kind: Kind,
    method: Method,
    /// `ID` stands for the image's.
    uri: &'static str,
    body: &'static str,
    statuses: [u16; 6],
}

const fn row(
    what: &'static str,
    kind: Kind,
    method: Method,
    uri: &'static str,
    body: &'static str,
    statuses: [u16; 6],
) -> Row {
    Row { what, kind, method, uri, body, statuses }
}

const IMAGE: &str = "/v2/images/ID";
const PATCH: &str = "application/openstack-images-v2.1-json-patch";

/// The rows in the order of `EVERYBODY`: admin, member, reader, stranger, nobody, service.
fn rows() -> Vec<Row> {
    use Kind::{Deactivated, Private, Public, Shared, SharedWithStranger};
    let (get, put, post) = (Method::GET, Method::PUT, Method::POST);
    let (patch, delete) = (Method::PATCH, Method::DELETE);
    let file = "/v2/images/ID/file";
    let members = "/v2/images/ID/members";
    let stranger = "/v2/images/ID/members/strangers";
    let add = r#"{"member": "p"}"#;
    let accept = r#"{"status": "accepted"}"#;
    let name = r#"[{"op": "replace", "path": "/name", "value": "n"}]"#;
    let public = r#"[{"op": "replace", "path": "/visibility", "value": "public"}]"#;
    let community = r#"[{"op": "add", "path": "/visibility", "value": "community"}]"#;
    let locate =
        r#"[{"op": "add", "path": "/locations/-", "value": {"url": "file:///x", "metadata": {}}}]"#;
    let drop_location = r#"[{"op": "remove", "path": "/locations/0"}]"#;
    vec![
        row("add_image", Private, post.clone(), "/v2/images", "{}", [201, 201, 403, 201, 403, 403]),
        row("get_images", Private, get.clone(), "/v2/images", "", [200, 200, 200, 200, 403, 403]),
        row("get_image", Private, get.clone(), IMAGE, "", [200, 200, 200, 404, 404, 404]),
        row("get_image", Public, get.clone(), IMAGE, "", [200, 200, 200, 200, 404, 404]),
        row("get_image", Shared, get.clone(), IMAGE, "", [200, 200, 200, 404, 404, 404]),
        row(
            "get_image",
            SharedWithStranger,
            get.clone(),
            IMAGE,
            "",
            [200, 200, 200, 200, 404, 404],
        ),
        row("modify_image", Private, patch.clone(), IMAGE, name, [200, 200, 403, 404, 403, 404]),
        row("modify_image", Public, patch.clone(), IMAGE, name, [200, 200, 403, 403, 403, 404]),
        row(
            "modify_image",
            SharedWithStranger,
            patch.clone(),
            IMAGE,
            name,
            [200, 200, 403, 403, 403, 404],
        ),
        row(
            "publicize_image",
            Private,
            patch.clone(),
            IMAGE,
            public,
            [200, 403, 403, 404, 403, 404],
        ),
        row(
            "communitize_image",
            Private,
            patch.clone(),
            IMAGE,
            community,
            [200, 200, 403, 404, 403, 404],
        ),
        row(
            "publicize_image",
            Private,
            post.clone(),
            "/v2/images",
            r#"{"visibility": "public"}"#,
            [201, 403, 403, 403, 403, 403],
        ),
        row(
            "communitize_image",
            Private,
            post.clone(),
            "/v2/images",
            r#"{"visibility": "community"}"#,
            [201, 201, 403, 201, 403, 403],
        ),
        row(
            "set_image_location",
            Private,
            patch.clone(),
            IMAGE,
            locate,
            [400, 400, 403, 404, 403, 404],
        ),
        row(
            "delete_image_location",
            Private,
            patch.clone(),
            IMAGE,
            drop_location,
            [409, 403, 403, 404, 403, 404],
        ),
        row("delete_image", Private, delete.clone(), IMAGE, "", [204, 204, 403, 404, 403, 404]),
        row("delete_image", Public, delete.clone(), IMAGE, "", [204, 204, 403, 403, 403, 404]),
        row(
            "tags",
            Private,
            put.clone(),
            "/v2/images/ID/tags/t",
            "",
            [204, 204, 403, 404, 403, 404],
        ),
        row(
            "tags",
            Public,
            delete.clone(),
            "/v2/images/ID/tags/t",
            "",
            [404, 404, 403, 403, 403, 404],
        ),
        row("upload_image", Private, put.clone(), file, "x", [404, 404, 403, 404, 403, 404]),
        row("upload_image", Public, put.clone(), file, "x", [404, 404, 403, 403, 403, 404]),
        row("download_image", Private, get.clone(), file, "", [204, 204, 403, 404, 404, 404]),
        row("download_image", Public, get.clone(), file, "", [204, 204, 403, 204, 404, 404]),
        row(
            "download_image",
            SharedWithStranger,
            get.clone(),
            file,
            "",
            [204, 204, 403, 204, 404, 404],
        ),
        row("download_image", Deactivated, get.clone(), file, "", [204, 403, 403, 403, 403, 403]),
        row(
            "download_from_store",
            Public,
            get.clone(),
            "/v2/images/ID/file?prefer=fast",
            "",
            [204, 204, 403, 204, 404, 404],
        ),
        row(
            "deactivate",
            Private,
            post.clone(),
            "/v2/images/ID/actions/deactivate",
            "",
            [403, 403, 403, 404, 403, 404],
        ),
        row(
            "reactivate",
            Deactivated,
            post.clone(),
            "/v2/images/ID/actions/reactivate",
            "",
            [204, 204, 403, 403, 403, 404],
        ),
        row(
            "get_image_location",
            Private,
            delete.clone(),
            "/v2/stores/fast/ID",
            "",
            [409, 403, 403, 404, 403, 404],
        ),
        row(
            "fetch_image_location",
            Public,
            get.clone(),
            "/v2/images/ID/locations",
            "",
            [200, 403, 403, 403, 404, 200],
        ),
        row("get_members", Shared, get.clone(), members, "", [200, 200, 200, 404, 404, 404]),
        row(
            "get_members",
            SharedWithStranger,
            get.clone(),
            members,
            "",
            [200, 200, 200, 200, 404, 404],
        ),
        row(
            "get_member",
            SharedWithStranger,
            get.clone(),
            stranger,
            "",
            [200, 200, 200, 200, 404, 404],
        ),
        row("add_member", Shared, post.clone(), members, add, [200, 200, 403, 404, 403, 404]),
        row(
            "add_member",
            SharedWithStranger,
            post.clone(),
            members,
            add,
            [200, 200, 403, 403, 403, 404],
        ),
        row(
            "modify_member",
            SharedWithStranger,
            put.clone(),
            stranger,
            accept,
            [200, 403, 403, 200, 403, 404],
        ),
        row(
            "delete_member",
            SharedWithStranger,
            delete.clone(),
            stranger,
            "",
            [204, 204, 403, 403, 403, 404],
        ),
        row(
            "get_task",
            Private,
            get.clone(),
            "/v2/images/ID/tasks",
            "",
            [200, 200, 200, 404, 404, 404],
        ),
        row(
            "tasks_api_access",
            Private,
            get.clone(),
            "/v2/tasks",
            "",
            [200, 403, 403, 403, 403, 403],
        ),
        row(
            "tasks_api_access",
            Private,
            get.clone(),
            "/v2/tasks/x",
            "",
            [404, 403, 403, 403, 403, 403],
        ),
        row("tasks_api_access", Private, post, "/v2/tasks", "{}", [400, 403, 403, 403, 403, 403]),
        row("tasks_api_access", Private, delete, "/v2/tasks/x", "", [405, 403, 403, 403, 403, 403]),
        row(
            "stores_info_detail",
            Private,
            get.clone(),
            "/v2/info/stores/detail",
            "",
            [200, 403, 403, 403, 403, 200],
        ),
        row("info", Private, get.clone(), "/v2/info/stores", "", [200; 6]),
        row("info", Private, get.clone(), "/v2/info/import", "", [200; 6]),
        row("info", Private, get.clone(), "/v2/info/usage", "", [200; 6]),
        row("schemas", Private, get, "/v2/schemas/image", "", [200; 6]),
    ]
}

/// Makes the image that a row is about.
async fn seed(world: &World, kind: Kind, id: &ImageId) {
    world
        .seed_queued(id.as_str(), |image| {
            image.owner = Some(OWNER.to_owned());
            image.disk_format = Some("raw".into());
            image.container_format = Some("bare".into());
            match kind {
                Kind::Private => image.visibility = Visibility::Private,
                Kind::Public => image.visibility = Visibility::Public,
                Kind::Shared | Kind::SharedWithStranger => image.visibility = Visibility::Shared,
                Kind::Deactivated => {
                    image.visibility = Visibility::Public;
                    image.status = Status::Deactivated;
                }
            }
        })
        .await;
    if kind == Kind::SharedWithStranger {
        world.repo.add_member(id, "strangers", None).await.unwrap();
    }
}

async fn status(world: &World, row: &Row, who: Who) -> u16 {
    let id = ImageId::random();
    seed(world, row.kind, &id).await;
    let uri = row.uri.replace("ID", id.as_str());
    let is_data = row.uri.contains("/file");
    let media = match row.method {
        Method::PATCH => PATCH,
        _ if is_data => "application/octet-stream",
        _ => "application/json",
    };
    let request = Request::builder().method(row.method.clone()).uri(uri);
    let request = request.header("content-type", media).extension(who.identity());
    let request = request.body(Bytes::from_static(row.body.as_bytes())).unwrap();
    if is_data {
        return over_a_socket(world, request).await.status;
    }
    respond(&world.app, request).await.status().as_u16()
}

#[tokio::test]
async fn po_01_to_po_20_everybody_asks_for_everything() {
    let world = World::new().await;
    let mut wrong = Vec::new();
    for row in rows() {
        for (who, expected) in EVERYBODY.into_iter().zip(row.statuses) {
            let ours = status(&world, &row, who).await;
            if ours != expected {
                let Row { what, method, uri, .. } = &row;
                wrong.push(format!("{what}: {method} {uri} by {who:?}: {ours}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A request by somebody, about JSON.
async fn ask_as(world: &World, who: &Identity, method: Method, uri: &str, body: &str) -> Answer {
    let media = if method == Method::PATCH { PATCH } else { "application/json" };
    let request = Request::builder().method(method).uri(uri).header("content-type", media);
    let request = request.header("accept", "application/json").extension(who.clone());
    let request = request.body(Bytes::from(body.to_owned())).unwrap();
    Answer::of(&respond(&world.app, request).await)
}

#[tokio::test]
async fn po_20_pr_12_tokens_of_the_system_and_those_who_only_look() {
    let world = World::new().await;
    let system =
        Identity { project_id: None, system_scope: Some("all".into()), ..Who::Admin.identity() };
    let answer = ask_as(&world, &system, Method::GET, "/v2/images", "").await;
    assert_eq!(answer.status, 403);
    assert_eq!(sentence(&answer), "You are not authorized to complete get_images action.");
    let answer = ask_as(&world, &Who::Nobody.identity(), Method::POST, "/v2/images", "{}").await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("Read-only access"), "{}", answer.body);
}

#[tokio::test]
async fn po_18_po_19_an_operators_own_policies_count() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policy.yaml");
    let rules = "get_image: \"role:reader and not 'secret':%(level)s\"\n\
                 modify_image: \"@\"\nstores_info_detail: \"role:reader\"\n";
    std::fs::write(&file, rules).unwrap();
    let world = World::with_settings(|settings| settings.policy.file = Some(file), true).await;
    let (open, secret) = (ImageId::random(), ImageId::random());
    seed(&world, Kind::Public, &open).await;
    world
        .seed_queued(secret.as_str(), |image| {
            image.owner = Some(OWNER.to_owned());
            image.properties.insert("level".into(), "secret".into());
        })
        .await;
    let reader = Who::Reader.identity();
    let get = async |uri: &str| ask_as(&world, &reader, Method::GET, uri, "").await;
    assert_eq!(get("/v2/info/stores/detail").await.status, 200);
    // The first lacks the property, which fulfils no check and so not this one either.
    assert_eq!(get(&format!("/v2/images/{open}")).await.status, 200);
    let hidden = get(&format!("/v2/images/{secret}")).await;
    assert_eq!(
        (hidden.status, sentence(&hidden).as_str()),
        (404, "The resource could not be found.")
    );
    let list = get("/v2/images?limit=2").await;
    assert!(list.body.contains(open.as_str()) && !list.body.contains(secret.as_str()));
    assert!(list.body.contains("\"next\""), "the page was full before rows were dropped");
    // However wide the policy, another's image is not for changing.
    let uri = format!("/v2/images/{open}");
    let name = r#"[{"op": "replace", "path": "/name", "value": "n"}]"#;
    let answer = ask_as(&world, &Who::Stranger.identity(), Method::PATCH, &uri, name).await;
    assert_eq!((answer.status, sentence(&answer).as_str()), (403, "You do not own this image"));
}

#[tokio::test]
async fn pp_01_properties_are_protected() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("properties.conf");
    let all = "create = @\nread = @\nupdate = @\ndelete = @\n";
    let rules = format!(
        "[^keep_]\ncreate = admin\nread = @\nupdate = !\ndelete = admin\n\
         [^secret]\ncreate = admin\nread = admin\nupdate = admin\ndelete = admin\n[.*]\n{all}"
    );
    std::fs::write(&file, rules).unwrap();
    let world = World::with(|api| api.property_protection_file = Some(file), true).await;
    let id = ImageId::random();
    world
        .seed_queued(id.as_str(), |image| {
            image.owner = Some(OWNER.to_owned());
            for name in ["keep_a", "secret", "free"] {
                image.properties.insert(name.into(), "x".into());
            }
        })
        .await;
    let uri = format!("/v2/images/{id}");
    let member = Who::Member.identity();
    let shown = ask_as(&world, &member, Method::GET, &uri, "").await.body;
    assert!(shown.contains("keep_a") && shown.contains("free") && !shown.contains("secret"));
    let listed = ask_as(&world, &member, Method::GET, "/v2/images", "").await.body;
    assert!(listed.contains("keep_a") && !listed.contains("secret"));
    let guessed = ask_as(&world, &member, Method::GET, "/v2/images?secret=x", "").await.body;
    assert!(!guessed.contains(id.as_str()), "what can't be read can't be found");
    let patch = async |who: Who, op: &str, name: &str| {
        let body = format!(r#"[{{"op": "{op}", "path": "/{name}", "value": "y"}}]"#);
        let answer = ask_as(&world, &who.identity(), Method::PATCH, &uri, &body).await;
        (answer.status, if answer.status == 200 { String::new() } else { sentence(&answer) })
    };
    let reserved = |name: &str| (403, format!("Attribute '{name}' is reserved."));
    assert_eq!(patch(Who::Member, "add", "keep_b").await, reserved("keep_b"));
    assert_eq!(patch(Who::Member, "replace", "keep_a").await, reserved("keep_a"));
    assert_eq!(patch(Who::Member, "remove", "keep_a").await, reserved("keep_a"));
    assert_eq!(patch(Who::Member, "replace", "secret").await.0, 409, "it is not there for them");
    assert_eq!(patch(Who::Member, "add", "secret").await, reserved("secret"));
    assert_eq!(patch(Who::Member, "replace", "free").await.0, 200);
    assert_eq!(patch(Who::Admin, "replace", "keep_a").await, reserved("keep_a"));
    assert_eq!(patch(Who::Admin, "add", "keep_b").await.0, 200);
    assert_eq!(patch(Who::Admin, "remove", "keep_b").await.0, 200);
    assert_eq!(patch(Who::Admin, "replace", "secret").await.0, 200);
    let body = r#"{"keep_c": "x"}"#;
    let answer = ask_as(&world, &member, Method::POST, "/v2/images", body).await;
    assert_eq!((answer.status, sentence(&answer)), reserved("keep_c"));
}
