//! A run that is stopped under the eyes of whoever follows it, and runs that nobody asked to go on.
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use std::io::Read;
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;

use embedded_cloud::{Attachment, Cloud};
use run_model::budget::UsageState;
use tests::machines::execution_arn;
use tests::state::{Kept, options};
use tests::{Running, Script, World};

fn good() -> Script {
    Script::default()
        .planned()
        .develops(1, "sum.sh", "echo $(($1 + $2))\n")
        .tests(1, "tests/two.sh", "test \"$(sh sum.sh 1 2)\" = 3\n")
        .approves(1)
}

#[test]
fn a_run_that_another_terminal_stops_is_told_as_stopped() {
    let world = World::quick();
    let mut first = world.spawn(&good(), &[]);
    let run = first.until_run();
    first.until_gate();
    world.gatewright(&["runs", "stop", &run]).expect(0);
    let ended = first.end().expect(1);
    // Written by whoever is first: the command, or `events`, which hears of the execution's end.
    assert!(ended.stdout.to_lowercase().contains("a person") && ended.said("runs resume"), "{ended:#?}");
}

#[test]
fn everything_is_stopped_at_once_and_seen_to_be() {
    let world = World::quick();
    world.run(&good(), &["--no-wait"]).expect(4);
    let mut second = world.spawn(&good(), &[]);
    second.until_gate();
    let stop = world.gatewright(&["runs", "stop", "--all"]).expect(0);
    assert!(
        stop.said("2 executions stopped, of 2 runs; none is running any more, and none of their checks is open"),
        "{stop:#?}"
    );
    second.end().expect(1);
    assert_eq!(world.pending_gates(), Vec::<serde_json::Value>::new());
    assert!(world.gatewright(&["runs", "stop", "--all"]).expect(0).said("nothing was running"));
    world.gatewright(&["runs", "stop"]).expect(64);
}

/// As from the Step Functions console, or a stop that died before it had written the record.
#[test]
fn an_execution_that_was_aborted_under_a_run_is_no_run_that_was_not_taken_up() {
    let world = World::quick();
    let mut first = world.spawn(&good(), &[]);
    let run = first.until_run();
    first.until_gate();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let Attachment::Client(client) = Cloud::open(options(&world.state())).await.unwrap() else {
            panic!("nobody drives")
        };
        let stop = aws_sdk_sfn::Client::new(&client.sdk_config()).stop_execution();
        stop.execution_arn(execution_arn("pipeline", &run)).cause("from the console").send().await.unwrap();
    });
    let ended = first.end().expect(1);
    assert!(ended.said("from the console") && ended.said(&format!("runs resume {run}")), "{ended:#?}");
    assert!(!ended.said("not taken up"), "{ended:#?}");
    world.gatewright(&["runs", "resume", &run, "--yes"]).expect(0);
}

/// A provider that is asked and never answers; each request is told.
fn silent_provider() -> (String, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (server, (asked, requests)) = (format!("http://{}", listener.local_addr().unwrap()), mpsc::channel());
    thread::spawn(move || {
        let mut open = Vec::new();
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            connection.read_exact(&mut [0]).unwrap();
            open.push(connection);
            if asked.send(()).is_err() {
                break;
            }
        }
    });
    (server, requests)
}

#[test]
fn whoever_decides_or_stops_sets_nothing_else_going() {
    let world = World::quick();
    let (server, requests) = silent_provider();
    let mut other = world.command(&["run", "--requirements", "another thing"]);
    let mut other = Running::of(
        other.env("ANTHROPIC_API_KEY", "a-key-of-no-known-shape").env("ANTHROPIC_BASE_URL", server).spawn().unwrap(),
    );
    let interrupted = other.until_run();
    requests.recv().unwrap();
    other.kill();

    let keyed = |arguments: &[&str]| {
        let mut command = world.command(arguments);
        tests::Ended::of(&command.env("ANTHROPIC_API_KEY", "a-key-of-no-known-shape").output().unwrap())
    };
    world.run(&good(), &["--no-wait"]).expect(4);
    let gate = world.pending_gates()[0]["gate_id"].as_str().unwrap().to_owned();
    keyed(&["gates", "approve", "g-nothing"]).expect(65);
    keyed(&["gates", "approve", &gate, "--hash", "0123456789"]).expect(65);
    keyed(&["runs", "resume", "r-nothing"]).expect(65);
    keyed(&["gates", "approve", &gate]).expect(0);
    assert_eq!(world.branches().len(), 1);
    let kept = Kept::of(&world.state(), &interrupted);
    let states: Vec<UsageState> = kept.usage.iter().map(|call| call.state).collect();
    assert_eq!(states, [UsageState::Reserved], "the call in flight is as its process left it");

    keyed(&["runs", "stop", &interrupted]).expect(0);
    assert!(requests.try_recv().is_err(), "a model was asked for a run that nobody resumed");
}
