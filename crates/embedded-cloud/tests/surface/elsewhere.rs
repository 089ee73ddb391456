//! Functions behind a Lambda endpoint: another embedded cloud's, on the loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use aws_sdk_sfn::types::ExecutionStatus;
use embedded_cloud::{Cloud, Credentials, FunctionError, FunctionRegistry, LambdaEndpoint, StatusRule, StreamRule};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::world::{TABLE, World, put, table};

fn call(function: &str) -> (String, String) {
    let definition = json!({
        "QueryLanguage": "JSONata",
        "StartAt": "Call",
        "States": { "Call": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Arguments": { "FunctionName": function, "Payload": { "n": 1 } },
            "Output": "{% $states.result.Payload %}",
            "End": true,
        }}
    });
    ("m".into(), definition.to_string())
}

fn endpoint(world: &World, address: SocketAddr) -> LambdaEndpoint {
    let credentials = Credentials::from_keys("id", "secret", None);
    LambdaEndpoint::new(&format!("http://{address}/"), "us-east-1", credentials, Arc::new(world.clock.clone())).unwrap()
}

/// A cloud whose functions can be invoked from outside.
async fn lambda(world: &World, functions: FunctionRegistry) -> (Cloud, SocketAddr) {
    let mut cloud = world.started(functions).await;
    let address = cloud.serve_loopback().await.unwrap();
    (cloud, address)
}

/// Runs the machine to its end: status, output or error.
async fn run(cloud: &Cloud) -> (ExecutionStatus, String) {
    let mut changes = cloud.step_functions().subscribe();
    let client = aws_sdk_sfn::Client::new(&cloud.sdk_config());
    let arn = cloud.step_functions().place().machine_arn("m");
    let started = client.start_execution().state_machine_arn(arn).input("{}").send().await.unwrap();
    while changes.recv().await.unwrap().status == "RUNNING" {}
    let ended = client.describe_execution().execution_arn(started.execution_arn).send().await.unwrap();
    (ended.status, ended.output.or(ended.error).unwrap())
}

#[tokio::test]
async fn machines_call_functions_elsewhere_and_see_their_errors() {
    let there = World::new();
    let functions = FunctionRegistry::new()
        .with("echo", |event, _| async move { Ok(event) })
        .with("throttled", |_, _| async { Err(FunctionError::new("ModelThrottled", "later")) });
    let (_lambda, address) = lambda(&there, functions).await;
    for (function, status, text) in [
        ("arn:aws:lambda:us-east-1:000000000000:function:echo:live", ExecutionStatus::Succeeded, r#"{"n":1}"#),
        ("throttled", ExecutionStatus::Failed, "ModelThrottled"),
        ("absent", ExecutionStatus::Failed, "Lambda.ResourceNotFoundException"),
    ] {
        let mut here = World::new();
        here.machines.push(call(function));
        let mut cloud = here.opened().await;
        cloud.start(endpoint(&here, address)).await.unwrap();
        assert_eq!(run(&cloud).await, (status, text.to_owned()), "{function}");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_an_error_that_machines_retry() {
    let mut here = World::new();
    here.machines.push(call("echo"));
    let mut cloud = here.opened().await;
    // A port that was free a moment ago and that nobody listens on.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    cloud.start(endpoint(&here, address)).await.unwrap();
    assert_eq!(run(&cloud).await, (ExecutionStatus::Failed, "Lambda.SdkClientException".into()));
}

#[tokio::test]
async fn streams_too_go_to_functions_elsewhere() {
    let there = World::new();
    let (sender, mut called) = mpsc::unbounded_channel::<Value>();
    let functions = FunctionRegistry::new().with("task-callback", move |event, _| {
        sender.send(event).unwrap();
        async { Ok(Value::Null) }
    });
    let (_lambda, address) = lambda(&there, functions).await;
    let mut here = World::new();
    here.rules.push(StreamRule {
        table: TABLE.into(),
        function: "task-callback".into(),
        event_names: vec!["INSERT".into()],
        key_attribute: "pk".into(),
        key_prefix: "OUTBOX#".into(),
    });
    let mut cloud = here.opened().await;
    let tables = table(&cloud.sdk_config()).await;
    cloud.start(endpoint(&here, address)).await.unwrap();
    put(&tables, "OUTBOX#1", "answer").await;
    let record = called.recv().await.unwrap();
    assert_eq!(record["Records"][0]["dynamodb"]["NewImage"]["note"]["S"], "answer");
}

/// The function `echo`, and `events`, which passes on what it is told.
fn telling() -> (FunctionRegistry, mpsc::UnboundedReceiver<Value>) {
    let (sender, told) = mpsc::unbounded_channel::<Value>();
    let functions = FunctionRegistry::new().with("echo", |event, _| async move { Ok(event) }).with(
        "events",
        move |event: Value, _| {
            sender.send(event).unwrap();
            async { Ok(Value::Null) }
        },
    );
    (functions, told)
}

#[tokio::test]
async fn the_rules_target_is_told_how_executions_begin_and_end() {
    let mut world = World::new();
    world.machines.push(call("echo"));
    let (functions, mut told) = telling();
    let mut cloud = world.opened().await;
    cloud.tell_status_changes(StatusRule::to("arn:aws:lambda:us-east-1:000000000000:function:events"));
    cloud.start(functions).await.unwrap();
    run(&cloud).await;
    let mut statuses = Vec::new();
    for _ in 0..2 {
        let event = told.recv().await.unwrap();
        assert_eq!(event["detail-type"], "Step Functions Execution Status Change");
        assert_eq!(event["detail"]["stateMachineArn"], cloud.step_functions().place().machine_arn("m"));
        statuses.push(event["detail"]["status"].as_str().unwrap().to_owned());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, ["RUNNING", "SUCCEEDED"]);
}

#[tokio::test]
async fn the_rules_target_is_told_what_its_pattern_lets_through_alone() {
    let mut world = World::new();
    world.machines.push(call("echo"));
    let (functions, mut told) = telling();
    let mut cloud = world.opened().await;
    let machine = cloud.step_functions().place().machine_arn("m");
    let pattern = serde_json::json!({ "detail": { "stateMachineArn": [machine], "status": ["SUCCEEDED"] } });
    let pattern = Some(pattern.to_string().parse().unwrap());
    cloud.tell_status_changes(StatusRule { pattern, ..StatusRule::to("events") });
    cloud.start(functions).await.unwrap();
    run(&cloud).await;
    assert_eq!(told.recv().await.unwrap()["detail"]["status"], "SUCCEEDED");
    cloud.shutdown().await;
    assert!(told.try_recv().is_err(), "that it began was told too");
}
