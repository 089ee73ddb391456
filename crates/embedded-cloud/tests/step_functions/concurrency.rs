//! Many executions at once.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, mpsc};

use embedded_cloud::step_functions::{CommitHook, CommitPoint, CommitSide};
use futures::future::{join_all, try_join_all};
use serde_json::json;

use crate::world::{World, ask, begin, ended, machine, machine_arn, output, work};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_executions_share_their_commits() {
    let world = World::new(&[(
        "m",
        machine(
            "A",
            json!({
                "A": work("a", json!({ "Next": "B" })),
                "B": work("b", json!({ "Output": "{% $states.context.Execution.Input.n %}", "End": true })),
            }),
        ),
    )]);
    let engine = world.start().await;
    let starts = (0..200).map(|n| {
        let engine = engine.clone();
        async move { begin(&engine, "m", &format!("e{n}"), json!({ "n": n })).await }
    });
    let arns = try_join_all(starts).await.unwrap();
    let ends = join_all(arns.iter().map(|arn| ended(&engine, arn))).await;
    for (n, description) in ends.iter().enumerate() {
        assert_eq!(output(description), json!(n));
    }
    assert_eq!(world.asked.works(), [("a".to_owned(), 200), ("b".to_owned(), 200)].into());
    let stats = engine.log_stats();
    // A machine, then for each execution its start and the answers of its two tasks.
    assert_eq!(stats.writes, 1 + 200 * 3);
    assert!(stats.commits * 2 < stats.writes, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_starts_at_once_are_one_execution() {
    let world = World::new(&[("m", machine("Ask", json!({ "Ask": ask("q", json!({ "End": true })) })))]);
    let engine = world.start().await;
    let starts = (0..50).map(|_| begin(&engine, "m", "same", json!({ "n": 1 })));
    let arns = try_join_all(starts).await.unwrap();
    assert!(arns.iter().all(|arn| *arn == arns[0]));
    world.until(|| world.asked.token("q")).await;
    let list = json!({ "stateMachineArn": machine_arn(&engine, "m") });
    let listed = engine.handle("ListExecutions", list).await.unwrap();
    assert_eq!(listed["executions"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_starts_an_execution_may_go_away_meanwhile() {
    let world = World::new(&[("m", machine("A", json!({ "A": work("a", json!({ "End": true })) })))]);
    let (at_the_disk, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    // The first commit is the machine's, the second the start's.
    let start = CommitPoint { number: 2, side: CommitSide::Before };
    let hook: CommitHook = Arc::new(move |point| {
        if point == start {
            at_the_disk.send(()).unwrap();
            held.lock().unwrap().recv().unwrap();
        }
        ControlFlow::Continue(())
    });
    let engine = world.open(Some(hook)).await.unwrap();
    world.drive(&engine);
    let client = engine.clone();
    let client = tokio::spawn(async move { begin(&client, "m", "e", json!({})).await });
    arrived.recv().await.unwrap();
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    release.send(()).unwrap();
    world.until(|| (world.asked.works() == [("a".to_owned(), 1)].into()).then_some(())).await;
    assert_eq!(output(&ended(&engine, &engine.place().execution_arn("m", "e")).await), json!({ "done": "a" }));
}
