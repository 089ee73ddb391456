//! A stage on the embedded cloud alone: the programs that are deployed as Lambdas serve the Lambda Runtime API, and each asks
//! AWS over HTTP as it would in a Lambda.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use embedded_cloud::{Attachment, Cloud, CloudOptions, StreamRule};
use lambda_host::{OsRandomness, SystemClock};
use run_model::person::ApproverRole;
use run_model::run::{RunRecord, RunStatus};
use run_model::{Clock, RunId};
use runner::Runner;
use sandbox::Sandbox;
use schedules::{OneShots, Place};
use serde_json::{Value, json};
use store::{GrantKind, Names, NewGrant, Store};
use tokio::sync::{Notify, mpsc};

use crate::World;
use crate::machines::{definitions, machine_arn};
use crate::programs::{self, Programs};
use crate::state::options;
use crate::world::program;

/// A cloud with our machines, whose functions are the programs.
pub struct Alone {
    pub store: Store,
    programs: Arc<Programs>,
    /// The bearers of two people in every role.
    pub ann: String,
    pub ben: String,
    answered: mpsc::UnboundedReceiver<String>,
    /// The functions that answered.
    pub seen: BTreeSet<String>,
    jobs: Arc<Notify>,
    pub cloud: Cloud,
}

impl Alone {
    pub async fn over(world: &World, environment_secrets: BTreeMap<String, Value>) -> Self {
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
        let repositories = format!("acme/app,{}", world.repository().display());
        let programs = Arc::new(Programs::start(&format!("http://{address}"), &repositories).await);
        cloud.tell_status_changes(embedded_cloud::StatusRule::to("events"));
        cloud.start(programs.registry(&sender)).await.unwrap();
        let sandbox = Sandbox::with_child(&program("gatewright"));
        let runner = Runner::new(store.clone(), sandbox, world.state(), Arc::new(SystemClock), "the-runner");
        let jobs = Arc::new(Notify::new());
        tokio::spawn(runner.run(jobs.clone()));
        // It asks no API that would note it.
        store.note_runner("the-runner").await.unwrap();
        let (ann, ben) = (bearer(&store, "ann").await, bearer(&store, "ben").await);
        Self { store, programs, ann, ben, answered, seen: BTreeSet::new(), jobs, cloud }
    }

    /// Asks for a run as ann, has it approved at its gate, and returns its record at the end.
    pub async fn run(&mut self, request: &Value) -> RunRecord {
        let ann = self.ann.clone();
        let (status, started) = self.http("api", &ann, "POST", "/api/v1/orchestrate", request).await;
        assert_eq!(status, 202, "{started}");
        let run_id = &RunId::new(started["run_id"].as_str().unwrap()).unwrap();
        self.until(run_id, |run| run.status == RunStatus::ApprovalPending).await;
        let gate = self.gate(run_id).await;
        let ben = self.ben.clone();
        assert_eq!(self.approve(&ann, &gate).await.0, 403, "it is her own run");
        let (status, decided) = self.approve(&ben, &gate).await;
        assert_eq!((status, &decided["state"]), (200, &json!("approved")), "{decided}");
        self.until(run_id, |run| run.status.is_final()).await
    }

    /// Starts an execution as the console does: with nothing but a name and what a person types. Its ARN.
    pub async fn start_in_the_console(&self, name: &str, input: &Value) -> String {
        let step_functions = aws_sdk_sfn::Client::new(&self.cloud.sdk_config());
        let start = step_functions.start_execution().state_machine_arn(machine_arn("pipeline")).name(name);
        start.input(input.to_string()).send().await.unwrap().execution_arn
    }

    /// The run's record once it looks so; fails if the run ends otherwise.
    pub async fn until(&mut self, run_id: &RunId, wanted: impl Fn(&RunRecord) -> bool) -> RunRecord {
        while let Some(function) = self.answered.recv().await {
            if function == "test-runner" {
                self.jobs.notify_one();
            }
            self.seen.insert(function);
            // Nothing but the functions writes the record, so that a look after each answer sees all that it comes to.
            let Ok(run) = self.store.run(run_id).await else { continue };
            if wanted(&run) {
                return run;
            }
            assert!(!run.status.is_final(), "{:?}", run.outcome);
        }
        panic!("the programs are gone")
    }

    /// The run's newest gate, as it is shown.
    pub async fn gate(&mut self, run_id: &RunId) -> Value {
        let gate = self.store.run_gates(run_id).await.unwrap().pop().unwrap();
        let (path, ann) = (format!("/api/v1/gates/{}", gate.gate_id), self.ann.clone());
        let (status, shown) = self.http("gate-callback", &ann, "GET", &path, &Value::Null).await;
        assert_eq!(status, 200, "{shown}");
        shown
    }

    /// Somebody approves what the gate showed: status, and the gate as it stands then.
    pub async fn approve(&mut self, bearer: &str, gate: &Value) -> (u64, Value) {
        let path = format!("/api/v1/gates/{}", gate["gate_id"].as_str().unwrap());
        let decision = json!({ "decision": "approve", "binding": gate["binding"] });
        self.http("gate-callback", bearer, "POST", &path, &decision).await
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

/// A new bearer of a person of this name in every role.
pub async fn bearer(store: &Store, name: &str) -> String {
    let grant = NewGrant { name: name.into(), roles: ApproverRole::ALL.into(), lifetime_seconds: 3_600 };
    store.add_bearer(GrantKind::Person, grant).await.unwrap().0
}

/// As the programs make them.
pub fn one_shots(cloud: &Cloud, store: &Store) -> OneShots {
    let place = Place { group: store.names().schedule_group.clone(), function_arn: "-".into(), role_arn: "-".into() };
    OneShots::new(&cloud.sdk_config(), place)
}
