use agent::ports::{CallEstimate, Ledger, PortError, Reservation};
use futures::future::join_all;
use run_model::budget::{TokenUsage, UsageState};
use run_model::{RunId, SessionId};

use crate::world::{World, task_id};

fn session(iteration: u32) -> SessionId {
    SessionId::new("developer", Some(&task_id("t1")), iteration)
}

fn estimate(session: &SessionId, turn: u32, cost_microusd: u64) -> CallEstimate {
    CallEstimate {
        call_id: format!("{session}#{turn}#1"),
        role: "developer".into(),
        session: session.clone(),
        model: "a-model".into(),
        cost_microusd,
        tokens: 100,
    }
}

fn used(tokens: u64) -> TokenUsage {
    TokenUsage { input_tokens: tokens, ..TokenUsage::default() }
}

async fn committed(world: &World, run: &RunId) -> (u64, u64) {
    let budget = world.store.budget(run).await.unwrap();
    (budget.committed_microusd, budget.committed_tokens)
}

async fn states(world: &World, run: &RunId) -> Vec<(String, UsageState, u64)> {
    let entries = world.store.usage(run).await.unwrap().into_iter();
    entries.map(|entry| (entry.call_id, entry.state, entry.cost_microusd)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twenty_agents_with_money_for_three_calls_make_three() {
    let (world, run) = World::with_run().await;
    let agents = (1..=20).map(|turn| {
        let (store, run) = (world.store.clone(), run.clone());
        tokio::spawn(async move { store.reserve(&run, estimate(&session(1), turn, 1_000)).await })
    });
    let (granted, refused): (Vec<_>, Vec<_>) =
        join_all(agents).await.into_iter().map(Result::unwrap).partition(Result::is_ok);
    assert_eq!((granted.len(), refused.len()), (3, 17));
    assert!(refused.iter().all(|refusal| matches!(refusal, Err(PortError::BudgetExceeded(_)))), "{refused:?}");
    assert_eq!(committed(&world, &run).await, (3_000, 300));
    assert_eq!(world.store.usage(&run).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_refusal_says_what_is_asked_and_what_is_left() {
    let (world, run) = World::with_run().await;
    world.store.reserve(&run, estimate(&session(1), 1, 2_500)).await.unwrap();
    let refusal = world.store.reserve(&run, estimate(&session(1), 2, 600)).await.unwrap_err();
    let expected = "the budget cannot carry the call: it may cost 0.0006 USD and 100 tokens, and of 0.0030 USD and 1000000 \
                    tokens only 0.0005 USD and 999900 tokens are left";
    assert_eq!(refusal, PortError::BudgetExceeded(expected.into()));
    assert!(world.store.reserve(&run, estimate(&session(1), 3, 500)).await.is_ok());
}

#[tokio::test]
async fn tokens_have_a_ceiling_of_their_own() {
    let (world, run) = World::with_run().await;
    let many = CallEstimate { tokens: 1_000_001, ..estimate(&session(1), 1, 1) };
    assert!(matches!(world.store.reserve(&run, many).await, Err(PortError::BudgetExceeded(_))));
    assert_eq!(committed(&world, &run).await, (0, 0));
}

#[tokio::test]
async fn settling_charges_what_was_used_once() {
    let (world, run) = World::with_run().await;
    let reservation = world.store.reserve(&run, estimate(&session(1), 1, 1_000)).await.unwrap();
    for _ in 0..2 {
        world.store.settle(&run, &reservation, used(40), 250, true).await.unwrap();
    }
    // Late news of the same call changes nothing.
    world.store.release(&run, &reservation).await.unwrap();
    assert_eq!(committed(&world, &run).await, (250, 40));
    let entry = world.store.usage(&run).await.unwrap().remove(0);
    assert_eq!((entry.state, entry.reserved_microusd, entry.cost_microusd), (UsageState::Settled, 1_000, 250));
    assert_eq!((entry.usage, entry.estimated), (used(40), true));
}

#[tokio::test]
async fn a_call_dearer_than_its_reservation_is_charged_in_full() {
    let (world, run) = World::with_run().await;
    let reservation = world.store.reserve(&run, estimate(&session(1), 1, 3_000)).await.unwrap();
    world.store.settle(&run, &reservation, used(500), 3_400, false).await.unwrap();
    assert_eq!(committed(&world, &run).await, (3_400, 500));
    assert!(world.store.reserve(&run, estimate(&session(1), 2, 0)).await.is_err());
}

#[tokio::test]
async fn releasing_gives_everything_back() {
    let (world, run) = World::with_run().await;
    let reservation = world.store.reserve(&run, estimate(&session(1), 1, 1_000)).await.unwrap();
    world.store.release(&run, &reservation).await.unwrap();
    assert_eq!(committed(&world, &run).await, (0, 0));
    assert_eq!(states(&world, &run).await, [(reservation.call_id, UsageState::Released, 0)]);
}

#[tokio::test]
async fn a_call_is_not_made_twice_under_one_id() {
    let (world, run) = World::with_run().await;
    world.store.reserve(&run, estimate(&session(1), 1, 1_000)).await.unwrap();
    let again = world.store.reserve(&run, estimate(&session(1), 1, 1_000)).await;
    assert!(matches!(again, Err(PortError::Conflict(_))), "{again:?}");
    assert_eq!(committed(&world, &run).await, (1_000, 100));
}

#[tokio::test]
async fn what_a_dead_invocation_reserved_stays_charged_as_unknown() {
    let (world, run) = World::with_run().await;
    let open = world.store.reserve(&run, estimate(&session(1), 1, 1_000)).await.unwrap();
    let settled = world.store.reserve(&run, estimate(&session(1), 2, 1_000)).await.unwrap();
    let of_another_session = world.store.reserve(&run, estimate(&session(11), 1, 500)).await.unwrap();
    world.store.settle(&run, &settled, used(10), 10, false).await.unwrap();

    world.store.abandon(&run, &session(1)).await.unwrap();
    assert_eq!(
        states(&world, &run).await,
        [
            (open.call_id.clone(), UsageState::Unknown, 1_000),
            (settled.call_id, UsageState::Settled, 10),
            (of_another_session.call_id, UsageState::Reserved, 500),
        ]
    );
    assert_eq!(committed(&world, &run).await, (1_510, 210));

    // It was not dead after all: what it really cost is better than a guess.
    world.store.settle(&run, &open, used(20), 30, false).await.unwrap();
    assert_eq!(committed(&world, &run).await, (540, 130));
}

#[tokio::test]
async fn a_reservation_nobody_made_is_not_settled() {
    let (world, run) = World::with_run().await;
    let made_up = Reservation { call_id: "x#1#1".into(), cost_microusd: 5, tokens: 5 };
    assert!(matches!(world.store.settle(&run, &made_up, used(1), 1, false).await, Err(PortError::NotFound(_))));
}

#[tokio::test]
async fn a_raised_budget_carries_what_it_could_not() {
    let (world, run) = World::with_run().await;
    world.store.reserve(&run, estimate(&session(1), 1, 2_500)).await.unwrap();
    assert!(world.store.reserve(&run, estimate(&session(1), 2, 600)).await.is_err());
    let budget = world.store.raise_budget(&run, 6_000).await.unwrap();
    assert_eq!((budget.limit_microusd, budget.committed_microusd), (6_000, 2_500));
    assert_eq!((budget.limit_tokens, budget.committed_tokens), (2_000_000, 100), "tokens grow in proportion");
    world.store.reserve(&run, estimate(&session(1), 3, 600)).await.unwrap();
    assert_eq!(world.store.raise_budget(&run, 10).await.unwrap().limit_microusd, 6_000, "it never falls");
}

#[tokio::test]
async fn a_budget_that_many_raise_at_once_is_raised_once() {
    let (world, run) = World::with_run().await;
    let raises = (0..8).map(|_| world.store.raise_budget(&run, 6_000));
    let raised = futures::future::try_join_all(raises).await.unwrap();
    assert!(
        raised.iter().all(|budget| (budget.limit_microusd, budget.limit_tokens) == (6_000, 2_000_000)),
        "{raised:?}"
    );
}
