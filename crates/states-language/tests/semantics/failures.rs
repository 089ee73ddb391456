//! Retry and Catch.

use serde_json::{Value, json};
use states_language::Event;

use crate::world::{World, callback, invoke, machine};

fn caught(state: Value) -> String {
    machine("Only", json!({ "Only": state, "Caught": { "Type": "Pass", "End": true } }))
}

fn retry(more: Value) -> Value {
    let mut retrier = json!({ "ErrorEquals": ["States.ALL"] });
    for (name, value) in more.as_object().expect("an object") {
        retrier[name] = value.clone();
    }
    invoke("f", json!({ "Retry": [retrier], "End": true }))
}

fn only(state: Value) -> String {
    machine("Only", json!({ "Only": state }))
}

#[test]
fn retries_pause_longer_and_longer_and_then_give_up() {
    for (more, pauses) in [
        (json!({}), vec![1.0, 2.0, 4.0]),
        (json!({ "IntervalSeconds": 3, "BackoffRate": 1.5, "MaxAttempts": 4 }), vec![3.0, 4.5, 6.75, 10.125]),
        (json!({ "IntervalSeconds": 10, "MaxDelaySeconds": 15 }), vec![10.0, 15.0, 15.0]),
        (json!({ "IntervalSeconds": 8, "BackoffRate": 1, "JitterStrategy": "FULL" }), vec![1.0, 2.0, 3.0]),
        (json!({ "MaxAttempts": 0 }), vec![]),
    ] {
        let mut world = World::start(&only(retry(more)), json!({}));
        for pause in pauses {
            world.fails("f", "Flaky");
            assert!(world.waiting().is_empty());
            assert_eq!(world.next_timer(), pause);
        }
        world.fails("f", "Flaky");
        assert_eq!(world.error(), "Flaky");
    }
}

#[test]
fn a_retry_evaluates_its_arguments_again_and_counts() {
    let state = invoke(
        "f",
        json!({
            "Arguments": { "FunctionName": "f", "Payload": "{% $states.context.State.RetryCount %}" },
            "Retry": [{ "ErrorEquals": ["A"], "MaxAttempts": 5 }, { "ErrorEquals": ["B"], "MaxAttempts": 5 }],
            "Output": "{% $states.context.State.RetryCount %}",
            "End": true,
        }),
    );
    let mut world = World::start(&only(state), json!({}));
    for (error, count) in [("A", 0), ("B", 1), ("A", 2)] {
        assert_eq!(world.payload("f"), count);
        world.fails("f", error);
        world.next_timer();
    }
    world.returns("f", json!({}));
    assert_eq!(world.output(), 3);
    let entered = world.events().into_iter().filter(|event| *event == "TaskStateEntered").count();
    assert_eq!(entered, 1, "a retry does not enter the state again");
}

#[test]
fn each_retrier_counts_for_itself_and_only_the_first_that_matches_counts() {
    let retriers = json!([
        { "ErrorEquals": ["A"], "MaxAttempts": 1, "IntervalSeconds": 1 },
        { "ErrorEquals": ["States.ALL"], "MaxAttempts": 9, "IntervalSeconds": 50 },
    ]);
    let mut world = World::start(&only(invoke("f", json!({ "Retry": retriers, "End": true }))), json!({}));
    world.fails("f", "A");
    assert_eq!(world.next_timer(), 1.0);
    world.fails("f", "B");
    assert_eq!(world.next_timer(), 50.0);
    world.fails("f", "A");
    assert_eq!(world.error(), "A", "its retrier is used up, and the next one is not asked");
}

#[test]
fn counting_begins_anew_when_the_state_is_entered_again() {
    let definition = machine(
        "Work",
        json!({
            "Work": invoke("f", json!({ "Retry": [{ "ErrorEquals": ["States.ALL"], "MaxAttempts": 1 }], "Next": "Again" })),
            "Again": { "Type": "Choice", "Choices": [{ "Condition": "{% $states.input.Payload %}", "Next": "Work" }], "Default": "Done" },
            "Done": { "Type": "Succeed" },
        }),
    );
    let mut world = World::start(&definition, json!({}));
    for again in [true, false] {
        world.fails("f", "Flaky");
        world.next_timer();
        world.returns("f", json!(again));
    }
    world.output();
}

#[test]
fn a_retried_callback_gets_a_new_token() {
    let state = callback("gate", json!({ "Retry": [{ "ErrorEquals": ["Busy"] }], "End": true }));
    let mut world = World::start(&only(state), json!({}));
    let first = world.token("gate");
    world.returns("gate", json!({}));
    world.send(Event::TokenFailed { token: first.clone(), error: "Busy".to_owned(), cause: String::new() });
    world.next_timer();
    let second = world.token("gate");
    assert_ne!(first, second);
    world.ignores(Event::TokenSucceeded { token: first, output: json!(1) });
    world.send(Event::TokenSucceeded { token: second, output: json!(2) });
    assert_eq!(world.output(), 2);
}

#[test]
fn error_names_match_as_documented() {
    let timeout = "a timeout";
    for (names, error, matches) in [
        (json!(["Mine"]), "Mine", true),
        (json!(["Mine"]), "Mine2", false),
        (json!(["Other", "Mine"]), "Mine", true),
        (json!(["States.TaskFailed"]), "Mine", true),
        (json!(["States.TaskFailed"]), "Lambda.Unknown", true),
        (json!(["States.TaskFailed"]), timeout, false),
        (json!(["States.Timeout"]), timeout, true),
        (json!(["States.HeartbeatTimeout"]), timeout, false),
        (json!(["States.ALL"]), timeout, true),
        (json!(["States.ALL"]), "Mine", true),
        (json!(["States.ALL"]), "States.DataLimitExceeded", false),
        (json!(["States.DataLimitExceeded"]), "States.DataLimitExceeded", true),
        (json!(["States.ALL"]), "States.Runtime", false),
        (json!(["States.TaskFailed"]), "States.Runtime", false),
        (json!(["States.Runtime"]), "States.Runtime", false),
    ] {
        let catch = json!([{ "ErrorEquals": names, "Next": "Caught" }]);
        let mut world =
            World::start(&caught(invoke("f", json!({ "TimeoutSeconds": 5, "Catch": catch, "End": true }))), json!({}));
        if error == timeout {
            world.next_timer();
        } else {
            world.fails("f", error);
        }
        let outcome = world.outcome.as_ref().expect("over");
        assert_eq!(outcome.output.is_some(), matches, "{names} and {error}");
    }
}

#[test]
fn a_catcher_sees_the_error_and_hands_on_what_it_says() {
    let catcher = |more: Value| {
        let mut catcher = json!({ "ErrorEquals": ["States.ALL"], "Next": "Caught" });
        for (name, value) in more.as_object().expect("an object") {
            catcher[name] = value.clone();
        }
        let state = invoke("f", json!({ "Catch": [catcher], "Assign": { "why": "nothing" }, "End": true }));
        let show = json!({ "Type": "Pass", "Output": ["{% $states.input %}", "{% $why %}"], "Assign": { "why": "" }, "End": true });
        machine("Only", json!({ "Only": state, "Caught": show }))
    };
    for (more, expected) in [
        (
            json!({ "Assign": { "why": "{% $states.errorOutput.Cause %}" } }),
            json!([{ "Error": "Mine", "Cause": "f said so" }, "f said so"]),
        ),
        (
            json!({ "Assign": { "why": 1 }, "Output": "{% [$states.errorOutput.Error, $states.input.id, $exists($why)] %}" }),
            json!([["Mine", 7, false], 1]),
        ),
    ] {
        let mut world = World::start(&catcher(more), json!({ "id": 7 }));
        world.fails("f", "Mine");
        assert_eq!(world.output(), expected);
    }
}

#[test]
fn retry_comes_before_catch() {
    let more = json!({
        "Retry": [{ "ErrorEquals": ["Mine"], "MaxAttempts": 1 }],
        "Catch": [{ "ErrorEquals": ["Mine"], "Next": "Caught" }],
        "End": true,
    });
    let mut world = World::start(&caught(invoke("f", more)), json!({}));
    world.fails("f", "Mine");
    assert!(world.outcome.is_none());
    world.next_timer();
    world.fails("f", "Mine");
    assert_eq!(world.output()["Error"], "Mine");
}

#[test]
fn an_expression_that_fails_can_be_caught_wherever_it_stands() {
    let catch = json!([{ "ErrorEquals": ["States.QueryEvaluationError"], "Next": "Caught" }]);
    let absent = "{% $states.input.absent %}";
    for (more, calls, field) in [
        (json!({ "Arguments": { "FunctionName": absent } }), false, "Arguments/FunctionName"),
        (json!({ "Output": absent }), true, "Output"),
        (json!({ "Assign": { "x": absent } }), true, "Assign/x"),
    ] {
        let mut state = invoke("f", json!({ "Catch": catch, "End": true }));
        for (name, value) in more.as_object().expect("an object") {
            state[name] = value.clone();
        }
        let mut world = World::start(&caught(state), json!({}));
        if calls {
            world.returns("f", json!({}));
        }
        let cause = world.output()["Cause"].as_str().expect("a cause").to_owned();
        assert!(
            cause.starts_with("An error occurred while executing the state 'Only' (entered at the event id #2). "),
            "{cause}"
        );
        assert!(cause.contains(&format!("'{field}'")), "{cause}");
    }
}

#[test]
fn a_catcher_that_fails_itself_is_not_caught() {
    let catch =
        json!([{ "ErrorEquals": ["States.ALL"], "Output": "{% $states.errorOutput.Nothing %}", "Next": "Caught" }]);
    let mut world = World::start(&caught(invoke("f", json!({ "Catch": catch, "End": true }))), json!({}));
    world.fails("f", "Mine");
    assert_eq!(world.error(), "States.QueryEvaluationError");
    assert!(world.cause().contains("'Catch[0]/Output'"), "{}", world.cause());
}

#[test]
fn a_failure_nobody_catches_ends_the_execution() {
    let mut world = World::start(&only(invoke("f", json!({ "End": true }))), json!({}));
    world.fails("f", "Mine");
    assert_eq!((world.error(), world.cause()), ("Mine", "f said so"));
    assert_eq!(
        world.details("TaskFailed"),
        json!({ "resourceType": "lambda", "resource": "invoke", "error": "Mine", "cause": "f said so" })
    );
    assert_eq!(world.details("ExecutionFailed"), json!({ "error": "Mine", "cause": "f said so" }));
}
