//! The programs that are deployed as Lambdas truly serve the Lambda Runtime API: a whole run goes through them, each asking
//! AWS (an embedded cloud) over HTTP as it would in a Lambda.
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use forge::testing::{FakeGitHub, Fault};
use lambda_host::SystemClock;
use run_model::risk::RiskLevel;
use run_model::run::RunStatus;
use run_model::{Clock, RunId};
use serde_json::{Value, json};
use store::Names;
use tests::alone::{Alone, bearer};
use tests::machines::functions;
use tests::{Provider, Script, World, programs};

const RIGHT: &str = "echo $(($1 + $2))\n";
const NEW_TEST: (&str, &str) = ("tests/two.sh", "test \"$(sh sum.sh 1 2)\" = 3\n");
/// As the console names an execution for whoever gives it no name.
const NAME: &str = "6f0d5c1e-8b1f-4f7e-9a53-2c8d1b0e7a44";
/// Longer than any run of a quick world takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// A crew that does it right at once, up to the reviewer.
fn crew() -> Script {
    Script::default().planned().develops(1, "sum.sh", RIGHT).tests(1, NEW_TEST.0, NEW_TEST.1)
}

/// What a run is asked for with: the repository's settings name a crew whose reviewer approves.
fn request(world: &World, repository: &str) -> Value {
    request_of(world, repository, &crew().approves(1))
}

/// What a run is asked for with: the repository's settings name this crew.
fn request_of(world: &World, repository: &str, crew: &Script) -> Value {
    let project = std::fs::read_to_string(world.repository().join("gatewright.toml")).unwrap();
    let provider = Provider::playing(crew).settings();
    world.commit(&[("gatewright.toml", &format!("{project}{provider}"))]);
    json!({ "repository": repository, "requirements": "make it right" })
}

/// The key that the crew's server on this machine is asked with.
fn models_secret() -> (String, Value) {
    (Names::for_stage(programs::STAGE).models_secret, json!({ "ANTHROPIC_API_KEY": "a-key-for-the-loopback" }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_run_goes_through_the_deployed_programs() {
    let world = World::quick();
    let request = request(&world, world.repository().to_str().unwrap());
    let mut deployed = Alone::over(&world, BTreeMap::from([models_secret()])).await;
    let run = tokio::time::timeout(PATIENCE, deployed.run(&request)).await.expect("the run comes to its end");
    let branch = format!("gatewright/{}", run.run_id);
    assert_eq!(run.status, RunStatus::Succeeded, "{:?}", run.outcome);
    assert_eq!(world.on_branch(&branch, "sum.sh").as_deref(), Some(RIGHT));
    assert_eq!(world.on_branch(&branch, NEW_TEST.0).as_deref(), Some(NEW_TEST.1));
    // The janitor comes later: by its one-shot.
    let at_work: Vec<_> = functions().into_iter().filter(|name| name != "janitor").collect();
    assert_eq!(deployed.seen.into_iter().collect::<Vec<_>>(), at_work, "every program had its part");
    let scheduler = aws_sdk_scheduler::Client::new(&deployed.cloud.sdk_config());
    let group = deployed.store.names().schedule_group.clone();
    let made = scheduler.list_schedules().group_name(group).send().await.unwrap().schedules;
    let names: Vec<&str> = made.iter().filter_map(|schedule| schedule.name()).collect();
    let (gate, run) = (format!("gate-{}-", run.run_id), format!("run-{}", run.run_id));
    assert!(names.len() == 2 && names[0].starts_with(&gate) && names[1] == run, "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_run_on_github_ends_with_a_merged_pull_request() {
    let world = World::quick();
    let github = FakeGitHub::start().await;
    let request = request(&world, "acme/app");
    world.git(&["push", "--quiet", github.git_dir().to_str().unwrap(), "main"]);
    // The answer to the opened pull request is lost: the machine calls again, and finds it.
    github.fail("POST", "/pulls", Fault::Lost);
    let forge_secret = (Names::for_stage(programs::STAGE).forge_secret, github.app_secret());
    let mut deployed = Alone::over(&world, BTreeMap::from([models_secret(), forge_secret])).await;
    let run = tokio::time::timeout(PATIENCE, deployed.run(&request)).await.expect("the run comes to its end");
    assert_eq!(run.status, RunStatus::Succeeded, "{:?}", run.outcome);
    let pulls = github.pulls();
    assert!(pulls.len() == 1 && pulls[0].merged.is_some(), "{pulls:?}");
    assert_eq!(github.git(&["show", "main:sum.sh"]), RIGHT.trim());
    assert_eq!(github.git(&["show", &format!("main:{}", NEW_TEST.0)]), NEW_TEST.1.trim());
    assert_eq!(github.git(&["fsck", "--strict", "--full", "--no-dangling"]), "");
    assert_eq!(run.outcome.unwrap().reason, "The change is merged into main, by https://github.com/acme/app/pull/1.");
    assert_eq!(world.branches(), Vec::<String>::new(), "nothing is written elsewhere");
}

/// Each program holds exactly the functions that the template wants of it.
#[test]
fn a_handler_that_a_program_has_not_is_named_with_those_that_it_has() {
    let mut held = BTreeMap::<String, Vec<String>>::new();
    for function in functions() {
        held.entry(programs::program_of(&function)).or_default().push(function);
    }
    for functions in held.values() {
        for (handler, said) in [(Some("bootstrap"), "bootstrap"), (None, "")] {
            let mut command = Command::new(programs::path(&functions[0]));
            command.env_remove("_HANDLER").envs(handler.map(|handler| ("_HANDLER", handler)));
            let ended = command.output().unwrap();
            let line: Value = serde_json::from_slice(&ended.stdout).unwrap();
            let wanted = format!(
                "the function's Handler is {said:?}, which this program has not: set it to one of {}",
                functions.join(", ")
            );
            assert_eq!((ended.status.code(), &line["error"]), (Some(1), &json!(wanted)), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_console_started_and_is_risky_lands_by_two_people() {
    let world = World::quick();
    let careful = json!({"decision": "approve", "summary": "good", "risk_hint": "high"});
    let repository = world.repository().display().to_string();
    let input = request_of(&world, &repository, &crew().submits("reviewer", 1, careful));
    let mut deployed = Alone::over(&world, BTreeMap::from([models_secret()])).await;
    let (run_id, execution) = (RunId::new(NAME).unwrap(), deployed.start_in_the_console(NAME, &input).await);
    let at_the_gate = deployed.until(&run_id, |run| run.status == RunStatus::ApprovalPending);
    let waiting = tokio::time::timeout(PATIENCE, at_the_gate).await.expect("the run comes to its gate");
    assert_eq!((waiting.requester.seen_as.as_str(), waiting.execution_arn), ("console", execution));
    assert_eq!(waiting.risk.unwrap().level, RiskLevel::High);

    let gate = deployed.gate(&run_id).await;
    assert_eq!((&gate["approvals_needed"], &gate["requester"]["name"]), (&json!(2), &json!("console")), "{gate}");
    let (ann, ben) = (deployed.ann.clone(), deployed.ben.clone());
    // Neither again nor by another bearer of hers: one person is one approval.
    for hers in [&ann, &ann, &bearer(&deployed.store, "ann").await] {
        let (status, shown) = deployed.approve(hers, &gate).await;
        assert_eq!((status, &shown["state"]), (202, &json!("pending")), "{shown}");
        assert_eq!(shown["approvals"].as_array().unwrap().len(), 1, "{shown}");
        assert_eq!(deployed.store.run(&run_id).await.unwrap().status, RunStatus::ApprovalPending);
    }
    assert_eq!(world.branches(), Vec::<String>::new());
    let (status, decided) = deployed.approve(&ben, &gate).await;
    assert_eq!((status, &decided["decision"]["by"]), (200, &json!("ann and ben")), "{decided}");
    let at_its_end = deployed.until(&run_id, |run| run.status.is_final());
    let run = tokio::time::timeout(PATIENCE, at_its_end).await.expect("the run comes to its end");
    assert_eq!(run.status, RunStatus::Succeeded, "{:?}", run.outcome);
    assert_eq!(world.on_branch(&format!("gatewright/{NAME}"), "sum.sh").as_deref(), Some(RIGHT));
}

#[tokio::test]
async fn every_function_refuses_bad_input_by_the_name_that_machines_know() {
    for function in functions() {
        // Nobody listens there, and nobody has to: what is wrong with the input is seen before anything is asked.
        let mut program = programs::start(&function, "http://127.0.0.1:9", "").await;
        let deadline_ms = SystemClock.now_ms() + 60_000;
        for bad in [json!({ "no": "such field" }), json!("text"), Value::Null] {
            let error = program.invoke(&bad, deadline_ms).await.unwrap().expect_err(&function);
            assert_eq!(error.error_type, "InvalidInput", "{function}: {}", error.error_message);
        }
    }
}
