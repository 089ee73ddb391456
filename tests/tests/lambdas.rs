//! The programs that are deployed as Lambdas truly serve the Lambda Runtime API: a whole run goes through them, each asking
//! AWS (an embedded cloud) over HTTP as it would in a Lambda.
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use config::{Overrides, ProjectFile, RunConfig};
use embedded_cloud::{Attachment, Cloud, CloudOptions, StreamRule};
use forge::testing::{FakeGitHub, Fault};
use lambda_host::{OsRandomness, SystemClock};
use run_model::person::ApproverRole;
use run_model::run::{RunRecord, RunStatus};
use run_model::{Clock, RunId};
use runner::Runner;
use sandbox::Sandbox;
use serde_json::{Value, json};
use store::{GrantKind, Names, NewGrant, Store};
use tests::machines::{definitions, functions, machine_arn};
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
    cloud: Cloud,
    store: Store,
    programs: Arc<Programs>,
    bearer: String,
    answered: mpsc::UnboundedReceiver<String>,
    seen: BTreeSet<String>,
    jobs: Arc<Notify>,
}

impl Deployed {
    async fn over(world: &World, environment_secrets: BTreeMap<String, Value>) -> Self {
        let names = Names::for_stage("local");
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
        let address = cloud.serve_loopback().await.unwrap();
        let (sender, answered) = mpsc::unbounded_channel();
        let programs = Arc::new(Programs::start(&format!("http://{address}")).await);
        cloud.start(programs.registry(&sender)).await.unwrap();
        let sandbox = Sandbox::with_child(&program("gatewright"));
        let runner = Runner::new(store.clone(), sandbox, world.state(), Arc::new(SystemClock), "the-runner");
        let jobs = Arc::new(Notify::new());
        tokio::spawn(runner.run(jobs.clone()));
        let roles = ApproverRole::ALL.into();
        let ann = NewGrant { name: "ann".into(), roles, lifetime_seconds: 3_600 };
        let (bearer, _) = store.add_bearer(GrantKind::Person, ann).await.unwrap();
        Self { cloud, store, programs, bearer, answered, seen: BTreeSet::new(), jobs }
    }

    /// Starts a run, approves at its gate, and returns its record at the end.
    async fn run(&mut self, run_id: &RunId, input: &Value) -> RunRecord {
        let client = aws_sdk_sfn::Client::new(&self.cloud.sdk_config());
        let start = client.start_execution().state_machine_arn(machine_arn("pipeline")).name(run_id.as_str());
        start.input(input.to_string()).send().await.unwrap();
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

    /// Looks at the run's gate over HTTP and approves what is shown.
    async fn approve(&mut self, run_id: &RunId) {
        let gate = self.store.run_gates(run_id).await.unwrap().pop().unwrap();
        let path = format!("/api/v1/gates/{}", gate.gate_id);
        let (status, shown) = self.http("gate-callback", "GET", &path, &Value::Null).await;
        assert_eq!((status, &shown["state"]), (200, &json!("pending")));
        let decision = json!({ "decision": "approve", "binding": shown["binding"] });
        let (status, decided) = self.http("gate-callback", "POST", &path, &decision).await;
        assert_eq!((status, &decided["state"]), (200, &json!("approved")), "{decided}");
    }

    /// What a program answers to a request of the HTTP API with ann's bearer.
    async fn http(&mut self, function: &str, method: &str, path: &str, body: &Value) -> (u64, Value) {
        let event = json!({
            "version": "2.0",
            "rawPath": path,
            "headers": { "authorization": format!("Bearer {}", self.bearer) },
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

/// What a run starts with: the crew does it right at once.
fn request(world: &World, repository: &str) -> Value {
    let script = world.path("script.jsonl");
    Script::default()
        .planned()
        .develops(1, "sum.sh", RIGHT)
        .tests(1, NEW_TEST.0, NEW_TEST.1)
        .approves(1)
        .write(&script);
    let project = std::fs::read_to_string(world.repository().join("gatewright.toml")).unwrap();
    let provider = Some(format!("scripted:{}", script.display()));
    let overrides = Overrides { provider, ..Overrides::default() };
    let config = RunConfig::assemble(ProjectFile::parse(&project).unwrap(), overrides).unwrap();
    json!({ "repository": repository, "requirements": "make it right", "config": config })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_run_goes_through_the_deployed_programs() {
    let world = World::quick();
    let input = request(&world, world.repository().to_str().unwrap());
    let run_id = RunId::new("r-1").unwrap();
    let mut deployed = Deployed::over(&world, BTreeMap::new()).await;
    let run = tokio::time::timeout(PATIENCE, deployed.run(&run_id, &input)).await.expect("the run comes to its end");
    assert_eq!(run.status, RunStatus::Succeeded, "{:?}", run.outcome);
    assert_eq!(world.on_branch("gatewright/r-1", "sum.sh").as_deref(), Some(RIGHT));
    assert_eq!(world.on_branch("gatewright/r-1", NEW_TEST.0).as_deref(), Some(NEW_TEST.1));
    assert_eq!(deployed.seen.into_iter().collect::<Vec<_>>(), functions(), "every program had its part");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_run_on_github_ends_with_a_merged_pull_request() {
    let world = World::quick();
    let github = FakeGitHub::start().await;
    world.git(&["push", "--quiet", github.git_dir().to_str().unwrap(), "main"]);
    // The answer to the opened pull request is lost: the machine calls again, and finds it.
    github.fail("POST", "/pulls", Fault::Lost);
    let input = request(&world, "acme/app");
    let secret = BTreeMap::from([(Names::for_stage("local").forge_secret, github.app_secret())]);
    let run_id = RunId::new("r-1").unwrap();
    let mut deployed = Deployed::over(&world, secret).await;
    let run = tokio::time::timeout(PATIENCE, deployed.run(&run_id, &input)).await.expect("the run comes to its end");
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
