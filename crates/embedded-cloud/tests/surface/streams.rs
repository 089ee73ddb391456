use std::sync::Mutex;

use embedded_cloud::{FunctionError, FunctionRegistry, StreamRule};
use run_model::Clock;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::world::{TABLE, World, put, table};

const FUNCTION: &str = "task-callback";

fn world() -> World {
    let mut world = World::new();
    world.rules.push(StreamRule {
        table: TABLE.into(),
        function: FUNCTION.into(),
        event_names: vec!["INSERT".into()],
        key_attribute: "pk".into(),
        key_prefix: "OUTBOX#".into(),
    });
    world
}

/// A function that shows each event it gets and answers what it was told to, in order; afterwards `null`.
fn scripted(answers: Vec<Result<Value, FunctionError>>) -> (FunctionRegistry, mpsc::UnboundedReceiver<Value>) {
    let (events, received) = mpsc::unbounded_channel();
    let answers = Mutex::new(answers.into_iter());
    let functions = FunctionRegistry::new().with(FUNCTION, move |event, _| {
        events.send(event).unwrap();
        let answer = answers.lock().unwrap().next().unwrap_or(Ok(Value::Null));
        async move { answer }
    });
    (functions, received)
}

fn failure() -> Result<Value, FunctionError> {
    Err(FunctionError::new("StoreUnavailable", "try again"))
}

fn keys(event: &Value) -> Vec<&str> {
    let records = event["Records"].as_array().unwrap();
    records.iter().map(|record| record["dynamodb"]["Keys"]["pk"]["S"].as_str().unwrap()).collect()
}

/// Lets the pump's back-off pass, and only that.
async fn pass_backoff(world: &World, milliseconds: i64) {
    let due_ms = world.clock.now_ms() + milliseconds;
    while world.clock.next_due_ms() != Some(due_ms) {
        tokio::task::yield_now().await;
    }
    world.clock.advance(milliseconds);
}

#[tokio::test]
async fn a_matching_insert_arrives_as_lambda_would_see_it() {
    let world = world();
    let (functions, mut received) = scripted(vec![]);
    let cloud = world.started(functions).await;
    let client = table(&cloud.sdk_config()).await;
    put(&client, "RUN#1", "no prefix").await;
    put(&client, "OUTBOX#1", "go").await;
    let event = received.recv().await.unwrap();
    assert_eq!(keys(&event), ["OUTBOX#1"]);
    let record = &event["Records"][0];
    assert_eq!(record["eventName"], "INSERT");
    assert_eq!(record["eventSource"], "aws:dynamodb");
    assert_eq!(record["awsRegion"], "us-east-1");
    assert_eq!(record["dynamodb"]["NewImage"]["note"]["S"], "go");
    assert!(record["dynamodb"]["SequenceNumber"].is_string() && record["eventID"].is_string());
    assert!(record["eventSourceARN"].as_str().unwrap().starts_with("arn:aws:dynamodb:us-east-1:000000000000:table/"));

    put(&client, "OUTBOX#1", "changed: not an insert").await;
    put(&client, "OUTBOX#2", "go").await;
    assert_eq!(keys(&received.recv().await.unwrap()), ["OUTBOX#2"]);
}

#[tokio::test]
async fn a_failure_is_repeated_after_a_growing_while() {
    let world = world();
    let (functions, mut received) = scripted(vec![failure(), failure()]);
    let cloud = world.started(functions).await;
    let client = table(&cloud.sdk_config()).await;
    put(&client, "OUTBOX#1", "go").await;
    let first = received.recv().await.unwrap();
    pass_backoff(&world, 1_000).await;
    assert_eq!(received.recv().await.unwrap(), first);
    pass_backoff(&world, 2_000).await;
    assert_eq!(received.recv().await.unwrap(), first);
    put(&client, "OUTBOX#2", "go").await;
    assert_eq!(keys(&received.recv().await.unwrap()), ["OUTBOX#2"]);
}

#[tokio::test]
async fn a_panic_is_a_failure_like_any_other() {
    let world = world();
    let (events, mut received) = mpsc::unbounded_channel();
    let calls = Mutex::new(0);
    let functions = FunctionRegistry::new().with(FUNCTION, move |event, _| {
        *calls.lock().unwrap() += 1;
        let first = *calls.lock().unwrap() == 1;
        events.send(event).unwrap();
        async move { if first { panic!("once") } else { Ok(Value::Null) } }
    });
    let cloud = world.started(functions).await;
    let client = table(&cloud.sdk_config()).await;
    put(&client, "OUTBOX#1", "go").await;
    received.recv().await.unwrap();
    pass_backoff(&world, 1_000).await;
    assert_eq!(keys(&received.recv().await.unwrap()), ["OUTBOX#1"]);
}

#[tokio::test]
async fn what_succeeded_before_a_reported_failure_is_not_repeated() {
    let world = world();
    let mut cloud = world.opened().await;
    let client = table(&cloud.sdk_config()).await;
    for key in ["OUTBOX#1", "OUTBOX#2", "OUTBOX#3"] {
        put(&client, key, "go").await;
    }
    let (events, mut received) = mpsc::unbounded_channel();
    let functions =
        FunctionRegistry::new().with(FUNCTION, move |event: Value, _| {
            events.send(event.clone()).unwrap();
            let second = event["Records"][1]["dynamodb"]["SequenceNumber"].clone();
            let whole = keys(&event).len() == 3;
            async move {
                Ok(if whole { json!({ "batchItemFailures": [{ "itemIdentifier": second }] }) } else { Value::Null })
            }
        });
    cloud.start(functions).await.unwrap();
    assert_eq!(keys(&received.recv().await.unwrap()), ["OUTBOX#1", "OUTBOX#2", "OUTBOX#3"]);
    pass_backoff(&world, 1_000).await;
    assert_eq!(keys(&received.recv().await.unwrap()), ["OUTBOX#2", "OUTBOX#3"]);
}

#[tokio::test]
async fn the_next_driver_delivers_what_was_not_and_only_that() {
    let world = world();
    let (functions, mut received) = scripted(vec![Ok(Value::Null), failure()]);
    let cloud = world.started(functions).await;
    let client = table(&cloud.sdk_config()).await;
    put(&client, "OUTBOX#1", "go").await;
    received.recv().await.unwrap();
    put(&client, "OUTBOX#2", "go").await;
    received.recv().await.unwrap();
    drop((client, cloud));

    let (functions, mut received) = scripted(vec![]);
    let cloud = world.started(functions).await;
    assert_eq!(keys(&received.recv().await.unwrap()), ["OUTBOX#2"]);
    cloud.shutdown().await;
    assert_eq!(received.recv().await, None, "nothing more, and the function is let go");
}

#[tokio::test]
async fn a_long_stream_is_trimmed_behind_its_reader() {
    let world = world();
    let (functions, mut received) = scripted(vec![]);
    let cloud = world.started(functions).await;
    let client = table(&cloud.sdk_config()).await;
    for number in 0..300 {
        put(&client, &format!("EVENT#{number}"), "passed by").await;
    }
    put(&client, "OUTBOX#1", "go").await;
    received.recv().await.unwrap();
    put(&client, "OUTBOX#2", "go").await;
    received.recv().await.unwrap();
    cloud.shutdown().await;

    let file = rusqlite::Connection::open(world.state_dir().join("tables.sqlite")).unwrap();
    let left: i64 = file.query_row("SELECT COUNT(*) FROM _stream_records", [], |row| row.get(0)).unwrap();
    assert!(left < 300, "{left} records left");
    drop((client, file));

    let (functions, mut received) = scripted(vec![]);
    let cloud = world.started(functions).await;
    put(&aws_sdk_dynamodb::Client::new(&cloud.sdk_config()), "OUTBOX#3", "go").await;
    let mut seen = Vec::new();
    while !seen.contains(&"OUTBOX#3".to_owned()) {
        seen.extend(keys(&received.recv().await.unwrap()).into_iter().map(str::to_owned));
    }
}
