//! What the API answers and refuses.

use embedded_cloud::step_functions::StepFunctions;
use serde_json::{Value, json};

use crate::world::{DAWN_MS, World, answer, ask, begin, ended, history, machine, machine_arn, output, work};

fn world() -> World {
    World::new(&[
        ("m", machine("Ask", json!({ "Ask": ask("q", json!({ "End": true })) }))),
        ("quick", machine("Work", json!({ "Work": work("w", json!({ "End": true })) }))),
    ])
}

async fn refusal(engine: &StepFunctions, operation: &str, body: &Value) -> String {
    match engine.handle(operation, body.clone()).await {
        Ok(answer) => panic!("{operation} {body} was answered: {answer}"),
        Err(error) => {
            assert_eq!(error.status, 400, "{error}");
            error.code
        }
    }
}

#[tokio::test]
async fn bad_requests_are_refused_by_the_names_of_aws() {
    let world = world();
    let engine = world.start().await;
    let m = machine_arn(&engine, "m");
    let arn = begin(&engine, "m", "taken", json!({ "a": 1 })).await.unwrap();
    let token = world.until(|| world.asked.token("q")).await;
    let never = engine.place().execution_arn("m", "never");
    let foreign = "A".repeat(token.len());
    let long = format!("\"{}\"", "x".repeat(262_144));
    let start = |name: &str, input: &str| json!({ "stateMachineArn": m, "name": name, "input": input });
    let table = [
        ("StartExecution", start("a b", "{}"), "InvalidName"),
        ("StartExecution", start(&"n".repeat(81), "{}"), "InvalidName"),
        ("StartExecution", start("n", "{"), "InvalidExecutionInput"),
        ("StartExecution", start("n", &long), "InvalidExecutionInput"),
        ("StartExecution", start("taken", r#"{"a":2}"#), "ExecutionAlreadyExists"),
        ("StartExecution", json!({ "stateMachineArn": "m" }), "InvalidArn"),
        ("StartExecution", json!({ "stateMachineArn": machine_arn(&engine, "x") }), "StateMachineDoesNotExist"),
        ("StartExecution", json!({}), "ValidationException"),
        ("DescribeExecution", json!({ "executionArn": never }), "ExecutionDoesNotExist"),
        ("DescribeExecution", json!({ "executionArn": m }), "InvalidArn"),
        ("StopExecution", json!({ "executionArn": never }), "ExecutionDoesNotExist"),
        ("GetExecutionHistory", json!({ "executionArn": never }), "ExecutionDoesNotExist"),
        ("GetExecutionHistory", json!({ "executionArn": arn, "nextToken": "x" }), "InvalidToken"),
        ("ListExecutions", json!({ "stateMachineArn": machine_arn(&engine, "x") }), "StateMachineDoesNotExist"),
        ("ListExecutions", json!({ "stateMachineArn": m, "statusFilter": "DONE" }), "ValidationException"),
        ("ListExecutions", json!({ "stateMachineArn": m, "maxResults": 1001 }), "ValidationException"),
        ("SendTaskSuccess", json!({ "taskToken": token, "output": "{" }), "InvalidOutput"),
        ("SendTaskSuccess", json!({ "taskToken": token, "output": long }), "InvalidOutput"),
        ("SendTaskSuccess", json!({ "taskToken": "bogus", "output": "1" }), "InvalidToken"),
        ("SendTaskFailure", json!({ "taskToken": "bogus" }), "InvalidToken"),
        ("SendTaskHeartbeat", json!({ "taskToken": "bogus" }), "InvalidToken"),
        ("SendTaskSuccess", json!({ "taskToken": foreign, "output": "1" }), "TaskDoesNotExist"),
        ("DescribeStateMachine", json!({ "stateMachineArn": machine_arn(&engine, "x") }), "StateMachineDoesNotExist"),
        ("CreateStateMachine", json!({ "name": "b d", "definition": "{}" }), "InvalidName"),
        ("CreateStateMachine", json!({ "name": "bad", "definition": "{}" }), "InvalidDefinition"),
        (
            "CreateStateMachine",
            json!({ "name": "x", "definition": "{}", "type": "EXPRESS" }),
            "StateMachineTypeNotSupported",
        ),
        ("UpdateStateMachine", json!({ "stateMachineArn": m, "definition": "{}" }), "InvalidDefinition"),
        ("UpdateStateMachine", json!({ "stateMachineArn": m }), "MissingRequiredParameter"),
        ("RedriveExecution", json!({ "executionArn": arn }), "ExecutionNotRedrivable"),
        ("RedriveExecution", json!({ "executionArn": never }), "ExecutionDoesNotExist"),
        ("DeleteStateMachine", json!({ "stateMachineArn": "m" }), "InvalidArn"),
        ("PublishStateMachineVersion", json!({ "stateMachineArn": m }), "UnknownOperationException"),
    ];
    for (operation, body, code) in &table {
        assert_eq!(refusal(&engine, operation, body).await, *code, "{operation} {body}");
    }
}

#[tokio::test]
async fn a_closed_token_stays_closed_whatever_closed_it() {
    let world = world();
    let engine = world.start().await;
    begin(&engine, "m", "e", json!({})).await.unwrap();
    let token = world.until(|| world.asked.token("q")).await;
    let late = json!({ "taskToken": token, "output": "2" });
    answer(&engine, &token, json!(1)).await.unwrap();
    assert_eq!(refusal(&engine, "SendTaskSuccess", &late).await, "TaskTimedOut");
    assert_eq!(refusal(&engine, "SendTaskFailure", &json!({ "taskToken": token })).await, "TaskTimedOut");
    assert_eq!(refusal(&engine, "SendTaskHeartbeat", &json!({ "taskToken": token })).await, "TaskTimedOut");
}

#[tokio::test]
async fn a_failed_task_says_what_was_sent() {
    let world = world();
    let engine = world.start().await;
    let arn = begin(&engine, "m", "e", json!({})).await.unwrap();
    let token = world.until(|| world.asked.token("q")).await;
    let failure = json!({ "taskToken": token, "error": "Denied", "cause": "by Ada" });
    engine.handle("SendTaskFailure", failure).await.unwrap();
    let description = ended(&engine, &arn).await;
    assert_eq!((&description["error"], &description["cause"]), (&json!("Denied"), &json!("by Ada")));
}

#[tokio::test]
async fn an_equal_start_is_the_same_execution_while_it_runs() {
    let world = world();
    let engine = world.start().await;
    let arn = begin(&engine, "m", "e", json!({ "a": 1 })).await.unwrap();
    assert_eq!(begin(&engine, "m", "e", json!({ "a": 1 })).await.unwrap(), arn);
    let token = world.until(|| world.asked.token("q")).await;
    answer(&engine, &token, json!(1)).await.unwrap();
    ended(&engine, &arn).await;
    assert_eq!(begin(&engine, "m", "e", json!({ "a": 1 })).await.unwrap_err().code, "ExecutionAlreadyExists");
}

#[tokio::test]
async fn descriptions_have_what_sdks_read() {
    let world = world();
    let engine = world.start().await;
    let arn = begin(&engine, "quick", "e", json!({ "a": [1] })).await.unwrap();
    let description = ended(&engine, &arn).await;
    assert_eq!(output(&description), json!({ "done": "w" }));
    assert_eq!(description["input"], r#"{"a":[1]}"#);
    assert_eq!(description["startDate"], DAWN_MS as f64 / 1_000.0);
    assert_eq!(description["stateMachineArn"], machine_arn(&engine, "quick"));
    assert!(description.get("error").is_none());
    let described = json!({ "stateMachineArn": machine_arn(&engine, "quick") });
    let machine = engine.handle("DescribeStateMachine", described).await.unwrap();
    assert_eq!((&machine["status"], &machine["type"]), (&json!("ACTIVE"), &json!("STANDARD")));
    assert!(machine["definition"].as_str().unwrap().contains("lambda:invoke"));
}

/// Follows `nextToken` and gathers what `member` holds, page by page.
async fn pages(engine: &StepFunctions, operation: &str, mut body: Value, member: &str) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    loop {
        let answer = engine.handle(operation, body.clone()).await.unwrap();
        pages.push(answer[member].as_array().unwrap().clone());
        match answer.get("nextToken") {
            Some(token) => body["nextToken"] = token.clone(),
            None => return pages,
        }
    }
}

#[tokio::test]
async fn lists_come_newest_first_filtered_and_in_pages() {
    let world = world();
    let engine = world.start().await;
    for n in 0..5 {
        let arn = begin(&engine, "quick", &format!("e{n}"), json!({})).await.unwrap();
        ended(&engine, &arn).await;
    }
    begin(&engine, "m", "other", json!({})).await.unwrap();
    let quick = machine_arn(&engine, "quick");
    let names = |pages: Vec<Vec<Value>>| -> Vec<Vec<String>> {
        let name = |execution: &Value| execution["name"].as_str().unwrap().to_owned();
        pages.iter().map(|page| page.iter().map(name).collect()).collect()
    };
    let two = json!({ "stateMachineArn": quick, "maxResults": 2 });
    let expected = vec![vec!["e4", "e3"], vec!["e2", "e1"], vec!["e0"]];
    assert_eq!(names(pages(&engine, "ListExecutions", two, "executions").await), expected);
    for (status, count) in [("SUCCEEDED", 5), ("RUNNING", 0), ("PENDING_REDRIVE", 0)] {
        let filtered = json!({ "stateMachineArn": quick, "statusFilter": status });
        assert_eq!(pages(&engine, "ListExecutions", filtered, "executions").await.concat().len(), count, "{status}");
    }
    let machines = pages(&engine, "ListStateMachines", json!({ "maxResults": 1 }), "stateMachines").await;
    assert_eq!(names(machines), vec![vec!["m"], vec!["quick"]]);
}

#[tokio::test]
async fn history_comes_in_both_directions_in_pages_and_without_data() {
    let world = world();
    let engine = world.start().await;
    let arn = begin(&engine, "quick", "e", json!({ "secret": 1 })).await.unwrap();
    ended(&engine, &arn).await;
    let whole = history(&engine, &arn).await;
    assert_eq!(whole.first().unwrap()["type"], "ExecutionStarted");
    assert_eq!(whole.last().unwrap()["type"], "ExecutionSucceeded");
    for size in 1..=whole.len() {
        let body = json!({ "executionArn": arn, "maxResults": size });
        let forward = pages(&engine, "GetExecutionHistory", body.clone(), "events").await;
        assert!(forward.iter().all(|page| page.len() <= size));
        assert_eq!(forward.concat(), whole);
        let mut backward = body;
        backward["reverseOrder"] = json!(true);
        let mut events = pages(&engine, "GetExecutionHistory", backward, "events").await.concat();
        events.reverse();
        assert_eq!(events, whole);
    }
    let bare = json!({ "executionArn": arn, "includeExecutionData": false });
    let bare = engine.handle("GetExecutionHistory", bare).await.unwrap().to_string();
    assert!(bare.contains("Work") && !bare.contains("secret"), "{bare}");
}

#[tokio::test]
async fn machines_are_created_once_and_updated_by_version() {
    let world = world();
    let engine = world.start().await;
    let say = |what: &str| machine("Say", json!({ "Say": { "Type": "Succeed", "Output": what } })).to_string();
    let create = |what: &str| json!({ "name": "new", "definition": say(what), "roleArn": "arn:aws:iam::1:role/r" });
    let created = engine.handle("CreateStateMachine", create("one")).await.unwrap();
    assert_eq!(engine.handle("CreateStateMachine", create("one")).await.unwrap(), created);
    assert_eq!(refusal(&engine, "CreateStateMachine", &create("two")).await, "StateMachineAlreadyExists");
    let arn = created["stateMachineArn"].clone();
    let update = json!({ "stateMachineArn": arn, "definition": say("two") });
    assert_eq!(engine.handle("UpdateStateMachine", update).await.unwrap()["revisionId"], "2");
    let execution = begin(&engine, "new", "e", json!({})).await.unwrap();
    assert_eq!(output(&ended(&engine, &execution).await), json!("two"));
    for (definition, result) in [(say("x"), "OK"), ("{}".into(), "FAIL"), ("no".into(), "FAIL")] {
        let validated = engine.handle("ValidateStateMachineDefinition", json!({ "definition": definition })).await;
        let validated = validated.unwrap();
        assert_eq!(validated["result"], result);
        assert_eq!(validated["diagnostics"].as_array().unwrap().is_empty(), result == "OK");
    }
}

#[tokio::test]
async fn a_deleted_machine_starts_nothing_and_leaves_its_executions_alone() {
    let world = world();
    let engine = world.start().await;
    let m = machine_arn(&engine, "m");
    let arn = begin(&engine, "m", "e", json!({})).await.unwrap();
    let token = world.until(|| world.asked.token("q")).await;
    for _ in 0..2 {
        engine.handle("DeleteStateMachine", json!({ "stateMachineArn": m })).await.unwrap();
    }
    assert_eq!(begin(&engine, "m", "f", json!({})).await.unwrap_err().code, "StateMachineDoesNotExist");
    let one = json!({ "stateMachineArn": m });
    assert_eq!(refusal(&engine, "DescribeStateMachine", &one).await, "StateMachineDoesNotExist");
    let listed = engine.handle("ListStateMachines", json!({})).await.unwrap();
    assert_eq!(listed["stateMachines"].as_array().unwrap().len(), 1, "{listed}");
    let of_execution = engine.handle("DescribeStateMachineForExecution", json!({ "executionArn": arn })).await.unwrap();
    assert!(of_execution["definition"].as_str().unwrap().contains("waitForTaskToken"));
    answer(&engine, &token, json!(1)).await.unwrap();
    assert_eq!(ended(&engine, &arn).await["status"], "SUCCEEDED");
    let say = machine("Say", json!({ "Say": { "Type": "Succeed", "Output": "again" } })).to_string();
    engine.handle("CreateStateMachine", json!({ "name": "m", "definition": say })).await.unwrap();
    let again = begin(&engine, "m", "g", json!({})).await.unwrap();
    assert_eq!(output(&ended(&engine, &again).await), json!("again"));
}

#[tokio::test]
async fn functions_fail_by_their_error_type() {
    let call = |function: &str| {
        machine(
            "Call",
            json!({ "Call": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Arguments": { "FunctionName": function, "Payload": { "step": "fail-1" } },
            "End": true,
        } }),
        )
    };
    let world = World::new(&[("fails", call("work")), ("panics", call("panic")), ("missing", call("nobody"))]);
    let engine = world.start().await;
    let table = [("fails", "WorkFailed"), ("panics", "Internal"), ("missing", "Lambda.ResourceNotFoundException")];
    for (machine, error) in table {
        let arn = begin(&engine, machine, "e", json!({})).await.unwrap();
        let description = ended(&engine, &arn).await;
        assert_eq!(description["error"], error, "{description}");
        let cause: Value = serde_json::from_str(description["cause"].as_str().unwrap()).unwrap();
        assert_eq!(cause["errorType"], error);
    }
}

#[tokio::test]
async fn beginnings_and_ends_are_told_to_subscribers() {
    let world = world();
    let engine = world.start().await;
    let mut changes = engine.subscribe();
    begin(&engine, "quick", "e", json!({ "n": 1 })).await.unwrap();
    let (began, over) = (changes.recv().await.unwrap(), changes.recv().await.unwrap());
    assert_eq!((began.status.as_str(), began.stop_ms), ("RUNNING", None));
    assert_eq!((over.status.as_str(), over.stop_ms), ("SUCCEEDED", Some(DAWN_MS)));
    assert_eq!(over.output.as_deref(), Some(r#"{"done":"w"}"#));
    assert_eq!(over.detail()["input"], r#"{"n":1}"#);
}

#[tokio::test]
async fn nothing_is_driven_before_the_start_or_after_the_close() {
    let world = world();
    let engine = world.open(None).await.unwrap();
    assert_eq!(begin(&engine, "quick", "e", json!({})).await.unwrap_err().status, 500);
    world.drive(&engine);
    begin(&engine, "quick", "e", json!({})).await.unwrap();
    engine.close().await;
    assert_eq!(begin(&engine, "quick", "f", json!({})).await.unwrap_err().status, 500);
}
