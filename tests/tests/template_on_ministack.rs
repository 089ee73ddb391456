//! The real SAM CLI deploys what it built onto another party's AWS, and what it made fits the programs.
#![cfg(feature = "world")]
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use lambda_host::{OsRandomness, SystemClock};
use serde_json::Value;
use store::{Names, Store};
use tests::machines::functions;
use tests::ministack::{MiniStack, program};

const STAGE: &str = "dev";

#[tokio::test]
async fn the_template_makes_what_the_programs_look_for() {
    let ministack = MiniStack::start(&[]);
    ministack.deploy_built(STAGE);
    let outputs = ministack.outputs(STAGE);
    table_bucket_and_signing_secret(&ministack, &outputs).await;
    machines(&ministack, &outputs).await;
    functions().iter().for_each(|function| answers(&ministack, function));
    // What is deployed already is left alone.
    let printed = ministack.deploy_built(STAGE);
    assert!(printed.contains("No changes to deploy"), "{printed}");
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
