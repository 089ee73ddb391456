//! A process may die at any commit, on either side of it: the end is the same, and nothing recorded is repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use embedded_cloud::step_functions::{CommitHook, CommitPoint, CommitSide, EngineError, StepFunctions};
use run_model::Clock;
use serde_json::{Value, json};

use crate::every_state::{self, STEPS, expected};
use crate::world::{World, answer, ask, begin, child, describe, ended, history, machine, machine_arn, output, work};

/// Drives the execution to its end: starts it where it is not, lets short waits pass, answers the question.
/// None if the log stopped before.
async fn to_the_end(world: &World, engine: &StepFunctions, stopped: &AtomicBool) -> Option<Value> {
    let arn = engine.place().execution_arn("every", "e");
    let _ = begin(engine, "every", "e", json!({ "n": 2 })).await;
    let mut answered = false;
    loop {
        if stopped.load(Ordering::SeqCst) {
            return None;
        }
        if let Ok(description) = describe(engine, &arn).await
            && description["status"] != "RUNNING"
        {
            return Some(description);
        }
        if let Some(token) = world.asked.token("may I?").filter(|_| !answered) {
            answered = answer(engine, &token, json!({ "yes": true })).await.is_ok();
        }
        let now_ms = world.clock.now_ms();
        if let Some(due_ms) = world.clock.next_due_ms().filter(|due_ms| *due_ms <= now_ms + 5_000) {
            world.clock.advance(due_ms - now_ms);
        }
        tokio::task::yield_now().await;
    }
}

/// The steps that the log holds as complete, of the execution and its children.
async fn recorded(engine: &StepFunctions) -> BTreeSet<String> {
    let mut done = BTreeSet::new();
    for (machine, name) in [("every", "e"), ("child", "e-child"), ("bad", "e-bad")] {
        let arn = engine.place().execution_arn(machine, name);
        if describe(engine, &arn).await.is_err() {
            continue;
        }
        for event in history(engine, &arn).await {
            if let Some(output) = event["taskSucceededEventDetails"]["output"].as_str() {
                let output: Value = serde_json::from_str(output).unwrap();
                done.extend(output["Payload"]["done"].as_str().map(str::to_owned));
            }
        }
    }
    done
}

fn stop_at(point: CommitPoint, stopped: Arc<AtomicBool>) -> CommitHook {
    Arc::new(move |reached| {
        if reached != point {
            return ControlFlow::Continue(());
        }
        stopped.store(true, Ordering::SeqCst);
        ControlFlow::Break(())
    })
}

/// One run that dies at `point`; false if it ended before it came there.
async fn dies_at(point: CommitPoint) -> bool {
    let world = every_state::world();
    let stopped = Arc::new(AtomicBool::new(false));
    if let Ok(engine) = world.open(Some(stop_at(point, stopped.clone()))).await {
        world.drive(&engine);
        if let Some(description) = to_the_end(&world, &engine, &stopped).await {
            assert_eq!(output(&description), expected());
            assert!(!stopped.load(Ordering::SeqCst) || point.side == CommitSide::After);
            return stopped.load(Ordering::SeqCst);
        }
        engine.close().await;
    }

    let engine = world.open(None).await.unwrap();
    let (done, before) = (recorded(&engine).await, world.asked.works());
    world.drive(&engine);
    let description = to_the_end(&world, &engine, &AtomicBool::new(false)).await.unwrap();
    assert_eq!(output(&description), expected(), "{point:?}");
    let after = world.asked.works();
    let times = |works: &BTreeMap<String, usize>, step: &str| works.get(step).copied().unwrap_or_default();
    for step in &done {
        assert_eq!(times(&before, step), 1, "{step} at {point:?}");
        assert_eq!(times(&after, step), 1, "{step} was recorded complete and repeated after {point:?}");
    }
    assert_eq!(after.keys().map(String::as_str).collect::<BTreeSet<_>>(), BTreeSet::from(STEPS));
    assert!(after.values().all(|times| *times <= 2), "{after:?} at {point:?}");
    engine.close().await;
    true
}

#[tokio::test]
async fn every_commit_may_be_the_last_one_of_a_process() {
    let mut commits = 0;
    for number in 1.. {
        let before = dies_at(CommitPoint { number, side: CommitSide::Before }).await;
        let after = dies_at(CommitPoint { number, side: CommitSide::After }).await;
        if !before && !after {
            break;
        }
        commits = number;
    }
    // Three machines, then at least a commit for each answer of eleven steps, three timers, two children and a question.
    assert!(commits > 20, "only {commits} commits were tried");
}

#[tokio::test]
async fn an_undisturbed_run_works_once_on_every_step() {
    let world = every_state::world();
    let engine = world.start().await;
    let description = to_the_end(&world, &engine, &AtomicBool::new(false)).await.unwrap();
    assert_eq!(output(&description), expected());
    assert!(world.asked.works().values().all(|times| *times == 1), "{:?}", world.asked.works());
    let ids: Vec<_> = history(&engine, &engine.place().execution_arn("every", "e")).await;
    for (index, event) in ids.iter().enumerate() {
        assert_eq!(event["id"], index + 1);
    }
}

#[tokio::test]
async fn a_question_outlives_the_process_with_its_token() {
    let world = World::new(&[("m", machine("Ask", json!({ "Ask": ask("q", json!({ "End": true })) })))]);
    let engine = world.start().await;
    let arn = begin(&engine, "m", "e", json!({})).await.unwrap();
    let token = world.until(|| world.asked.token("q")).await;
    engine.close().await;
    assert_eq!(answer(&engine, &token, json!(1)).await.unwrap_err().status, 500);

    let engine = world.start().await;
    answer(&engine, &token, json!("yes")).await.unwrap();
    assert_eq!(output(&ended(&engine, &arn).await), json!("yes"));
    assert_eq!(world.asked.token("q"), Some(token));
}

#[tokio::test]
async fn an_execution_goes_on_with_the_definition_it_began_with() {
    let version = |text: &str| {
        machine(
            "Ask",
            json!({
                "Ask": ask("q", json!({ "Output": {}, "Next": "Say" })),
                "Say": { "Type": "Succeed", "Output": text },
            }),
        )
    };
    let world = World::new(&[("m", version("one"))]);
    let engine = world.start().await;
    let arn = begin(&engine, "m", "e", json!({})).await.unwrap();
    let token = world.until(|| world.asked.token("q")).await;
    let two = machine("Say", json!({ "Say": { "Type": "Succeed", "Output": "two" } }));
    let update = json!({ "stateMachineArn": machine_arn(&engine, "m"), "definition": two.to_string() });
    engine.handle("UpdateStateMachine", update).await.unwrap();
    let later = begin(&engine, "m", "later", json!({})).await.unwrap();
    assert_eq!(output(&ended(&engine, &later).await), json!("two"));
    engine.close().await;

    let engine = world.start().await;
    answer(&engine, &token, json!(1)).await.unwrap();
    assert_eq!(output(&ended(&engine, &arn).await), json!("one"));
}

#[tokio::test]
async fn an_unreadable_execution_is_named_and_kept() {
    let world = World::new(&[("m", machine("Ask", json!({ "Ask": ask("q", json!({ "End": true })) })))]);
    for broken in ["not JSON", r#"{"v": 99}"#] {
        let engine = world.start().await;
        begin(&engine, "m", "sick", json!({})).await.unwrap();
        engine.close().await;
        let connection = rusqlite::Connection::open(world.log()).unwrap();
        let state: Vec<u8> = connection.query_row("SELECT state FROM executions", [], |row| row.get(0)).unwrap();
        connection.execute("UPDATE executions SET state = ?1", [broken.as_bytes()]).unwrap();

        let engine = world.open(None).await.unwrap();
        let refused = engine.start(embedded_cloud::FunctionRegistry::new()).unwrap_err();
        assert!(matches!(refused, EngineError::Unreadable { .. }));
        assert!(refused.to_string().contains("execution:m:sick"), "{refused}");
        engine.close().await;
        let kept: Vec<u8> = connection.query_row("SELECT state FROM executions", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, broken.as_bytes());
        connection.execute("UPDATE executions SET state = ?1", [state]).unwrap();
    }
}

/// A world in which `one` and `two` of `parent` died while their children worked, and `asking` while it asked.
async fn interrupted() -> (World, String) {
    let end = || json!({ "End": true });
    let world = World::new(&[
        ("c", machine("A", json!({ "A": work("a", end()) }))),
        ("parent", machine("Run", json!({ "Run": child("c", "c", end()) }))),
        ("q", machine("Ask", json!({ "Ask": ask("q", json!({ "Next": "B" })), "B": work("b", end()) }))),
    ]);
    let engine = world.open(None).await.unwrap();
    let (told, mut working) = tokio::sync::mpsc::unbounded_channel();
    let stuck = world.asked.registry().with("work", move |_, _| {
        told.send(()).unwrap();
        std::future::pending()
    });
    engine.start(stuck).unwrap();
    for (machine, name) in [("parent", "one"), ("parent", "two"), ("q", "asking")] {
        begin(&engine, machine, name, json!({})).await.unwrap();
    }
    let token = world.until(|| world.asked.token("q")).await;
    for _ in 0..2 {
        working.recv().await.unwrap();
    }
    engine.close().await;
    (world, token)
}

async fn status(engine: &StepFunctions, machine: &str, name: &str) -> Value {
    describe(engine, &engine.place().execution_arn(machine, name)).await.unwrap()["status"].clone()
}

#[tokio::test]
async fn what_sleeps_goes_on_when_it_is_started_again_and_nothing_else_does() {
    let (world, token) = interrupted().await;
    let engine = world.open(None).await.unwrap();
    engine.start_asleep(world.asked.registry()).unwrap();
    let one = begin(&engine, "parent", "one", json!({})).await.unwrap();
    assert_eq!(ended(&engine, &one).await["status"], "SUCCEEDED");
    // An answer that comes meanwhile is kept, and sets nothing off.
    answer(&engine, &token, json!("yes")).await.unwrap();
    assert_eq!(world.asked.works(), [("a".to_owned(), 1)].into());
    for (machine, name) in [("parent", "two"), ("c", "two-c"), ("q", "asking")] {
        assert_eq!(status(&engine, machine, name).await, "RUNNING", "{name}");
    }
    let asking = begin(&engine, "q", "asking", json!({})).await.unwrap();
    assert_eq!(output(&ended(&engine, &asking).await), json!({ "done": "b" }));
    assert_eq!(world.asked.works(), [("a".to_owned(), 1), ("b".to_owned(), 1)].into());
    engine.close().await;

    // What slept through this life is taken up by the next one.
    let engine = world.start().await;
    assert_eq!(ended(&engine, &engine.place().execution_arn("parent", "two")).await["status"], "SUCCEEDED");
}

#[tokio::test]
async fn what_sleeps_is_stopped_without_going_on() {
    let (world, _) = interrupted().await;
    let engine = world.open(None).await.unwrap();
    engine.start_asleep(world.asked.registry()).unwrap();
    let arn = engine.place().execution_arn("parent", "two");
    engine.handle("StopExecution", json!({ "executionArn": arn })).await.unwrap();
    assert_eq!(ended(&engine, &engine.place().execution_arn("c", "two-c")).await["status"], "ABORTED");
    assert_eq!(status(&engine, "parent", "two").await, "ABORTED");
    assert_eq!(world.asked.works(), BTreeMap::new());
}
