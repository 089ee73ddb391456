//! Tasks: functions, callbacks, child executions, and their time limits.

use serde_json::{Value, json};
use states_language::{Action, Event, Ignored, Status};

use crate::world::{World, callback, failed, invoke, machine, succeeded, task_of};

const CHILD: &str = "arn:aws:states:eu-west-1:000000000000:stateMachine:task";

fn one(state: Value) -> String {
    machine("Only", json!({ "Only": state }))
}

fn child(more: Value) -> Value {
    let mut state = json!({
        "Type": "Task",
        "Resource": "arn:aws:states:::states:startExecution.sync:2",
        "Arguments": { "StateMachineArn": CHILD, "Name": "run-1-a-0-0", "Input": "{% $states.input %}" },
        "End": true,
    });
    for (name, value) in more.as_object().expect("an object") {
        state[name] = value.clone();
    }
    state
}

#[test]
fn a_function_gets_its_payload_and_its_answer_is_the_result() {
    let state = json!({
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Arguments": { "FunctionName": "planner", "Qualifier": "live", "Payload": { "run": "{% $states.input.id %}" } },
        "Assign": { "code": "{% $states.result.StatusCode %}" },
        "Output": { "plan": "{% $states.result.Payload.plan %}", "version": "{% $states.result.ExecutedVersion %}" },
        "Next": "Show",
    });
    let show = json!({ "Type": "Pass", "Output": "{% [$code, $states.input] %}", "End": true });
    let mut world = World::start(&machine("Only", json!({ "Only": state, "Show": show })), json!({ "id": "r1" }));
    let Action::InvokeFunction { function, qualifier, payload, token, .. } = world.calls[0].clone() else { panic!() };
    assert_eq!((function.as_str(), qualifier.as_deref(), token), ("planner", Some("live"), None));
    assert_eq!(payload, json!({ "run": "r1" }));
    world.returns("planner", json!({ "plan": ["a"] }));
    assert_eq!(world.output(), json!([200, { "plan": ["a"], "version": "$LATEST" }]));
}

#[test]
fn without_output_the_whole_result_is_handed_on() {
    let mut world = World::start(&one(invoke("f", json!({ "End": true }))), json!(1));
    world.returns("f", json!(null));
    assert_eq!(world.output(), json!({ "ExecutedVersion": "$LATEST", "Payload": null, "StatusCode": 200 }));
}

#[test]
fn a_function_without_payload_gets_an_empty_object() {
    let world = World::start(&one(invoke("f", json!({ "Arguments": { "FunctionName": "f" }, "End": true }))), json!(1));
    assert_eq!(world.payload("f"), json!({}));
}

#[test]
fn an_answer_that_comes_twice_is_ignored() {
    let definition =
        machine("A", json!({ "A": invoke("f", json!({ "Next": "B" })), "B": invoke("g", json!({ "End": true })) }));
    let mut world = World::start(&definition, json!({}));
    let task = task_of(&world.calls[0]);
    world.returns("f", json!({}));
    assert_eq!(world.ignores(Event::TaskSucceeded { task, output: json!({}) }), Ignored::TaskClosed);
    let failed = Event::TaskFailed { task, error: "Late".to_owned(), cause: String::new() };
    assert_eq!(world.ignores(failed), Ignored::TaskClosed);
    world.returns("g", json!({}));
    assert_eq!(world.ignores(Event::TaskSucceeded { task, output: json!({}) }), Ignored::Ended);
}

#[test]
fn a_callback_waits_for_its_token_not_for_its_function() {
    let mut world = World::start(&one(callback("gate", json!({ "End": true }))), json!({}));
    let token = world.token("gate");
    assert_eq!(world.payload("gate"), json!({ "token": token }));
    assert!(world.execution.open_tokens().map(|(_, token)| token).eq([token.as_str()]));
    let call = world.calls[0].clone();
    world.returns("gate", json!({ "issue": 7 }));
    assert!(world.outcome.is_none());
    assert_eq!(world.details("TaskSubmitted")["resource"], "invoke.waitForTaskToken");
    let again = Event::TaskSucceeded { task: task_of(&call), output: json!({}) };
    assert_eq!(world.ignores(again), Ignored::AlreadySubmitted);
    let late = Event::TaskFailed { task: task_of(&call), error: "Late".to_owned(), cause: String::new() };
    assert_eq!(world.ignores(late), Ignored::TaskClosed);
    world.send(Event::TokenSucceeded { token: token.clone(), output: json!({ "approved": true }) });
    assert_eq!(world.output(), json!({ "approved": true }));
    assert!(world.timers.is_empty());
    assert_eq!(world.ignores(Event::TokenHeartbeat { token }), Ignored::Ended);
}

#[test]
fn a_token_may_be_answered_before_its_function_returns() {
    let definition = machine(
        "A",
        json!({ "A": callback("gate", json!({ "Next": "B" })), "B": invoke("f", json!({ "End": true })) }),
    );
    let mut world = World::start(&definition, json!({}));
    let token = world.token("gate");
    world.send(Event::TokenSucceeded { token: token.clone(), output: json!(1) });
    assert_eq!(world.waiting(), ["gate", "f"]);
    let task = task_of(&world.take("gate"));
    assert_eq!(world.ignores(Event::TaskSucceeded { task, output: json!({}) }), Ignored::TaskClosed);
    assert_eq!(world.ignores(Event::TokenSucceeded { token, output: json!(2) }), Ignored::TokenClosed);
    assert_eq!(world.payload("f"), json!(1));
}

#[test]
fn a_callback_function_that_fails_fails_its_task_at_once() {
    let mut world = World::start(&one(callback("gate", json!({ "End": true }))), json!({}));
    let token = world.token("gate");
    world.fails("gate", "ForgeDown");
    assert_eq!((world.error(), world.cause()), ("ForgeDown", "gate said so"));
    assert_eq!(world.ignores(Event::TokenSucceeded { token, output: json!(1) }), Ignored::Ended);
}

#[test]
fn a_token_can_fail_its_task() {
    let mut world = World::start(&one(callback("gate", json!({ "End": true }))), json!({}));
    let token = world.token("gate");
    world.returns("gate", json!({}));
    world.send(Event::TokenFailed { token, error: "Denied".to_owned(), cause: "by ada".to_owned() });
    assert_eq!((world.error(), world.cause()), ("Denied", "by ada"));
}

#[test]
fn nobody_waits_for_an_unknown_token() {
    let mut world = World::start(&one(callback("gate", json!({ "End": true }))), json!({}));
    for event in [
        Event::TokenSucceeded { token: "?".to_owned(), output: json!(1) },
        Event::TokenFailed { token: "?".to_owned(), error: String::new(), cause: String::new() },
        Event::TokenHeartbeat { token: "?".to_owned() },
    ] {
        assert_eq!(world.ignores(event), Ignored::TokenClosed);
    }
}

#[test]
fn a_task_that_takes_too_long_times_out() {
    for state in [
        invoke("f", json!({ "TimeoutSeconds": 30, "End": true })),
        callback("f", json!({ "TimeoutSeconds": "{% $states.input.n * 3 %}", "End": true })),
    ] {
        let mut world = World::start(&one(state), json!({ "n": 10 }));
        let task = task_of(&world.calls[0]);
        assert_eq!(world.next_timer(), 30.0);
        assert_eq!((world.error(), world.cause()), ("States.Timeout", ""));
        assert_eq!(world.details("TaskTimedOut")["error"], "States.Timeout");
        assert_eq!(world.ignores(Event::TaskSucceeded { task, output: json!({}) }), Ignored::Ended);
    }
}

#[test]
fn heartbeats_push_their_limit_ahead_but_not_the_timeout() {
    let state = callback("job", json!({ "TimeoutSeconds": 100, "HeartbeatSeconds": 40, "End": true }));
    let mut world = World::start(&one(state), json!({}));
    let token = world.token("job");
    for _ in 0..2 {
        world.pass(30);
        world.send(Event::TokenHeartbeat { token: token.clone() });
    }
    assert_eq!(world.next_timer(), 40.0, "both limits are due, the heartbeat and the timeout");
    assert_eq!(world.error(), "States.Timeout");
    assert!(world.timers.is_empty());
}

#[test]
fn a_missed_heartbeat_is_a_timeout_by_either_name() {
    for name in ["States.HeartbeatTimeout", "States.Timeout"] {
        let catch = json!([{ "ErrorEquals": [name], "Next": "Caught" }]);
        let state = callback("job", json!({ "HeartbeatSeconds": 40, "Catch": catch, "End": true }));
        let definition = machine("Only", json!({ "Only": state, "Caught": { "Type": "Succeed" } }));
        let mut world = World::start(&definition, json!({}));
        assert_eq!(world.next_timer(), 40.0);
        assert_eq!(world.output(), json!({ "Error": "States.Timeout" }));
    }
}

#[test]
fn a_timer_that_was_moved_does_not_fire_at_its_old_time() {
    let state = callback("job", json!({ "HeartbeatSeconds": 40, "End": true }));
    let mut world = World::start(&one(state), json!({}));
    let token = world.token("job");
    let (timer, due) =
        world.timers.iter().min_by_key(|(_, due)| **due).map(|(timer, due)| (*timer, *due)).expect("a heartbeat");
    world.pass(30);
    world.send(Event::TokenHeartbeat { token });
    world.env.now_ms = due;
    let step = world.send(Event::TimerFired { timer });
    assert_eq!(step.actions, [Action::SetTimer { timer, due_ms: due + 30_000 }], "it is still wanted, at its new time");
    assert!(world.outcome.is_none());
}

#[test]
fn a_child_execution_succeeds_with_its_description() {
    let mut world = World::start(&one(child(json!({}))), json!({ "k": 1 }));
    let Action::StartExecution { machine, name, input, task } = world.calls[0].clone() else { panic!() };
    assert_eq!((machine.as_str(), name.as_str(), input), (CHILD, "run-1-a-0-0", json!({ "k": 1 })));
    let started = json!({ "ExecutionArn": "arn:child", "StartDate": 1_000 });
    world.send(Event::TaskSubmitted { task, output: started.clone() });
    assert_eq!(world.ignores(Event::TaskSubmitted { task, output: started }), Ignored::AlreadySubmitted);
    world.child_ends(CHILD, succeeded(json!({ "ok": true })));
    let output = world.output();
    assert_eq!(
        (&output["Output"], &output["Input"], &output["Status"]),
        (&json!({ "ok": true }), &json!({ "k": 1 }), &json!("SUCCEEDED"))
    );
    let members: Vec<_> = output.as_object().expect("a description").keys().cloned().collect();
    assert_eq!(
        members,
        [
            "ExecutionArn",
            "Input",
            "InputDetails",
            "Name",
            "Output",
            "OutputDetails",
            "RedriveCount",
            "RedriveStatus",
            "RedriveStatusReason",
            "StartDate",
            "StateMachineArn",
            "Status",
            "StopDate"
        ]
    );
    assert!(world.stopped.is_empty(), "a child that ended is not stopped");
    assert_eq!(
        world.events(),
        [
            "ExecutionStarted",
            "TaskStateEntered",
            "TaskScheduled",
            "TaskStarted",
            "TaskSubmitted",
            "TaskSucceeded",
            "TaskStateExited",
            "ExecutionSucceeded"
        ]
    );
}

#[test]
fn a_child_execution_that_fails_fails_its_task_with_its_description() {
    for outcome in [
        failed("Mine", "because"),
        states_language::Outcome { status: Status::TimedOut, error: None, cause: None, output: None },
    ] {
        let mut world = World::start(&one(child(json!({}))), json!({}));
        world.child_ends(CHILD, outcome.clone());
        assert_eq!(world.error(), "States.TaskFailed");
        let cause: Value = serde_json::from_str(world.cause()).expect("a description");
        assert_eq!(cause["Status"], outcome.status.as_str());
        assert_eq!(cause.get("Error").and_then(Value::as_str), outcome.error.as_deref());
    }
}

#[test]
fn a_child_without_name_gets_one_that_stays() {
    let mut state = child(json!({}));
    state["Arguments"] = json!({ "StateMachineArn": CHILD });
    let world = World::start(&one(state), json!({}));
    let Action::StartExecution { name, input, .. } = &world.calls[0] else { panic!() };
    assert!(!name.is_empty());
    assert_eq!(input, &json!({}));
    assert_eq!(world.execution.pending_actions(), world.calls);
}

#[test]
fn a_child_is_stopped_when_its_task_is_over() {
    let mut world = World::start(&one(child(json!({ "TimeoutSeconds": 60 }))), json!({}));
    let task = task_of(&world.calls[0]);
    world.send(Event::TaskSubmitted { task, output: json!({ "ExecutionArn": "arn:child" }) });
    world.next_timer();
    let [Action::StopExecution { task: stopped, execution, cause }] = &world.stopped[..] else { panic!() };
    assert_eq!((*stopped, execution.as_deref()), (task, Some("arn:child")));
    assert!(cause.contains("execution:pipeline:run-1] which was managing this resource was aborted"));
}

#[test]
fn arguments_are_checked_when_they_are_known() {
    for (arguments, expected) in [
        (json!("{% { 'Payload': 1 } %}"), "The argument 'FunctionName' is missing."),
        (
            json!("{% { 'FunctionName': 'f', 'LogType': 'Tail' } %}"),
            "The argument 'LogType' is not run here: there are FunctionName, Payload, Qualifier.",
        ),
        (json!({ "FunctionName": "{% 7 %}" }), "The argument 'FunctionName' is 7: it must be a string."),
    ] {
        let world = World::start(&one(invoke("f", json!({ "Arguments": arguments, "End": true }))), json!({}));
        assert_eq!(world.error(), "States.Runtime");
        assert!(world.cause().ends_with(expected), "{}", world.cause());
        assert!(world.calls.is_empty());
    }
}

#[test]
fn limits_in_seconds_are_checked_when_they_are_known() {
    let state = callback("f", json!({ "TimeoutSeconds": "{% $states.input.n %}", "End": true }));
    for n in [json!(0), json!(1.5), json!("10")] {
        let world = World::start(&one(state.clone()), json!({ "n": n }));
        assert_eq!(world.error(), "States.QueryEvaluationError");
        assert!(world.cause().contains("'TimeoutSeconds' returned"), "{}", world.cause());
        assert!(world.calls.is_empty() && world.timers.is_empty());
    }
}
