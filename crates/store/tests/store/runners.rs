use std::sync::Arc;

use run_model::evidence::{CheckJob, Purpose};
use run_model::run::Priority;
use run_model::snapshot::SnapshotRef;
use run_model::time::SeededRandomness;
use run_model::{JobId, Sha256};
use store::{Names, NewEvent, Store};

use crate::world::{START_MS, World, run_id};

/// The same table, as a deployed stage has it.
fn deployed(world: &World) -> Store {
    let names = Names { stage: "dev".into(), ..world.store.names().clone() };
    Store::new(&world.sdk, names, Arc::new(world.clock.clone()), Arc::new(SeededRandomness::new(9)))
}

async fn alive(store: &Store) -> Vec<(String, i64)> {
    store.runners_alive().await.unwrap().into_iter().map(|runner| (runner.name, runner.seen_ms - START_MS)).collect()
}

#[tokio::test]
async fn a_runner_is_alive_for_three_minutes_after_it_was_heard_of() {
    let world = World::new().await;
    assert_eq!(alive(&world.store).await, []);
    world.store.note_runner("b").await.unwrap();
    world.clock.advance(59_999);
    world.store.note_runner("b").await.unwrap();
    world.store.note_runner("a").await.unwrap();
    assert_eq!(
        alive(&world.store).await,
        [("a".into(), 59_999), ("b".into(), 0)],
        "a word within a minute costs no write"
    );
    world.clock.advance(1);
    world.store.note_runner("b").await.unwrap();
    assert_eq!(alive(&world.store).await, [("a".into(), 59_999), ("b".into(), 60_000)]);
    world.clock.advance(180_000);
    assert_eq!(alive(&world.store).await, [("b".into(), 60_000)]);
    world.clock.advance(1);
    assert_eq!(alive(&world.store).await, []);
}

#[tokio::test]
async fn a_run_waits_for_a_runner_while_its_job_waits_and_nobody_is_alive() {
    let world = World::new().await;
    let (store, run) = (deployed(&world), run_id("r-1"));
    let waits = async |store: &Store| store.waits_for_a_runner(&run).await.unwrap();
    assert!(!waits(&store).await, "it has no job");
    let job = CheckJob {
        job_id: JobId::new("j-1").unwrap(),
        run_id: run.clone(),
        purpose: Purpose::Task,
        priority: Priority::Normal,
        snapshot: SnapshotRef {
            commit: "c0".into(),
            archive_key: "a".into(),
            archive_sha256: Sha256::of(b"a"),
            manifest_key: "m".into(),
        },
        overlay_key: None,
        setup_key: None,
        held_out_key: None,
        config_key: "c".into(),
    };
    store.put_job(job, "t", NewEvent::new("checks.queued", "the checks run")).await.unwrap();
    assert!(waits(&store).await);
    assert!(!waits(&world.store).await, "on one machine the driver runs the checks");
    assert!(!store.waits_for_a_runner(&run_id("r-2")).await.unwrap(), "it is another run's job");
    store.note_runner("host").await.unwrap();
    assert!(!waits(&store).await, "somebody will take it");
    store.lease_job("host/1", START_MS + 120_000).await.unwrap().unwrap();
    world.clock.advance(120_000);
    assert!(!waits(&store).await, "it is at work");
    world.clock.advance(60_001);
    assert!(waits(&store).await, "whoever had it is silent");
}
