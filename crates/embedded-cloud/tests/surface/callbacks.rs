//! All services together, as a gate uses them: a machine waits by callback, a decision is committed with its outbox
//! entry, the stream carries that to a function, and the function answers the token through the SDK.

use std::sync::Arc;

use aws_sdk_dynamodb::types::{Put, TransactWriteItem};
use aws_sdk_sfn::types::ExecutionStatus;
use embedded_cloud::{Cloud, FunctionError, FunctionRegistry, StreamRule, is_driver_gone};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::world::{TABLE, World, driver, note_of, put, table, text};

const MACHINE_ARN: &str = "arn:aws:states:us-east-1:000000000000:stateMachine:pipeline";

fn world() -> World {
    let mut world = World::new();
    let definition = json!({
        "QueryLanguage": "JSONata",
        "StartAt": "Gate",
        "States": { "Gate": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
            "Arguments": { "FunctionName": "gate-open", "Payload": { "token": "{% $states.context.Task.Token %}" } },
            "TimeoutSeconds": 3600,
            "Output": "{% $states.result %}",
            "End": true
        }}
    });
    world.machines.push(("pipeline".into(), definition.to_string()));
    world.rules.push(StreamRule {
        table: TABLE.into(),
        function: "task-callback".into(),
        event_names: vec!["INSERT".into()],
        key_attribute: "pk".into(),
        key_prefix: "OUTBOX#".into(),
    });
    world
}

/// `gate-open` stores the token; `task-callback` answers the one in the outbox. Both know nothing but a configuration.
fn functions(cloud: &Cloud, opened: &Arc<Notify>) -> FunctionRegistry {
    let tables = aws_sdk_dynamodb::Client::new(&cloud.sdk_config());
    let machines = aws_sdk_sfn::Client::new(&cloud.sdk_config());
    let opened = Arc::clone(opened);
    FunctionRegistry::new()
        .with("gate-open", move |event: Value, _| {
            let (tables, opened) = (tables.clone(), Arc::clone(&opened));
            async move {
                put(&tables, "GATE#1", event["token"].as_str().unwrap()).await;
                opened.notify_one();
                Ok(Value::Null)
            }
        })
        .with("task-callback", move |event: Value, _| {
            let machines = machines.clone();
            async move {
                let token = event["Records"][0]["dynamodb"]["NewImage"]["note"]["S"].as_str().unwrap();
                let send = machines.send_task_success().task_token(token).output(r#"{"decision":"approved"}"#);
                send.send().await.map_err(|error| FunctionError::new("Conflict", format!("{error:?}")))?;
                Ok(Value::Null)
            }
        })
}

async fn decide(tables: &aws_sdk_dynamodb::Client) {
    let token = note_of(tables, "GATE#1").await.unwrap();
    let item = |pk: &str, note: &str| {
        let put = Put::builder().table_name(TABLE).item("pk", text(pk)).item("sk", text("-")).item("note", text(note));
        TransactWriteItem::builder().put(put.build().unwrap()).build()
    };
    let write = tables.transact_write_items().transact_items(item("DECISION#1", "approved"));
    write.transact_items(item("OUTBOX#1", &token)).send().await.unwrap();
}

async fn status(machines: &aws_sdk_sfn::Client, execution: &str) -> (ExecutionStatus, Option<String>) {
    let described = machines.describe_execution().execution_arn(execution).send().await.unwrap();
    (described.status, described.output)
}

#[tokio::test]
async fn a_gate_is_approved_from_another_process_after_its_driver_died() {
    let world = world();
    let opened = Arc::new(Notify::new());
    let mut cloud = world.opened().await;
    table(&cloud.sdk_config()).await;
    cloud.start(functions(&cloud, &opened)).await.unwrap();
    let client = world.client().await;
    let remote = aws_sdk_sfn::Client::new(&client.sdk_config());
    let started =
        remote.start_execution().state_machine_arn(MACHINE_ARN).name("run-1").input("{}").send().await.unwrap();
    opened.notified().await;
    assert_eq!(status(&remote, &started.execution_arn).await.0, ExecutionStatus::Running);

    // The driver goes; the client takes over, decides, and sees the execution to its end.
    cloud.shutdown().await;
    assert!(is_driver_gone(&remote.list_state_machines().send().await.unwrap_err()));
    let mut cloud = driver(client.try_promote().await.unwrap());
    let mut changes = cloud.step_functions().subscribe();
    cloud.start(functions(&cloud, &opened)).await.unwrap();
    decide(&aws_sdk_dynamodb::Client::new(&cloud.sdk_config())).await;
    while changes.recv().await.unwrap().status != "SUCCEEDED" {}
    let (status, output) = status(&remote, &started.execution_arn).await;
    assert_eq!(status, ExecutionStatus::Succeeded);
    assert_eq!(output.as_deref(), Some(r#"{"decision":"approved"}"#));
}

#[tokio::test]
async fn errors_of_executions_are_typed() {
    let world = world();
    let cloud = world.started(FunctionRegistry::new()).await;
    let machines = aws_sdk_sfn::Client::new(&cloud.sdk_config());
    let missing = machines.start_execution().state_machine_arn(MACHINE_ARN.replace("pipeline", "none")).send().await;
    assert!(missing.unwrap_err().into_service_error().is_state_machine_does_not_exist());
    let token = machines.send_task_success().task_token("nonsense").output("{}").send().await;
    assert!(token.unwrap_err().into_service_error().is_invalid_token());
}
