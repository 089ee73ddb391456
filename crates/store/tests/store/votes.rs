//! Deciding by the rules that count people.

use std::collections::BTreeSet;

use futures::future::join_all;
use run_model::gate::{Answered, Approver, Binding, Gate, GateDecision, GateKind, GateState, MOST_QUESTIONS, Question};
use run_model::person::{ApproverRole, Person, named};
use run_model::risk::{Risk, RiskLevel};
use run_model::run::Requester;
use run_model::{GateId, RunId, Sha256};
use serde_json::json;
use store::{OutboxKind, StoreError, Vote};

use crate::world::{START_MS, World};

const DEADLINE_MS: i64 = START_MS + 60_000;

fn gate(run: &RunId) -> Gate {
    Gate {
        gate_id: GateId::new("g-1").unwrap(),
        run_id: run.clone(),
        binding: Binding {
            kind: GateKind::Change,
            base_commit: "c0ffee".into(),
            content_sha256: Sha256::of(b"change"),
            target: "gatewright/r-1".into(),
        },
        risk: Risk { level: RiskLevel::High, reasons: Vec::new() },
        summary: "s".into(),
        opened_ms: START_MS,
        deadline_ms: DEADLINE_MS,
        state: GateState::Pending,
        approvals: Vec::new(),
        exchanges: Vec::new(),
    }
}

fn vote(gate: &Gate, name: &str, decision: GateDecision) -> Vote {
    let person = Person {
        name: name.into(),
        seen_as: "bearer".into(),
        identities: [named(name)].into(),
        roles: [ApproverRole::TechLead].into(),
    };
    Vote { decision, binding_hash: gate.binding.hash(), person, comment: Some(format!("says {name}")) }
}

async fn open() -> (World, Gate) {
    let (world, run) = World::with_run().await;
    let gate = world.store.open_gate(gate(&run), "token").await.unwrap();
    (world, gate)
}

#[tokio::test]
async fn two_people_open_a_gate_whose_requester_nobody_knows() {
    let (world, gate) = open().await;
    let (console, id) = (Requester::console(), gate.gate_id.clone());
    let approve = |name| vote(&gate, name, GateDecision::Approved);
    let once = world.store.vote(&id, &console, &approve("ann")).await.unwrap();
    assert_eq!((once.state, once.approvals.len()), (GateState::Pending, 1));
    assert!(world.outbox().await.is_empty(), "nothing is answered yet");
    let again = world.store.vote(&id, &console, &approve("ann")).await.unwrap();
    assert_eq!((again.state, again.approvals.len()), (GateState::Pending, 1));
    let both = world.store.vote(&id, &console, &approve("ben")).await.unwrap();
    assert_eq!(both.decided_by().as_deref(), Some("ann and ben"));
    assert_eq!(world.outbox().await.len(), 1);
    let late = world.store.vote(&id, &console, &approve("cid")).await.unwrap_err();
    assert!(late.to_string().ends_with("approved by ann and ben"), "{late}");
    let told = world.store.events(&gate.run_id, 0).await.unwrap();
    assert_eq!(told.iter().filter(|event| event.kind == "gate.approved").count(), 1);
}

#[tokio::test]
async fn of_twenty_at_once_as_many_count_as_are_needed() {
    for (requester, needed) in [(Requester::local("zoe"), 1), (Requester::console(), 2)] {
        let (world, gate) = open().await;
        let votes: Vec<Vote> =
            (0..20).map(|number| vote(&gate, &format!("p{number}"), GateDecision::Approved)).collect();
        let counted = join_all(votes.iter().map(|vote| world.store.vote(&gate.gate_id, &requester, vote))).await;
        let refused = counted.iter().filter(|vote| matches!(vote, Err(StoreError::AlreadyDecided { .. }))).count();
        assert_eq!(refused, 20 - needed);
        let stands = world.store.gate(&gate.gate_id).await.unwrap();
        let names: BTreeSet<_> = stands.approvals.iter().map(|approval| &approval.approver.name).collect();
        assert_eq!((names.len(), world.outbox().await.len()), (needed, 1));
    }
}

#[tokio::test]
async fn one_person_twenty_times_is_one_person() {
    let (world, gate) = open().await;
    let ann = vote(&gate, "ann", GateDecision::Approved);
    let console = Requester::console();
    let counted = join_all((0..20).map(|_| world.store.vote(&gate.gate_id, &console, &ann))).await;
    assert!(counted.iter().all(Result::is_ok));
    let stands = world.store.gate(&gate.gate_id).await.unwrap();
    assert_eq!((stands.state, stands.approvals.len()), (GateState::Pending, 1));
}

#[tokio::test]
async fn a_denial_after_an_approval_decides() {
    let (world, gate) = open().await;
    let console = Requester::console();
    world.store.vote(&gate.gate_id, &console, &vote(&gate, "ann", GateDecision::Approved)).await.unwrap();
    let denied = world.store.vote(&gate.gate_id, &console, &vote(&gate, "ben", GateDecision::Denied)).await.unwrap();
    assert_eq!(denied.decided_by().as_deref(), Some("ben"));
    assert!(matches!(denied.state, GateState::Decided { decision: GateDecision::Denied, .. }));
}

#[tokio::test]
async fn a_vote_that_does_not_count_leaves_no_trace() {
    let (world, gate) = open().await;
    let ann = Requester { name: "ann".into(), seen_as: "bearer".into(), identities: [named("ann")].into() };
    let own = vote(&gate, "ann", GateDecision::Approved);
    let refused = world.store.vote(&gate.gate_id, &ann, &own).await;
    assert!(matches!(refused, Err(StoreError::MayNotDecide(_))));
    let moved = Vote { binding_hash: Sha256::of(b"other"), ..vote(&gate, "ben", GateDecision::Approved) };
    let refused = world.store.vote(&gate.gate_id, &ann, &moved).await;
    assert!(matches!(refused, Err(StoreError::BindingChanged(_))));
    world.clock.advance(60_001);
    let late = world.store.vote(&gate.gate_id, &ann, &vote(&gate, "ben", GateDecision::Approved)).await;
    assert!(matches!(late, Err(StoreError::DeadlinePassed(_))));
    assert_eq!(world.store.gate(&gate.gate_id).await.unwrap(), gate);
    assert!(world.outbox().await.is_empty());
}

async fn ask(world: &World, gate: &Gate, name: &str) -> Result<Gate, StoreError> {
    let asker = Approver { name: name.into(), seen_as: "bearer".into() };
    world.store.ask(&gate.gate_id, &gate.binding.hash(), &asker, &Question::new("why?").unwrap()).await
}

#[tokio::test]
async fn a_question_closes_the_gate_and_is_told_and_answered_with_it() {
    let (world, gate) = open().await;
    let console = Requester::console();
    world.store.vote(&gate.gate_id, &console, &vote(&gate, "ann", GateDecision::Approved)).await.unwrap();
    let asked = ask(&world, &gate, "ben").await.unwrap();
    assert_eq!((asked.state.word(), asked.decided_by(), asked.approvals.len()), ("asked", None, 1));
    assert_eq!(world.store.gate(&gate.gate_id).await.unwrap(), asked);
    assert!(world.store.pending_gates().await.unwrap().is_empty());
    let answer = world.store.answer_for(OutboxKind::Gate, "g-1").await.unwrap();
    assert_eq!(answer.result, Ok(json!({ "gate_id": "g-1", "decision": "asked" })));
    let told = world.store.events(&gate.run_id, 0).await.unwrap();
    let told: Vec<_> = told.iter().filter(|event| event.kind == "gate.asked").map(|event| &event.message).collect();
    assert_eq!(told, ["ben asks (bearer): why?"]);
    // A second approval would have decided; it comes too late, and so does everything else.
    let late =
        world.store.vote(&gate.gate_id, &console, &vote(&gate, "cid", GateDecision::Approved)).await.unwrap_err();
    assert_eq!(late.to_string(), "gate g-1 no longer waits: asked by ben; a fresh gate opens with the answer");
    assert!(matches!(ask(&world, &gate, "ben").await, Err(StoreError::AlreadyDecided { .. })));
    world.clock.advance(60_001);
    assert_eq!(world.store.expire_gate(&gate.gate_id).await.unwrap(), asked, "what was asked in time does not expire");
    world.store.void_gates(&gate.run_id).await.unwrap();
    assert_eq!(world.store.gate(&gate.gate_id).await.unwrap(), asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_questions_and_decisions_at_once_one_counts() {
    let (world, gate) = open().await;
    let zoe = Requester::local("zoe");
    let both = (0..10).map(|number| {
        let (world, gate, zoe) = (&world, &gate, &zoe);
        async move {
            let name = format!("p{number}");
            match number % 2 {
                0 => ask(world, gate, &name).await,
                _ => world.store.vote(&gate.gate_id, zoe, &vote(gate, &name, GateDecision::Approved)).await,
            }
        }
    });
    let (counted, late): (Vec<_>, Vec<_>) = join_all(both).await.into_iter().partition(Result::is_ok);
    assert!(late.iter().all(|late| matches!(late, Err(StoreError::AlreadyDecided { .. }))), "{late:?}");
    assert_eq!((counted.len(), world.outbox().await.len()), (1, 1));
}

#[tokio::test]
async fn a_question_that_does_not_count_leaves_no_trace() {
    let (world, gate) = open().await;
    let moved = Gate { binding: Binding { base_commit: "c1".into(), ..gate.binding.clone() }, ..gate.clone() };
    assert!(matches!(ask(&world, &moved, "ben").await, Err(StoreError::BindingChanged(_))));
    let artefact = world.store.put_json(&gate.run_id, &json!({})).await.unwrap();
    let answered = |kind| Answered {
        gate_id: gate.gate_id.clone(),
        kind,
        binding_hash: gate.binding.hash(),
        exchange: artefact.clone(),
    };
    let enough = |run: &mut run_model::run::RunRecord| run.answered = vec![answered(GateKind::Change); MOST_QUESTIONS];
    world.store.update_run(&gate.run_id, enough).await.unwrap();
    let refused = ask(&world, &gate, "ben").await.unwrap_err().to_string();
    assert_eq!(refused, "3 questions were answered here, which is all: approve or deny gate g-1");
    let elsewhere = |run: &mut run_model::run::RunRecord| run.answered[0] = answered(GateKind::Plan);
    world.clock.advance(60_001);
    world.store.update_run(&gate.run_id, elsewhere).await.unwrap();
    assert!(matches!(ask(&world, &gate, "ben").await, Err(StoreError::DeadlinePassed(_))));
    assert_eq!(world.store.gate(&gate.gate_id).await.unwrap(), gate);
    assert!(world.outbox().await.is_empty());
    let told = world.store.events(&gate.run_id, 0).await.unwrap();
    assert!(told.iter().all(|event| event.kind != "gate.asked"));
}
