//! A machine with every type of state, every way to call, a retry, a catch and a child that fails.

use serde_json::{Value, json};

use crate::world::{World, ask, child, machine, work};

/// A world with the machine `every` and its children `child` and `bad`.
pub(crate) fn world() -> World {
    let states = [beginning(), json!({ "Both": both(), "Each": each() }), ending()];
    let states = states.into_iter().flat_map(|part| part.as_object().unwrap().clone()).collect();
    let bad = json!({
        "Work": work("bad", json!({ "Next": "Fail" })),
        "Fail": { "Type": "Fail", "Error": "Bad", "Cause": "as written" },
    });
    World::new(&[
        ("every", machine("Begin", Value::Object(states))),
        ("child", machine("Work", json!({ "Work": work("child", json!({ "End": true })) }))),
        ("bad", machine("Work", bad)),
    ])
}

/// What `every` comes to with the input `{"n": 2}` and the answer `{"yes": true}`.
pub(crate) fn expected() -> Value {
    json!({
        "first": "first",
        "broken": "WorkFailed",
        "both": ["left", "right"],
        "each": ["item-1", "item-2", "item-3"],
        "child": { "done": "child" },
        "bad": "Bad",
        "said": { "yes": true },
    })
}

/// The steps that are worked on, once each in an undisturbed run.
pub(crate) const STEPS: [&str; 11] =
    ["first", "fail-flaky", "flaky", "fail-broken", "left", "right", "item-1", "item-2", "item-3", "child", "bad"];

fn beginning() -> Value {
    let first = json!({
        "TimeoutSeconds": 7200,
        "Assign": { "first": "{% $states.result.Payload.done %}" },
        "Next": "Flaky",
    });
    let caught =
        json!([{ "ErrorEquals": ["States.ALL"], "Output": "{% $states.errorOutput.Error %}", "Next": "Pause" }]);
    let pause = json!({ "Type": "Wait", "Seconds": 5, "Assign": { "broken": "{% $states.input %}" }, "Next": "Both" });
    json!({
        "Begin": { "Type": "Pass", "Assign": { "n": "{% $states.input.n %}" }, "Next": "Which" },
        "Which": {
            "Type": "Choice",
            "Choices": [{ "Condition": "{% $n > 1 %}", "Next": "First" }],
            "Default": "Lost",
        },
        "Lost": { "Type": "Fail", "Error": "Lost", "Cause": "n is too small" },
        "First": work("first", first),
        "Flaky": flaky(),
        "Broken": work("fail-broken", json!({ "Catch": caught, "Next": "Lost" })),
        "Pause": pause,
    })
}

fn flaky() -> Value {
    let once =
        json!({ "ErrorEquals": ["WorkFailed"], "IntervalSeconds": 1, "MaxAttempts": 2, "JitterStrategy": "NONE" });
    let step = "{% $states.context.State.RetryCount = 0 ? 'fail-flaky' : 'flaky' %}";
    work(step, json!({ "Retry": [once], "Next": "Broken" }))
}

fn both() -> Value {
    let left = json!({ "StartAt": "Left", "States": { "Left": work("left", json!({ "End": true })) } });
    let right = json!({ "StartAt": "Later", "States": {
        "Later": { "Type": "Wait", "Seconds": 1, "Next": "Right" },
        "Right": work("right", json!({ "End": true })),
    } });
    json!({
        "Type": "Parallel",
        "Branches": [left, right],
        "Assign": { "both": "{% $states.result.done %}" },
        "Next": "Each",
    })
}

fn each() -> Value {
    let one = work("{% 'item-' & $string($states.input) %}", json!({ "End": true }));
    json!({
        "Type": "Map",
        "Items": [1, 2, 3],
        "MaxConcurrency": 2,
        "ItemProcessor": { "ProcessorConfig": { "Mode": "INLINE" }, "StartAt": "One", "States": { "One": one } },
        "Assign": { "each": "{% $states.result.done %}" },
        "Next": "Child",
    })
}

fn ending() -> Value {
    let good = json!({ "Assign": { "child": "{% $states.result.Output %}" }, "Next": "Bad child" });
    let caught = json!([{
        "ErrorEquals": ["States.TaskFailed"],
        "Assign": { "bad": "{% $parse($states.errorOutput.Cause).Error %}" },
        "Next": "Ask",
    }]);
    let said = json!({ "Assign": { "said": "{% $states.result %}" }, "Next": "Done" });
    json!({
        "Child": child("child", "child", good),
        "Bad child": child("bad", "bad", json!({ "Catch": caught, "Next": "Lost" })),
        "Ask": ask("may I?", said),
        "Done": { "Type": "Succeed", "Output": {
            "first": "{% $first %}", "broken": "{% $broken %}", "both": "{% $both %}", "each": "{% $each %}",
            "child": "{% $child %}", "bad": "{% $bad %}", "said": "{% $said %}",
        } },
    })
}
