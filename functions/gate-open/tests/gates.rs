//! The life of a gate, from opening to closing and to the next one, on a real table.

#![allow(clippy::unwrap_used, reason = "what a test builds on has to work")]

use std::sync::Arc;

use config::{CheckSpec, RunConfig, TestFormat};
use embedded_cloud::{Attachment, Cloud, CloudOptions};
use run_model::change_set::{ChangeSet, Edit, Overlay};
use run_model::gate::{Approver, Gate, GateDecision, GateKind, GateState, Question};
use run_model::risk::{Risk, RiskLevel};
use run_model::run::{ProposedSetup, RunRecord, RunStatus, Stage};
use run_model::snapshot::SnapshotRef;
use run_model::time::{SeededRandomness, VirtualClock};
use run_model::{Clock, ErrorName, FunctionError, GateId, RepoPath, RunId, Sha256};
use serde_json::{Value, json};
use store::{Names, OutboxKind, Store, StoreError};

const START_MS: i64 = 1_800_000_000_000;

struct World {
    store: Store,
    clock: VirtualClock,
    gate_open: gate_open::Context,
    run_control: run_control::Context,
    run_id: RunId,
    _attachment: Attachment,
    _folder: tempfile::TempDir,
}

impl World {
    /// A run that was just admitted.
    async fn admitted(config: RunConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = VirtualClock::at(START_MS);
        let options =
            CloudOptions::new(folder.path().join("state"), Arc::new(clock.clone()), Arc::new(SeededRandomness::new(1)));
        let attachment = Cloud::open(options).await.unwrap();
        let (sdk, names, time) = (attachment.sdk_config(), Names::for_stage("local"), Arc::new(clock.clone()));
        let chance = |seed| Arc::new(SeededRandomness::new(seed));
        let store = Store::new(&sdk, names.clone(), time.clone(), chance(2));
        store.create_table_and_bucket().await.unwrap();
        store.ensure_signing_secret().await.unwrap();
        let world = Self {
            gate_open: gate_open::Context::new(&sdk, names.clone(), time.clone(), chance(3)),
            run_control: run_control::Context::new(&sdk, names, time, chance(4)),
            run_id: RunId::new("r-1").unwrap(),
            store,
            clock,
            _attachment: attachment,
            _folder: folder,
        };
        let input = json!({ "repository": "/r", "requirements": "count", "config": config });
        let execution = json!({ "name": "r-1", "arn": "arn:r-1" });
        world.control(json!({ "action": "admit", "execution": execution, "input": input })).await.unwrap();
        world
    }

    /// A run whose change was published with this risk, and whose plan had it too.
    async fn published(config: RunConfig, level: RiskLevel) -> Self {
        let world = Self::admitted(config).await;
        let plan = json!({ "summary": "Count to two", "tasks": [] });
        let plan = world.store.put_json(&world.run_id, &plan).await.unwrap();
        let risk = Some(Risk { level, reasons: Vec::new() });
        let snapshot = SnapshotRef {
            commit: "c".repeat(40),
            archive_key: "runs/r-1/snapshot.tar.gz".into(),
            archive_sha256: Sha256::of(b""),
            manifest_key: "runs/r-1/manifest.json".into(),
        };
        let publish = |run: &mut RunRecord| {
            (run.snapshot, run.commit) = (Some(snapshot.clone()), Some("d".repeat(40)));
            (run.plan, run.design) = (Some(plan.clone()), Some(plan.clone()));
            (run.plan_risk, run.risk) = (risk.clone(), risk.clone());
            run.evidence = vec![(run_model::evidence::Purpose::Baseline, plan.clone())];
        };
        world.store.update_run(&world.run_id, publish).await.unwrap();
        world.set_change("pub fn two() {}\n").await;
        world
    }

    async fn set_change(&self, content: &str) {
        let overlay = Overlay([(RepoPath::new("src/lib.rs").unwrap(), Edit::Write(content.into()))].into());
        let change = ChangeSet { base_commit: "c".repeat(40), overlay };
        let change = self.store.put_json(&self.run_id, &change).await.unwrap();
        self.store.update_run(&self.run_id, |run| run.change_set = Some(change.clone())).await.unwrap();
    }

    async fn control(&self, input: Value) -> Result<Value, FunctionError> {
        run_control::handle(&self.run_control, input).await
    }

    async fn open(&self, kind: &str, token: &str) -> Gate {
        let input = json!({ "token": token, "run_id": "r-1", "kind": kind });
        let opened = gate_open::handle(&self.gate_open, input).await.unwrap();
        self.gate(opened["gate_id"].as_str().unwrap()).await
    }

    async fn gate(&self, id: &str) -> Gate {
        self.store.gate(&GateId::new(id).unwrap()).await.unwrap()
    }

    async fn decide(&self, gate: &Gate, decision: GateDecision) -> Result<Gate, StoreError> {
        let ann = Approver { name: "ann".into(), seen_as: "self, local".into() };
        let comment = (decision == GateDecision::Denied).then(|| "not like this".to_owned());
        self.store.decide(&gate.gate_id, &gate.binding.hash(), decision, ann, comment).await
    }

    /// What the machine does when the wait is over.
    async fn close(&self) -> Value {
        let input = json!({ "action": "gate-closed", "run_id": "r-1", "kind": "change" });
        let closed = self.control(input.clone()).await.unwrap();
        let left = self.run().await;
        assert_eq!(self.control(input).await.unwrap(), closed);
        assert_eq!(self.run().await, left);
        closed["next"].clone()
    }

    async fn finish(&self) -> Value {
        self.control(json!({ "action": "finish", "run_id": "r-1", "error": null })).await.unwrap()
    }

    async fn resume(&self, name: &str) -> Value {
        let execution = json!({ "name": name, "arn": format!("arn:{name}") });
        let input = json!({ "action": "resume", "execution": execution, "run_id": "r-1", "from": "gate" });
        self.control(input).await.unwrap()
    }

    async fn run(&self) -> RunRecord {
        self.store.run(&self.run_id).await.unwrap()
    }

    async fn events(&self, kind: &str) -> Vec<String> {
        let events = self.store.events(&self.run_id, 0).await.unwrap();
        events.into_iter().filter(|event| event.kind == kind).map(|event| event.message).collect()
    }
}

fn config() -> RunConfig {
    let check = CheckSpec { name: "test".into(), command: "true".into(), format: TestFormat::Plain };
    RunConfig { checks: vec![check], ..RunConfig::default() }
}

#[tokio::test]
async fn a_gate_waits_as_long_as_its_risk_asks_for() {
    let mut own = config();
    own.limits.gate_seconds.insert(RiskLevel::High, 86_400);
    for (config, level, seconds) in [
        (config(), RiskLevel::Medium, 30 * 60),
        (config(), RiskLevel::High, 60 * 60),
        (config(), RiskLevel::Critical, 120 * 60),
        (own.clone(), RiskLevel::High, 86_400),
        (own, RiskLevel::Medium, 30 * 60),
    ] {
        let world = World::published(config, level).await;
        // Only the change is risky: a plan of that risk would have to be approved first.
        let low = Risk { level: RiskLevel::Low, reasons: Vec::new() };
        world.store.update_run(&world.run_id, |run| run.plan_risk = Some(low.clone())).await.unwrap();
        let expected = json!({ "needed": true, "risk_level": level, "timeout_seconds": seconds, "question": null });
        assert_eq!(world.resume("r-1-2").await["gate"], expected);
        let gate = world.open("change", "t").await;
        assert_eq!((gate.opened_ms, gate.deadline_ms), (START_MS, START_MS + seconds * 1000));
        world.clock.advance(seconds * 1000);
        world.decide(&gate, GateDecision::Approved).await.expect("the last moment counts");
    }
}

#[tokio::test]
async fn a_gate_opened_again_is_the_same_gate_with_the_newest_token() {
    let world = World::published(config(), RiskLevel::Medium).await;
    let first = world.open("change", "first").await;
    let run = world.run().await;
    assert_eq!(
        (run.status, run.stage, run.gate),
        (RunStatus::ApprovalPending, Stage::Gate, Some(first.gate_id.clone()))
    );
    world.clock.advance(1_000);
    assert_eq!(world.open("change", "second").await, first);
    let said = format!("medium risk: waiting for a decision on {}", first.gate_id);
    assert_eq!(world.events("gate.opened").await, [said]);
    world.decide(&first, GateDecision::Approved).await.unwrap();
    let answer = world.store.answer_for(OutboxKind::Gate, first.gate_id.as_str()).await.unwrap();
    assert_eq!(answer.token, "second");
    assert_eq!(answer.result, Ok(json!({ "gate_id": first.gate_id, "decision": "approved" })));
}

#[tokio::test]
async fn a_gate_is_bound_to_exactly_what_would_happen() {
    let world = World::published(config(), RiskLevel::Medium).await;
    let before = world.open("change", "t").await;
    let change: ChangeSet = world.store.get_json(&world.run().await.change_set.unwrap()).await.unwrap();
    assert_eq!(before.binding.content_sha256, change.hash());
    assert_eq!((before.binding.kind, before.binding.target.as_str()), (GateKind::Change, "gatewright/r-1"));
    assert_eq!((before.binding.base_commit.as_str(), before.summary.as_str()), (&*"c".repeat(40), "Count to two"));
    world.set_change("pub fn three() {}\n").await;
    let after = world.open("change", "t").await;
    assert_ne!(after.binding.hash(), before.binding.hash());
    assert_ne!(after.gate_id, before.gate_id);
    let plan = world.open("plan", "t").await;
    let run = world.run().await;
    assert_eq!((plan.binding.kind, &plan.binding.content_sha256), (GateKind::Plan, &run.plan.unwrap().sha256));
    assert_eq!(run.stage, Stage::PlanGate);
    let manifests = world.store.put_json(&world.run_id, &json!({ "Cargo.toml": { "write": "x" } })).await.unwrap();
    let (risk, summary) = (Risk { level: RiskLevel::Critical, reasons: Vec::new() }, "other dependencies".to_owned());
    let proposed = ProposedSetup { manifests, risk, summary };
    world.store.update_run(&world.run_id, |run| run.proposed_setup = Some(proposed.clone())).await.unwrap();
    let setup = world.open("setup", "t").await;
    assert_eq!((setup.binding.kind, setup.binding.content_sha256), (GateKind::Setup, proposed.manifests.sha256));
    assert_eq!((setup.risk, setup.summary), (proposed.risk, proposed.summary));
    assert_eq!(world.run().await.stage, Stage::SetupGate);
}

#[tokio::test]
async fn without_something_to_decide_on_no_gate_opens() {
    let world = World::admitted(config()).await;
    for kind in ["plan", "setup", "change"] {
        let input = json!({ "token": "t", "run_id": "r-1", "kind": kind });
        let error = gate_open::handle(&world.gate_open, input).await.unwrap_err();
        assert_eq!(error.message, format!("r-1 has no {kind} to decide on"));
    }
    let input = json!({ "token": "t", "run_id": "r-1", "kind": "deploy" });
    assert_eq!(gate_open::handle(&world.gate_open, input).await.unwrap_err().name, ErrorName::InvalidInput);
    let run = world.run().await;
    assert_eq!((run.status, run.gate), (RunStatus::Running, None));
}

#[tokio::test]
async fn an_approval_goes_on() {
    let world = World::published(config(), RiskLevel::Medium).await;
    let gate = world.open("change", "t").await;
    world.decide(&gate, GateDecision::Approved).await.unwrap();
    assert_eq!(world.close().await, "go");
    let run = world.run().await;
    assert_eq!((run.status, run.ending), (RunStatus::Running, None));
    assert_eq!(world.events("gate.closed").await, ["ann approved (self, local)"]);
}

#[tokio::test]
async fn a_gate_of_another_kind_says_nothing_here() {
    let world = World::published(config(), RiskLevel::High).await;
    let gate = world.open("plan", "t").await;
    world.decide(&gate, GateDecision::Approved).await.unwrap();
    let input = json!({ "action": "gate-closed", "run_id": "r-1", "kind": "change" });
    assert_eq!(world.control(input).await.unwrap_err().name, ErrorName::Internal);
}

#[tokio::test]
async fn a_denial_is_told_and_a_resumed_run_asks_anew_about_the_same_change() {
    let world = World::published(config(), RiskLevel::Medium).await;
    let old = world.open("change", "t").await;
    world.decide(&old, GateDecision::Denied).await.unwrap();
    assert_eq!(world.close().await, "finish");
    let told = world.finish().await;
    assert_eq!(told["status"], "denied");
    assert_eq!(told["reason"], format!("ann denied it at gate {}: not like this.", old.gate_id));
    asks_anew(&world, &old).await;
    let refused = world.decide(&old, GateDecision::Approved).await.unwrap_err();
    assert!(matches!(refused, StoreError::AlreadyDecided { .. }), "{refused}");
}

#[tokio::test]
async fn silence_means_no_and_a_resumed_run_asks_anew_about_the_same_change() {
    let world = World::published(config(), RiskLevel::Medium).await;
    let old = world.open("change", "t").await;
    // The callback state times out 120 seconds after the deadline.
    world.clock.advance(30 * 60_000 + 120_000);
    let late = world.decide(&old, GateDecision::Approved).await.unwrap_err();
    assert!(matches!(late, StoreError::DeadlinePassed(_)), "{late}");
    assert_eq!(world.close().await, "finish");
    assert_eq!(world.gate(old.gate_id.as_str()).await.state, GateState::Expired);
    let told = world.finish().await;
    assert_eq!(told["status"], "timed_out");
    assert_eq!(told["reason"], format!("Nobody decided on gate {} in time; silence means no.", old.gate_id));
    asks_anew(&world, &old).await;
    let refused = world.decide(&old, GateDecision::Approved).await.unwrap_err();
    assert!(matches!(refused, StoreError::DeadlinePassed(_)), "{refused}");
}

/// A resumed run opens a fresh gate before what the old one stood before; only the fresh one lets the change land.
async fn asks_anew(world: &World, old: &Gate) {
    world.resume("r-1-2").await;
    let fresh = world.open("change", "t2").await;
    assert_ne!(fresh.gate_id, old.gate_id);
    assert_eq!(fresh.binding, old.binding);
    assert_eq!(fresh.deadline_ms, world.clock.now_ms() + 30 * 60_000);
    assert!(world.decide(old, GateDecision::Approved).await.is_err());
    assert_eq!(world.run().await.status, RunStatus::ApprovalPending, "the old gate moves nothing");
    world.decide(&fresh, GateDecision::Approved).await.unwrap();
    assert_eq!(world.close().await, "go");
}

#[tokio::test]
async fn a_gate_that_nobody_waits_at_any_more_cannot_be_approved() {
    let world = World::published(config(), RiskLevel::Medium).await;
    let gate = world.open("change", "t").await;
    // Somebody answered the token by hand: the table says that nothing was decided.
    assert_eq!(world.close().await, "finish");
    assert_eq!(world.gate(gate.gate_id.as_str()).await.state, GateState::Void);
    assert!(matches!(world.decide(&gate, GateDecision::Approved).await, Err(StoreError::AlreadyDecided { .. })));
    assert_eq!(world.finish().await["status"], "timed_out");
}

impl World {
    async fn ask(&self, gate: &Gate, question: &str) -> Gate {
        let ann = Approver { name: "ann".into(), seen_as: "self, local".into() };
        let question = Question::new(question).unwrap();
        self.store.ask(&gate.gate_id, &gate.binding.hash(), &ann, &question).await.unwrap()
    }

    /// What the machine does when the crew has answered.
    async fn keep(&self, gate: &Gate, text: &str) {
        let output = self.store.put_json(&self.run_id, &json!({ "text": text, "places": [] })).await.unwrap();
        let answer = json!({ "output": output, "error": null });
        self.keep_answer(gate, answer).await;
    }

    async fn keep_answer(&self, gate: &Gate, mut answer: Value) {
        answer["action"] = "keep-answer".into();
        answer["run_id"] = "r-1".into();
        answer["gate_id"] = gate.gate_id.as_str().into();
        self.control(answer).await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_opens_a_fresh_gate_before_the_very_same() {
    let world = World::published(config(), RiskLevel::Medium).await;
    let first = world.open("change", "t1").await;
    world.ask(&first, "why?").await;
    assert_eq!(world.close().await, "answer");
    let run = world.run().await;
    assert_eq!((run.status, run.ending), (RunStatus::Running, None), "the crew is at work");
    // The state that waits is tried again meanwhile: it hears of the question, and no fresh gate opens without an answer.
    assert_eq!(world.open("change", "t2").await.state.word(), "asked");
    assert_eq!(world.store.answer_for(OutboxKind::Gate, first.gate_id.as_str()).await.unwrap().token, "t2");
    world.clock.advance(29 * 60_000);
    world.keep(&first, "Because.").await;
    let second = world.open("change", "t3").await;
    assert_eq!(second.gate_id.as_str(), format!("{}-q1", first.gate_id));
    assert_eq!((&second.binding, &second.state), (&first.binding, &GateState::Pending));
    assert_eq!(second.deadline_ms, world.clock.now_ms() + 30 * 60_000, "there is as much time as at first");
    let [exchange] = &second.exchanges[..] else { panic!("{:?}", second.exchanges) };
    assert_eq!((exchange.question.as_str(), exchange.answer.text.as_str()), ("why?", "Because."));
    assert_eq!((exchange.asker.name.as_str(), exchange.asked_ms), ("ann", START_MS));
    assert_eq!(world.run().await.status, RunStatus::ApprovalPending);
    assert_eq!(world.open("change", "t4").await, second, "opened again it is the same");

    world.ask(&second, "and else?").await;
    assert_eq!(world.close().await, "answer");
    world.keep(&second, "Nothing.").await;
    let third = world.open("change", "t5").await;
    assert_eq!((third.gate_id.as_str().ends_with("-q2"), third.exchanges.len()), (true, 2));
    assert!(world.decide(&first, GateDecision::Approved).await.is_err());
    assert!(world.decide(&second, GateDecision::Approved).await.is_err());
    world.decide(&third, GateDecision::Approved).await.unwrap();
    assert_eq!(world.close().await, "go");
    let said = ["ann asks (self, local): why?", "ann asks (self, local): and else?"];
    assert_eq!(world.events("gate.asked").await, said);
    assert_eq!(world.events("gate.answered").await, ["answers: Because.", "answers: Nothing."]);
}

#[tokio::test]
async fn a_question_that_a_run_left_unanswered_comes_first_when_it_is_resumed() {
    let world = World::published(config(), RiskLevel::Medium).await;
    let gate = world.open("change", "t").await;
    world.ask(&gate, "why?").await;
    world.finish().await;
    let left = world.resume("r-1-2").await["gate"]["question"].clone();
    assert_eq!((&left["gate_id"], &left["number"]), (&json!(gate.gate_id), &json!(1)));
    world.keep(&gate, "Because.").await;
    assert_eq!(world.resume("r-1-3").await["gate"]["question"], Value::Null);
    let fresh = world.open("change", "t2").await;
    assert_eq!(fresh.exchanges.len(), 1, "what was answered is shown by every gate before the very same");
    world.set_change("pub fn three() {}\n").await;
    assert_eq!(world.open("change", "t3").await.exchanges, [], "another change was not asked about");
}

#[tokio::test]
async fn a_question_about_what_is_gone_is_left_alone() {
    let world = World::published(config(), RiskLevel::Medium).await;
    let gate = world.open("change", "t").await;
    world.ask(&gate, "why?").await;
    world.finish().await;
    world.set_change("pub fn three() {}\n").await;
    assert_eq!(world.resume("r-1-2").await["gate"]["question"], Value::Null);
}

#[tokio::test]
async fn a_failure_is_told_in_place_of_an_answer() {
    let world = World::published(config(), RiskLevel::Medium).await;
    let gate = world.open("change", "t").await;
    world.ask(&gate, "why?").await;
    assert_eq!(world.close().await, "answer");
    let cause = json!({ "errorType": "BudgetExceeded", "errorMessage": "the budget cannot carry the call" });
    let error = json!({ "Error": "BudgetExceeded", "Cause": cause.to_string() });
    world.keep_answer(&gate, json!({ "output": null, "error": error })).await;
    let fresh = world.open("change", "t").await;
    let said = &fresh.exchanges[0].answer.text;
    assert!(said.ends_with("could not give one: the budget cannot carry the call"), "{said}");
    assert_eq!(world.run().await.ending, None);
}
