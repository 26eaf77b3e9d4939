//! Members: adding, answering, removing, and adding again.

use super::*;
use crate::image::{Member, MemberStatus};

pub(super) async fn run_all(open: &impl AsyncFn(&'static str) -> Arc<dyn Repo>) {
    a_member_comes_answers_and_goes(open("members").await).await;
    a_removed_member_keeps_its_first_day(open("member again").await).await;
    members_are_counted(open("member quota").await).await;
    of_racing_members_each_is_there_once(open("member race").await).await;
    members_go_with_their_image(open("member image").await).await;
}

fn is_no_member<T: std::fmt::Debug>(result: &Result<T, MetaError>) -> bool {
    matches!(result, Err(MetaError::NoMember { .. }))
}

fn names(members: &[Member]) -> Vec<&str> {
    members.iter().map(|member| member.member_id.as_str()).collect()
}

async fn a_member_comes_answers_and_goes(repo: Arc<dyn Repo>) {
    let (id, other) = (created(&*repo).await, created(&*repo).await);
    let image = repo.get(&id).await.unwrap();
    let added = repo.add_member(&id, "p1", None).await.unwrap();
    assert_eq!((&added.image_id, added.member_id.as_str()), (&id, "p1"));
    assert_eq!(added.status, MemberStatus::Pending);
    assert_eq!(added.created_at, added.updated_at);
    repo.add_member(&id, "p2", None).await.unwrap();
    repo.add_member(&other, "p1", None).await.unwrap();
    assert_eq!(names(&repo.members(&id).await.unwrap()), ["p1", "p2"]);

    let again = repo.add_member(&id, "p1", None).await.unwrap_err();
    assert!(matches!(&again, MetaError::MemberExists { member, .. } if member == "p1"), "{again}");

    let accepted = repo.set_member_status(&id, "p1", MemberStatus::Accepted).await.unwrap();
    assert_eq!(accepted.status, MemberStatus::Accepted);
    assert!(is_after(accepted.updated_at, accepted.created_at));
    assert_eq!(repo.members(&id).await.unwrap()[0], accepted);
    assert_eq!(repo.members(&other).await.unwrap()[0].status, MemberStatus::Pending);

    repo.remove_member(&id, "p1").await.unwrap();
    assert_eq!(names(&repo.members(&id).await.unwrap()), ["p2"]);
    assert_eq!(repo.get(&id).await.unwrap(), image, "the image itself has not changed");
    assert!(is_no_member(&repo.remove_member(&id, "p1").await));
    assert!(is_no_member(&repo.set_member_status(&id, "p1", MemberStatus::Rejected).await));
    assert!(is_not_found(&repo.add_member(&ImageId::random(), "p1", None).await));
    assert!(repo.members(&ImageId::random()).await.unwrap().is_empty());
}

async fn a_removed_member_keeps_its_first_day(repo: Arc<dyn Repo>) {
    let id = created(&*repo).await;
    let first = repo.add_member(&id, "p", None).await.unwrap();
    repo.set_member_status(&id, "p", MemberStatus::Accepted).await.unwrap();
    for _ in 0..3 {
        repo.remove_member(&id, "p").await.unwrap();
        let back = repo.add_member(&id, "p", None).await.unwrap();
        assert_eq!((back.created_at, back.status), (first.created_at, MemberStatus::Pending));
        assert!(is_after(back.updated_at, first.updated_at));
        assert_eq!(repo.members(&id).await.unwrap(), [back]);
    }
}

async fn members_are_counted(repo: Arc<dyn Repo>) {
    let id = created(&*repo).await;
    for member in ["p1", "p2"] {
        repo.add_member(&id, member, Some(2)).await.unwrap();
    }
    let error = repo.add_member(&id, "p3", Some(2)).await.unwrap_err();
    assert!(matches!(error, MetaError::TooManyMembers { attempted: 3, maximum: 2 }), "{error}");
    repo.remove_member(&id, "p1").await.unwrap();
    repo.add_member(&id, "p3", Some(2)).await.unwrap();
}

async fn of_racing_members_each_is_there_once(repo: Arc<dyn Repo>) {
    let id = created(&*repo).await;
    let mut racers = JoinSet::new();
    for n in 0..20 {
        let (repo, id) = (repo.clone(), id.clone());
        racers.spawn(async move { repo.add_member(&id, &format!("p{}", n % 4), Some(3)).await });
    }
    let mut added = 0;
    while let Some(raced) = racers.join_next().await {
        added += usize::from(raced.unwrap().is_ok());
    }
    let members = repo.members(&id).await.unwrap();
    let distinct: BTreeSet<&str> = names(&members).into_iter().collect();
    assert_eq!((added, members.len(), distinct.len()), (3, 3, 3));
}

async fn members_go_with_their_image(repo: Arc<dyn Repo>) {
    let id = created(&*repo).await;
    repo.add_member(&id, "p", None).await.unwrap();
    repo.delete(&id, false).await.unwrap();
    assert!(repo.members(&id).await.unwrap().is_empty());
    assert!(is_not_found(&repo.add_member(&id, "p", None).await));
}
