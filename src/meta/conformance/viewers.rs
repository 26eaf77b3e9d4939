//! Whose list it is: administrators, projects, strangers, and nobody.

use super::*;
use crate::image::{MemberStatus, Visibility};
use crate::meta::{Shown, Viewer};

pub(super) async fn run_all(open: &impl AsyncFn(&'static str) -> Arc<dyn Repo>) {
    let repo = open("viewers").await;
    made(&*repo).await;
    each_sees_what_it_may(&*repo).await;
    a_visibility_narrows_the_list(&*repo).await;
    what_is_shared_is_listed_by_what_was_said(&*repo).await;
    a_removed_member_sees_it_no_more(&*repo).await;
    a_list_starts_after_what_its_viewer_can_see(&*repo).await;
    an_image_is_listed_once(open("listed once").await).await;
}

/// An image of every visibility for two projects and for nobody, named `owner-visibility`. What
/// `a` shares, `b` has accepted, `c` has rejected, and `d` has not answered.
async fn made(repo: &dyn Repo) {
    for owner in [Some("a"), Some("b"), None] {
        for visibility in Visibility::ALL {
            let mut image = queued();
            image.owner = owner.map(str::to_owned);
            image.visibility = visibility;
            image.name = Some(format!("{}-{}", owner.unwrap_or("none"), visibility.as_str()));
            repo.create(&image).await.unwrap();
            if owner == Some("a") {
                share(repo, &image.id).await;
            }
        }
    }
}

async fn share(repo: &dyn Repo, id: &ImageId) {
    for (member, status) in
        [("b", MemberStatus::Accepted), ("c", MemberStatus::Rejected), ("d", MemberStatus::Pending)]
    {
        repo.add_member(id, member, None).await.unwrap();
        repo.set_member_status(id, member, status).await.unwrap();
    }
}

fn list(viewer: Viewer) -> ListQuery {
    ListQuery { limit: 100, viewer, shown: Shown::All, ..ListQuery::default() }
}

async fn names(repo: &dyn Repo, query: ListQuery) -> Vec<String> {
    let listed = repo.list(&query).await.unwrap();
    let mut names: Vec<String> = listed.into_iter().map(|image| image.name.unwrap()).collect();
    names.sort();
    names
}

/// An administrator who works in the project `a`.
fn admin_of_a() -> Viewer {
    Viewer { is_admin: true, ..Viewer::of("a") }
}

fn nobody() -> Viewer {
    Viewer { is_admin: false, project: None }
}

/// What anybody finds: public and community images.
const OPEN: [&str; 6] =
    ["a-community", "a-public", "b-community", "b-public", "none-community", "none-public"];

fn open_and(more: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = OPEN.iter().chain(more).map(|&name| name.to_owned()).collect();
    all.sort();
    all
}

async fn each_sees_what_it_may(repo: &dyn Repo) {
    assert_eq!(names(repo, list(Viewer::admin())).await.len(), 12);
    assert_eq!(names(repo, list(admin_of_a())).await.len(), 12);
    let own = open_and(&["a-private", "a-shared"]);
    assert_eq!(names(repo, list(Viewer::of("a"))).await, own);
    let own = open_and(&["a-shared", "b-private", "b-shared"]);
    assert_eq!(names(repo, list(Viewer::of("b"))).await, own);
    for stranger in [Viewer::of("c"), Viewer::of("d"), Viewer::of("A"), nobody()] {
        assert_eq!(names(repo, list(stranger.clone())).await, open_and(&[]), "{stranger:?}");
    }
}

async fn a_visibility_narrows_the_list(repo: &dyn Repo) {
    let shown = async |viewer, shown| names(repo, ListQuery { shown, ..list(viewer) }).await;
    let unasked = shown(Viewer::of("b"), Shown::Unasked).await;
    assert_eq!(
        unasked,
        ["a-public", "a-shared", "b-community", "b-private", "b-public", "b-shared", "none-public"]
    );
    let unasked = shown(nobody(), Shown::Unasked).await;
    assert_eq!(unasked, ["a-public", "b-public", "none-public"]);
    assert_eq!(shown(Viewer::admin(), Shown::Unasked).await.len(), 9);
    assert_eq!(shown(admin_of_a(), Shown::Unasked).await.len(), 10, "and its own community image");

    for (visibility, expected) in [
        (Visibility::Public, &["a-public", "b-public", "none-public"][..]),
        (Visibility::Community, &["a-community", "b-community", "none-community"]),
        (Visibility::Private, &["b-private"]),
        (Visibility::Shared, &["a-shared", "b-shared"]),
    ] {
        let only = shown(Viewer::of("b"), Shown::Only(visibility)).await;
        assert_eq!(only, expected, "{visibility:?}");
    }
    assert!(shown(Viewer::admin(), Shown::Nothing).await.is_empty());
}

async fn what_is_shared_is_listed_by_what_was_said(repo: &dyn Repo) {
    use MemberStatus::{Accepted, Pending, Rejected};
    for (member, said) in [("b", Accepted), ("c", Rejected), ("d", Pending)] {
        for asked in [Some(Accepted), Some(Pending), Some(Rejected), None] {
            let query = ListQuery { member_status: asked, ..list(Viewer::of(member)) };
            let is_listed = names(repo, query).await.contains(&"a-shared".to_owned());
            assert_eq!(is_listed, asked.is_none_or(|asked| asked == said), "{member} {asked:?}");
        }
    }
    let query = ListQuery { member_status: Some(Rejected), ..list(Viewer::of("a")) };
    assert!(names(repo, query).await.contains(&"a-shared".to_owned()), "it is its owner's");
}

async fn id_of(repo: &dyn Repo, name: &str) -> ImageId {
    let listed = repo.list(&list(Viewer::admin())).await.unwrap();
    listed.into_iter().find(|image| image.name.as_deref() == Some(name)).unwrap().id
}

async fn a_removed_member_sees_it_no_more(repo: &dyn Repo) {
    let id = id_of(repo, "a-shared").await;
    repo.remove_member(&id, "b").await.unwrap();
    let query = ListQuery { member_status: None, ..list(Viewer::of("b")) };
    assert!(!names(repo, query.clone()).await.contains(&"a-shared".to_owned()));
    repo.add_member(&id, "b", None).await.unwrap();
    assert!(names(repo, query).await.contains(&"a-shared".to_owned()));
}

/// A marker is an image that its viewer could ask for (`VI-01`), on the list or not.
async fn a_list_starts_after_what_its_viewer_can_see(repo: &dyn Repo) {
    let starts = async |viewer: Viewer, name: &str| {
        let marker = Some(id_of(repo, name).await.to_string());
        match repo.list(&ListQuery { marker, ..list(viewer) }).await {
            Ok(_) => true,
            Err(MetaError::UnknownMarker(_)) => false,
            Err(error) => panic!("{error}"),
        }
    };
    for (viewer, name, expected) in [
        (Viewer::admin(), "a-private", true),
        (Viewer::of("a"), "a-private", true),
        (Viewer::of("b"), "a-private", false),
        (Viewer::of("b"), "a-public", true),
        (Viewer::of("b"), "a-community", true),
        (Viewer::of("c"), "a-shared", true),
        (Viewer::of("d"), "a-shared", true),
        (Viewer::of("e"), "a-shared", false),
        (Viewer::of("e"), "none-private", true),
        (nobody(), "none-shared", true),
        (nobody(), "b-shared", false),
    ] {
        assert_eq!(starts(viewer.clone(), name).await, expected, "{viewer:?} {name}");
    }
}

/// However many reasons there are to see it, and on whatever page.
async fn an_image_is_listed_once(repo: Arc<dyn Repo>) {
    for n in 0..20 {
        let mut image = queued();
        image.owner = Some(if n % 2 == 0 { "a" } else { "b" }.to_owned());
        image.visibility = Visibility::ALL[n / 5];
        repo.create(&image).await.unwrap();
        for member in ["a", "b"] {
            repo.add_member(&image.id, member, None).await.unwrap();
            repo.set_member_status(&image.id, member, MemberStatus::Accepted).await.unwrap();
        }
    }
    let whole = ids(&repo.list(&list(Viewer::of("a"))).await.unwrap());
    let private = Visibility::ALL.iter().position(|one| *one == Visibility::Private).unwrap();
    let own_private = (private * 5..private * 5 + 5).filter(|n| n % 2 == 0).count();
    assert_eq!(whole.len(), 15 + own_private);
    for limit in [1, 3, 19] {
        let query = ListQuery { limit, ..list(Viewer::of("a")) };
        assert_eq!(ids(&pages_of(&*repo, query).await), whole);
    }
}
