//! The embedded cloud on the loopback, as a process of its own, asked by the SDK over the network.
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

use aws_sdk_scheduler::types::{FlexibleTimeWindow, FlexibleTimeWindowMode, Target};
use aws_sdk_sfn::Client;
use aws_sdk_sfn::operation::describe_execution::DescribeExecutionOutput;
use aws_sdk_sfn::types::ExecutionStatus;
use serde_json::Value;
use tests::served::{Elsewhere, Served, asks};
use tests::{Script, World};

/// The machine `asks`, and an execution of it: its ARN.
async fn begun(client: &Client) -> String {
    let machine = client.create_state_machine().name("asks").definition(asks()).role_arn("arn:aws:iam::0:role/r");
    let machine = machine.send().await.unwrap().state_machine_arn;
    client.start_execution().state_machine_arn(machine).input("{}").send().await.unwrap().execution_arn
}

/// Waits until the execution has ended.
async fn ended(client: &Client, execution: &str) -> DescribeExecutionOutput {
    loop {
        let found = client.describe_execution().execution_arn(execution).send().await.unwrap();
        if found.status != ExecutionStatus::Running {
            return found;
        }
    }
}

#[tokio::test]
async fn a_callback_is_answerable_after_the_server_was_killed() {
    let (elsewhere, mut given) = Elsewhere::with(&["ask"]).await;
    let world = World::quick();
    let arguments = ["--lambda-endpoint", &elsewhere.address];
    let served = Served::start(&world, &arguments);
    let execution = begun(&Client::new(&served.sdk_config())).await;
    let (function, event) = given.recv().await.unwrap();
    assert_eq!(function, "ask");
    let token = event["token"].as_str().unwrap();
    served.kill();
    let served = Served::start(&world, &arguments);
    let client = Client::new(&served.sdk_config());
    client.send_task_success().task_token(token).output(r#"{"decision":"approved"}"#).send().await.unwrap();
    let found = ended(&client, &execution).await;
    assert_eq!(found.status, ExecutionStatus::Succeeded);
    assert_eq!(found.output.as_deref(), Some(r#"{"decision":"approved"}"#));
    let again = client.send_task_success().task_token(token).output("1").send().await.unwrap_err();
    assert!(again.into_service_error().is_task_timed_out());
    assert_eq!(served.interrupt(), 0);
}

#[tokio::test]
async fn time_stands_still_until_it_is_advanced() {
    let (elsewhere, mut given) = Elsewhere::with(&["ask", "look", "told"]).await;
    let world = World::quick();
    let arguments = ["--virtual-time", "--lambda-endpoint", &elsewhere.address, "--status-target", "told"];
    let served = Served::start(&world, &arguments);
    let client = Client::new(&served.sdk_config());
    let execution = begun(&client).await;
    let mut seen = [given.recv().await.unwrap(), given.recv().await.unwrap()];
    seen.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert_eq!((seen[0].0.as_str(), seen[1].1["detail"]["status"].as_str()), ("ask", Some("RUNNING")));
    served.advance(7_200);
    assert_eq!(ended(&client, &execution).await.error.as_deref(), Some("States.Timeout"));
    let (function, event) = given.recv().await.unwrap();
    assert_eq!((function.as_str(), event["detail"]["status"].as_str()), ("told", Some("FAILED")));

    // A schedule fires by the same clock, which a kill does not set back.
    let scheduler = aws_sdk_scheduler::Client::new(&served.sdk_config());
    let window = FlexibleTimeWindow::builder().mode(FlexibleTimeWindowMode::Off).build().unwrap();
    let target = Target::builder().arn("arn:aws:lambda:us-east-1:000000000000:function:look").input(r#"{"n":1}"#);
    let target = target.role_arn("arn:aws:iam::000000000000:role/r").build().unwrap();
    let schedule = scheduler.create_schedule().name("once").schedule_expression("at(2036-01-01T00:00:00)");
    schedule.flexible_time_window(window).target(target).send().await.unwrap();
    served.kill();
    let served = Served::start(&world, &arguments);
    let ten_years = 10 * 366 * 86_400 - 7 * 86_400;
    served.advance(ten_years.min(315_360_000));
    let (function, event) = given.recv().await.unwrap();
    assert_eq!((function.as_str(), &event["n"]), ("look", &Value::from(1)));
}

#[tokio::test]
async fn a_folder_is_served_by_one() {
    let world = World::quick();
    let served = Served::start(&world, &[]);
    let second = world.gatewright(&["cloud", "serve", "--port", "0"]).expect(69);
    assert!(second.said("is driven by another process"), "{second:?}");
    let taken = served.address().rsplit(':').next().unwrap();
    let elsewhere = World::quick();
    let second = elsewhere.gatewright(&["cloud", "serve", "--port", taken]).expect(69);
    assert!(second.said("could not listen on the loopback"), "{second:?}");
    assert_eq!(served.interrupt(), 0);
}

#[tokio::test]
async fn a_run_whose_gate_nobody_answers_exits_with_3() {
    let world = World::quick();
    let served = Served::start(&world, &["--virtual-time"]);
    let script = Script::default().planned().develops(1, "sum.sh", "echo $(($1 + $2))\n");
    let script = script.tests(1, "tests/two.sh", "test \"$(sh sum.sh 1 2)\" = 3\n").approves(1);
    let mut run = world.spawn(&script, &[]);
    run.until_gate();
    // Its state began to wait before the gate was shown: two hours are longer than it and its grace.
    served.advance(7_200);
    let ended = run.end().expect(3);
    assert!(ended.said("timed out at its gate"), "{}", ended.stdout);
    assert_eq!(world.branches(), Vec::<String>::new());
    assert_eq!(served.interrupt(), 0);
}

#[tokio::test]
async fn a_local_run_is_seen_through_it() {
    let world = World::quick();
    let _served = Served::start(&world, &[]);
    let listed = world.gatewright(&["runs", "list"]).expect(0);
    assert!(listed.stderr.is_empty(), "{listed:?}");
}
