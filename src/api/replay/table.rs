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
    /// Shared with the stranger.
    Lent,
    Deactivated,
    Staged,
    Active,
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

const PATCH: &str = "application/openstack-images-v2.1-json-patch";

/// The rows in the order of [`EVERYBODY`]: policy, image, request, and the statuses for admin,
/// member, reader, stranger, nobody, service. `ID` stands for the image, `-` for no body.
const ROWS: &str = "\
add_image             Private     POST   /v2/images             {}           201 201 403 201 403 403
get_images            Private     GET    /v2/images             -            200 200 200 200 403 403
get_image             Private     GET    ID                     -            200 200 200 404 404 404
get_image             Public      GET    ID                     -            200 200 200 200 404 404
get_image             Shared      GET    ID                     -            200 200 200 404 404 404
get_image             Lent        GET    ID                     -            200 200 200 200 404 404
modify_image          Private     PATCH  ID                     name         200 200 403 404 403 404
modify_image          Public      PATCH  ID                     name         200 200 403 403 403 404
modify_image          Lent        PATCH  ID                     name         200 200 403 403 403 404
publicize_image       Private     PATCH  ID                     public       200 403 403 404 403 404
communitize_image     Private     PATCH  ID                     community    200 200 403 404 403 404
publicize_image       Private     POST   /v2/images             as_public    201 403 403 403 403 403
communitize_image     Private     POST   /v2/images             as_community 201 201 403 201 403 403
modify_image          Staged      POST   ID/import              direct       202 202 403 404 403 404
copy_image            Active      POST   ID/import              copy         202 403 403 404 403 404
set_image_location    Private     PATCH  ID                     locate       400 400 403 404 403 404
set_image_location    Private     PATCH  ID                     locate_web   200 200 403 404 403 404
delete_image_location Private     PATCH  ID                     drop         409 403 403 404 403 404
delete_image          Private     DELETE ID                     -            204 204 403 404 403 404
delete_image          Public      DELETE ID                     -            204 204 403 403 403 404
tags                  Private     PUT    ID/tags/t              -            204 204 403 404 403 404
tags                  Public      DELETE ID/tags/t              -            404 404 403 403 403 404
upload_image          Private     PUT    ID/file                x            404 404 403 404 403 404
upload_image          Public      PUT    ID/file                x            404 404 403 403 403 404
download_image        Private     GET    ID/file                -            204 204 403 404 404 404
download_image        Public      GET    ID/file                -            204 204 403 204 404 404
download_image        Lent        GET    ID/file                -            204 204 403 204 404 404
download_image        Deactivated GET    ID/file                -            204 403 403 403 403 403
download_from_store   Public      GET    ID/file?prefer=fast    -            204 204 403 204 404 404
deactivate            Private     POST   ID/actions/deactivate  -            403 403 403 404 403 404
reactivate            Deactivated POST   ID/actions/reactivate  -            204 204 403 403 403 404
get_image_location    Private     DELETE /v2/stores/fast/ID     -            409 403 403 404 403 404
fetch_image_location  Public      GET    ID/locations           -            200 403 403 403 404 200
get_members           Shared      GET    ID/members             -            200 200 200 404 404 404
get_members           Lent        GET    ID/members             -            200 200 200 200 404 404
get_member            Lent        GET    ID/members/strangers   -            200 200 200 200 404 404
add_member            Shared      POST   ID/members             add          200 200 403 404 403 404
add_member            Lent        POST   ID/members             add          200 200 403 403 403 404
modify_member         Lent        PUT    ID/members/strangers   accept       200 403 403 200 403 404
delete_member         Lent        DELETE ID/members/strangers   -            204 204 403 403 403 404
get_task              Private     GET    ID/tasks               -            200 200 200 404 404 404
tasks_api_access      Private     GET    /v2/tasks              -            200 403 403 403 403 403
tasks_api_access      Private     GET    /v2/tasks/x            -            404 403 403 403 403 403
tasks_api_access      Private     POST   /v2/tasks              {}           400 403 403 403 403 403
tasks_api_access      Private     DELETE /v2/tasks/x            -            405 403 403 403 403 403
stores_info_detail    Private     GET    /v2/info/stores/detail -            200 403 403 403 403 200
info                  Private     GET    /v2/info/stores        -            200 200 200 200 200 200
info                  Private     GET    /v2/info/import        -            200 200 200 200 200 200
info                  Private     GET    /v2/info/usage         -            200 200 200 200 200 200
schemas               Private     GET    /v2/schemas/image      -            200 200 200 200 200 200
";

/// The body that a word of the table stands for.
fn body(word: &'static str) -> &'static str {
    match word {
        "-" => "",
        "direct" => r#"{"method": {"name": "glance-direct"}}"#,
        "copy" => r#"{"method": {"name": "copy-image"}}"#,
        "as_public" => r#"{"visibility": "public"}"#,
        "as_community" => r#"{"visibility": "community"}"#,
        "add" => r#"{"member": "p"}"#,
        "accept" => r#"{"status": "accepted"}"#,
        "name" => r#"[{"op": "replace", "path": "/name", "value": "n"}]"#,
        "public" => r#"[{"op": "replace", "path": "/visibility", "value": "public"}]"#,
        "community" => r#"[{"op": "add", "path": "/visibility", "value": "community"}]"#,
        "locate" => {
            r#"[{"op": "add", "path": "/locations/-", "value": {"url": "file:///x", "metadata": {}}}]"#
        }
        "locate_web" => {
            r#"[{"op": "add", "path": "/locations/-", "value": {"url": "http://127.0.0.1/x", "metadata": {}}}]"#
        }
        "drop" => r#"[{"op": "remove", "path": "/locations/0"}]"#,
        text => text,
    }
}

fn rows() -> Vec<Row> {
    let row = |line: &'static str| {
        let words: Vec<&'static str> = line.split_whitespace().collect();
        let [what, kind, method, uri, word, statuses @ ..] = words.as_slice() else {
            panic!("{line}");
        };
        let statuses: Vec<u16> = statuses.iter().map(|status| status.parse().unwrap()).collect();
        Row {
            what,
            kind: kind.parse().unwrap(),
            method: method.parse().unwrap(),
            uri,
            body: body(word),
            statuses: statuses.try_into().unwrap(),
        }
    };
    ROWS.lines().map(row).collect()
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "Private" => Ok(Self::Private),
            "Staged" => Ok(Self::Staged),
            "Active" => Ok(Self::Active),
            "Public" => Ok(Self::Public),
            "Shared" => Ok(Self::Shared),
            "Lent" => Ok(Self::Lent),
            "Deactivated" => Ok(Self::Deactivated),
            _ => Err(format!("no kind {word}")),
        }
    }
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
                Kind::Staged | Kind::Active => {
                    let staged = kind == Kind::Staged;
                    image.visibility = Visibility::Private;
                    image.status = if staged { Status::Uploading } else { Status::Active };
                }
                Kind::Public => image.visibility = Visibility::Public,
                Kind::Shared | Kind::Lent => image.visibility = Visibility::Shared,
                Kind::Deactivated => {
                    image.visibility = Visibility::Public;
                    image.status = Status::Deactivated;
                }
            }
        })
        .await;
    if kind == Kind::Lent {
        world.repo.add_member(id, "strangers", None).await.unwrap();
    }
}

async fn status(world: &World, row: &Row, who: Who) -> u16 {
    let id = ImageId::random();
    seed(world, row.kind, &id).await;
    let uri = match row.uri.strip_prefix("ID") {
        Some(rest) => format!("/v2/images/{id}{rest}"),
        None => row.uri.replace("ID", id.as_str()),
    };
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
    world.web.sizes.lock().unwrap().insert("http://127.0.0.1/x".into(), 1);
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

/// As with Glance: the answer shows what `get_image` hides.
#[tokio::test]
async fn po_06_who_may_change_an_image_need_not_be_let_see_it() {
    let world = World::new().await;
    let id = ImageId::random();
    seed(&world, Kind::Private, &id).await;
    let uri = format!("/v2/images/{id}");
    let roles = |roles: &[&str]| Identity {
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        ..Who::Member.identity()
    };
    let name = r#"[{"op": "replace", "path": "/name", "value": "n"}]"#;
    for (who, body, status) in [
        (&["member"], name, 200),
        (&["member"], "[]", 200),
        (&["other"], "[]", 200),
        (&["other"], name, 404),
    ] {
        let answer = ask_as(&world, &roles(who), Method::PATCH, &uri, body).await;
        assert_eq!(answer.status, status, "{who:?} {body}");
    }
    assert_eq!(ask_as(&world, &roles(&["member"]), Method::GET, &uri, "").await.status, 404);
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
