//! Hours pass in a millisecond.

use run_model::Clock;
use serde_json::json;

use crate::world::{DAWN_MS, World, answer, ask, begin, ended, machine, output};

const TWO_HOURS_MS: i64 = 7_200_000;

fn waits() -> World {
    let wait = json!({ "Wait": { "Type": "Wait", "Seconds": 7200, "Output": "waited", "End": true } });
    World::new(&[
        ("wait", machine("Wait", wait)),
        ("ask", machine("Ask", json!({ "Ask": ask("q", json!({ "End": true })) }))),
        ("beat", machine("Ask", json!({ "Ask": ask("q", json!({ "HeartbeatSeconds": 60, "End": true })) }))),
    ])
}

#[tokio::test]
async fn a_wait_of_two_hours_ends_on_time() {
    let world = waits();
    let engine = world.start().await;
    let arn = begin(&engine, "wait", "e", json!({})).await.unwrap();
    world.pass(TWO_HOURS_MS).await;
    let description = ended(&engine, &arn).await;
    assert_eq!(output(&description), json!("waited"));
    let took = description["stopDate"].as_f64().unwrap() - description["startDate"].as_f64().unwrap();
    assert_eq!(took, 7_200.0);
}

#[tokio::test]
async fn a_timer_that_came_due_while_nothing_ran_fires_at_once() {
    let world = waits();
    let engine = world.start().await;
    let arn = begin(&engine, "wait", "e", json!({})).await.unwrap();
    engine.close().await;
    world.clock.advance(TWO_HOURS_MS + 1);
    let engine = world.start().await;
    assert_eq!(output(&ended(&engine, &arn).await), json!("waited"));
}

#[tokio::test]
async fn silence_times_out_and_a_late_answer_is_refused() {
    let world = waits();
    let engine = world.start().await;
    let arn = begin(&engine, "ask", "e", json!({})).await.unwrap();
    let token = world.until(|| world.asked.token("q")).await;
    world.pass(TWO_HOURS_MS).await;
    let description = ended(&engine, &arn).await;
    assert_eq!((&description["status"], &description["error"]), (&json!("FAILED"), &json!("States.Timeout")));
    assert_eq!(answer(&engine, &token, json!(1)).await.unwrap_err().code, "TaskTimedOut");
}

#[tokio::test]
async fn heartbeats_keep_a_question_open() {
    let world = waits();
    let engine = world.start().await;
    let arn = begin(&engine, "beat", "e", json!({})).await.unwrap();
    let token = world.until(|| world.asked.token("q")).await;
    for _ in 0..3 {
        let due_ms = world.clock.now_ms() + 60_000;
        world.until(|| (world.clock.next_due_ms() == Some(due_ms)).then_some(())).await;
        world.clock.advance(59_999);
        engine.handle("SendTaskHeartbeat", json!({ "taskToken": token })).await.unwrap();
    }
    world.pass(60_000).await;
    let description = ended(&engine, &arn).await;
    assert_eq!(description["error"], "States.Timeout");
    let open_ms = 3 * 59_999 + 60_000;
    assert_eq!(description["stopDate"], (DAWN_MS + open_ms) as f64 / 1_000.0);
}

#[tokio::test]
async fn a_function_is_told_the_earlier_of_two_deadlines() {
    let call = |timeout: i64| {
        machine(
            "Call",
            json!({ "Call": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Arguments": { "FunctionName": "deadline" },
            "Output": "{% $states.result.Payload %}",
            "TimeoutSeconds": timeout,
            "End": true,
        } }),
        )
    };
    let world = World::new(&[("short", call(60)), ("long", call(7_200))]);
    let engine = world.start().await;
    for (machine, seconds) in [("short", 60), ("long", 900)] {
        let arn = begin(&engine, machine, "e", json!({})).await.unwrap();
        assert_eq!(output(&ended(&engine, &arn).await), json!(DAWN_MS + seconds * 1_000));
    }
}

#[tokio::test]
async fn a_function_that_hangs_fails_by_the_timeout_that_comes_first() {
    let call = |timeout: i64| {
        machine(
            "Call",
            json!({ "Call": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Arguments": { "FunctionName": "hang" },
            "TimeoutSeconds": timeout,
            "End": true,
        } }),
        )
    };
    let world = World::new(&[("short", call(60)), ("long", call(7_200))]);
    let engine = world.start().await;
    for (machine, seconds, error) in [("short", 60, "States.Timeout"), ("long", 900, "Sandbox.Timedout")] {
        let arn = begin(&engine, machine, "e", json!({})).await.unwrap();
        world.pass(seconds * 1_000).await;
        assert_eq!(ended(&engine, &arn).await["error"], error);
    }
}
