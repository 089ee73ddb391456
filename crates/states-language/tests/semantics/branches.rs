//! Map and Parallel: concurrency, scopes, failure of one and cancellation of the others.

use serde_json::{Value, json};
use states_language::{Action, Event, Ignored};

use crate::world::{World, callback, invoke, machine, task_of};

fn map(inner: Value, more: Value) -> Value {
    let mut state = json!({
        "Type": "Map",
        "ItemProcessor": { "StartAt": "Inner", "States": { "Inner": inner } },
        "End": true,
    });
    for (name, value) in more.as_object().expect("an object") {
        state[name] = value.clone();
    }
    state
}

fn parallel(branches: &[Value], more: Value) -> Value {
    let graphs = branches.iter().enumerate().map(|(i, state)| {
        let name = format!("Branch{i}");
        json!({ "StartAt": name, "States": { name: state } })
    });
    let mut state = json!({ "Type": "Parallel", "Branches": graphs.collect::<Vec<_>>(), "End": true });
    for (name, value) in more.as_object().expect("an object") {
        state[name] = value.clone();
    }
    state
}

fn only(state: Value) -> String {
    machine("Only", json!({ "Only": state }))
}

fn caught(state: Value) -> String {
    machine("Only", json!({ "Only": state, "Caught": { "Type": "Pass", "End": true } }))
}

/// The payload of each open call, in order.
fn payloads(world: &World) -> Vec<Value> {
    let payload = |call: &Action| match call {
        Action::InvokeFunction { payload, .. } => payload.clone(),
        other => panic!("{other:?}"),
    };
    world.calls.iter().map(payload).collect()
}

/// Answers the open call at this position.
fn answer(world: &mut World, position: usize, output: Value) {
    let task = task_of(&world.calls.remove(position));
    world.send(Event::TaskSucceeded { task, output });
}

#[test]
fn results_stand_in_the_order_of_the_items_whoever_is_first() {
    let inner = invoke("f", json!({ "Output": "{% $states.result.Payload %}", "End": true }));
    let mut world = World::start(&only(map(inner, json!({}))), json!(["a", "b", "c"]));
    assert_eq!(payloads(&world), [json!("a"), json!("b"), json!("c")]);
    answer(&mut world, 2, json!(3));
    answer(&mut world, 0, json!(null));
    answer(&mut world, 0, json!(2));
    assert_eq!(world.output(), json!([null, 2, 3]));
}

#[test]
fn max_concurrency_bounds_what_runs_at_once() {
    let items: Vec<u32> = (0..50).collect();
    for (concurrency, expected) in [
        (json!(null), 40),
        (json!(0), 40),
        (json!(100), 40),
        (json!(1), 1),
        (json!(7), 7),
        (json!("{% $states.input.n %}"), 3),
    ] {
        let inner = invoke("f", json!({ "Output": "{% $states.result.Payload %}", "End": true }));
        let mut state = map(inner, json!({ "Items": "{% $states.input.items %}" }));
        if !concurrency.is_null() {
            state["MaxConcurrency"] = concurrency;
        }
        let mut world = World::start(&only(state), json!({ "items": items, "n": 3 }));
        let mut answered = 0;
        while world.outcome.is_none() {
            assert_eq!(world.calls.len(), expected.min(50 - answered));
            let payload = payloads(&world)[0].clone();
            answer(&mut world, 0, payload);
            answered += 1;
        }
        assert_eq!(world.output(), json!(items));
    }
}

#[test]
fn an_empty_map_is_done_at_once() {
    let state = map(
        json!({ "Type": "Fail" }),
        json!({ "Output": "{% { 'result': $states.result, 'n': $count($states.result) } %}" }),
    );
    let world = World::start(&only(state), json!([]));
    assert_eq!(world.output(), json!({ "result": [], "n": 0 }));
    assert_eq!(
        world.events(),
        [
            "ExecutionStarted",
            "MapStateEntered",
            "MapStateStarted",
            "MapStateSucceeded",
            "MapStateExited",
            "ExecutionSucceeded"
        ]
    );
}

#[test]
fn items_must_be_an_array() {
    let inner = json!({ "Type": "Succeed" });
    for (items, input) in [(json!("{% $states.input.a %}"), json!({ "a": { "b": 1 } })), (json!(null), json!({}))] {
        let mut state = map(inner.clone(), json!({}));
        if !items.is_null() {
            state["Items"] = items;
        }
        let world = World::start(&only(state), input);
        assert_eq!(world.error(), "States.QueryEvaluationError");
        assert!(world.cause().contains("array"), "{}", world.cause());
    }
}

#[test]
fn a_selector_makes_each_iterations_input() {
    let selector = json!({ "n": "{% $states.context.Map.Item.Index %}", "v": "{% $states.context.Map.Item.Value.x %}", "all": "{% $count($states.input) %}" });
    let inner = json!({ "Type": "Pass", "Output": "{% [$states.input, $states.context.Map.Item] %}", "End": true });
    let world =
        World::start(&only(map(inner, json!({ "ItemSelector": selector }))), json!([{ "x": "a" }, { "x": null }]));
    assert_eq!(
        world.output(),
        json!([
            [{ "n": 0, "v": "a", "all": 2 }, { "Index": 0, "Value": { "x": "a" } }],
            [{ "n": 1, "v": null, "all": 2 }, { "Index": 1, "Value": { "x": null } }],
        ])
    );
}

#[test]
fn a_selector_that_fails_fails_the_map() {
    let selector = json!("{% $states.context.Map.Item.Value.x %}");
    let inner = invoke("f", json!({ "End": true }));
    let catch = json!([{ "ErrorEquals": ["States.ALL"], "Next": "Caught" }]);
    let world =
        World::start(&caught(map(inner, json!({ "ItemSelector": selector, "Catch": catch }))), json!([{ "x": 1 }, {}]));
    assert_eq!(world.output()["Error"], "States.QueryEvaluationError");
    assert!(world.calls.is_empty(), "what the first iteration would have called is taken back");
}

#[test]
fn inner_scopes_read_outer_variables_and_never_write_them() {
    let inner = json!({
        "StartAt": "Inner",
        "States": {
            "Inner": { "Type": "Pass", "Assign": { "own": "{% $outer + $states.input %}" }, "Next": "Show" },
            "Show": { "Type": "Pass", "Output": "{% [$outer, $own] %}", "End": true },
        },
    });
    let definition = machine(
        "Set",
        json!({
            "Set": { "Type": "Pass", "Assign": { "outer": 10 }, "Next": "Each" },
            "Each": {
                "Type": "Map", "Items": [1, 2], "ItemProcessor": inner,
                "Assign": { "outer": "{% $sum($map($states.result, function($pair) { $pair[1] })) %}" }, "Next": "After",
            },
            "After": { "Type": "Pass", "Output": { "outer": "{% $outer %}", "in": "{% $states.input %}" }, "End": true },
        }),
    );
    assert_eq!(World::start(&definition, json!({})).output(), json!({ "outer": 23, "in": [[10, 11], [10, 12]] }));
}

#[test]
fn branches_run_side_by_side_on_the_same_input() {
    let branches = [
        invoke("left", json!({ "Output": "{% $states.result.Payload %}", "End": true })),
        json!({ "Type": "Pass", "Output": "{% $states.input.n * 2 %}", "End": true }),
        invoke("right", json!({ "Output": "{% $states.result.Payload %}", "End": true })),
    ];
    let mut world = World::start(&only(parallel(&branches, json!({}))), json!({ "n": 4 }));
    assert_eq!(payloads(&world), [json!({ "n": 4 }), json!({ "n": 4 })]);
    world.returns("right", json!("r"));
    world.returns("left", json!("l"));
    assert_eq!(world.output(), json!(["l", 8, "r"]));
}

#[test]
fn arguments_of_a_parallel_are_its_branches_input() {
    let branches = [json!({ "Type": "Pass", "End": true })];
    let world = World::start(
        &only(parallel(&branches, json!({ "Arguments": { "m": "{% $states.input.n + 1 %}" } }))),
        json!({ "n": 1 }),
    );
    assert_eq!(world.output(), json!([{ "m": 2 }]));
}

#[test]
fn when_one_branch_fails_the_others_are_cancelled_at_once() {
    let child = json!({
        "Type": "Task",
        "Resource": "arn:aws:states:::states:startExecution.sync:2",
        "Arguments": { "StateMachineArn": "child" },
        "End": true,
    });
    let branches = [
        invoke("bad", json!({ "End": true })),
        callback("gate", json!({ "End": true })),
        child,
        json!({ "Type": "Wait", "Seconds": 50, "End": true }),
        invoke("flaky", json!({ "Retry": [{ "ErrorEquals": ["States.ALL"] }], "End": true })),
        map(invoke("deep", json!({ "End": true })), json!({ "Items": [1, 2] })),
    ];
    let catch = json!([{ "ErrorEquals": ["Mine"], "Next": "Caught" }]);
    let after = invoke("after", json!({ "End": true }));
    let definition =
        machine("Only", json!({ "Only": parallel(&branches, json!({ "Catch": catch })), "Caught": after }));
    let mut world = World::start(&definition, json!({}));
    world.fails("flaky", "Once");
    let (gate, token) = (task_of(&world.calls[1]), world.token("gate"));
    let step = world.fails("bad", "Mine");
    assert!(world.timers.is_empty(), "no timer outlives its branch: {:?}", world.timers);
    assert_eq!(world.stopped.len(), 1, "the child is stopped");
    let aborted = step
        .history
        .iter()
        .map(|event| event.kind.as_str())
        .filter(|kind| kind.contains("Abort") || kind.contains("Failed"));
    assert_eq!(
        aborted.collect::<Vec<_>>(),
        [
            "TaskFailed",
            "TaskStateAborted",
            "TaskStateAborted",
            "TaskStateAborted",
            "WaitStateAborted",
            "TaskStateAborted",
            "TaskStateAborted",
            "MapIterationAborted",
            "TaskStateAborted",
            "MapIterationAborted",
            "MapStateAborted",
            "ParallelStateFailed"
        ]
    );
    assert_eq!(world.ignores(Event::TaskSucceeded { task: gate, output: json!({}) }), Ignored::TaskClosed);
    assert_eq!(world.ignores(Event::TokenSucceeded { token, output: json!({}) }), Ignored::TokenClosed);
    assert_eq!(world.payload("after"), json!({ "Error": "Mine", "Cause": "bad said so" }));
    assert_eq!(world.execution.pending_actions().len(), 1, "only the new state's call is left");
}

#[test]
fn what_a_cancelled_branch_would_have_begun_in_the_same_step_never_begins() {
    let branches = [
        invoke("early", json!({ "TimeoutSeconds": 9, "End": true })),
        json!({ "Type": "Wait", "Seconds": 5, "End": true }),
        json!({ "Type": "Fail", "Error": "Mine" }),
        invoke("late", json!({ "End": true })),
    ];
    let world = World::start(&only(parallel(&branches, json!({}))), json!({}));
    assert_eq!(world.error(), "Mine");
    assert!(matches!(world.actions[..], [Action::Finish(_)]), "{:?}", world.actions);
}

#[test]
fn a_failed_iteration_cancels_the_rest_and_can_be_caught_outside() {
    let catch = json!([{ "ErrorEquals": ["Mine"], "Output": "{% $states.input %}", "Next": "Caught" }]);
    let state = map(invoke("f", json!({ "End": true })), json!({ "MaxConcurrency": 2, "Catch": catch }));
    let mut world = World::start(&caught(state), json!([1, 2, 3]));
    let open = task_of(&world.calls[1]);
    world.fails("f", "Mine");
    assert_eq!(world.output(), json!([1, 2, 3]), "a catcher sees the input of its own state");
    assert_eq!(world.calls.len(), 1, "no further iteration began");
    assert_eq!(world.ignores(Event::TaskSucceeded { task: open, output: json!({}) }), Ignored::Ended);
    let events = world.events();
    let from = events.iter().position(|event| *event == "TaskFailed").expect("it failed");
    assert_eq!(
        &events[from..],
        [
            "TaskFailed",
            "TaskStateAborted",
            "MapIterationFailed",
            "TaskStateAborted",
            "MapIterationAborted",
            "MapStateFailed",
            "MapStateExited",
            "PassStateEntered",
            "PassStateExited",
            "ExecutionSucceeded"
        ]
    );
}

#[test]
fn a_catch_inside_the_iteration_keeps_the_siblings() {
    let inner = json!({
        "StartAt": "Inner",
        "States": {
            "Inner": invoke("f", json!({ "Output": "ok", "Catch": [{ "ErrorEquals": ["States.ALL"], "Output": "failed", "Next": "Kept" }], "End": true })),
            "Kept": { "Type": "Succeed" },
        },
    });
    let mut state = map(json!({ "Type": "Succeed" }), json!({}));
    state["ItemProcessor"] = inner;
    let mut world = World::start(&only(state), json!([1, 2, 3]));
    world.fails("f", "Mine");
    world.returns("f", json!({}));
    world.returns("f", json!({}));
    assert_eq!(world.output(), json!(["failed", "ok", "ok"]));
}

#[test]
fn a_map_that_is_retried_begins_with_all_its_items() {
    let state = map(
        invoke("f", json!({ "Output": "{% $states.input %}", "End": true })),
        json!({ "Retry": [{ "ErrorEquals": ["States.ALL"] }] }),
    );
    let mut world = World::start(&only(state), json!([1, 2]));
    world.returns("f", json!({}));
    world.fails("f", "Once");
    world.next_timer();
    assert_eq!(payloads(&world), [json!(1), json!(2)]);
    world.returns("f", json!({}));
    world.returns("f", json!({}));
    assert_eq!(world.output(), json!([1, 2]));
}

#[test]
fn nested_maps_know_their_own_item() {
    let inner = map(
        json!({ "Type": "Pass", "Output": "{% [$states.context.Map.Item.Index, $states.context.Map.Item.Value] %}", "End": true }),
        json!({ "Items": "{% $states.input %}" }),
    );
    let mut outer = map(json!({ "Type": "Succeed" }), json!({}));
    outer["ItemProcessor"] = json!({ "StartAt": "Middle", "States": { "Middle": inner } });
    let world = World::start(&only(outer), json!([["a"], ["b", "c"]]));
    assert_eq!(world.output(), json!([[[0, "a"]], [[0, "b"], [1, "c"]]]));
}

#[test]
fn history_chains_each_branch_to_itself() {
    let world = World::start(&only(map(json!({ "Type": "Pass", "End": true }), json!({}))), json!([1, 2]));
    let chain: Vec<_> =
        world.history.iter().map(|event| (event.id, event.previous_event_id, event.kind.as_str())).collect();
    assert_eq!(
        chain,
        [
            (1, 0, "ExecutionStarted"),
            (2, 0, "MapStateEntered"),
            (3, 2, "MapStateStarted"),
            (4, 3, "MapIterationStarted"),
            (5, 3, "MapIterationStarted"),
            (6, 4, "PassStateEntered"),
            (7, 6, "PassStateExited"),
            (8, 7, "MapIterationSucceeded"),
            (9, 5, "PassStateEntered"),
            (10, 9, "PassStateExited"),
            (11, 10, "MapIterationSucceeded"),
            (12, 11, "MapStateSucceeded"),
            (13, 12, "MapStateExited"),
            (14, 13, "ExecutionSucceeded"),
        ]
    );
}
