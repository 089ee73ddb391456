//! The programs that are deployed as Lambdas truly serve the Lambda Runtime API: a whole run goes through them, each asking
//! AWS (an embedded cloud) over HTTP as it would in a Lambda.
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use embedded_cloud::{Attachment, Cloud, CloudOptions, StreamRule};
use forge::testing::{FakeGitHub, Fault};
use lambda_host::{OsRandomness, SystemClock};
use run_model::person::ApproverRole;
use run_model::run::{RunRecord, RunStatus};
use run_model::{Clock, RunId};
use runner::Runner;
use sandbox::Sandbox;
use schedules::{OneShots, Place};
use serde_json::{Value, json};
use store::{GrantKind, Names, NewGrant, Store};
use tests::machines::{definitions, functions};
use tests::programs::{self, Programs};
use tests::state::options;
use tests::world::program;
use tests::{Script, World};
use tokio::sync::{Notify, mpsc};

const RIGHT: &str = "echo $(($1 + $2))\n";
const NEW_TEST: (&str, &str) = ("tests/two.sh", "test \"$(sh sum.sh 1 2)\" = 3\n");
/// Longer than any run of a quick world takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// A cloud with our machines, whose functions are the programs.
struct Deployed {
    store: Store,
    programs: Arc<Programs>,
    ann: String,
    ben: String,
    answered: mpsc::UnboundedReceiver<String>,
    seen: BTreeSet<String>,
    jobs: Arc<Notify>,
    cloud: Cloud,
}

impl Deployed {
    async fn over(world: &World, environment_secrets: BTreeMap<String, Value>) -> Self {
        let names = Names::for_stage(programs::STAGE);
        let rule = StreamRule {
            table: names.table.clone(),
            function: "task-callback".into(),
            event_names: vec!["INSERT".into()],
            key_attribute: "pk".into(),
            key_prefix: "OUTBOX#".into(),
        };
        let options = CloudOptions {
            machines: definitions(),
            stream_rules: vec![rule],
            environment_secrets,
            ..options(&world.state())
        };
        let Attachment::Driver(mut cloud) = Cloud::open(options).await.unwrap() else { panic!("somebody drives") };
        let store = Store::new(&cloud.sdk_config(), names, Arc::new(SystemClock), Arc::new(OsRandomness));
        store.create_table_and_bucket().await.unwrap();
        store.ensure_signing_secret().await.unwrap();
        one_shots(&cloud, &store).create_group().await.unwrap();
        let address = cloud.serve_loopback().await.unwrap();
        let (sender, answered) = mpsc::unbounded_channel();
        let programs = Arc::new(Programs::start(&format!("http://{address}")).await);
        cloud.tell_status_changes_to("events");
        cloud.start(programs.registry(&sender)).await.unwrap();
        let sandbox = Sandbox::with_child(&program("gatewright"));
        let runner = Runner::new(store.clone(), sandbox, world.state(), Arc::new(SystemClock), "the-runner");
        let jobs = Arc::new(Notify::new());
        tokio::spawn(runner.run(jobs.clone()));
        let (ann, ben) = (bearer(&store, "ann").await, bearer(&store, "ben").await);
        Self { store, programs, ann, ben, answered, seen: BTreeSet::new(), jobs, cloud }
    }

    /// Asks for a run as ann, has it approved at its gate, and returns its record at the end.
    async fn run(&mut self, request: &Value) -> RunRecord {
        let ann = self.ann.clone();
        let (status, started) = self.http("api", &ann, "POST", "/api/v1/orchestrate", request).await;
        assert_eq!(status, 202, "{started}");
        let run_id = &RunId::new(started["run_id"].as_str().unwrap()).unwrap();
        while let Some(function) = self.answered.recv().await {
            match function.as_str() {
                "test-runner" => self.jobs.notify_one(),
                "gate-open" => self.approve(run_id).await,
                _ => {}
            }
            self.seen.insert(function);
            // Nothing but the functions writes the record, so that a look after each answer sees its end.
            if let Ok(run) = self.store.run(run_id).await
                && run.status.is_final()
            {
                return run;
            }
        }
        panic!("the programs are gone")
    }

    /// Ann looks at the gate of her run and may not approve; ben may.
    async fn approve(&mut self, run_id: &RunId) {
        let gate = self.store.run_gates(run_id).await.unwrap().pop().unwrap();
        let (path, ann, ben) = (format!("/api/v1/gates/{}", gate.gate_id), self.ann.clone(), self.ben.clone());
        let (status, shown) = self.http("gate-callback", &ann, "GET", &path, &Value::Null).await;
        assert_eq!((status, &shown["state"]), (200, &json!("pending")));
        let decision = json!({ "decision": "approve", "binding": shown["binding"] });
        assert_eq!(self.http("gate-callback", &ann, "POST", &path, &decision).await.0, 403);
        let (status, decided) = self.http("gate-callback", &ben, "POST", &path, &decision).await;
        assert_eq!((status, &decided["state"]), (200, &json!("approved")), "{decided}");
    }

    /// What a program answers to a request of the HTTP API.
    async fn http(&mut self, function: &str, bearer: &str, method: &str, path: &str, body: &Value) -> (u64, Value) {
        let event = json!({
            "version": "2.0",
            "rawPath": path,
            "headers": { "authorization": format!("Bearer {bearer}") },
            "requestContext": { "stage": "$default", "http": { "method": method } },
            "body": body.to_string(),
            "isBase64Encoded": false,
        });
        let answer = self.programs.invoke(function, &event, SystemClock.now_ms() + 60_000).await.unwrap();
        self.seen.insert(function.to_owned());
        let body = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap_or_default();
        (answer["statusCode"].as_u64().unwrap(), body)
    }
}

async fn bearer(store: &Store, name: &str) -> String {
    let grant = NewGrant { name: name.into(), roles: ApproverRole::ALL.into(), lifetime_seconds: 3_600 };
    store.add_bearer(GrantKind::Person, grant).await.unwrap().0
}

/// As the programs make them.
fn one_shots(cloud: &Cloud, store: &Store) -> OneShots {
    let place = Place { group: store.names().schedule_group.clone(), function_arn: "-".into(), role_arn: "-".into() };
    OneShots::new(&cloud.sdk_config(), place)
}

/// What a run is asked for with: the repository's settings name a crew that does it right at once.
fn request(world: &World, repository: &str) -> Value {
    let script = world.path("script.jsonl");
    Script::default()
        .planned()
        .develops(1, "sum.sh", RIGHT)
        .tests(1, NEW_TEST.0, NEW_TEST.1)
        .approves(1)
        .write(&script);
    let project = std::fs::read_to_string(world.repository().join("gatewright.toml")).unwrap();
    let provider = format!("[provider]\nkind = \"scripted\"\nscript = {:?}\n", script.display().to_string());
    world.commit(&[("gatewright.toml", &format!("{project}{provider}"))]);
    json!({ "repository": repository, "requirements": "make it right" })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_run_goes_through_the_deployed_programs() {
    let world = World::quick();
    let request = request(&world, world.repository().to_str().unwrap());
    let mut deployed = Deployed::over(&world, BTreeMap::new()).await;
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
    let secret = BTreeMap::from([(Names::for_stage(programs::STAGE).forge_secret, github.app_secret())]);
    let mut deployed = Deployed::over(&world, secret).await;
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

#[tokio::test]
async fn every_program_refuses_bad_input_by_the_name_that_machines_know() {
    for function in functions() {
        // Nobody listens there, and nobody has to: what is wrong with the input is seen before anything is asked.
        let mut program = programs::start(&function, "http://127.0.0.1:9").await;
        let deadline_ms = SystemClock.now_ms() + 60_000;
        for bad in [json!({ "no": "such field" }), json!("text"), Value::Null] {
            let error = program.invoke(&bad, deadline_ms).await.unwrap().expect_err(&function);
            assert_eq!(error.error_type, "InvalidInput", "{function}: {}", error.error_message);
        }
    }
}
