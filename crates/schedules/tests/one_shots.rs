//! One-shots on a scheduler that keeps its promises.
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

use std::sync::Arc;

use embedded_cloud::{Attachment, Cloud, CloudOptions, FunctionRegistry};
use run_model::time::{SeededRandomness, VirtualClock};
use schedules::{OneShots, Place};
use serde_json::{Value, json};
use tokio::sync::mpsc;

#[tokio::test]
async fn a_one_shot_made_twice_calls_once_and_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let clock = VirtualClock::at(1_780_000_000_000);
    let options =
        CloudOptions::new(folder.path().join("state"), Arc::new(clock.clone()), Arc::new(SeededRandomness::new(1)));
    let Attachment::Driver(mut cloud) = Cloud::open(options).await.unwrap() else { panic!("somebody drives") };
    let (sender, mut called) = mpsc::unbounded_channel::<Value>();
    let functions = FunctionRegistry::new().with("janitor", move |event, _| {
        sender.send(event).unwrap();
        async { Ok(Value::Null) }
    });
    cloud.start(functions).await.unwrap();
    let place = Place {
        group: "gatewright-test".into(),
        function_arn: "arn:aws:lambda:us-east-1:000000000000:function:janitor".into(),
        role_arn: "arn:aws:iam::000000000000:role/schedules".into(),
    };
    let one_shots = OneShots::new(&cloud.sdk_config(), place);
    for _ in 0..2 {
        one_shots.create_group().await.unwrap();
        let long = "gate-".to_owned() + &"x".repeat(72);
        one_shots.at(&long, 1_780_000_000_500, &json!({ "run_id": "r-1" })).await.unwrap();
    }
    while clock.next_due_ms() != Some(1_780_000_001_000) {
        tokio::task::yield_now().await;
    }
    clock.advance(1_000);
    assert_eq!(called.recv().await.unwrap(), json!({ "run_id": "r-1" }));
    let client = aws_sdk_scheduler::Client::new(&cloud.sdk_config());
    while !client.list_schedules().send().await.unwrap().schedules.is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(called.try_recv().is_err());
}
