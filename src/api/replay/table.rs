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
