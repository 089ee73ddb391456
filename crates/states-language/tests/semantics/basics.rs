//! One state after another: what goes in, what comes out, what stays.

use serde_json::{Value, json};
use states_language::Status;

use crate::world::{EPOCH_MS, World, invoke, machine};

/// The output of one Pass with this `Output`.
fn evaluated(output: Value, input: Value) -> Value {
    let definition = machine("Only", json!({ "Only": { "Type": "Pass", "Output": output, "End": true } }));
    World::start(&definition, input).output()
}

#[test]
fn a_pass_without_output_hands_on_its_input() {
    let definition = machine("Only", json!({ "Only": { "Type": "Pass", "End": true } }));
    assert_eq!(World::start(&definition, json!({ "a": [1, null, 2.5] })).output(), json!({ "a": [1, null, 2.5] }));
}

#[test]
fn expressions_stand_anywhere_in_a_value() {
    let output = json!({ "n": "{% $states.input.a + 1 %}", "list": ["x", "{% $states.input.a * 2 %}"], "plain": true });
    assert_eq!(evaluated(output, json!({ "a": 20 })), json!({ "n": 21, "list": ["x", 40], "plain": true }));
}

#[test]
fn numbers_keep_their_form() {
    assert_eq!(evaluated(json!("{% [1, 1.5, 3 / 2 * 2] %}"), json!({})).to_string(), "[1,1.5,3]");
}

#[test]
fn assign_is_evaluated_on_the_old_values() {
    let definition = machine(
        "First",
        json!({
            "First": { "Type": "Pass", "Assign": { "x": 3, "a": 6 }, "Next": "Swap" },
            "Swap": {
                "Type": "Pass",
                "Assign": { "x": "{% $a %}", "nextX": "{% $x %}" },
                "Output": { "during": "{% $x %}" },
                "Next": "Show",
            },
            "Show": { "Type": "Pass", "Output": { "x": "{% $x %}", "nextX": "{% $nextX %}", "in": "{% $states.input %}" }, "End": true },
        }),
    );
    let output = World::start(&definition, json!({})).output();
    assert_eq!(output, json!({ "x": 6, "nextX": 3, "in": { "during": 3 } }));
}

#[test]
fn a_choice_takes_the_first_rule_that_holds() {
    let definition = machine(
        "Pick",
        json!({
            "Pick": {
                "Type": "Choice",
                "Choices": [
                    { "Condition": "{% $states.input.n > 10 %}", "Assign": { "size": "big" }, "Output": { "was": "{% $states.input.n %}" }, "Next": "Show" },
                    { "Condition": "{% $states.input.n > 5 %}", "Assign": { "size": "middle" }, "Next": "Show" },
                ],
                "Assign": { "size": "small" },
                "Output": "by default",
                "Default": "Show",
            },
            "Show": { "Type": "Pass", "Output": { "size": "{% $size %}", "in": "{% $states.input %}" }, "End": true },
        }),
    );
    for (n, expected) in [
        (11, json!({ "size": "big", "in": { "was": 11 } })),
        (6, json!({ "size": "middle", "in": { "n": 6 } })),
        (1, json!({ "size": "small", "in": "by default" })),
    ] {
        assert_eq!(World::start(&definition, json!({ "n": n })).output(), expected);
    }
}

#[test]
fn a_choice_without_a_way_out_cannot_be_caught() {
    let inner = json!({
        "StartAt": "Pick",
        "States": {
            "Pick": { "Type": "Choice", "Choices": [{ "Condition": "{% false %}", "Next": "Inner" }] },
            "Inner": { "Type": "Succeed" },
        },
    });
    let catch = json!([{ "ErrorEquals": ["States.ALL"], "Next": "After" }]);
    let definition = machine(
        "Both",
        json!({
            "Both": { "Type": "Parallel", "Branches": [inner], "Catch": catch, "Next": "After" },
            "After": { "Type": "Succeed" },
        }),
    );
    let world = World::start(&definition, json!({}));
    assert_eq!(world.error(), "States.Runtime");
    assert_eq!(
        world.cause(),
        "An error occurred while executing the state 'Pick' (entered at the event id #4). \
         Failed to transition out of the state. The state does not point to a next state."
    );
}

#[test]
fn a_condition_must_be_true_or_false() {
    let definition = machine(
        "Pick",
        json!({
            "Pick": { "Type": "Choice", "Choices": [{ "Condition": "{% $states.input.n %}", "Next": "End" }], "Default": "End" },
            "End": { "Type": "Succeed" },
        }),
    );
    let world = World::start(&definition, json!({ "n": 1 }));
    assert_eq!(world.error(), "States.QueryEvaluationError");
    assert!(
        world.cause().contains("'Choices[0]/Condition' returned 1 where true or false was expected"),
        "{}",
        world.cause()
    );
}

#[test]
fn succeed_and_fail_say_what_they_are_told() {
    let definition = machine("Only", json!({ "Only": { "Type": "Succeed", "Output": "{% $states.input.a %}" } }));
    assert_eq!(World::start(&definition, json!({ "a": "done" })).output(), "done");

    let fail =
        json!({ "Type": "Fail", "Error": "{% 'Bad' & $states.input.a %}", "Cause": "{% $string($states.input) %}" });
    let outcome = World::run(&machine("Only", json!({ "Only": fail })), json!({ "a": "Luck" }));
    assert_eq!(outcome.status, Status::Failed);
    assert_eq!((outcome.error.as_deref(), outcome.cause.as_deref()), (Some("BadLuck"), Some(r#"{"a":"Luck"}"#)));

    let outcome = World::run(&machine("Only", json!({ "Only": { "Type": "Fail" } })), json!({}));
    assert_eq!((outcome.error, outcome.cause), (None, None));
}

#[test]
fn a_wait_lasts_until_its_timer_fires() {
    let second = EPOCH_MS / 1_000;
    let until = "2026-01-01T00:01:30Z";
    for (wait, expected) in [
        (json!({ "Seconds": 7 }), 7.0),
        (json!({ "Seconds": "{% $states.input.n * 2 %}" }), 40.0),
        (json!({ "Timestamp": until }), 90.0),
        (json!({ "Timestamp": "{% $fromMillis(($states.input.epoch + 5) * 1000) %}" }), 5.0),
    ] {
        let mut state = wait;
        state["Type"] = json!("Wait");
        state["End"] = json!(true);
        let mut world = World::start(&machine("Only", json!({ "Only": state })), json!({ "n": 20, "epoch": second }));
        assert_eq!(world.next_timer(), expected);
        assert_eq!(world.output()["n"], 20);
    }
}

#[test]
fn a_wait_for_the_past_is_over_at_once() {
    for wait in [json!({ "Seconds": 0 }), json!({ "Timestamp": "2020-01-01T00:00:00+02:00" })] {
        let mut state = wait;
        state["Type"] = json!("Wait");
        state["End"] = json!(true);
        let world = World::start(&machine("Only", json!({ "Only": state })), json!({}));
        assert!(world.timers.is_empty());
        world.output();
    }
}

#[test]
fn the_context_object_tells_where_one_is() {
    let definition = machine(
        "Only",
        json!({ "Only": invoke("f", json!({ "Assign": { "context": "{% $states.context %}" }, "Next": "Show" })),
        "Show": { "Type": "Pass", "Output": "{% [$context, $states.context.State.Name] %}", "End": true } }),
    );
    let mut world = World::start(&definition, json!({ "in": 1 }));
    world.pass(2);
    world.returns("f", json!({}));
    assert_eq!(
        world.output(),
        json!([{
            "Execution": {
                "Id": "arn:aws:states:eu-west-1:000000000000:execution:pipeline:run-1",
                "Name": "run-1",
                "RoleArn": "arn:aws:iam::000000000000:role/pipeline",
                "StartTime": "2026-01-01T00:00:00.000Z",
                "RedriveCount": 0,
                "Input": { "in": 1 },
            },
            "State": { "Name": "Only", "EnteredTime": "2026-01-01T00:00:00.000Z", "RetryCount": 0 },
            "StateMachine": { "Id": "arn:aws:states:eu-west-1:000000000000:stateMachine:pipeline", "Name": "pipeline" },
        }, "Show"])
    );
}

#[test]
fn what_yields_nothing_is_an_error_with_its_field() {
    let state = json!({ "Type": "Pass", "Output": { "a": [{ "b": "{% $states.input.absent %}" }] }, "End": true });
    let world = World::start(&machine("Only", json!({ "Only": state })), json!({}));
    assert_eq!(world.error(), "States.QueryEvaluationError");
    assert_eq!(
        world.cause(),
        "An error occurred while executing the state 'Only' (entered at the event id #2). The JSONata expression \
         '$states.input.absent' specified for the field 'Output/a[0]/b' returned nothing (undefined)."
    );
    assert_eq!(world.details("EvaluationFailed")["location"], "Output/a[0]/b");
    assert_eq!(world.details("EvaluationFailed")["state"], "Only");
}
