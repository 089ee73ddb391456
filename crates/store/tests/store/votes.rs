//! Deciding by the rules that count people.

use std::collections::BTreeSet;

use futures::future::join_all;
use run_model::gate::{Binding, Gate, GateDecision, GateKind, GateState};
use run_model::person::{ApproverRole, Person, named};
use run_model::risk::{Risk, RiskLevel};
use run_model::run::Requester;
use run_model::{GateId, RunId, Sha256};
use store::{StoreError, Vote};

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
