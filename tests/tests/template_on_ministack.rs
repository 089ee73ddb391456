//! The real SAM CLI deploys what it built onto another party's AWS, and what it made fits the programs.
#![cfg(feature = "world")]
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Arc;

use embedded_cloud::EventPattern;
use embedded_cloud::step_functions::{Place, StatusChange};
use lambda_host::{OsRandomness, SystemClock};
use serde_json::Value;
use store::{Names, Store};
use tests::machines::functions;
use tests::ministack::{MiniStack, program};
use tests::template::logical_id;

const STAGE: &str = "dev";

#[tokio::test]
async fn the_template_makes_what_the_programs_look_for() {
    let ministack = MiniStack::start(&[]);
    ministack.deploy_built(STAGE);
    let outputs = ministack.outputs(STAGE);
    table_bucket_and_signing_secret(&ministack, &outputs).await;
    machines(&ministack, &outputs).await;
    functions().iter().for_each(|function| answers(&ministack, function));
    status_changes(&ministack, &outputs);
    // What is deployed already is left alone.
    let printed = ministack.deploy_built(STAGE);
    assert!(printed.contains("No changes to deploy"), "{printed}");
}

/// What a function may do by its role and another may not by its own: the call, who may, who may not. MiniStack knows no
/// `dynamodb:LeadingKeys` and judges `states:SendTask*` without a machine, so that neither rows nor task tokens are among them.
const RIGHTS: [(&str, &str, &str); 8] = [
    ("secretsmanager get-secret-value --secret-id gatewright/dev/forge", "code-host", "developer"),
    ("secretsmanager get-secret-value --secret-id gatewright/dev/models", "developer", "code-host"),
    ("secretsmanager get-secret-value --secret-id gatewright/dev/signing", "gate-open", "gate-callback"),
    ("s3api put-object --bucket BUCKET --key runs/r-1/x", "developer", "task-callback"),
    ("s3api get-object --bucket BUCKET --key held-out/r-1/x x", "api", "developer"),
    (
        r#"dynamodb batch-get-item --request-items {"TABLE":{"Keys":[{"pk":{"S":"JOB#1"},"sk":{"S":"x"}}]}}"#,
        "api",
        "reviewer",
    ),
    (
        r#"dynamodb delete-item --table-name TABLE --key {"pk":{"S":"RUN#r-1"},"sk":{"S":"x"}}"#,
        "run-control",
        "developer",
    ),
    ("stepfunctions start-execution --state-machine-arn PIPELINE --input {}", "api", "developer"),
];

#[tokio::test]
async fn a_functions_role_is_refused_what_another_may_do() {
    let ministack = MiniStack::start(&[]);
    ministack.deploy_built(STAGE);
    let outputs = ministack.outputs(STAGE);
    let held_out = ["s3api", "put-object", "--bucket", &outputs["BucketName"], "--key", "held-out/r-1/x"];
    ministack.aws(&held_out);
    for secret in ["models", "forge"] {
        let id = format!("gatewright/{STAGE}/{secret}");
        ministack.aws(&["secretsmanager", "put-secret-value", "--secret-id", &id, "--secret-string", "{}"]);
    }
    // A role has a session as long as its function serves.
    let named: BTreeSet<&str> = RIGHTS.iter().flat_map(|(_, may, may_not)| [*may, *may_not]).collect();
    named.into_iter().for_each(|function| answers(&ministack, function));
    for (call, may, may_not) in RIGHTS {
        let places = [("TABLE", "TableName"), ("BUCKET", "BucketName"), ("PIPELINE", "PipelineArn")];
        let call = places.iter().fold(call.to_owned(), |call, (place, name)| call.replace(place, &outputs[*name]));
        let call: Vec<&str> = call.split(' ').collect();
        if let Err(refusal) = ministack.aws_as(may, &call) {
            panic!("{may} may: {call:?}: {refusal}");
        }
        let refusal = ministack.aws_as(may_not, &call).expect_err(&format!("{may_not} may not: {call:?}"));
        let role = format!("{}Role", logical_id(may_not));
        assert!(refusal.contains("(AccessDenied") && refusal.contains(&role), "{may_not}: {call:?}: {refusal}");
    }
    let another = ["lambda", "invoke", "--function-name", "gatewright-dev-code-host:live", "--payload", "null", "x"];
    for function in ["api", "developer"] {
        let refusal = ministack.aws_as(function, &another).expect_err(function);
        assert!(refusal.contains("(AccessDenied"), "{function} calls another: {refusal}");
    }
}

/// The names that a function makes of its environment are those of the stack, and its signing secret seals.
async fn table_bucket_and_signing_secret(ministack: &MiniStack, outputs: &BTreeMap<String, String>) {
    let names = Names { bucket: outputs["BucketName"].clone(), ..Names::for_stage(STAGE) };
    assert_eq!(outputs["TableName"], names.table);
    let store = Store::new(&ministack.sdk_config(), names.clone(), Arc::new(SystemClock), Arc::new(OsRandomness));
    store.put_object("runs/a/b", b"kept".to_vec()).await.unwrap();
    assert_eq!(store.get_object("runs/a/b").await.unwrap(), b"kept");
    assert_eq!(store.list_runs(1).await.unwrap().len(), 0);
    let signing = store.secret(&names.signing_secret).await.unwrap();
    let key = signing["token_key"].as_str().unwrap();
    assert!(key.len() == 64 && key.bytes().all(|digit| digit.is_ascii_hexdigit()), "{key}");
}

/// The archive that was deployed as this function serves it: it refuses what is an input of none.
fn answers(ministack: &MiniStack, function: &str) {
    let name = format!("gatewright-{STAGE}-{function}:live");
    let mut command = Command::new(program("aws", "aws"));
    command.envs(ministack.environment()).args(["lambda", "invoke", "--function-name", &name, "--payload", "null"]);
    let invoked = command.arg("/dev/stderr").output().unwrap();
    let (told, answer) = (String::from_utf8_lossy(&invoked.stdout), String::from_utf8_lossy(&invoked.stderr));
    let answer: Value = answer.parse().unwrap_or_else(|error| panic!("{function}: {error}: {told}{answer}"));
    assert_eq!(answer["errorType"], "InvalidInput", "{function}: {answer}");
}

/// Every substitution is done, and functions are called by their alias.
async fn machines(ministack: &MiniStack, outputs: &BTreeMap<String, String>) {
    let client = aws_sdk_sfn::Client::new(&ministack.sdk_config());
    for output in ["PipelineArn", "TaskGraphArn", "TaskArn"] {
        let described = client.describe_state_machine().state_machine_arn(&outputs[output]).send().await.unwrap();
        let definition: Value = described.definition().parse().unwrap();
        assert!(!described.definition().contains("${"), "{output}: a substitution is left");
        let mut called = Vec::new();
        gather(&definition, "FunctionName", &mut called);
        assert!(!called.is_empty());
        for function in called {
            assert!(function.starts_with("arn:aws:lambda:") && function.ends_with(":live"), "{output}: {function}");
        }
    }
}

/// Whoever judges: the rule lets through what becomes of the pipeline, and not what becomes of what it starts.
fn status_changes(ministack: &MiniStack, outputs: &BTreeMap<String, String>) {
    let (pattern, target) = ministack.status_rule();
    assert!(target.ends_with(&format!(":gatewright-{STAGE}-events:live")), "{target}");
    let ours: EventPattern = pattern.parse().unwrap();
    for (machine, status, fits) in [
        ("PipelineArn", "RUNNING", true),
        ("PipelineArn", "ABORTED", true),
        ("PipelineArn", "PENDING_REDRIVE", false),
        ("TaskArn", "FAILED", false),
        ("TaskGraphArn", "SUCCEEDED", false),
    ] {
        let change = StatusChange {
            execution_arn: format!("{}:r-1", outputs[machine].replace(":stateMachine:", ":execution:")),
            state_machine_arn: outputs[machine].clone(),
            name: "r-1".into(),
            status: status.into(),
            start_ms: 0,
            stop_ms: None,
            input: "{}".into(),
            output: None,
            error: None,
            cause: None,
        };
        let event = change.event(&Place::default(), "6f0d5c1e-8b1f-4f7e-9a53-2c8d1b0e7a44");
        let told = event.to_string();
        let theirs = ministack.aws(&["events", "test-event-pattern", "--event-pattern", &pattern, "--event", &told]);
        assert_eq!((theirs["Result"].as_bool(), ours.matches(&event)), (Some(fits), fits), "{machine} {status}");
    }
}

fn gather<'a>(value: &'a Value, field: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get(field).and_then(Value::as_str));
            fields.values().for_each(|inner| gather(inner, field, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| gather(inner, field, found)),
        _ => {}
    }
}
