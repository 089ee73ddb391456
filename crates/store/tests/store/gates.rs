use futures::future::join_all;
use run_model::gate::{Approver, Binding, Gate, GateDecision, GateKind, GateState};
use run_model::risk::{Risk, RiskLevel};
use run_model::run::RunStatus;
use run_model::{ErrorName, FunctionError, GateId, Sha256};
use serde_json::json;
use store::{OutboxItem, OutboxKind, OutboxState, StoreError};

use crate::world::{START_MS, World, budget, run_id, run_record};

fn gate(id: &str, wait_ms: i64) -> Gate {
    let content_sha256 = Sha256::of(b"the change");
    Gate {
        gate_id: GateId::new(id).unwrap(),
        run_id: run_id("r-1"),
        binding: Binding { kind: GateKind::Change, base_commit: "c0".into(), content_sha256, target: "main".into() },
        risk: Risk { level: RiskLevel::Medium, reasons: Vec::new() },
        summary: "one file".into(),
        opened_ms: START_MS,
        deadline_ms: START_MS + wait_ms,
        state: GateState::Pending,
        approvals: Vec::new(),
        exchanges: Vec::new(),
    }
}

fn ada() -> Approver {
    Approver { name: "ada".into(), seen_as: "self, local".into() }
}

async fn approve(world: &World, gate: &Gate) -> Result<Gate, StoreError> {
    let comment = Some("fine".into());
    world.store.decide(&gate.gate_id, &gate.binding.hash(), GateDecision::Approved, ada(), comment).await
}

#[tokio::test]
async fn a_decision_and_its_answer_are_written_together() {
    let (world, _) = World::with_run().await;
    let gate = world.store.open_gate(gate("g-1", 1_000), "the-token").await.unwrap();
    assert!(world.outbox().await.is_empty());
    let early = world.store.answer_for(OutboxKind::Gate, "g-1").await;
    assert!(matches!(early, Err(StoreError::Conflict(_))));

    world.clock.advance(400);
    let decided = approve(&world, &gate).await.unwrap();
    let expected = GateState::Decided {
        decision: GateDecision::Approved,
        approver: ada(),
        comment: Some("fine".into()),
        decided_ms: START_MS + 400,
    };
    assert_eq!(decided.state, expected);
    assert_eq!(world.store.gate(&gate.gate_id).await.unwrap(), decided);

    let [OutboxItem { id, kind: OutboxKind::Gate, about, state: OutboxState::Waiting }] = &world.outbox().await[..]
    else {
        panic!("{:?}", world.outbox().await)
    };
    assert_eq!(about, "g-1");
    let answer = world.another_store().answer_for(OutboxKind::Gate, about).await.unwrap();
    assert_eq!(answer.token, "the-token");
    assert_eq!(answer.result, Ok(json!({ "gate_id": "g-1", "decision": "approved" })));

    world.store.mark_outbox(id, OutboxState::Delivered).await.unwrap();
    world.store.mark_outbox(id, OutboxState::Orphaned).await.unwrap();
    assert_eq!(world.store.outbox(id).await.unwrap().state, OutboxState::Delivered);
    let item = world.raw_item(&format!("OUTBOX#{id}"), "OUTBOX").await.unwrap();
    assert_eq!(item["expires_at"].as_n().unwrap(), &(START_MS / 1000 + 7 * 24 * 3600).to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_decisions_at_once_one_counts() {
    let (world, _) = World::with_run().await;
    let gate = world.store.open_gate(gate("g-1", 1_000), "t").await.unwrap();
    let people = (0..20).map(|number| {
        let (store, gate) = (world.store.clone(), gate.clone());
        let decision = if number % 2 == 0 { GateDecision::Approved } else { GateDecision::Denied };
        let person = Approver { name: format!("p{number}"), seen_as: "self, local".into() };
        tokio::spawn(async move { store.decide(&gate.gate_id, &gate.binding.hash(), decision, person, None).await })
    });
    let (counted, late): (Vec<_>, Vec<_>) =
        join_all(people).await.into_iter().map(Result::unwrap).partition(Result::is_ok);
    assert_eq!(counted.len(), 1);
    assert!(late.iter().all(|late| matches!(late, Err(StoreError::AlreadyDecided { .. }))), "{late:?}");
    let winner = counted.into_iter().next().unwrap().unwrap();
    assert_eq!(world.store.gate(&gate.gate_id).await.unwrap(), winner);
    assert_eq!(world.outbox().await.len(), 1);
}

#[tokio::test]
async fn who_comes_second_is_told_how_it_stands() {
    let (world, _) = World::with_run().await;
    let gate = world.store.open_gate(gate("g-1", 1_000), "t").await.unwrap();
    approve(&world, &gate).await.unwrap();
    let error = approve(&world, &gate).await.unwrap_err();
    assert_eq!(error.to_string(), "gate g-1 no longer waits: approved by ada");
    assert_eq!(FunctionError::from(error).name, ErrorName::PolicyRefused);
}

#[tokio::test]
async fn an_approval_of_something_else_does_not_count() {
    let (world, _) = World::with_run().await;
    let gate = world.store.open_gate(gate("g-1", 1_000), "t").await.unwrap();
    let other = Binding { base_commit: "c1".into(), ..gate.binding.clone() }.hash();
    let refused = world.store.decide(&gate.gate_id, &other, GateDecision::Approved, ada(), None).await;
    assert!(matches!(refused, Err(StoreError::BindingChanged(_))), "{refused:?}");
    assert_eq!(world.store.gate(&gate.gate_id).await.unwrap().state, GateState::Pending);
    assert!(world.outbox().await.is_empty());
}

#[tokio::test]
async fn the_deadline_is_exact() {
    let (world, _) = World::with_run().await;
    let in_time = world.store.open_gate(gate("g-1", 7_200_000), "t").await.unwrap();
    let too_late = world.store.open_gate(gate("g-2", 7_200_000), "t").await.unwrap();
    world.clock.advance(7_200_000);
    assert_eq!(world.store.expire_gate(&in_time.gate_id).await.unwrap().state, GateState::Pending);
    assert!(approve(&world, &in_time).await.is_ok());

    world.clock.advance(1);
    let refused = approve(&world, &too_late).await;
    assert!(matches!(refused, Err(StoreError::DeadlinePassed(_))), "{refused:?}");
    assert_eq!(world.store.expire_gate(&too_late.gate_id).await.unwrap().state, GateState::Expired);
    assert!(matches!(approve(&world, &too_late).await, Err(StoreError::DeadlinePassed(_))));
    // What was decided in time is not expired afterwards.
    let stands = world.store.expire_gate(&in_time.gate_id).await.unwrap();
    assert!(matches!(stands.state, GateState::Decided { .. }));
    assert_eq!(world.outbox().await.len(), 1);
}

#[tokio::test]
async fn pending_gates_come_by_deadline_and_those_of_a_run_by_age() {
    let (world, _) = World::with_run().await;
    world.store.admit(run_record("r-10"), budget(1)).await.unwrap();
    let mut opened = vec![gate("g-late", 3_000), gate("g-soon", 1_000), gate("g-next", 2_000)];
    opened[0].opened_ms -= 10;
    opened[2].run_id = run_id("r-10");
    for gate in &opened {
        world.store.open_gate(gate.clone(), "t").await.unwrap();
    }
    let ids = |gates: Vec<Gate>| gates.into_iter().map(|gate| gate.gate_id.to_string()).collect::<Vec<_>>();
    assert_eq!(ids(world.store.pending_gates().await.unwrap()), ["g-soon", "g-next", "g-late"]);
    approve(&world, &opened[1]).await.unwrap();
    assert_eq!(ids(world.store.pending_gates().await.unwrap()), ["g-next", "g-late"]);
    assert_eq!(ids(world.store.run_gates(&run_id("r-1")).await.unwrap()), ["g-late", "g-soon"]);
}

#[tokio::test]
async fn the_gates_of_an_ended_run_are_void() {
    let (world, _) = World::with_run().await;
    let decided = world.store.open_gate(gate("g-1", 1_000), "t").await.unwrap();
    let waiting = world.store.open_gate(gate("g-2", 1_000), "t").await.unwrap();
    let approved = approve(&world, &decided).await.unwrap();
    world.store.void_gates(&run_id("r-1")).await.unwrap();
    assert_eq!(world.store.gate(&decided.gate_id).await.unwrap(), approved);
    assert_eq!(world.store.gate(&waiting.gate_id).await.unwrap().state, GateState::Void);
    let error = approve(&world, &waiting).await.unwrap_err();
    assert_eq!(error.to_string(), "gate g-2 no longer waits: void");
}

#[tokio::test]
async fn a_gate_opened_again_takes_the_new_token_and_stays_the_same_gate() {
    let (world, _) = World::with_run().await;
    let first = world.store.open_gate(gate("g-1", 1_000), "first").await.unwrap();
    world.clock.advance(500);
    let again = Gate { opened_ms: START_MS + 500, deadline_ms: START_MS + 1_500, ..gate("g-1", 0) };
    assert_eq!(world.store.open_gate(again, "second").await.unwrap(), first);
    approve(&world, &first).await.unwrap();
    assert_eq!(world.store.answer_for(OutboxKind::Gate, "g-1").await.unwrap().token, "second");

    // The state asks a third time, after the decision: its token is answered too.
    let stands = world.store.open_gate(gate("g-1", 1_000), "third").await.unwrap();
    assert!(matches!(stands.state, GateState::Decided { .. }));
    assert_eq!(world.outbox().await.len(), 2);
    assert_eq!(world.store.answer_for(OutboxKind::Gate, "g-1").await.unwrap().token, "third");

    let mut moved = gate("g-1", 1_000);
    moved.binding.base_commit = "c1".into();
    assert!(matches!(world.store.open_gate(moved, "fourth").await, Err(StoreError::BindingChanged(_))));
}

#[tokio::test]
async fn a_gate_is_opened_together_with_what_its_run_says_of_it() {
    let (world, run) = World::with_run().await;
    for _ in 0..2 {
        world.store.open_gate(gate("g-1", 1_000), "t").await.unwrap();
        let record = world.store.run(&run).await.unwrap();
        assert_eq!((record.status, record.gate), (RunStatus::ApprovalPending, GateId::new("g-1").ok()));
        let told = world.store.events(&run, 1).await.unwrap();
        assert_eq!(told.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["gate.opened"]);
    }
    let nobodys = Gate { run_id: run_id("r-9"), ..gate("g-9", 1_000) };
    assert!(matches!(world.store.open_gate(nobodys, "t").await, Err(StoreError::NotFound(_))));
    assert!(matches!(world.store.gate(&GateId::new("g-9").unwrap()).await, Err(StoreError::NotFound(_))));
}

#[tokio::test]
async fn no_token_can_be_read_in_the_table() {
    let (world, _) = World::with_run().await;
    let token = "a-task-token-of-step-functions";
    let gate = world.store.open_gate(gate("g-1", 1_000), token).await.unwrap();
    approve(&world, &gate).await.unwrap();
    let table = world.readable().await;
    assert!(table.contains("GATE#g-1") && table.contains("sealed_token") && !table.contains(token), "{table}");
}

#[tokio::test]
async fn an_outbox_item_is_recognised_in_the_stream() {
    let image = json!({
        "pk": {"S": "OUTBOX#gate-g-1-2"}, "sk": {"S": "OUTBOX"},
        "kind": {"S": "gate"}, "about": {"S": "g-1"}, "state": {"S": "waiting"}, "schema": {"N": "1"},
    });
    let (id, about) = ("gate-g-1-2".to_owned(), "g-1".to_owned());
    let expected = OutboxItem { id, kind: OutboxKind::Gate, about, state: OutboxState::Waiting };
    assert_eq!(OutboxItem::from_image(&image), Some(expected));
    assert_eq!(OutboxItem::from_image(&json!({ "pk": {"S": "RUN#r-1"}, "sk": {"S": "RUN"} })), None);
}
