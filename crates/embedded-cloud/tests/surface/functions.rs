use std::path::Path;

use embedded_cloud::{FunctionError, FunctionRegistry};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::world::World;

/// What any HTTP client gets over the socket: the head, lower case, and the JSON body.
pub(crate) async fn invoke(state_dir: &Path, function: &str, headers: &str, body: &str) -> (String, Value) {
    let mut stream = UnixStream::connect(state_dir.join("cloud.sock")).await.unwrap();
    let length = body.len();
    let request = format!(
        "POST /2015-03-31/functions/{function}/invocations HTTP/1.1\r\nhost: lambda\r\nconnection: close\r\n\
         {headers}content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), serde_json::from_str(body).unwrap())
}

#[tokio::test]
async fn invoke_answers_results_errors_and_panics_as_lambda_does() {
    let world = World::new();
    let functions = FunctionRegistry::new()
        .with("echo", |event, context| async move { Ok(json!({ "event": event, "deadline_ms": context.deadline_ms })) })
        .with("throttled", |_, _| async { Err(FunctionError::new("ModelThrottled", "later")) })
        .with("defect", |_, _| async { panic!("a defect") });
    let _cloud = world.started(functions).await;
    let at = world.state_dir();

    let (head, body) = invoke(&at, "echo", "", r#"{"n":1}"#).await;
    assert!(head.starts_with("http/1.1 200") && !head.contains("x-amz-function-error"), "{head}");
    assert_eq!(body, json!({ "event": { "n": 1 }, "deadline_ms": 1_780_000_900_000_i64 }));
    let arn = "arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Aecho%3Alive";
    assert_eq!(invoke(&at, arn, "", "2").await.1["event"], 2);

    let (head, body) = invoke(&at, "throttled", "", "{}").await;
    assert!(head.starts_with("http/1.1 200") && head.contains("x-amz-function-error: unhandled"), "{head}");
    assert_eq!(body, json!({ "errorType": "ModelThrottled", "errorMessage": "later" }));

    let (head, body) = invoke(&at, "defect", "", "{}").await;
    assert!(head.contains("x-amz-function-error: unhandled"), "{head}");
    assert_eq!(body["errorType"], "Internal");

    let (head, _) = invoke(&at, "absent", "", "{}").await;
    assert!(head.starts_with("http/1.1 404") && head.contains("x-amzn-errortype: resourcenotfoundexception"), "{head}");
    let (head, body) = invoke(&at, "echo", "x-amz-invocation-type: Event\r\n", "{}").await;
    assert!(head.contains("x-amzn-errortype: unknownoperationexception"), "{head}");
    assert!(body["message"].as_str().unwrap().contains("Event"), "{body}");
}

#[tokio::test]
async fn a_function_that_does_not_end_is_given_up_at_its_deadline() {
    let world = World::new();
    let functions = FunctionRegistry::new().with("endless", |_, _| std::future::pending());
    let _cloud = world.started(functions).await;
    let at = world.state_dir();
    let answer = tokio::spawn(async move { invoke(&at, "endless", "", "{}").await });
    while world.clock.next_due_ms().is_none() {
        tokio::task::yield_now().await;
    }
    world.clock.advance(15 * 60 * 1000);
    assert_eq!(answer.await.unwrap().1["errorType"], "Sandbox.Timedout");
}
