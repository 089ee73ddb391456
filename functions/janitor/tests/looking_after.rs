//! What the janitor finds when its one-shot fires: real records, executions and schedules, and a clock that is moved.
#![allow(clippy::unwrap_used, reason = "what a test builds on has to work")]

use std::sync::Arc;

use config::{CheckSpec, RunConfig, TestFormat};
use embedded_cloud::{Attachment, Cloud, CloudOptions, FunctionRegistry};
use run_model::change_set::{ChangeSet, Edit, Overlay};
use run_model::gate::GateState;
use run_model::risk::{Risk, RiskLevel};
use run_model::run::{EXECUTION_BOUND_SECONDS, RunRecord, RunStatus};
use run_model::snapshot::SnapshotRef;
use run_model::time::{SeededRandomness, VirtualClock};
use run_model::{Clock, RepoPath, RunId, Sha256};
use schedules::{OneShots, Place};
use serde_json::{Value, json};
use store::{Names, Store};
use tokio::sync::mpsc;

const START_MS: i64 = 1_800_000_000_000;
const MACHINE: &str = "arn:aws:states:us-east-1:000000000000:stateMachine:pipeline";
const EXECUTION: &str = "arn:aws:states:us-east-1:000000000000:execution:pipeline:r-1";

/// A stage with run-control, gate-open and janitor, whose pipeline admits a run and waits for ever.
struct World {
    cloud: Cloud,
    store: Store,
    clock: VirtualClock,
    run_id: RunId,
    /// What each call of the janitor answered.
    called: mpsc::UnboundedReceiver<Value>,
    gate_open: gate_open::Context,
    _folder: tempfile::TempDir,
}

/// "Admit" as the real pipeline has it, then a wait.
fn pipeline() -> String {
    let admit = json!({
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Arguments": { "FunctionName": "run-control", "Payload": {
            "action": "admit",
            "execution": { "name": "{% $states.context.Execution.Name %}", "arn": "{% $states.context.Execution.Id %}" },
            "input": "{% $states.input %}",
        } },
        "Next": "Work",
    });
    let work = json!({ "Type": "Wait", "Seconds": 31_536_000, "End": true });
    json!({ "QueryLanguage": "JSONata", "StartAt": "Admit", "States": { "Admit": admit, "Work": work } }).to_string()
}

fn config() -> RunConfig {
    let check = CheckSpec { name: "test".into(), command: "true".into(), format: TestFormat::Plain };
    RunConfig { checks: vec![check], ..RunConfig::default() }
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = VirtualClock::at(START_MS);
        let options = CloudOptions {
            machines: vec![("pipeline".into(), pipeline())],
            ..CloudOptions::new(
                folder.path().join("state"),
                Arc::new(clock.clone()),
                Arc::new(SeededRandomness::new(1)),
            )
        };
        let Attachment::Driver(mut cloud) = Cloud::open(options).await.unwrap() else { panic!("somebody drives") };
        let (sdk, names) = (cloud.sdk_config(), Names::for_stage("local"));
        let time: Arc<dyn Clock> = Arc::new(clock.clone());
        let chance = |seed| Arc::new(SeededRandomness::new(seed));
        let store = Store::new(&sdk, names.clone(), time.clone(), chance(2));
        store.create_table_and_bucket().await.unwrap();
        store.ensure_signing_secret().await.unwrap();
        let one_shots = OneShots::new(
            &sdk,
            Place {
                group: names.schedule_group.clone(),
                function_arn: "arn:aws:lambda:us-east-1:000000000000:function:janitor".into(),
                role_arn: "arn:aws:iam::000000000000:role/schedules".into(),
            },
        );
        one_shots.create_group().await.unwrap();
        let run_control = run_control::Context::new(&sdk, names.clone(), time.clone(), chance(3));
        let run_control = Arc::new(run_control.with_one_shots(one_shots.clone()));
        let gate_open = gate_open::Context::new(&sdk, names.clone(), time.clone(), chance(4)).with_one_shots(one_shots);
        let janitor = Arc::new(janitor::Context::new(&sdk, names, time, chance(5)));
        let (sender, called) = mpsc::unbounded_channel();
        let functions = FunctionRegistry::new()
            .with("run-control", move |event, _| {
                let context = run_control.clone();
                async move { Ok(run_control::handle(&context, event).await?) }
            })
            .with("janitor", move |event, _| {
                let (context, sender) = (janitor.clone(), sender.clone());
                async move {
                    let answer = janitor::handle(&context, event).await?;
                    sender.send(answer.clone()).unwrap();
                    Ok(answer)
                }
            });
        cloud.start(functions).await.unwrap();
        let run_id = RunId::new("r-1").unwrap();
        Self { cloud, store, clock, run_id, called, gate_open, _folder: folder }
    }

    /// A run at work.
    async fn at_work() -> Self {
        let world = Self::new().await;
        let input = json!({ "repository": "/r", "requirements": "count", "config": config() });
        let start = world.step_functions().start_execution().state_machine_arn(MACHINE).name("r-1");
        start.input(input.to_string()).send().await.unwrap();
        // The one-shot is made last.
        while world.schedules().await != ["run-r-1"] {
            tokio::task::yield_now().await;
        }
        world
    }

    fn step_functions(&self) -> aws_sdk_sfn::Client {
        aws_sdk_sfn::Client::new(&self.cloud.sdk_config())
    }

    async fn schedules(&self) -> Vec<String> {
        let client = aws_sdk_scheduler::Client::new(&self.cloud.sdk_config());
        let listed = client.list_schedules().send().await.unwrap();
        listed.schedules.iter().map(|schedule| schedule.name.clone().unwrap()).collect()
    }

    async fn run(&self) -> RunRecord {
        self.store.run(&self.run_id).await.unwrap()
    }

    /// Moves the clock on, once somebody sleeps to a moment within that.
    async fn advance(&self, seconds: i64) {
        while self.clock.next_due_ms().is_none_or(|due_ms| due_ms > self.clock.now_ms() + seconds * 1_000) {
            tokio::task::yield_now().await;
        }
        self.clock.advance(seconds * 1_000);
    }
}

#[tokio::test]
async fn a_run_whose_execution_was_stopped_from_outside_is_told_the_truth_by_its_one_shot() {
    let mut world = World::at_work().await;
    let stop = world.step_functions().stop_execution().execution_arn(EXECUTION).cause("enough");
    stop.send().await.unwrap();
    assert_eq!(world.run().await.status, RunStatus::Running, "nobody has told the record");
    world.advance(EXECUTION_BOUND_SECONDS + 180).await;
    assert_eq!(world.called.recv().await.unwrap(), json!({ "run_id": "r-1", "status": "stopped" }));
    let run = world.run().await;
    assert_eq!(run.status, RunStatus::Stopped);
    assert!(run.outcome.unwrap().reason.contains("enough"));
    let ends = world.store.events(&world.run_id, 0).await.unwrap();
    assert_eq!(ends.iter().filter(|event| event.kind == "run.ended").count(), 1);
    while !world.schedules().await.is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_gate_past_its_deadline_is_expired_and_a_run_at_work_is_left_alone() {
    let mut world = World::at_work().await;
    with_a_change(&world).await;
    let input = json!({ "token": "t".repeat(43), "run_id": "r-1", "kind": "change" });
    gate_open::handle(&world.gate_open, input.clone()).await.unwrap();
    // Opened twice, looked after once.
    gate_open::handle(&world.gate_open, input).await.unwrap();
    let gates = world.schedules().await.into_iter().filter(|name| name.starts_with("gate-r-1-")).count();
    assert_eq!(gates, 1);
    world.advance(30 * 60 + 180).await;
    assert_eq!(world.called.recv().await.unwrap(), json!({ "run_id": "r-1", "status": "approval_pending" }));
    let gates = world.store.run_gates(&world.run_id).await.unwrap();
    assert!(gates.len() == 1 && gates.iter().all(|gate| gate.state == GateState::Expired), "{gates:?}");
    assert_eq!(world.run().await.status, RunStatus::ApprovalPending, "its execution goes on");
}

/// What a gate before a change needs of its run.
async fn with_a_change(world: &World) {
    let plan = json!({ "summary": "count", "tasks": [] });
    let plan = world.store.put_json(&world.run_id, &plan).await.unwrap();
    let overlay = Overlay([(RepoPath::new("src/lib.rs").unwrap(), Edit::Write("two".into()))].into());
    let change = ChangeSet { base_commit: "c".repeat(40), overlay };
    let change = world.store.put_json(&world.run_id, &change).await.unwrap();
    let snapshot = SnapshotRef {
        commit: "c".repeat(40),
        archive_key: "runs/r-1/snapshot.tar.gz".into(),
        archive_sha256: Sha256::of(b""),
        manifest_key: "runs/r-1/manifest.json".into(),
    };
    let write = |run: &mut RunRecord| {
        (run.plan, run.change_set) = (Some(plan.clone()), Some(change.clone()));
        run.risk = Some(Risk { level: RiskLevel::Medium, reasons: Vec::new() });
        run.snapshot = Some(snapshot.clone());
    };
    world.store.update_run(&world.run_id, write).await.unwrap();
}

#[tokio::test]
async fn what_is_in_order_or_not_there_stays_so() {
    let mut world = World::at_work().await;
    let context = janitor::Context::new(
        &world.cloud.sdk_config(),
        Names::for_stage("local"),
        Arc::new(world.clock.clone()),
        Arc::new(SeededRandomness::new(9)),
    );
    let before = world.run().await;
    let answer = janitor::handle(&context, json!({ "run_id": "r-1" })).await.unwrap();
    assert_eq!(answer["status"], "running");
    assert_eq!(world.run().await, before);
    let absent = janitor::handle(&context, json!({ "run_id": "r-2" })).await.unwrap();
    assert_eq!(absent, json!({ "run_id": "r-2", "status": null }));
    assert!(janitor::handle(&context, json!({ "run": "r-1" })).await.is_err());
    assert!(world.called.try_recv().is_err());
}
