//! A function over a Runtime API on the loopback. The function is this very program, started anew.

use std::collections::BTreeMap;

use lambda_host::testing::FunctionProcess;
use run_model::{ErrorName, FunctionError};
use serde_json::{Value, json};
use tokio::process::Command;

/// Is the function when Lambda's variables are there, and else no test at all.
#[test]
fn the_function() {
    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(lambda_host::serve("the-function", handle)).unwrap();
    }
}

async fn handle(event: Value, deadline_ms: i64) -> Result<Value, FunctionError> {
    match event["do"].as_str() {
        Some("answer") => Ok(json!({ "seen": event, "deadline_ms": deadline_ms })),
        Some("fail") => Err(FunctionError::new(ErrorName::ModelThrottled, "wait a minute")),
        Some("log") => {
            tracing::info!(key = "sk-ant-api03-abcdefgh", password = "hunter2-hunter2", "here is a secret");
            Ok(Value::Null)
        }
        Some("panic") => panic!("this cannot be"),
        _ => std::process::exit(3),
    }
}

async fn start(variables: BTreeMap<&str, &str>) -> FunctionProcess {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.args(["--exact", "the_function", "--nocapture"]).envs(variables);
    FunctionProcess::start(command, "the-function").await.expect("this program starts")
}

#[tokio::test]
async fn outputs_errors_and_panics_come_out_under_their_names_and_the_function_lives_on() {
    let mut function = start(BTreeMap::new()).await;
    let event = json!({ "do": "answer", "text": "ä" });
    let answer = function.invoke(&event, 1_234).await.unwrap();
    assert_eq!(answer.unwrap(), json!({ "seen": event, "deadline_ms": 1_234 }));

    let error = function.invoke(&json!({ "do": "fail" }), 0).await.unwrap().unwrap_err();
    assert_eq!((error.error_type.as_str(), error.error_message.as_str()), ("ModelThrottled", "wait a minute"));

    let error = function.invoke(&json!({ "do": "panic" }), 0).await.unwrap().unwrap_err();
    assert_eq!(error.error_type, "Internal");
    assert!(error.error_message.contains("this cannot be"), "{}", error.error_message);

    assert!(function.invoke(&event, 5).await.unwrap().is_ok());
}

#[tokio::test]
async fn logs_are_json_and_hold_no_secret() {
    let mut function = start(BTreeMap::from([("SOME_PASSWORD", "hunter2-hunter2")])).await;
    function.invoke(&json!({ "do": "log" }), 0).await.unwrap().unwrap();
    let output = String::from_utf8(function.stop().await.unwrap().stdout).unwrap();
    let line = output.lines().find(|line| line.contains("here is a secret")).expect(&output);
    let event: Value = serde_json::from_str(line).unwrap();
    assert_eq!((&event["key"], &event["password"]), (&json!("***"), &json!("***")));
    assert_eq!(event["level"], "INFO");
    assert!(!output.contains("hunter2") && !output.contains("sk-ant"), "{output}");
}

#[tokio::test]
async fn a_function_that_ends_is_noticed() {
    let mut function = start(BTreeMap::new()).await;
    let ended = function.invoke(&json!({ "do": "exit" }), 0).await.unwrap_err();
    assert_eq!(ended.0.code(), Some(3));
}
