//! The execution as a whole: its time limit, its end from outside, its limits, its history.

use serde_json::{Value, json};
use states_language::{
    Action, Event, Execution, HistoryEventType, Ignored, MAX_HISTORY_EVENTS, MAX_PAYLOAD_BYTES, Status,
};

use crate::world::{World, callback, identity, invoke, machine};

const CHILD: &str = "arn:aws:states:eu-west-1:000000000000:stateMachine:task";

/// One of everything that can be waiting.
fn busy() -> String {
    let child = json!({
        "Type": "Task",
        "Resource": "arn:aws:states:::states:startExecution.sync:2",
        "Arguments": { "StateMachineArn": CHILD, "Name": "child-1" },
        "End": true,
    });
    let branches = [
        ("Call", invoke("f", json!({ "TimeoutSeconds": 500, "End": true }))),
        ("Gate", callback("gate", json!({ "End": true }))),
        ("Child", child),
        ("Pause", json!({ "Type": "Wait", "Seconds": 400, "End": true })),
    ];
    let branches: Vec<_> =
        branches.into_iter().map(|(name, state)| json!({ "StartAt": name, "States": { name: state } })).collect();
    let mut definition: Value = serde_json::from_str(&machine(
        "All",
        json!({ "All": { "Type": "Parallel", "Branches": branches, "End": true } }),
    ))
    .expect("JSON");
    definition["TimeoutSeconds"] = json!(300);
    definition.to_string()
}

fn big(bytes: usize) -> Value {
    json!("x".repeat(bytes - 2))
}

#[test]
fn an_execution_that_takes_too_long_times_out_whole() {
    let mut world = World::start(&busy(), json!({}));
    assert_eq!(world.next_timer(), 300.0);
    let outcome = world.outcome.clone().expect("over");
    assert_eq!((outcome.status, outcome.error, outcome.cause), (Status::TimedOut, None, None));
    assert!(world.timers.is_empty());
    assert_eq!(world.stopped.len(), 1);
    let last = world.history.last().expect("an end");
    assert_eq!((last.kind, last.previous_event_id), (HistoryEventType::ExecutionTimedOut, 0));
    assert_eq!(Value::from(last.details(true)), json!({ "error": "States.Timeout" }));
    assert_eq!(world.execution.pending_actions(), []);
}

#[test]
fn an_execution_can_be_stopped_from_outside() {
    let mut world = World::start(&busy(), json!({}));
    world.send(Event::Stop { error: Some("Stopped".to_owned()), cause: Some("by ada".to_owned()) });
    let outcome = world.outcome.clone().expect("over");
    assert_eq!(outcome.status, Status::Aborted);
    assert_eq!((outcome.error.as_deref(), outcome.cause.as_deref()), (Some("Stopped"), Some("by ada")));
    assert!(world.timers.is_empty());
    let [Action::StopExecution { execution: None, .. }] = &world.stopped[..] else { panic!("{:?}", world.stopped) };
    assert_eq!(world.details("ExecutionAborted"), json!({ "error": "Stopped", "cause": "by ada" }));
    assert_eq!(world.ignores(Event::Stop { error: None, cause: None }), Ignored::Ended);
    assert_eq!(world.execution.status(), Status::Aborted);
}

#[test]
fn events_out_of_turn_are_ignored() {
    let mut world = World::start(&busy(), json!({}));
    assert_eq!(world.ignores(Event::Start), Ignored::AlreadyStarted);
    world.execution = Execution::new(identity(), json!({}));
    assert_eq!(world.ignores(Event::Stop { error: None, cause: None }), Ignored::NotStarted);
}

#[test]
fn a_timer_that_was_cancelled_is_ignored() {
    let definition = machine(
        "A",
        json!({ "A": invoke("f", json!({ "TimeoutSeconds": 5, "Next": "B" })), "B": invoke("g", json!({ "End": true })) }),
    );
    let mut world = World::start(&definition, json!({}));
    let timer = *world.timers.keys().next().expect("a timeout");
    world.returns("f", json!({}));
    world.env.now_ms += 10_000;
    assert_eq!(world.ignores(Event::TimerFired { timer }), Ignored::TimerClosed);
}

#[test]
fn a_restart_performs_what_was_pending_with_the_same_ids() {
    let mut world = World::start(&busy(), json!({}));
    let pending = world.execution.pending_actions();
    let calls: Vec<_> = pending.iter().filter(|action| !matches!(action, Action::SetTimer { .. })).cloned().collect();
    assert_eq!(calls, world.calls);
    for (timer, due_ms) in world.timers.clone() {
        assert!(pending.contains(&Action::SetTimer { timer, due_ms }));
    }
    assert_eq!(pending.len(), world.calls.len() + world.timers.len());
    world.returns("gate", json!({}));
    let pending = world.execution.pending_actions();
    let invoked = pending.iter().filter(|action| matches!(action, Action::InvokeFunction { .. })).count();
    assert_eq!(invoked, 1, "a function that has handed its token over is not invoked again");
}

#[test]
fn data_beyond_the_limit_fails_where_it_arises() {
    let over = MAX_PAYLOAD_BYTES + 1;
    let grow = "{% $pad('', 262145, 'x') %}";
    let pass = |more: Value| {
        let mut state = json!({ "Type": "Pass", "End": true });
        for (name, value) in more.as_object().expect("an object") {
            state[name] = value.clone();
        }
        World::start(&machine("Only", json!({ "Only": state })), json!({}))
    };
    for world in [pass(json!({ "Output": grow })), pass(json!({ "Assign": { "a": grow } }))] {
        assert_eq!(world.error(), "States.DataLimitExceeded");
        assert!(
            world.cause().contains("exceeds the maximum number of bytes service limit (262144)"),
            "{}",
            world.cause()
        );
    }

    let only = machine("Only", json!({ "Only": invoke("f", json!({ "End": true })) }));
    let mut world = World::start(&only, json!({}));
    world.returns("f", big(over));
    assert_eq!(world.error(), "States.DataLimitExceeded");

    let state = callback("f", json!({ "End": true }));
    let mut world = World::start(&machine("Only", json!({ "Only": state })), json!({}));
    let token = world.token("f");
    world.send(Event::TokenSucceeded { token: token.clone(), output: big(MAX_PAYLOAD_BYTES) });
    assert_eq!(world.output(), big(MAX_PAYLOAD_BYTES), "the limit itself is allowed");

    let items = json!([1, 2]);
    let inner = json!({ "Type": "Pass", "Output": "{% $pad('', 200000, 'x') %}", "End": true });
    let map = json!({ "Type": "Map", "ItemProcessor": { "StartAt": "In", "States": { "In": inner } }, "End": true });
    let world = World::start(&machine("Only", json!({ "Only": map })), items);
    assert_eq!(world.error(), "States.DataLimitExceeded", "the results together");
    assert!(world.events().contains(&"MapStateFailed") && !world.events().contains(&"MapStateSucceeded"));
}

#[test]
fn the_history_is_bounded() {
    let definition = machine(
        "Spin",
        json!({
            "Spin": { "Type": "Choice", "Choices": [{ "Condition": "{% false %}", "Next": "End" }], "Default": "Spin" },
            "End": { "Type": "Succeed" },
        }),
    );
    let world = World::start(&definition, json!({}));
    assert_eq!(world.error(), "States.Runtime");
    assert_eq!(world.cause(), "The execution reached the maximum number of history events (25000).");
    assert_eq!(world.history.len() as u64, MAX_HISTORY_EVENTS);
    assert!(world.history.iter().enumerate().all(|(i, event)| event.id == i as u64 + 1));
    assert_eq!(world.execution.history_length(), MAX_HISTORY_EVENTS);
}

#[test]
fn nothing_is_called_once_the_history_is_full() {
    let definition = machine(
        "Count",
        json!({
            "Count": { "Type": "Pass", "Assign": { "n": "{% $exists($n) ? $n + 1 : 1 %}" }, "Next": "Enough" },
            "Enough": { "Type": "Choice", "Choices": [{ "Condition": "{% $n < 6249 %}", "Next": "Count" }], "Default": "Call" },
            "Call": invoke("f", json!({ "TimeoutSeconds": 9, "End": true })),
        }),
    );
    let world = World::start(&definition, json!({}));
    assert_eq!(world.history[24_998].kind.as_str(), "TaskScheduled");
    assert_eq!(world.error(), "States.Runtime");
    assert!(world.calls.is_empty() && world.timers.is_empty());
}

/// After a call (5 events) it goes round so often, 4 events each time, and then ends.
fn rounds(n: u32) -> World {
    let more = format!("{{% $n < {n} %}}");
    let definition = machine(
        "Call",
        json!({
            "Call": invoke("f", json!({ "Next": "Count" })),
            "Count": { "Type": "Pass", "Assign": { "n": "{% $exists($n) ? $n + 1 : 1 %}" }, "Next": "Enough" },
            "Enough": { "Type": "Choice", "Choices": [{ "Condition": more, "Next": "Count" }], "Default": "End" },
            "End": { "Type": "Succeed" },
        }),
    );
    let mut world = World::start(&definition, json!({}));
    world.returns("f", json!({}));
    world
}

#[test]
fn an_end_that_no_longer_fits_the_history_is_a_failure() {
    let world = rounds(6_247);
    assert_eq!(world.history.len() as u64, MAX_HISTORY_EVENTS - 3);
    world.output();

    let world = rounds(6_248);
    assert_eq!(world.history[24_998].kind.as_str(), "SucceedStateEntered");
    assert_eq!(world.error(), "States.Runtime");
    assert_eq!(world.history.len() as u64, MAX_HISTORY_EVENTS);
}

#[test]
fn history_tells_what_a_task_did() {
    let state = invoke("f", json!({ "TimeoutSeconds": 9, "Assign": { "a": { "b": 1 } }, "Output": 7, "End": true }));
    let mut world = World::start(&machine("Only", json!({ "Only": state })), json!({ "i": 1 }));
    world.pass(3);
    world.returns("f", json!("r"));
    let told: Vec<_> =
        world.history.iter().map(|event| (event.kind.as_str(), Value::from(event.details(true)))).collect();
    let whole = json!({ "truncated": false });
    assert_eq!(
        told,
        [
            (
                "ExecutionStarted",
                json!({ "input": "{\"i\":1}", "inputDetails": whole, "roleArn": "arn:aws:iam::000000000000:role/pipeline" })
            ),
            ("TaskStateEntered", json!({ "name": "Only", "input": "{\"i\":1}", "inputDetails": whole })),
            (
                "TaskScheduled",
                json!({
                    "resourceType": "lambda", "resource": "invoke", "region": "eu-west-1",
                    "parameters": "{\"FunctionName\":\"f\",\"Payload\":{\"i\":1}}", "timeoutInSeconds": 9,
                })
            ),
            ("TaskStarted", json!({ "resourceType": "lambda", "resource": "invoke" })),
            (
                "TaskSucceeded",
                json!({
                    "resourceType": "lambda", "resource": "invoke",
                    "output": "{\"ExecutedVersion\":\"$LATEST\",\"Payload\":\"r\",\"StatusCode\":200}", "outputDetails": whole,
                })
            ),
            (
                "TaskStateExited",
                json!({
                    "name": "Only", "output": "7", "outputDetails": whole,
                    "assignedVariables": { "a": "{\"b\":1}" }, "assignedVariablesDetails": whole,
                })
            ),
            ("ExecutionSucceeded", json!({ "output": "7", "outputDetails": whole })),
        ]
    );
    let times: Vec<_> = world.history.iter().map(|event| event.timestamp_ms - world.history[0].timestamp_ms).collect();
    assert_eq!(times, [0, 0, 0, 0, 3_000, 3_000, 3_000]);
    assert_eq!(world.history[4].kind.details_key(), Some("taskSucceededEventDetails"));
}

#[test]
fn an_execution_of_another_format_is_refused() {
    let world = World::start(&busy(), json!({}));
    let text = serde_json::to_string(&world.execution).expect("written");
    let newer = text.replacen("\"v\":1", "\"v\":2", 1);
    assert_ne!(text, newer);
    let refused = serde_json::from_str::<Execution>(&newer).expect_err("a newer format");
    assert!(refused.to_string().contains("execution format 2 is not known here"), "{refused}");
}
