//! Executions that end without telling it, on a real table.

#![allow(clippy::unwrap_used, reason = "what a test builds on has to work")]

use std::sync::Arc;

use embedded_cloud::{Attachment, Cloud, CloudOptions};
use run_model::budget::Budget;
use run_model::gate::{Binding, Gate, GateKind, GateState};
use run_model::risk::{Risk, RiskLevel};
use run_model::run::{Outcome, RunRecord, RunStatus};
use run_model::time::{SeededRandomness, VirtualClock};
use run_model::{ErrorName, GateId, RunId, Sha256};
use serde_json::{Value, json};
use store::{Names, Store};

const START_MS: i64 = 1_800_000_000_000;

struct World {
    context: events::Context,
    store: Store,
    run_id: RunId,
    _attachment: Attachment,
    _folder: tempfile::TempDir,
}

fn arn(machine: &str, name: &str) -> String {
    format!("arn:aws:states:eu-north-1:123456789012:execution:{machine}:{name}")
}

impl World {
    /// A run that waits at a gate, carried by this execution.
    async fn waiting(execution: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = VirtualClock::at(START_MS);
        let options =
            CloudOptions::new(folder.path().join("state"), Arc::new(clock.clone()), Arc::new(SeededRandomness::new(1)));
        let attachment = Cloud::open(options).await.unwrap();
        let (sdk, names, time) = (attachment.sdk_config(), Names::for_stage("dev"), Arc::new(clock.clone()));
        let store = Store::new(&sdk, names.clone(), time.clone(), Arc::new(SeededRandomness::new(2)));
        store.create_table_and_bucket().await.unwrap();
        store.ensure_signing_secret().await.unwrap();
        let budget = Budget { limit_microusd: 1, limit_tokens: 1, committed_microusd: 0, committed_tokens: 0 };
        store.admit(run(execution), budget).await.unwrap();
        store.open_gate(gate(), "token").await.unwrap();
        let context = events::Context::new(&sdk, names, time, Arc::new(SeededRandomness::new(3)));
        Self { context, store, run_id: RunId::new("r-1").unwrap(), _attachment: attachment, _folder: folder }
    }

    async fn tell(&self, machine: &str, name: &str, detail: Value) -> Value {
        let mut event = json!({
            "source": "aws.states",
            "detail-type": "Step Functions Execution Status Change",
            "detail": { "executionArn": arn(machine, name), "name": name, "redriveCount": 0, "stopDate": 1, "output": null },
        });
        event["detail"].as_object_mut().unwrap().extend(detail.as_object().unwrap().clone());
        events::handle(&self.context, event).await.unwrap()
    }

    async fn run(&self) -> RunRecord {
        self.store.run(&self.run_id).await.unwrap()
    }

    async fn told(&self, kind: &str) -> usize {
        self.store.events(&self.run_id, 0).await.unwrap().iter().filter(|event| event.kind == kind).count()
    }

    async fn gate_stands(&self) -> GateState {
        self.store.gate(&GateId::new("g-1").unwrap()).await.unwrap().state
    }
}

fn gate() -> Gate {
    Gate {
        gate_id: GateId::new("g-1").unwrap(),
        run_id: RunId::new("r-1").unwrap(),
        binding: Binding {
            kind: GateKind::Change,
            base_commit: "c".into(),
            content_sha256: Sha256::of(b"change"),
            target: "gatewright/r-1".into(),
        },
        risk: Risk { level: RiskLevel::High, reasons: Vec::new() },
        summary: "s".into(),
        opened_ms: START_MS,
        deadline_ms: START_MS + 60_000,
        state: GateState::Pending,
        approvals: Vec::new(),
        exchanges: Vec::new(),
    }
}

fn run(execution: &str) -> RunRecord {
    let artefact = json!({ "key": "k", "sha256": "0".repeat(64), "bytes": 1 });
    let run = json!({
        "schema": 1, "version": 0, "run_id": "r-1", "status": "running", "stage": "gate", "repository": "o/r",
        "base_ref": "main", "requirement": artefact, "config": artefact,
        "requester": { "name": "ann", "seen_as": "bearer" }, "executions": 1, "attempt": 1,
        "execution_arn": arn("pipeline", execution), "created_ms": 0, "updated_ms": 0, "notices": [], "evidence": [],
    });
    serde_json::from_value(run).unwrap()
}

#[tokio::test]
async fn an_end_that_was_not_told_becomes_the_runs_end_once() {
    for (detail, status, reason) in [
        (json!({ "status": "ABORTED" }), RunStatus::Stopped, "It was stopped in Step Functions."),
        (json!({ "status": "TIMED_OUT" }), RunStatus::TimedOut, "Its execution ran out of time."),
        (json!({ "status": "FAILED", "error": "Internal", "cause": "a defect" }), RunStatus::Failed, "a defect"),
        (json!({ "status": "FAILED", "error": "denied", "cause": "ann denied" }), RunStatus::Denied, "ann denied"),
        (json!({ "status": "SUCCEEDED" }), RunStatus::Failed, "Its execution ended without telling how."),
    ] {
        let world = World::waiting("r-1").await;
        for _ in 0..3 {
            let told = world.tell("pipeline", "r-1", detail.clone()).await;
            assert_eq!(told, json!({ "run_id": "r-1", "status": status }));
        }
        let outcome = world.run().await.outcome.unwrap();
        assert_eq!(outcome.reason, reason);
        assert!(outcome.next_step.contains("gatewright runs resume r-1"));
        assert_eq!((world.told("run.ended").await, world.gate_stands().await), (1, GateState::Void));
    }
}

#[tokio::test]
async fn what_goes_on_and_what_is_somebody_elses_is_left_alone() {
    let world = World::waiting("r-1-2").await;
    let nobodys = json!({ "run_id": null, "status": null });
    for (machine, name) in [("pipeline", "r-1"), ("task", "r-1-2"), ("pipeline", "r-2"), ("pipeline", "Other Name")] {
        assert_eq!(world.tell(machine, name, json!({ "status": "ABORTED" })).await, nobodys, "{machine} {name}");
    }
    world.tell("pipeline", "r-1-2", json!({ "status": "RUNNING" })).await;
    assert_eq!((world.run().await.status, world.told("run.ended").await), (RunStatus::ApprovalPending, 0));
    assert_eq!(world.gate_stands().await, GateState::Pending);
    world.tell("pipeline", "r-1-2", json!({ "status": "ABORTED" })).await;
    assert_eq!(world.run().await.status, RunStatus::Stopped);
}

#[tokio::test]
async fn an_end_that_was_told_stays() {
    let world = World::waiting("r-1").await;
    let deny = |run: &mut RunRecord| run.status = RunStatus::Denied;
    world.store.update_run(&world.run_id, deny).await.unwrap();
    let before = world.run().await;
    world.tell("pipeline", "r-1", json!({ "status": "FAILED", "error": "denied" })).await;
    assert_eq!(world.run().await, before);
}

#[tokio::test]
async fn what_has_landed_has_succeeded_however_its_execution_ended() {
    let world = World::waiting("r-1").await;
    let land = |run: &mut RunRecord| run.branch = Some("gatewright/r-1".into());
    world.store.update_run(&world.run_id, land).await.unwrap();
    world.tell("pipeline", "r-1", json!({ "status": "ABORTED" })).await;
    assert_eq!(world.run().await.status, RunStatus::Succeeded);
}

#[tokio::test]
async fn a_redriven_execution_runs_again_and_its_end_counts_again() {
    let world = World::waiting("r-1").await;
    world.tell("pipeline", "r-1", json!({ "status": "ABORTED" })).await;
    world.tell("pipeline", "r-1", json!({ "status": "RUNNING", "redriveCount": 1 })).await;
    assert_eq!((world.run().await.status, world.told("run.redriven").await), (RunStatus::Running, 1));
    world.tell("pipeline", "r-1", json!({ "status": "RUNNING", "redriveCount": 1 })).await;
    assert_eq!(world.told("run.redriven").await, 1);
    world.tell("pipeline", "r-1", json!({ "status": "FAILED", "error": "limit_reached", "cause": "no more" })).await;
    assert_eq!(world.run().await.status, RunStatus::LimitReached);
}

#[tokio::test]
async fn other_events_are_refused_by_name() {
    let world = World::waiting("r-1").await;
    let other =
        json!({ "detail-type": "Scheduled Event", "detail": { "executionArn": "a", "name": "n", "status": "s" } });
    for event in [json!({}), other] {
        assert_eq!(events::handle(&world.context, event).await.unwrap_err().name, ErrorName::InvalidInput);
    }
}

#[tokio::test]
async fn a_redrive_that_ends_where_it_had_ended_says_what_was_said_before() {
    let world = World::waiting("r-1").await;
    let outcome = Outcome { reason: "Task t1 failed: red.".into(), next_step: "Mend it, then resume.".into() };
    let told = |run: &mut RunRecord| {
        run.status = RunStatus::LimitReached;
        run.outcome = Some(outcome.clone());
    };
    world.store.update_run(&world.run_id, told).await.unwrap();
    world.tell("pipeline", "r-1", json!({ "status": "RUNNING", "redriveCount": 1 })).await;
    assert_eq!(world.run().await.status, RunStatus::Running);
    let cause = "Task t1 failed: red. Mend it, then resume. (Redrive only ends here again.)";
    let failed = json!({ "status": "FAILED", "error": "limit_reached", "cause": cause, "redriveCount": 1 });
    world.tell("pipeline", "r-1", failed).await;
    assert_eq!((world.run().await.status, world.run().await.outcome), (RunStatus::LimitReached, Some(outcome.clone())));

    // Another end is another end.
    world.tell("pipeline", "r-1", json!({ "status": "RUNNING", "redriveCount": 2 })).await;
    world.tell("pipeline", "r-1", json!({ "status": "ABORTED", "redriveCount": 2 })).await;
    let run = world.run().await;
    assert_eq!(run.status, RunStatus::Stopped);
    assert_eq!(run.outcome.unwrap().reason, "It was stopped in Step Functions.");
}
