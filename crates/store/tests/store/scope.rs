use std::collections::BTreeSet;

use agent::ports::Sessions;
use run_model::snapshot::SnapshotRef;
use run_model::{SessionId, Sha256};
use store::{NewEvent, Store, StoreError};

use crate::world::{World, budget, run_id, run_record};

/// A store of `r-1` beside a run `r-2` that it must not touch.
async fn scoped() -> (World, Store) {
    let (world, run) = World::with_run().await;
    world.store.admit(run_record("r-2"), budget(1)).await.unwrap();
    let store = world.store.of_run(&run);
    (world, store)
}

fn is_refused<T: std::fmt::Debug>(found: Result<T, StoreError>) {
    match found {
        Err(error @ StoreError::OutOfReach { .. }) => {
            let told = "does not belong to run r-1, which is all that may be reached here";
            assert!(error.to_string().ends_with(told), "{error}");
        }
        other => panic!("reached: {other:?}"),
    }
}

#[tokio::test]
async fn a_store_of_one_run_reaches_its_rows_and_objects() {
    let (_world, store) = scoped().await;
    let run = run_id("r-1");
    assert_eq!(store.run(&run).await.unwrap().run_id, run);
    store.append_event(&run, NewEvent::new("notice", "here")).await.unwrap();
    let kept = store.put_artefact(&run, b"text".to_vec()).await.unwrap();
    assert_eq!(store.get_artefact(&kept).await.unwrap(), b"text");
    store.take(&run, &SessionId::new("developer", None, 1)).await.unwrap();
    store.check_object(&kept.key).unwrap();
}

#[tokio::test]
async fn rows_of_another_run_are_refused() {
    let (world, store) = scoped().await;
    let other = run_id("r-2");
    is_refused(store.run(&other).await);
    is_refused(store.tasks(&other).await);
    is_refused(store.usage(&other).await);
    is_refused(store.append_event(&other, NewEvent::new("notice", "forged")).await);
    is_refused(store.update_run(&other, |run| run.notices.push("forged".into())).await);
    is_refused(store.admit(run_record("r-3"), budget(1)).await);
    is_refused(store.run_gates(&other).await);
    let taken = store.take(&other, &SessionId::new("developer", None, 1)).await.unwrap_err();
    assert!(taken.to_string().contains("does not belong to run r-1"), "{taken}");
    assert_eq!(world.store.events(&other, 0).await.unwrap().len(), 1, "its admission alone");
}

#[tokio::test]
async fn objects_of_others_are_refused() {
    let (world, store) = scoped().await;
    let foreign = world.store.put_artefact(&run_id("r-2"), b"theirs".to_vec()).await.unwrap();
    let held_out = world.store.put_held_out(&run_id("r-1"), b"unseen".to_vec()).await.unwrap();
    for artefact in [foreign, held_out] {
        is_refused(store.get_artefact(&artefact).await);
        is_refused(store.put_object(&artefact.key, b"forged".to_vec()).await);
        is_refused(store.presigned_url(&artefact.key, 60).await);
    }
    is_refused(store.check_object("runs/r-1/../r-2/artefacts/x"));
    is_refused(store.check_object("runs/r-10/x"));
    is_refused(store.check_held_out("held-out/r-2/x"));
    let snapshot = SnapshotRef {
        commit: "c".into(),
        archive_key: "runs/r-2/snapshot.tar.gz".into(),
        archive_sha256: Sha256::of(b""),
        manifest_key: String::new(),
    };
    is_refused(store.base_contents(&snapshot, &BTreeSet::new()).await);
}
