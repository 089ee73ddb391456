//! Check jobs on a real table.

#![allow(clippy::unwrap_used, reason = "what a test builds on has to work")]

use std::sync::Arc;

use embedded_cloud::{Attachment, Cloud, CloudOptions};
use run_model::budget::Budget;
use run_model::evidence::{CheckJob, Purpose};
use run_model::run::{ArtefactRef, RunRecord, Stage};
use run_model::time::{SeededRandomness, VirtualClock};
use run_model::{ErrorName, FunctionError, RunId, Sha256};
use serde_json::{Value, json};
use store::{Names, OutboxKind, Store};

struct World {
    store: Store,
    context: test_runner::Context,
    run_id: RunId,
    _attachment: Attachment,
    _folder: tempfile::TempDir,
}

fn artefact(key: &str) -> ArtefactRef {
    ArtefactRef { key: key.into(), sha256: Sha256::of(key.as_bytes()), bytes: 1 }
}

/// A stay of the task machine in a state that asks for checks.
fn visit(purpose: &str, asked: &str) -> Value {
    json!({
        "run_id": "r-1", "purpose": purpose, "task_id": "t1", "iteration": 2, "overlay": artefact("runs/r-1/overlay"),
        "asked": asked,
    })
}

impl World {
    /// A run with a snapshot and held-out tests, as far as these are `true`.
    async fn new(snapshot: bool, held_out: bool) -> Self {
        Self::on("local", snapshot, held_out).await
    }

    async fn on(stage: &str, snapshot: bool, held_out: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(VirtualClock::at(1_800_000_000_000));
        let options = CloudOptions::new(folder.path().join("state"), clock.clone(), Arc::new(SeededRandomness::new(1)));
        let attachment = Cloud::open(options).await.unwrap();
        let (sdk, names) = (attachment.sdk_config(), Names::for_stage(stage));
        let store = Store::new(&sdk, names.clone(), clock.clone(), Arc::new(SeededRandomness::new(2)));
        store.create_table_and_bucket().await.unwrap();
        store.ensure_signing_secret().await.unwrap();
        let taken = json!({
            "commit": "c0", "archive_key": "runs/r-1/snapshot.tar.gz", "archive_sha256": Sha256::of(b"a"), "manifest_key": "runs/r-1/manifest.json",
        });
        let record: RunRecord = serde_json::from_value(json!({
            "schema": 1, "version": 0, "run_id": "r-1", "status": "running", "stage": "admit", "repository": "/r",
            "base_ref": "HEAD", "requirement": artefact("runs/r-1/requirement"), "config": artefact("runs/r-1/config"),
            "acceptance": held_out.then(|| artefact("held-out/r-1/tests")), "snapshot": snapshot.then_some(taken),
            "requester": { "name": "ann", "seen_as": "local" }, "executions": 1, "attempt": 1, "execution_arn": "arn:1",
            "created_ms": 0, "updated_ms": 0, "notices": [], "evidence": [],
        }))
        .unwrap();
        let run_id = record.run_id.clone();
        let budget = Budget { limit_microusd: 1, limit_tokens: 1, committed_microusd: 0, committed_tokens: 0 };
        store.admit(record, budget).await.unwrap();
        let context = test_runner::Context::new(&sdk, names, clock, Arc::new(SeededRandomness::new(3)));
        Self { store, context, run_id, _attachment: attachment, _folder: folder }
    }

    async fn ask(&self, token: &str, purpose: &str, held_out: bool) -> Result<Value, FunctionError> {
        self.ask_at("10:00", token, purpose, held_out).await
    }

    /// Asks in a state that was entered then.
    async fn ask_at(&self, asked: &str, token: &str, purpose: &str, held_out: bool) -> Result<Value, FunctionError> {
        let input = json!({
            "action": "queue", "token": token, "held_out": held_out, "visit": visit(purpose, asked),
        });
        test_runner::handle(&self.context, input).await
    }

    /// Looks for the evidence of what was asked for then.
    async fn look(&self, asked: &str) -> Result<Value, FunctionError> {
        let input = json!({
            "action": "look", "visit": visit("task", asked),
        });
        test_runner::handle(&self.context, input).await
    }

    /// Every job that waits.
    async fn jobs(&self) -> Vec<CheckJob> {
        let mut jobs = Vec::new();
        while let Some(job) = self.store.claim_job("test").await.unwrap() {
            jobs.push(job);
        }
        jobs
    }

    async fn queued(&self) -> Vec<String> {
        let events = self.store.events(&self.run_id, 0).await.unwrap();
        events.into_iter().filter(|event| event.kind == "checks.queued").map(|event| event.message).collect()
    }
}

#[tokio::test]
async fn a_job_says_what_to_run_on_which_tree() {
    let world = World::new(true, true).await;
    let queued = world.ask("token-1", "task", false).await.unwrap();
    let [job] = &world.jobs().await[..] else { panic!("not one job") };
    assert_eq!(queued, json!({ "job_id": job.job_id }));
    assert_eq!((job.purpose, job.snapshot.commit.as_str()), (Purpose::Task, "c0"));
    assert_eq!((job.overlay_key.as_deref(), job.config_key.as_str()), (Some("runs/r-1/overlay"), "runs/r-1/config"));
    assert_eq!(job.held_out_key, None);
    assert_eq!(world.queued().await, ["the checks run on the task's change (round 2)"]);
    assert_eq!(world.store.run(&world.run_id).await.unwrap().stage, Stage::Admit);
}

#[tokio::test]
async fn what_was_let_in_is_set_up_for_all_but_the_base() {
    let world = World::new(true, true).await;
    let setup = artefact("runs/r-1/setup");
    world.store.update_run(&world.run_id, |run| run.setup = Some(setup.clone())).await.unwrap();
    for purpose in ["session", "task", "regression_proof", "final", "baseline"] {
        world.ask("token", purpose, false).await.unwrap();
    }
    for purpose in ["acceptance_base", "acceptance_final"] {
        world.ask("token", purpose, true).await.unwrap();
    }
    let jobs = world.jobs().await;
    assert_eq!(jobs.len(), 7);
    for job in jobs {
        let of_base = matches!(job.purpose, Purpose::Baseline | Purpose::AcceptanceBase);
        assert_eq!(job.setup_key.as_deref(), (!of_base).then_some("runs/r-1/setup"), "{:?}", job.purpose);
    }
}

#[tokio::test]
async fn a_stay_in_a_state_has_one_job_however_often_it_is_tried_again() {
    let world = World::new(true, false).await;
    let first = world.ask("token-1", "session", false).await.unwrap();
    for token in ["token-1", "token-2"] {
        assert_eq!(world.ask(token, "session", false).await.unwrap(), first);
    }
    assert_ne!(world.ask_at("11:00", "token-3", "session", false).await.unwrap(), first);
    assert_ne!(world.ask("token-4", "task", false).await.unwrap(), first);
    assert_eq!(world.queued().await.len(), 3);
    let jobs = world.jobs().await;
    assert_eq!(jobs.len(), 3);
    let job = jobs.iter().find(|job| first["job_id"] == job.job_id.as_str()).unwrap();
    world.store.complete_job(&job.job_id, "test", json!({ "evidence": artefact("e") })).await.unwrap();
    let answer = world.store.answer_for(OutboxKind::Job, job.job_id.as_str()).await.unwrap();
    assert_eq!(answer.token, "token-2", "the newest token is answered");
}

#[tokio::test]
async fn a_state_that_is_tried_again_after_a_failure_gets_a_new_job() {
    let world = World::new(true, false).await;
    let first = world.ask("token-1", "task", false).await.unwrap();
    let [job] = &world.jobs().await[..] else { panic!("not one job") };
    world.store.fail_job(&job.job_id, "test", "StoreUnavailable", "it hung").await.unwrap();
    let second = world.ask("token-2", "task", false).await.unwrap();
    assert_ne!(second, first);
    assert_eq!(world.ask("token-3", "task", false).await.unwrap(), second);
    assert_eq!(world.jobs().await.len(), 1);
}

#[tokio::test]
async fn evidence_whose_answer_was_lost_is_found_in_the_table() {
    let world = World::new(true, false).await;
    world.ask("token-1", "task", false).await.unwrap();
    let missing = async |said: &str| {
        let error = world.look("10:00").await.unwrap_err();
        assert_eq!(error.name, ErrorName::NoEvidence);
        assert_eq!(error.message, format!("there is no evidence of the checks in time: {said}"));
    };
    missing("no runner took them").await;
    let [job] = &world.jobs().await[..] else { panic!("not one job") };
    missing("a runner took them and has not reported").await;
    let evidence = artefact("runs/r-1/evidence");
    world.store.complete_job(&job.job_id, "test", json!({ "evidence": evidence })).await.unwrap();
    assert_eq!(world.look("10:00").await.unwrap(), json!({ "evidence": evidence }));
    assert_eq!(
        world.look("11:00").await.unwrap_err().name,
        ErrorName::NoEvidence,
        "what another stay asked for is none"
    );
    let stage = World::on("dev", true, false).await;
    stage.ask("t-1", "task", false).await.unwrap();
    let error = stage.look("10:00").await.unwrap_err().message;
    assert!(error.contains("no runner took them; no runner is alive: start one with"), "{error}");
}

#[tokio::test]
async fn checks_of_base_and_change_enter_their_stage() {
    for (purpose, held_out, stage) in [
        ("baseline", false, Stage::Baseline),
        ("acceptance_base", true, Stage::Baseline),
        ("final", false, Stage::Verify),
        ("acceptance_final", true, Stage::Verify),
    ] {
        let world = World::new(true, true).await;
        world.ask("token", purpose, held_out).await.unwrap();
        assert_eq!(world.store.run(&world.run_id).await.unwrap().stage, stage);
        let [job] = &world.jobs().await[..] else { panic!("not one job") };
        assert_eq!(job.held_out_key.as_deref(), held_out.then_some("held-out/r-1/tests"));
    }
}

#[tokio::test]
async fn held_out_tests_never_meet_an_agent_and_are_never_forgotten() {
    let world = World::new(true, true).await;
    for purpose in ["session", "task", "regression_proof", "final", "baseline"] {
        let error = world.ask("token", purpose, true).await.unwrap_err();
        assert_eq!(error.name, ErrorName::InvalidInput, "{purpose}");
    }
    assert_eq!(world.ask("token", "acceptance_final", false).await.unwrap_err().name, ErrorName::InvalidInput);
    let without = World::new(true, false).await;
    let error = without.ask("token", "acceptance_final", true).await.unwrap_err();
    assert_eq!(error.message, "held_out: r-1 was given no held-out tests");
    assert!(world.jobs().await.is_empty() && without.jobs().await.is_empty());
    assert_eq!(without.store.run(&without.run_id).await.unwrap().stage, Stage::Admit);
}

#[tokio::test]
async fn without_a_snapshot_there_is_nothing_to_check() {
    let world = World::new(false, false).await;
    let error = world.ask("token", "task", false).await.unwrap_err();
    assert_eq!((error.name, error.message.as_str()), (ErrorName::Internal, "r-1 has no snapshot to check"));
}

#[tokio::test]
async fn a_stage_without_a_runner_is_told_how_to_get_one() {
    let world = World::on("dev", true, false).await;
    world.ask("t-1", "baseline", false).await.unwrap();
    world.store.note_runner("host").await.unwrap();
    world.ask_at("11:00", "t-2", "baseline", false).await.unwrap();
    let [alone, alive] = world.queued().await.try_into().unwrap();
    assert!(
        alone.starts_with("the checks run on the base") && alone.contains("`gatewright runner --api URL`"),
        "{alone}"
    );
    assert!(!alive.contains("runner"), "{alive}");
}

#[tokio::test]
async fn what_belongs_to_another_run_is_in_no_job() {
    let world = World::new(true, true).await;
    let refused = |found: Result<Value, FunctionError>, what: &str| {
        let error = found.unwrap_err();
        assert_eq!(error.name, ErrorName::PolicyRefused, "{error}");
        assert!(error.message.contains(what) && error.message.contains("does not belong to run r-1"), "{error}");
    };
    for key in ["runs/r-2/overlay", "held-out/r-1/tests", "runs/r-1/../r-2/overlay"] {
        let mut visit = visit("task", "10:00");
        visit["overlay"] = json!(artefact(key));
        let input = json!({ "action": "queue", "token": "t", "held_out": false, "visit": visit });
        refused(test_runner::handle(&world.context, input).await, key);
    }
    world.store.update_run(&world.run_id, |run| run.acceptance = Some(artefact("held-out/r-2/tests"))).await.unwrap();
    refused(world.ask("t", "acceptance_base", true).await, "held-out/r-2/tests");
    world.store.update_run(&world.run_id, |run| run.config = artefact("held-out/r-1/tests")).await.unwrap();
    refused(world.ask("t", "task", false).await, "held-out/r-1/tests");
    assert!(world.jobs().await.is_empty());
}
