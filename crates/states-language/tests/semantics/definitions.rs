//! What a definition may say, and how each refusal reads.

use serde_json::{Value, json};
use states_language::{Machine, Problem};

use crate::world::{callback, invoke, machine};

fn problems(definition: &str) -> Vec<String> {
    Machine::parse(definition).err().unwrap_or_default().iter().map(Problem::to_string).collect()
}

/// The one problem of a machine whose only state is this.
fn only(state: Value) -> String {
    let mut found = problems(&machine("Only", json!({ "Only": state })));
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

fn with(mut state: Value, more: Value) -> Value {
    for (name, value) in more.as_object().expect("an object") {
        state[name] = value.clone();
    }
    state
}

fn pass(more: Value) -> Value {
    with(json!({ "Type": "Pass", "End": true }), more)
}

fn task(more: Value) -> Value {
    invoke("f", with(json!({ "End": true }), more))
}

fn map(more: Value) -> Value {
    let processor = json!({ "StartAt": "Inner", "States": { "Inner": { "Type": "Succeed" } } });
    with(json!({ "Type": "Map", "ItemProcessor": processor, "End": true }), more)
}

#[test]
fn a_machine_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Machine>();
}

#[test]
fn the_top_of_a_definition_is_checked() {
    let states = json!({ "Only": { "Type": "Succeed" } });
    for (definition, expected) in [
        ("{", "definition: not JSON: EOF while parsing an object at line 1 column 1".to_owned()),
        ("[]", "definition: an array stands where an object must".to_owned()),
        (
            &json!({ "StartAt": "Only", "States": states }).to_string(),
            "definition: `QueryLanguage` is absent, which means JSONPath, and that is not run here: write \"JSONata\""
                .to_owned(),
        ),
        (
            &json!({ "QueryLanguage": "JSONPath", "StartAt": "Only", "States": states }).to_string(),
            "definition: `QueryLanguage` \"JSONPath\" is not run here: write \"JSONata\"".to_owned(),
        ),
        (
            &json!({ "QueryLanguage": "JSONata", "States": states }).to_string(),
            "definition: `StartAt` is missing: name the state to begin with".to_owned(),
        ),
        (
            &json!({ "QueryLanguage": "JSONata", "StartAt": "Onyl", "States": states }).to_string(),
            "definition: `StartAt` names \"Onyl\", which is no state here".to_owned(),
        ),
        (
            &json!({ "QueryLanguage": "JSONata", "StartAt": "Only" }).to_string(),
            "definition: `States` is missing: it must be an object of states".to_owned(),
        ),
        (
            &json!({ "QueryLanguage": "JSONata", "StartAt": "Only", "States": states, "TimeoutSeconds": 0 })
                .to_string(),
            "definition: `TimeoutSeconds` is 0: it must be a whole number from 1 to 99999999".to_owned(),
        ),
        (
            &json!({ "QueryLanguage": "JSONata", "StartAt": "Only", "States": states, "Version": "2.0" }).to_string(),
            "definition: `Version` \"2.0\" is not known: the only one is \"1.0\"".to_owned(),
        ),
        (
            &json!({ "QueryLanguage": "JSONata", "StartAt": "Only", "States": states, "Timeout": 3 }).to_string(),
            "definition: `Timeout` is no field of a state machine, which takes Comment, QueryLanguage, Version, \
             TimeoutSeconds, StartAt, States"
                .to_owned(),
        ),
    ] {
        assert_eq!(problems(definition), [expected]);
    }
}

#[test]
fn all_of_jsonpath_is_refused_by_name() {
    for (state, field) in [
        (pass(json!({ "InputPath": "$.a" })), "InputPath"),
        (pass(json!({ "OutputPath": "$.a" })), "OutputPath"),
        (pass(json!({ "ResultPath": "$.a" })), "ResultPath"),
        (pass(json!({ "Parameters": {} })), "Parameters"),
        (pass(json!({ "Result": {} })), "Result"),
        (task(json!({ "ResultSelector": {} })), "ResultSelector"),
        (task(json!({ "TimeoutSecondsPath": "$.a" })), "TimeoutSecondsPath"),
        (task(json!({ "HeartbeatSecondsPath": "$.a" })), "HeartbeatSecondsPath"),
        (map(json!({ "ItemsPath": "$.a" })), "ItemsPath"),
        (map(json!({ "MaxConcurrencyPath": "$.a" })), "MaxConcurrencyPath"),
        (map(json!({ "Iterator": {} })), "Iterator"),
    ] {
        let problem = only(state);
        let expected = format!("States.Only: `{field}` belongs to JSONPath, which is not run here: ");
        assert!(problem.starts_with(&expected), "{problem}");
    }
    assert_eq!(
        only(pass(json!({ "QueryLanguage": "JSONPath" }))),
        "States.Only: `QueryLanguage` \"JSONPath\" is not run here: write \"JSONata\""
    );
}

#[test]
fn all_of_the_distributed_map_is_refused_by_name() {
    for field in
        ["ItemReader", "ItemBatcher", "ResultWriter", "Label", "ToleratedFailureCount", "ToleratedFailurePercentage"]
    {
        let problem = only(map(json!({ field: {} })));
        let expected = format!("States.Only: `{field}` belongs to the Distributed Map, which is not run here");
        assert!(problem.starts_with(&expected), "{problem}");
    }
    let mut distributed = map(json!({}));
    distributed["ItemProcessor"]["ProcessorConfig"] = json!({ "Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS" });
    let found = problems(&machine("Only", json!({ "Only": distributed })));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with("States.Only.ItemProcessor.ProcessorConfig: `Mode` \"DISTRIBUTED\" is not run here"));
}

#[test]
fn states_are_checked_field_by_field() {
    for (state, expected) in [
        (
            json!({ "Type": "Taks" }),
            "`Type` \"Taks\" is not known: there are Task, Choice, Map, Parallel, Pass, Wait, Succeed and Fail",
        ),
        (json!({ "End": true }), "`Type` is missing: Task, Choice, Map, Parallel, Pass, Wait, Succeed or Fail"),
        (
            pass(json!({ "Outptu": 1 })),
            "`Outptu` is no field of a Pass, which takes Comment, QueryLanguage, Type, Output, Assign, Next, End",
        ),
        (
            pass(json!({ "Retry": [] })),
            "`Retry` is no field of a Pass, which takes Comment, QueryLanguage, Type, Output, Assign, Next, End",
        ),
        (json!({ "Type": "Pass" }), "a state has either `Next` or `\"End\": true`"),
        (pass(json!({ "Next": "Only" })), "a state has either `Next` or `\"End\": true`"),
        (json!({ "Type": "Pass", "Next": "Gone" }), "`Next` names \"Gone\", which is no state beside it (Only)"),
        (pass(json!({ "Assign": [] })), "`Assign` is an array: it must be an object of variables"),
        (
            pass(json!({ "Assign": { "a.b": 1 } })),
            "`Assign` names the variable `a.b`: a name is a letter or `_`, then letters, digits or `_`, at most 80, and not `states`",
        ),
        (
            pass(json!({ "Assign": { "states": 1 } })),
            "`Assign` names the variable `states`: a name is a letter or `_`, then letters, digits or `_`, at most 80, and not `states`",
        ),
        (json!({ "Type": "Wait", "End": true }), "a Wait takes either `Seconds` or `Timestamp`"),
        (
            json!({ "Type": "Wait", "Seconds": 1, "Timestamp": "2026-01-01T00:00:00Z", "End": true }),
            "a Wait takes either `Seconds` or `Timestamp`",
        ),
        (
            json!({ "Type": "Wait", "Seconds": -1, "End": true }),
            "`Seconds` is -1: it must be a whole number from 0 to 99999999 or one JSONata expression `{% ... %}`",
        ),
        (
            json!({ "Type": "Wait", "Timestamp": "tomorrow", "End": true }),
            "`Timestamp` is \"tomorrow\": it must be an RFC 3339 instant such as \"2026-01-31T12:00:00Z\" or one JSONata expression `{% ... %}`",
        ),
        (
            json!({ "Type": "Fail", "Error": 3 }),
            "`Error` is 3: it must be a string or one JSONata expression `{% ... %}`",
        ),
        (json!({ "Type": "Choice", "Default": "Only" }), "`Choices` is missing: at least one rule"),
        (json!({ "Type": "Parallel", "Branches": [], "End": true }), "`Branches` is missing: at least one"),
        (json!({ "Type": "Map", "End": true }), "`ItemProcessor` is missing: the states of one iteration"),
        (
            map(json!({ "Items": {} })),
            "`Items` is an object: it must be an array or one JSONata expression `{% ... %}`",
        ),
        (
            map(json!({ "MaxConcurrency": -1 })),
            "`MaxConcurrency` is -1: it must be a whole number from 0 to 99999999 or one JSONata expression `{% ... %}`",
        ),
    ] {
        assert_eq!(only(state), format!("States.Only: {expected}"));
    }
}

#[test]
fn tasks_are_checked_field_by_field() {
    for (state, expected) in [
        (
            task(json!({ "Resource": "arn:aws:states:::sqs:sendMessage" })),
            "`Resource` \"arn:aws:states:::sqs:sendMessage\" is not run here: there are arn:aws:states:::lambda:invoke, arn:aws:states:::lambda:invoke.waitForTaskToken, arn:aws:states:::states:startExecution.sync:2",
        ),
        (
            task(json!({ "Resource": "arn:aws:lambda:eu-west-1:0:function:f" })),
            "`Resource` \"arn:aws:lambda:eu-west-1:0:function:f\" is not run here: there are arn:aws:states:::lambda:invoke, arn:aws:states:::lambda:invoke.waitForTaskToken, arn:aws:states:::states:startExecution.sync:2",
        ),
        (task(json!({ "Arguments": { "Payload": 1 } })), "`Arguments` lacks `FunctionName`"),
        (
            task(json!({ "Arguments": { "FunctionName": "f", "InvocationType": "Event" } })),
            "`Arguments/InvocationType` is not run here: there are FunctionName, Payload, Qualifier",
        ),
        (task(json!({ "Arguments": "f" })), "`Arguments` must be an object with FunctionName, Payload, Qualifier"),
        (task(json!({ "Credentials": {} })), "`Credentials` (another account's role) is not run here: remove it"),
        (
            task(json!({ "TimeoutSeconds": 0 })),
            "`TimeoutSeconds` is 0: it must be a whole number from 1 to 99999999 or one JSONata expression `{% ... %}`",
        ),
        (
            task(json!({ "TimeoutSeconds": 30, "HeartbeatSeconds": 30 })),
            "`HeartbeatSeconds` 30 must be less than `TimeoutSeconds` 30",
        ),
        (
            callback("f", json!({ "TimeoutSeconds": null, "End": true })),
            "`TimeoutSeconds` is null: it must be a whole number from 1 to 99999999 or one JSONata expression `{% ... %}`",
        ),
    ] {
        assert_eq!(only(state), format!("States.Only: {expected}"));
    }
    let mut endless = callback("f", json!({ "End": true }));
    endless.as_object_mut().expect("an object").remove("TimeoutSeconds");
    assert_eq!(
        only(endless),
        "States.Only: `TimeoutSeconds` is missing: a callback that never comes would wait for a year; say how long"
    );
}

#[test]
fn retriers_and_catchers_are_checked_field_by_field() {
    let retry = |retrier: Value| task(json!({ "Retry": [retrier] }));
    let all = json!(["States.ALL"]);
    for (state, expected) in [
        (retry(json!({})), "Retry[0]: `ErrorEquals` is missing: the names of the errors, or [\"States.ALL\"]"),
        (
            retry(json!({ "ErrorEquals": ["States.Timout"] })),
            "Retry[0]: `ErrorEquals` names \"States.Timout\", which Step Functions does not know",
        ),
        (retry(json!({ "ErrorEquals": [7] })), "Retry[0]: `ErrorEquals` holds 7: names are strings"),
        (
            retry(json!({ "ErrorEquals": ["States.ALL", "Mine"] })),
            "Retry[0]: `ErrorEquals` names States.ALL beside others: it must stand alone",
        ),
        (
            task(json!({ "Retry": [{ "ErrorEquals": all }, { "ErrorEquals": ["Mine"] }] })),
            "Retry[0]: `ErrorEquals` names States.ALL before the end of Retry: it must come last",
        ),
        (
            retry(json!({ "ErrorEquals": all, "IntervalSeconds": 0 })),
            "Retry[0]: `IntervalSeconds` is 0: it must be a whole number from 1 to 99999999",
        ),
        (
            retry(json!({ "ErrorEquals": all, "BackoffRate": 0.5 })),
            "Retry[0]: `BackoffRate` is 0.5: it must be a number, 1 or more",
        ),
        (
            retry(json!({ "ErrorEquals": all, "MaxAttempts": 1.5 })),
            "Retry[0]: `MaxAttempts` is 1.5: it must be a whole number from 0 to 99999999",
        ),
        (
            retry(json!({ "ErrorEquals": all, "IntervalSeconds": 9, "MaxDelaySeconds": 9 })),
            "Retry[0]: `MaxDelaySeconds` 9 must be more than `IntervalSeconds` 9",
        ),
        (
            retry(json!({ "ErrorEquals": all, "JitterStrategy": "HALF" })),
            "Retry[0]: `JitterStrategy` \"HALF\" is not known: FULL or NONE",
        ),
        (
            retry(json!({ "ErrorEquals": all, "Next": "Only" })),
            "Retry[0]: `Next` is no field of a retrier, which takes Comment, ErrorEquals, IntervalSeconds, MaxDelaySeconds, JitterStrategy, MaxAttempts, BackoffRate",
        ),
        (task(json!({ "Catch": [{ "ErrorEquals": all }] })), "Catch[0]: `Next` is missing: the state to go to"),
        (
            task(json!({ "Catch": [{ "ErrorEquals": all, "Next": "Gone" }] })),
            "Catch[0]: `Next` names \"Gone\", which is no state beside it (Only)",
        ),
    ] {
        assert_eq!(only(state), format!("States.Only.{expected}"));
    }
}

#[test]
fn expressions_are_parsed_with_the_definition() {
    for (output, expected) in [
        ("{% $states.input.a[ %}", "is not JSONata"),
        ("{% 1", "\"{% 1\" is half an expression: begin it with `{%` and end it with `%}`"),
        (" {% 1 %}", "is half an expression"),
        ("{% $eval('1') %}", "`$eval` is not available in Step Functions: use `$parse` to read JSON text"),
        ("{% $$.a %}", "`$$` has no meaning in Step Functions: use `$states.input`"),
        (
            "{% phone %}",
            "`phone` at the top level reads nothing: write `$states.input.phone` or, for a variable, `$phone`",
        ),
        ("{% $map($states.input, function($x) { phone }) %}", "`phone` at the top level reads nothing"),
        ("{% $states.result %}", "`$states.result` exists only in Assign and Output of a Task, Map or Parallel"),
        ("{% $states.errorOutput.Cause %}", "`$states.errorOutput` exists only in Assign and Output of a catcher"),
        ("{% $plan %}", "`Output` reads `$plan`, which no state of this scope or an outer one assigns"),
        ("{% $planned() %}", "`Output` reads `$planned`, which no state of this scope or an outer one assigns"),
    ] {
        let problem = only(pass(json!({ "Output": output })));
        assert!(problem.starts_with("States.Only: ") && problem.contains(expected), "{output}: {problem}");
    }
}

#[test]
fn ordinary_jsonata_is_accepted() {
    for output in [
        "{% $states.input.items[price > 3].name %}",
        "{% $states.input.items^(>price){ name: $sum(price) } %}",
        "{% ($total := $sum($states.input.prices); $total * 2) %}",
        "{% $map($states.input.items, function($item, $i) { $item.name & $i }) %}",
        "{% $states.input.items@$item#$i.{ 'name': $item.name, 'at': $i } %}",
        "{% $states.input ~> |items|{ 'seen': true }| %}",
        "{% $lookup($states.input, 'a') ~> $uppercase %}",
        "{% $filter([1..5], $boolean) %}",
        "{% $merge([$states.input, { 'id': $uuid(), 'r': $random(), 'at': $now() }]) %}",
    ] {
        assert_eq!(
            problems(&machine("Only", json!({ "Only": pass(json!({ "Output": output })) }))),
            [""; 0],
            "{output}"
        );
    }
}

#[test]
fn graphs_hang_together() {
    let lost = json!({ "A": { "Type": "Succeed" }, "B": { "Type": "Succeed" } });
    assert_eq!(problems(&machine("A", lost)), ["States.B: no state leads here: remove it, or name it in a Next"]);

    let round = json!({ "A": { "Type": "Pass", "Next": "B" }, "B": { "Type": "Pass", "Next": "A" } });
    assert_eq!(
        problems(&machine("A", round)),
        ["definition: no state ends it: give one `\"End\": true`, or add a Succeed or Fail"]
    );

    let mut out_of_the_map = map(json!({}));
    out_of_the_map["ItemProcessor"]["States"]["Inner"] = json!({ "Type": "Pass", "Next": "After" });
    out_of_the_map["End"] = json!(false);
    out_of_the_map["Next"] = json!("After");
    assert_eq!(
        problems(&machine("Only", json!({ "Only": out_of_the_map, "After": { "Type": "Succeed" } }))),
        ["States.Only.ItemProcessor.States.Inner: `Next` names \"After\", which is no state beside it (Inner)"]
    );

    let mut twice = map(json!({}));
    twice["ItemProcessor"] = json!({ "StartAt": "Only", "States": { "Only": { "Type": "Succeed" } } });
    assert_eq!(
        only(twice),
        "States.Only.ItemProcessor.States.Only: the name \"Only\" is taken: names are unique in the whole machine"
    );
}

#[test]
fn variables_belong_to_one_scope() {
    let inner = |assign: Value, output: Value| {
        let inner = json!({ "Type": "Pass", "Assign": assign, "Output": output, "End": true });
        let mut map = map(json!({ "Items": [1], "Assign": { "outer": 1 } }));
        map["ItemProcessor"]["States"]["Inner"] = inner;
        problems(&machine("Only", json!({ "Only": map })))
    };
    assert_eq!(inner(json!({ "own": "{% $outer %}" }), json!("{% $own %}")), [""; 0]);
    assert_eq!(
        inner(json!({ "outer": 2 }), json!(1)),
        [
            "States.Only.ItemProcessor.States.Inner: `Assign` sets `$outer`, which States.Only assigns in an outer scope: \
          take another name"
        ]
    );

    let mut leaking = map(json!({ "Items": [1], "Output": "{% $own %}" }));
    leaking["ItemProcessor"]["States"]["Inner"] = pass(json!({ "Assign": { "own": 1 } }));
    assert_eq!(
        only(leaking),
        "States.Only: `Output` reads `$own`, which no state of this scope or an outer one assigns"
    );
}

#[test]
fn every_problem_is_found_at_once() {
    let states = json!({
        "A": { "Type": "Pass", "Next": "Gone", "InputPath": "$" },
        "B": { "Type": "Nothing" },
    });
    assert_eq!(problems(&machine("C", states)).len(), 4);
}

#[test]
fn a_machine_lists_whom_it_calls_and_which_errors_it_knows() {
    let state = task(json!({
        "Retry": [{ "ErrorEquals": ["ModelThrottled"] }],
        "Catch": [{ "ErrorEquals": ["BudgetExceeded", "States.Timeout"], "Next": "End" }],
    }));
    let machine =
        Machine::parse(&machine("Only", json!({ "Only": state, "End": { "Type": "Succeed" } }))).expect("sound");
    assert_eq!(machine.callees().into_iter().collect::<Vec<_>>(), ["f"]);
    assert_eq!(machine.error_names().into_iter().collect::<Vec<_>>(), ["BudgetExceeded", "ModelThrottled"]);
}
