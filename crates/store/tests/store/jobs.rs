use std::collections::BTreeSet;

use futures::future::join_all;
use run_model::JobId;
use run_model::Sha256;
use run_model::evidence::{CheckJob, Purpose};
use run_model::run::{Ending, Outcome, RunStatus};
use run_model::snapshot::SnapshotRef;
use serde_json::{Value, json};
use store::{NewEvent, OutboxKind, StoreError};

use crate::world::{World, run_id};

pub(crate) fn job(id: &str) -> CheckJob {
    CheckJob {
        job_id: JobId::new(id).unwrap(),
        run_id: run_id("r-1"),
        purpose: Purpose::Task,
        priority: run_model::run::Priority::Normal,
        snapshot: SnapshotRef {
            commit: "c0".into(),
            archive_key: "runs/r-1/snapshot.tar.gz".into(),
            archive_sha256: Sha256::of(b"archive"),
            manifest_key: "runs/r-1/manifest.json".into(),
        },
        overlay_key: None,
        setup_key: None,
        held_out_key: None,
        config_key: "runs/r-1/config.json".into(),
    }
}

/// What the run is told of a new job.
pub(crate) fn told() -> NewEvent {
    NewEvent::new("checks.queued", "the checks run")
}

async fn claimed(world: &World, runner: &str) -> Option<String> {
    world.store.claim_job(runner).await.unwrap().map(|job| job.job_id.to_string())
}

async fn answer(world: &World, job: &str) -> (String, Result<Value, (String, String)>) {
    let answer = world.store.answer_for(OutboxKind::Job, job).await.unwrap();
    (answer.token, answer.result)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_runners_claim_each_job_once() {
    let world = World::new().await;
    for number in 0..40 {
        world.store.put_job(job(&format!("j-{number}")), "t", told()).await.unwrap();
    }
    let runners = (0..50).map(|number| {
        let store = world.store.clone();
        tokio::spawn(async move { store.claim_job(&format!("runner-{number}")).await.unwrap() })
    });
    let claims: Vec<CheckJob> = join_all(runners).await.into_iter().filter_map(Result::unwrap).collect();
    let different: BTreeSet<_> = claims.iter().map(|job| job.job_id.clone()).collect();
    assert_eq!((claims.len(), different.len()), (40, 40));
}

#[tokio::test]
async fn a_job_is_told_with_its_row_and_once() {
    let world = World::new().await;
    for token in ["first", "second"] {
        world.store.put_job(job("j-1"), token, told()).await.unwrap();
    }
    let events = world.store.events(&run_id("r-1"), 0).await.unwrap();
    assert_eq!(events.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["checks.queued"]);
}

#[tokio::test]
async fn the_oldest_job_goes_first() {
    let world = World::new().await;
    for id in ["j-z", "j-a"] {
        world.store.put_job(job(id), "t", told()).await.unwrap();
        world.clock.advance(1);
    }
    assert_eq!(claimed(&world, "me").await.as_deref(), Some("j-z"));
    assert_eq!(claimed(&world, "me").await.as_deref(), Some("j-a"));
    assert_eq!(claimed(&world, "me").await, None);
}

#[tokio::test]
async fn a_result_and_its_answer_are_written_together_once() {
    let world = World::new().await;
    world.store.put_job(job("j-1"), "the-token", told()).await.unwrap();
    assert!(matches!(world.store.answer_for(OutboxKind::Job, "j-1").await, Err(StoreError::Conflict(_))));
    let claimed = world.store.claim_job("me").await.unwrap().unwrap();
    assert_eq!(claimed, job("j-1"));
    let result = json!({ "evidence": { "key": "k" } });
    for _ in 0..2 {
        world.store.complete_job(&claimed.job_id, "me", result.clone()).await.unwrap();
    }
    assert_eq!(world.outbox().await.len(), 1);
    assert_eq!(answer(&world, "j-1").await, ("the-token".into(), Ok(result)));
    let item = world.raw_item("JOB#j-1", "JOB").await.unwrap();
    assert!(item.contains_key("expires_at") && !item.contains_key("gsi1pk"));
    assert!(!format!("{item:?}").contains("the-token"));
}

#[tokio::test]
async fn a_failure_is_answered_by_name() {
    let world = World::new().await;
    world.store.put_job(job("j-1"), "t", told()).await.unwrap();
    let claimed = world.store.claim_job("me").await.unwrap().unwrap();
    world.store.fail_job(&claimed.job_id, "me", "Internal", "the sandbox broke").await.unwrap();
    assert_eq!(answer(&world, "j-1").await.1, Err(("Internal".into(), "the sandbox broke".into())));
}

#[tokio::test]
async fn only_who_holds_a_job_ends_it() {
    let world = World::new().await;
    world.store.put_job(job("j-1"), "t", told()).await.unwrap();
    let id = JobId::new("j-1").unwrap();
    let refused = world.store.complete_job(&id, "me", json!(1)).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");

    claimed(&world, "the dead one").await.unwrap();
    world.store.requeue_jobs_of_others("the dead one").await.unwrap();
    assert_eq!(claimed(&world, "me").await, None);
    world.store.requeue_jobs_of_others("me").await.unwrap();
    assert_eq!(claimed(&world, "me").await.as_deref(), Some("j-1"));
    let late = world.store.complete_job(&id, "the dead one", json!(1)).await.unwrap_err();
    assert_eq!(late.to_string(), "conflict on job j-1, which the dead one does not hold");
    world.store.complete_job(&id, "me", json!(2)).await.unwrap();
    assert_eq!(answer(&world, "j-1").await.1, Ok(json!(2)));
}

#[tokio::test]
async fn a_job_put_again_takes_the_new_token_and_runs_once() {
    let world = World::new().await;
    world.store.put_job(job("j-1"), "first", told()).await.unwrap();
    let id = world.store.claim_job("me").await.unwrap().unwrap().job_id;
    world.store.put_job(job("j-1"), "second", told()).await.unwrap();
    assert_eq!(claimed(&world, "another").await, None);
    world.store.complete_job(&id, "me", json!(1)).await.unwrap();
    assert_eq!(answer(&world, "j-1").await.0, "second");
    world.store.put_job(job("j-1"), "third", told()).await.unwrap();
    assert_eq!(world.outbox().await.len(), 2);
    assert_eq!(answer(&world, "j-1").await, ("third".into(), Ok(json!(1))));
}

#[tokio::test]
async fn a_job_that_is_given_back_is_anothers() {
    let world = World::new().await;
    world.store.put_job(job("j-1"), "t", told()).await.unwrap();
    assert_eq!(claimed(&world, "one").await.as_deref(), Some("j-1"));
    let id = JobId::new("j-1").unwrap();
    let not_its_own = world.store.give_back_job(&id, "two").await;
    assert!(matches!(not_its_own, Err(StoreError::Conflict(_))), "{not_its_own:?}");
    for _ in 0..2 {
        world.store.give_back_job(&id, "one").await.unwrap();
    }
    assert_eq!(claimed(&world, "two").await.as_deref(), Some("j-1"));
    assert!(world.store.give_back_job(&id, "one").await.is_err());
}

async fn state_of(world: &World, job: &str) -> (String, bool, bool) {
    let item = world.raw_item(&format!("JOB#{job}"), "JOB").await.unwrap();
    (item["state"].as_s().unwrap().clone(), item.contains_key("gsi1pk"), item.contains_key("expires_at"))
}

fn is_over<T: std::fmt::Debug>(told: Result<T, StoreError>) {
    let told = told.unwrap_err().to_string();
    assert!(told.ends_with(", whose run has ended: stop its checks and claim another"), "{told}");
}

#[tokio::test]
async fn a_run_that_is_stopped_leaves_no_job_open() {
    let (world, run) = World::with_run().await;
    for id in ["j-1", "j-2"] {
        world.store.put_job(job(id), "t", told()).await.unwrap();
    }
    assert_eq!(state_of(&world, "j-2").await, ("queued".into(), true, true), "nobody has to come for it to go");
    let claimed = world.store.lease_job("me", i64::MAX).await.unwrap().unwrap().job_id;
    assert_eq!(world.store.open_jobs(&run).await.unwrap().len(), 2);
    let outcome = Outcome { reason: "stopped".into(), next_step: "resume".into() };
    let event = NewEvent::new("run.ended", "stopped");
    world.store.end_run(&run, RunStatus::Stopped, outcome, event).await.unwrap();
    assert_eq!(world.store.open_jobs(&run).await.unwrap(), []);
    for id in ["j-1", "j-2"] {
        assert_eq!(state_of(&world, id).await, ("closed".into(), false, true));
    }
    assert_eq!(world.store.lease_job("me", i64::MAX).await.unwrap(), None);
    is_over(world.store.prolong_job(&claimed, "me", i64::MAX).await);
    is_over(world.store.complete_job(&claimed, "me", json!(1)).await);
    is_over(world.store.fail_job(&claimed, "me", "Internal", "m").await);
    is_over(world.store.give_back_job(&claimed, "me").await);
    assert!(world.outbox().await.is_empty(), "nobody waits for an answer");
}

#[tokio::test]
async fn an_execution_that_ended_unheard_closes_its_jobs_too() {
    let (world, run) = World::with_run().await;
    world.store.put_job(job("j-1"), "t", told()).await.unwrap();
    let outcome = Outcome { reason: "it was stopped".into(), next_step: "resume".into() };
    let ending = Ending { status: RunStatus::Stopped, outcome };
    world.store.end_with_execution(&run, "arn:1", &ending).await.unwrap();
    assert_eq!(state_of(&world, "j-1").await.0, "closed");
}

#[tokio::test]
async fn a_job_that_outlived_its_run_is_closed_when_a_runner_asks() {
    let (world, run) = World::with_run().await;
    for id in ["j-1", "j-2"] {
        world.store.put_job(job(id), "t", told()).await.unwrap();
    }
    let claimed = world.store.lease_job("me", i64::MAX).await.unwrap().unwrap().job_id;
    world.store.update_run(&run, |run| run.status = RunStatus::Failed).await.unwrap();
    is_over(world.store.prolong_job(&claimed, "me", i64::MAX).await);
    assert_eq!(world.store.lease_job("other", i64::MAX).await.unwrap(), None);
    for id in ["j-1", "j-2"] {
        assert_eq!(state_of(&world, id).await.0, "closed");
    }
}

#[tokio::test]
async fn an_answer_that_nobody_delivers_expires() {
    let world = World::new().await;
    world.store.put_job(job("j-1"), "t", told()).await.unwrap();
    let claimed = world.store.claim_job("me").await.unwrap().unwrap().job_id;
    world.store.complete_job(&claimed, "me", json!(1)).await.unwrap();
    let id = &world.outbox().await[0].id;
    let waiting = world.raw_item(&format!("OUTBOX#{id}"), "OUTBOX").await.unwrap();
    assert!(waiting.contains_key("expires_at"), "{waiting:?}");
}
