//! One-shot schedules, made by the SDK's own client.

use std::sync::Arc;

use aws_sdk_scheduler::Client;
use aws_sdk_scheduler::operation::create_schedule::builders::CreateScheduleFluentBuilder;
use aws_sdk_scheduler::types::{ActionAfterCompletion, FlexibleTimeWindow, FlexibleTimeWindowMode, Target};
use embedded_cloud::{Cloud, FunctionError, FunctionRegistry};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::world::World;

/// The world's clock begins at 2026-05-28T20:26:40Z.
const IN_A_MINUTE: &str = "at(2026-05-28T20:27:40)";
const JANITOR: &str = "arn:aws:lambda:us-east-1:000000000000:function:janitor:live";

fn functions(fails: usize) -> (FunctionRegistry, mpsc::UnboundedReceiver<Value>) {
    let (sender, called) = mpsc::unbounded_channel();
    let left = Arc::new(std::sync::Mutex::new(fails));
    let registry = FunctionRegistry::new().with("janitor", move |event, _| {
        sender.send(event).unwrap();
        let fails = {
            let mut left = left.lock().unwrap();
            let fails = *left > 0;
            *left = left.saturating_sub(1);
            fails
        };
        async move { if fails { Err(FunctionError::new("Internal", "not today")) } else { Ok(Value::Null) } }
    });
    (registry, called)
}

fn client(cloud: &Cloud) -> Client {
    Client::new(&cloud.sdk_config())
}

fn one_shot(client: &Client, name: &str, at: &str) -> CreateScheduleFluentBuilder {
    let target = Target::builder().arn(JANITOR).role_arn("arn:aws:iam::000000000000:role/schedules");
    client
        .create_schedule()
        .name(name)
        .schedule_expression(at)
        .schedule_expression_timezone("UTC")
        .flexible_time_window(FlexibleTimeWindow::builder().mode(FlexibleTimeWindowMode::Off).build().unwrap())
        .action_after_completion(ActionAfterCompletion::Delete)
        .target(target.input(r#"{"run_id":"r-1"}"#).build().unwrap())
}

async fn names(client: &Client) -> Vec<String> {
    let listed = client.list_schedules().send().await.unwrap();
    listed.schedules.iter().map(|schedule| schedule.name.clone().unwrap()).collect()
}

/// Waits for what the cloud's own tasks do.
async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    while !holds().await {
        tokio::task::yield_now().await;
    }
}

/// Waits until somebody sleeps to this moment.
async fn sleeps_until(world: &World, moment_ms: i64) {
    until(async || world.clock.next_due_ms() == Some(moment_ms)).await;
}

#[tokio::test]
async fn a_one_shot_fires_at_its_moment_and_goes() {
    let world = World::new();
    let (functions, mut called) = functions(0);
    let cloud = world.started(functions).await;
    let client = client(&cloud);
    let made = one_shot(&client, "r-1", IN_A_MINUTE).send().await.unwrap();
    assert_eq!(made.schedule_arn, "arn:aws:scheduler:us-east-1:000000000000:schedule/default/r-1");
    let found = client.get_schedule().name("r-1").send().await.unwrap();
    assert_eq!(found.schedule_expression.as_deref(), Some(IN_A_MINUTE));
    assert_eq!(found.creation_date.unwrap().to_millis().unwrap(), 1_780_000_000_000);
    assert_eq!(found.target.unwrap().input.as_deref(), Some(r#"{"run_id":"r-1"}"#));

    sleeps_until(&world, 1_780_000_060_000).await;
    world.clock.advance(59_999);
    assert!(called.try_recv().is_err());
    world.clock.advance(1);
    assert_eq!(called.recv().await.unwrap()["run_id"], "r-1");
    until(async || names(&client).await.is_empty()).await;
    assert!(
        client
            .get_schedule()
            .name("r-1")
            .send()
            .await
            .unwrap_err()
            .into_service_error()
            .is_resource_not_found_exception()
    );
}

#[tokio::test]
async fn what_came_due_while_nothing_ran_fires_at_the_next_start() {
    let world = World::new();
    let cloud = world.started(functions(0).0).await;
    one_shot(&client(&cloud), "r-1", IN_A_MINUTE).send().await.unwrap();
    one_shot(&client(&cloud), "kept", IN_A_MINUTE)
        .action_after_completion(ActionAfterCompletion::None)
        .send()
        .await
        .unwrap();
    cloud.shutdown().await;
    world.clock.advance(3_600_000);
    let (functions_again, mut called) = functions(0);
    let cloud = world.started(functions_again).await;
    for _ in 0..2 {
        called.recv().await.unwrap();
    }
    until(async || names(&client(&cloud)).await == ["kept"]).await;
    cloud.shutdown().await;
    // One that stays does not fire again.
    let (functions_again, mut called) = functions(0);
    let cloud = world.started(functions_again).await;
    one_shot(&client(&cloud), "later", "at(2026-05-28T21:26:41)").send().await.unwrap();
    sleeps_until(&world, 1_780_003_601_000).await;
    assert!(called.try_recv().is_err());
}

#[tokio::test]
async fn a_function_that_fails_is_tried_again_and_until_then_the_schedule_stays() {
    let world = World::new();
    let (functions, mut called) = functions(1);
    let cloud = world.started(functions).await;
    let client = client(&cloud);
    one_shot(&client, "r-1", "at(2026-05-28T20:26:40)").send().await.unwrap();
    called.recv().await.unwrap();
    sleeps_until(&world, 1_780_000_060_000).await;
    assert_eq!(names(&client).await, ["r-1"]);
    world.clock.advance(60_000);
    called.recv().await.unwrap();
    until(async || names(&client).await.is_empty()).await;
}

#[tokio::test]
async fn a_deleted_one_does_not_fire() {
    let world = World::new();
    let (functions, mut called) = functions(0);
    let cloud = world.started(functions).await;
    let client = client(&cloud);
    one_shot(&client, "gone", IN_A_MINUTE).send().await.unwrap();
    one_shot(&client, "stays", "at(2026-05-28T20:27:41)").send().await.unwrap();
    // Somebody sleeps to its moment already: without this the wake-up might only ever be set for the other one.
    sleeps_until(&world, 1_780_000_060_000).await;
    client.delete_schedule().name("gone").send().await.unwrap();
    world.clock.advance(120_000);
    called.recv().await.unwrap();
    until(async || names(&client).await.is_empty()).await;
    assert!(called.try_recv().is_err());
    let again = client.delete_schedule().name("gone").send().await.unwrap_err();
    assert!(again.into_service_error().is_resource_not_found_exception());
}

#[tokio::test]
async fn a_name_is_taken_once_but_a_repeated_request_is_answered_again() {
    let world = World::new();
    let cloud = world.started(FunctionRegistry::new()).await;
    let client = client(&cloud);
    let first = one_shot(&client, "r-1", IN_A_MINUTE).client_token("t").send().await.unwrap();
    let again = one_shot(&client, "r-1", IN_A_MINUTE).client_token("t").send().await.unwrap();
    assert_eq!(first.schedule_arn, again.schedule_arn);
    let other = one_shot(&client, "r-1", IN_A_MINUTE).client_token("u").send().await.unwrap_err().into_service_error();
    assert!(other.is_conflict_exception(), "{other:?}");
    assert_eq!(other.meta().message(), Some("Schedule r-1 already exists."));
}

#[tokio::test]
async fn groups_are_made_and_lists_come_in_pages() {
    let world = World::new();
    let cloud = world.started(FunctionRegistry::new()).await;
    let client = client(&cloud);
    let absent = one_shot(&client, "a", IN_A_MINUTE).group_name("g").send().await.unwrap_err();
    assert!(absent.into_service_error().is_resource_not_found_exception());
    client.create_schedule_group().name("g").send().await.unwrap();
    let twice = client.create_schedule_group().name("g").send().await.unwrap_err();
    assert!(twice.into_service_error().is_conflict_exception());
    assert_eq!(client.get_schedule_group().name("g").send().await.unwrap().name.as_deref(), Some("g"));
    for name in ["a", "b", "c"] {
        one_shot(&client, name, IN_A_MINUTE).group_name("g").send().await.unwrap();
    }
    one_shot(&client, "elsewhere", IN_A_MINUTE).send().await.unwrap();
    let mut pages = client.list_schedules().group_name("g").max_results(2).into_paginator().items().send();
    let mut found = Vec::new();
    while let Some(schedule) = pages.next().await {
        found.push(schedule.unwrap().name.unwrap());
    }
    assert_eq!(found, ["a", "b", "c"]);
}

#[tokio::test]
async fn what_would_not_be_done_is_refused_by_name() {
    let world = World::new();
    let cloud = world.started(FunctionRegistry::new()).await;
    let client = client(&cloud);
    let good = || one_shot(&client, "n", IN_A_MINUTE);
    let window = FlexibleTimeWindow::builder().mode(FlexibleTimeWindowMode::Flexible).build().unwrap();
    let target = |arn: &str| Target::builder().arn(arn).role_arn("arn:aws:iam::0:role/r").input("{}").build().unwrap();
    for (request, code) in [
        (good().schedule_expression("rate(1 minute)"), "UnknownOperationException"),
        (good().schedule_expression("cron(0 0 * * ? *)"), "UnknownOperationException"),
        (good().schedule_expression("at(2026-05-28)"), "ValidationException"),
        (good().schedule_expression("at(2026-02-30T00:00:00)"), "ValidationException"),
        (good().schedule_expression_timezone("Europe/Berlin"), "UnknownOperationException"),
        (good().flexible_time_window(window), "UnknownOperationException"),
        (good().kms_key_arn("arn:aws:kms:us-east-1:0:key/k"), "UnknownOperationException"),
        (good().target(target("arn:aws:sqs:us-east-1:0:q")), "UnknownOperationException"),
        (good().target(target("arn:aws:scheduler:::aws-sdk:sfn:startExecution")), "UnknownOperationException"),
        (good().name("a b"), "ValidationException"),
    ] {
        let refused = request.send().await.unwrap_err().into_service_error();
        assert_eq!(refused.meta().code(), Some(code), "{refused:?}");
    }
    assert!(names(&client).await.is_empty());
}
