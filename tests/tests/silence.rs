//! Silence never approves: a gate that nobody answers ends the run, and nothing that waits behind it is done.
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

use std::sync::{Arc, Mutex};

use aws_sdk_sfn::types::ExecutionStatus;
use embedded_cloud::{FunctionError, FunctionRegistry};
use run_model::change_set::{ChangeSet, Edit, Overlay};
use run_model::evidence::Purpose;
use run_model::gate::{Approver, Gate, GateDecision, GateState};
use run_model::risk::{Risk, RiskLevel, RiskReason};
use run_model::run::RunStatus;
use run_model::snapshot::SnapshotRef;
use run_model::time::SeededRandomness;
use run_model::{Clock, RepoPath, RunId, Sha256};
use serde_json::json;
use tests::Stage;
use tests::machines::functions;

/// How long after the deadline the state waits for an answer that was given before it.
const GRACE_MS: i64 = 120_000;
const COMMIT: &str = "cccccccccccccccccccccccccccccccccccccccc";

type Called = Arc<Mutex<Vec<String>>>;

/// The two functions that have to do with gates, as they are; every other one only leaves its name.
fn registry(stage: &Stage) -> (FunctionRegistry, Called) {
    let called = Called::default();
    let others = functions().into_iter().fold(FunctionRegistry::new(), |registry, name| {
        let called = called.clone();
        registry.with(&name.clone(), move |_, _| {
            called.lock().unwrap().push(name.clone());
            async { Ok(json!({})) }
        })
    });
    let (sdk, names) = (stage.cloud.sdk_config(), stage.store.names().clone());
    let (clock, chance) = (Arc::new(stage.clock.clone()), Arc::new(SeededRandomness::new(3)));
    let control = Arc::new(run_control::Context::new(&sdk, names.clone(), clock.clone(), chance.clone()));
    let opener = Arc::new(gate_open::Context::new(&sdk, names, clock, chance));
    let registry = others
        .with("run-control", move |event, _| {
            let control = control.clone();
            async move { run_control::handle(&control, event).await.map_err(FunctionError::from) }
        })
        .with("gate-open", move |event, _| {
            let opener = opener.clone();
            async move { gate_open::handle(&opener, event).await.map_err(FunctionError::from) }
        });
    (registry, called)
}

/// A run with everything that the stages up to its gates leave behind.
async fn standing_before_its_gates(stage: &Stage) -> RunId {
    let (store, run_id) = (&stage.store, RunId::new("r-1").unwrap());
    let chance = Arc::new(SeededRandomness::new(4));
    let clock = Arc::new(stage.clock.clone());
    let control = run_control::Context::new(&stage.cloud.sdk_config(), store.names().clone(), clock, chance);
    let check = json!({"name": "test", "command": "sh check.sh", "format": "plain"});
    let mut config = serde_json::to_value(config::RunConfig::default()).unwrap();
    config["checks"] = json!([check]);
    let input = json!({"repository": "/r", "requirements": "make it right", "config": config});
    let admit = json!({"action": "admit", "execution": {"name": "r-1", "arn": "arn:r-1"}, "input": input});
    run_control::handle(&control, admit).await.unwrap();
    let task = json!({"id": "fix", "title": "t", "description": "d", "role": "developer"});
    let plan = store.put_json(&run_id, &json!({"summary": "made right", "tasks": [task]})).await.unwrap();
    let overlay = Overlay([(RepoPath::new("sum.sh").unwrap(), Edit::Write("echo 3".into()))].into());
    let change = store.put_json(&run_id, &ChangeSet { base_commit: COMMIT.into(), overlay }).await.unwrap();
    let risk = |level| Some(Risk::of(vec![RiskReason::new(level, "test", "as the test says")]));
    let fill = |run: &mut run_model::run::RunRecord| {
        run.snapshot = Some(SnapshotRef {
            commit: COMMIT.into(),
            archive_key: "runs/r-1/snapshot.tar.gz".into(),
            archive_sha256: Sha256::of(b"nobody opens it"),
            manifest_key: "runs/r-1/manifest.json".into(),
        });
        // Nobody reads evidence and design at a gate; they have to be there.
        run.evidence = vec![(Purpose::Baseline, plan.clone())];
        run.design = Some(plan.clone());
        run.plan = Some(plan.clone());
        run.change_set = Some(change.clone());
        run.plan_risk = risk(RiskLevel::Medium);
        run.risk = risk(RiskLevel::Medium);
        run.commit = Some(COMMIT.into());
    };
    store.update_run(&run_id, fill).await.unwrap();
    run_id
}

/// The gate once its state does nothing but wait for an answer.
async fn waiting_gate(stage: &Stage, run_id: &RunId) -> Gate {
    loop {
        let gate = stage.store.run_gates(run_id).await.unwrap().pop();
        if let Some(gate) = gate.filter(|gate| stage.clock.next_due_ms() >= Some(gate.deadline_ms)) {
            return gate;
        }
        tokio::task::yield_now().await;
    }
}

/// Nobody answers the gate at which a run that goes on `from` there comes to stand.
async fn nobody_answers(mut stage: Stage, run_id: RunId, from: &str) {
    let (functions, called) = registry(&stage);
    let execution = stage.play(functions, "r-1-2", &json!({"run_id": run_id, "from": from})).await;
    let gate = waiting_gate(&stage, &run_id).await;
    assert_eq!(stage.clock.next_due_ms(), Some(gate.deadline_ms + GRACE_MS), "{from}");

    stage.clock.advance(gate.deadline_ms + 1 - stage.clock.now_ms());
    let approver = Approver { name: "late".into(), seen_as: "self, local".into() };
    let (hash, yes) = (gate.binding.hash(), GateDecision::Approved);
    let late = stage.store.decide(&gate.gate_id, &hash, yes, approver, None).await;
    assert!(late.is_err(), "{from}: {late:?}");

    stage.clock.advance(GRACE_MS - 1);
    let ended = stage.ended(&execution).await;
    assert_eq!((ended.status(), ended.error()), (&ExecutionStatus::Failed, Some("timed_out")), "{from}: {ended:?}");
    let run = stage.store.run(&run_id).await.unwrap();
    assert_eq!((run.status, run.status.exit_code(), run.branch), (RunStatus::TimedOut, 3, None), "{from}");
    assert!(run.outcome.unwrap().reason.contains("silence means no"), "{from}");
    assert_eq!(stage.store.gate(&gate.gate_id).await.unwrap().state, GateState::Expired, "{from}");
    assert_eq!(*called.lock().unwrap(), Vec::<String>::new(), "{from}: what waits behind the gate was begun");
}

#[tokio::test]
async fn a_change_that_nobody_looks_at_times_out() {
    let stage = Stage::set().await;
    let run_id = standing_before_its_gates(&stage).await;
    nobody_answers(stage, run_id, "gate").await;
}

#[tokio::test]
async fn a_plan_that_nobody_looks_at_times_out() {
    let stage = Stage::set().await;
    let run_id = standing_before_its_gates(&stage).await;
    let risk = Risk::of(vec![RiskReason::new(RiskLevel::High, "test", "as the test says")]);
    stage.store.update_run(&run_id, |run| run.plan_risk = Some(risk.clone())).await.unwrap();
    nobody_answers(stage, run_id, "plan_gate").await;
}
