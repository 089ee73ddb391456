//! Who may ask and decide.

use run_model::Sha256;
use run_model::person::{ApproverRole, named};
use run_model::run::Requester;
use serde_json::json;
use store::{GrantKind, NewGrant, Start, Started, StoreError};

use crate::world::World;

fn grant(name: &str) -> NewGrant {
    NewGrant { name: name.into(), roles: [ApproverRole::TechLead].into(), lifetime_seconds: 60 }
}

#[tokio::test]
async fn a_bearer_counts_until_it_expires_and_the_table_does_not_hold_it() {
    let world = World::new().await;
    let (bearer, added) = world.store.add_bearer(GrantKind::Person, grant("ann")).await.unwrap();
    assert!(bearer.starts_with("gwb_") && bearer.len() == 4 + 64, "256 random bits");
    let found = world.store.bearer(&bearer).await.unwrap().unwrap();
    assert_eq!((found.name.as_str(), &found), ("ann", &added));
    assert_eq!(found.id, Sha256::of(bearer.as_bytes()).as_str()[..16]);
    assert!(!format!("{:?}", world.raw_items().await).contains(bearer.strip_prefix("gwb_").unwrap()));
    world.clock.advance(59_999);
    assert!(world.store.bearer(&bearer).await.unwrap().is_some());
    world.clock.advance(1);
    assert_eq!(world.store.bearer(&bearer).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_not_a_bearer_opens_nothing() {
    let world = World::new().await;
    let (bearer, added) = world.store.add_bearer(GrantKind::Person, grant("ann")).await.unwrap();
    let hash = Sha256::of(bearer.as_bytes());
    for shown in ["", "gwb_", added.id.as_str(), hash.as_str(), &bearer[..bearer.len() - 1], &bearer.to_uppercase()] {
        assert_eq!(world.store.bearer(shown).await.unwrap(), None, "{shown}");
    }
    let (other, _) = world.store.add_bearer(GrantKind::Runner, grant("r")).await.unwrap();
    assert_ne!(other, bearer);
}

#[tokio::test]
async fn a_revoked_grant_no_longer_counts_and_is_still_listed() {
    let world = World::new().await;
    let (bearer, added) = world.store.add_bearer(GrantKind::Person, grant("ann")).await.unwrap();
    world.clock.advance(1);
    let (kept, _) = world.store.add_bearer(GrantKind::Person, grant("ann")).await.unwrap();
    let revoked = world.store.revoke_grant(&added.id).await.unwrap();
    assert_eq!(world.store.revoke_grant(&added.id).await.unwrap(), revoked);
    assert_eq!(world.store.bearer(&bearer).await.unwrap(), None);
    assert!(world.store.bearer(&kept).await.unwrap().is_some());
    let listed = world.store.grants().await.unwrap();
    assert_eq!(listed.iter().map(|grant| grant.revoked_ms.is_some()).collect::<Vec<_>>(), [true, false]);
    let part = world.store.revoke_grant(&added.id[..8]).await;
    assert!(matches!(part, Err(StoreError::NotFound(_))), "ids are compared whole");
}

#[tokio::test]
async fn a_principal_is_its_identity_and_the_person_it_was_granted_to() {
    let world = World::new().await;
    let identity = "123456789012:role/admin";
    let stranger = world.store.principal(identity).await.unwrap();
    assert_eq!((stranger.name.as_str(), stranger.roles.len(), stranger.identities.len()), (identity, 0, 1));
    world.store.grant_principal(identity, grant("ann")).await.unwrap();
    let ann = world.store.principal(identity).await.unwrap();
    assert_eq!(ann.identities, [identity.to_owned(), named("ann")].into());
    assert_eq!(ann.roles, [ApproverRole::TechLead].into());
    // A principal's identity shown as a bearer is no bearer.
    assert_eq!(world.store.bearer(identity).await.unwrap(), None);
    world.store.grant_principal(identity, grant("ben")).await.unwrap();
    assert_eq!(world.store.principal(identity).await.unwrap().name, "ben");
    assert_eq!(world.store.grants().await.unwrap().len(), 1);
    // Workflows ask, decide nothing, and are nobody whom anything else would know again.
    world.store.grant_workflow(identity, grant("ben")).await.unwrap();
    let workflow = world.store.principal(identity).await.unwrap();
    assert!(workflow.may_ask() && ann.may_ask() && !stranger.may_ask());
    assert_eq!((workflow.roles.len(), &workflow.identities), (0, &stranger.identities));
    assert!(!Requester::from(workflow).is_known() && Requester::from(ann).is_known());
    world.store.revoke_grant(identity).await.unwrap();
    assert_eq!(world.store.principal(identity).await.unwrap(), stranger);
}

#[tokio::test]
async fn an_execution_is_asked_for_once() {
    let world = World::new().await;
    assert_eq!(world.store.start("r-1").await.unwrap(), None);
    let start = Start { requester: Requester::local("ann"), input: json!({ "repository": "o/r", "base": "main" }) };
    assert_eq!(world.store.put_start("r-1", &start).await.unwrap(), Started::New);
    assert_eq!(world.store.put_start("r-1", &start).await.unwrap(), Started::Repeated);
    let other = Start { input: json!({ "repository": "o/other" }), ..start.clone() };
    assert_eq!(world.store.put_start("r-1", &other).await.unwrap(), Started::Different);
    assert_eq!(world.store.start("r-1").await.unwrap(), Some(start));
}
