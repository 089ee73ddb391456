//! A team with the stage `dev`, as the command line reaches it: AWS' services on the embedded cloud's loopback, and
//! beside them CloudFormation and the HTTP API, which hands each request to the real handlers with whoever signed it.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use embedded_cloud::{Attachment, Cloud, CloudOptions, FunctionError, FunctionRegistry, StreamRule};
use flate2::Compression;
use flate2::write::GzEncoder;
use lambda_host::{OsRandomness, SystemClock};
use run_model::change_set::{ChangeSet, Edit, Overlay};
use run_model::evidence::{EVIDENCE_SCHEMA, Evidence, Purpose};
use run_model::gate::Inquiry;
use run_model::person::{ApproverRole, principal};
use run_model::repositories::Repositories;
use run_model::risk::{Risk, RiskLevel, RiskReason};
use run_model::run::RunRecord;
use run_model::snapshot::SnapshotRef;
use run_model::{RepoPath, RunId, Sha256};
use serde_json::{Value, json};
use store::{Names, NewGrant, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::machines::{definitions, machine_arn};
use crate::state::options;
use crate::{Ended, Running, World};

const STAGE: &str = "dev";
/// After so long what should happen has not.
const PATIENCE: Duration = Duration::from_secs(60);
const COMMIT: &str = "cccccccccccccccccccccccccccccccccccccccc";

/// A team and its stage. Everybody's access key is their name; `expired` has a session that is over, and `stranger` may not use
/// the API.
pub struct Team {
    pub store: Store,
    world: World,
    aws: String,
    gateway: String,
    _cloud: Cloud,
}

impl Team {
    /// A stage where a run stands at its gate as soon as it was asked for. `ann` is a developer, `bob` a tech lead.
    pub async fn open() -> Self {
        let world = World::quick();
        let names = Names { repositories: Repositories::parse("acme/app"), ..Names::for_stage(STAGE) };
        let rule = StreamRule {
            table: names.table.clone(),
            function: "task-callback".into(),
            event_names: vec!["INSERT".into()],
            key_attribute: "pk".into(),
            key_prefix: "OUTBOX#".into(),
        };
        let options =
            CloudOptions { machines: machines(), stream_rules: vec![rule], ..options(&world.path("account")) };
        let Attachment::Driver(mut cloud) = Cloud::open(options).await.unwrap() else { panic!("somebody drives") };
        let sdk = cloud.sdk_config();
        let store = Store::new(&sdk, names, Arc::new(SystemClock), Arc::new(OsRandomness));
        store.create_table_and_bucket().await.unwrap();
        store.ensure_signing_secret().await.unwrap();
        for (name, role) in [("ann", ApproverRole::Developer), ("bob", ApproverRole::TechLead)] {
            let user = principal(&format!("arn:aws:iam::000000000000:user/{name}")).unwrap();
            let grant = NewGrant { name: name.into(), roles: [role].into(), lifetime_seconds: 3_600 };
            store.grant_principal(&user, grant).await.unwrap();
        }
        cloud.tell_status_changes(embedded_cloud::StatusRule::to("events"));
        cloud.start(functions(&sdk, &store)).await.unwrap();
        let aws = format!("http://{}", cloud.serve_loopback().await.unwrap());
        let gateway = Gateway::open(&sdk, &store).await;
        Self { store, world, aws, gateway, _cloud: cloud }
    }

    fn command(&self, who: &str, arguments: &[&str]) -> std::process::Command {
        let mut command = self.world.command(arguments);
        command.env_remove("AWS_SESSION_TOKEN").env_remove("AWS_PROFILE").envs([
            ("AWS_ENDPOINT_URL", self.aws.as_str()),
            ("AWS_ENDPOINT_URL_CLOUDFORMATION", &self.gateway),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", who),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ]);
        command
    }

    /// Runs the program with this person's credentials to its end.
    pub fn gatewright(&self, who: &str, arguments: &[&str]) -> Ended {
        tokio::task::block_in_place(|| Ended::of(&self.command(who, arguments).output().unwrap()))
    }

    /// The same, in the background.
    pub fn spawn(&self, who: &str, arguments: &[&str]) -> Running {
        Running::of(self.command(who, arguments).spawn().unwrap())
    }

    /// Runs it without credentials.
    pub fn without_credentials(&self, arguments: &[&str]) -> Ended {
        Ended::of(&self.command("ann", arguments).env_remove("AWS_ACCESS_KEY_ID").output().unwrap())
    }

    /// Fails if the program kept anything on this machine.
    pub fn expect_nothing_kept_here(&self) {
        assert!(!self.world.state().exists(), "a stage needs no state folder");
    }
}

/// Our machines, but that a run which was admitted goes on at its gate.
fn machines() -> Vec<(String, String)> {
    let at_the_gate = |(name, definition): (String, String)| {
        if name != "pipeline" {
            return (name, definition);
        }
        let mut pipeline: Value = serde_json::from_str(&definition).unwrap();
        let admission = &mut pipeline["States"]["Admit the request"];
        admission["Next"] = "Does the change need a gate?".into();
        admission["Assign"]["gate"] = json!({ "needed": true, "timeout_seconds": 1800 });
        (name, pipeline.to_string())
    };
    definitions().into_iter().map(at_the_gate).collect()
}

/// The functions that a run passes between its gate and its end, as they are; what comes before is taken as done.
fn functions(sdk: &aws_types::SdkConfig, store: &Store) -> FunctionRegistry {
    let names = || store.names().clone();
    let (clock, chance) = (Arc::new(SystemClock), Arc::new(OsRandomness));
    let control = Arc::new(run_control::Context::new(sdk, names(), clock.clone(), chance.clone()));
    let opener = Arc::new(gate_open::Context::new(sdk, names(), clock.clone(), chance.clone()));
    let callback = Arc::new(task_callback::Context::new(sdk, names(), clock.clone(), chance.clone()));
    let teller = Arc::new(events::Context::new(sdk, names(), clock, chance));
    let (admitted, answering, landed) = (store.clone(), store.clone(), store.clone());
    FunctionRegistry::new()
        .with("run-control", move |event, _| {
            let (control, store) = (control.clone(), admitted.clone());
            async move {
                let is_admission = event["action"] == "admit";
                let answer = run_control::handle(&control, event).await.map_err(FunctionError::from)?;
                if is_admission {
                    stand_before_the_gate(&store, &RunId::new(answer["run_id"].as_str().unwrap()).unwrap()).await;
                }
                Ok(answer)
            }
        })
        .with("gate-open", move |event, _| {
            let opener = opener.clone();
            async move { gate_open::handle(&opener, event).await.map_err(FunctionError::from) }
        })
        .with("task-callback", move |event, _| {
            let callback = callback.clone();
            async move { task_callback::handle(&callback, event).await.map_err(FunctionError::from) }
        })
        .with("events", move |event, _| {
            let teller = teller.clone();
            async move { events::handle(&teller, event).await.map_err(FunctionError::from) }
        })
        .with("reviewer", move |event, _| {
            let store = answering.clone();
            async move {
                let run_id = RunId::new(event["run_id"].as_str().unwrap()).unwrap();
                let inquiry = serde_json::from_value(event["question"].clone()).unwrap();
                let inquiry: Inquiry = store.get_json(&inquiry).await.unwrap();
                let text = format!("asked by {}, so I say it", inquiry.seen_as);
                let answer = store.put_json(&run_id, &json!({ "text": text, "places": [] })).await.unwrap();
                Ok(json!({ "status": "done", "output": answer, "overlay": event["overlay"] }))
            }
        })
        .with("code-host", move |event, _| {
            let store = landed.clone();
            async move {
                let run_id = RunId::new(event["run_id"].as_str().unwrap()).unwrap();
                let branch = format!("gatewright/{run_id}");
                store.update_run(&run_id, |run| run.branch = Some(branch.clone())).await.unwrap();
                Ok(json!({ "branch": branch }))
            }
        })
}

/// Gives a run what the stages up to its gate leave behind.
async fn stand_before_the_gate(store: &Store, run_id: &RunId) {
    let task = json!({"id": "fix", "title": "t", "description": "d", "role": "developer"});
    let plan = store.put_json(run_id, &json!({"summary": "made right", "tasks": [task]})).await.unwrap();
    let overlay = Overlay([(RepoPath::new("sum.sh").unwrap(), Edit::Write("echo 3\n".into()))].into());
    let change = store.put_json(run_id, &ChangeSet { base_commit: COMMIT.into(), overlay }).await.unwrap();
    let (purpose, tree_sha256) = (Purpose::Baseline, Sha256::of(b"the base"));
    let (schema, commands, layers) = (EVIDENCE_SCHEMA, Vec::new(), Vec::new());
    let baseline =
        Evidence { schema, purpose, tree_sha256, overlay_sha256: None, commands, layers, toolchain: String::new() };
    let baseline = store.put_json(run_id, &baseline).await.unwrap();
    let mut empty = GzEncoder::new(Vec::new(), Compression::fast());
    empty.write_all(&[0; 1024]).unwrap();
    let (archive, archive_key) = (empty.finish().unwrap(), format!("runs/{run_id}/snapshot.tar.gz"));
    let snapshot = SnapshotRef {
        commit: COMMIT.into(),
        archive_sha256: Sha256::of(&archive),
        manifest_key: format!("runs/{run_id}/manifest.json"),
        archive_key: archive_key.clone(),
    };
    store.put_object(&archive_key, archive).await.unwrap();
    let medium = Risk::of(vec![RiskReason::new(RiskLevel::Medium, "test", "as the test says")]);
    let fill = |run: &mut RunRecord| {
        run.snapshot = Some(snapshot.clone());
        run.evidence = vec![(Purpose::Baseline, baseline.clone())];
        run.plan = Some(plan.clone());
        // Nobody reads the design at a gate; it has to be there.
        run.design = Some(plan.clone());
        run.change_set = Some(change.clone());
        run.plan_risk = Some(medium.clone());
        run.risk = Some(medium.clone());
        run.commit = Some(COMMIT.into());
    };
    store.update_run(run_id, fill).await.unwrap();
}

/// CloudFormation and the HTTP API.
struct Gateway {
    address: String,
    api: api::Context,
    gates: gate_callback::Context,
}

impl Gateway {
    /// Answers until the test ends; the address.
    async fn open(sdk: &aws_types::SdkConfig, store: &Store) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (names, clock, chance) = (store.names(), Arc::new(SystemClock), Arc::new(OsRandomness));
        let gateway = Arc::new(Self {
            address: address.clone(),
            api: api::Context::new(sdk, names.clone(), clock.clone(), chance.clone(), machine_arn("pipeline")),
            gates: gate_callback::Context::new(sdk, names.clone(), clock, chance),
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let gateway = gateway.clone();
                tokio::spawn(async move { gateway.answer(stream).await });
            }
        });
        address
    }

    async fn answer(&self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        let (head, body) = loop {
            if stream.read_buf(&mut bytes).await.unwrap() == 0 {
                return;
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = header(head, "content-length").map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                break (head.to_owned(), body.to_owned());
            }
        };
        let target = head.split(' ').nth(1).unwrap();
        let (status, answer) = match target {
            "/" => self.cloud_formation(&head, &body),
            path => self.http_api(&head, path, &body).await,
        };
        let length = answer.len();
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{answer}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }

    fn cloud_formation(&self, head: &str, body: &str) -> (u64, String) {
        let error = |code: &str, message: &str| {
            let error = format!("<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>");
            (400, format!("<ErrorResponse>{error}</ErrorResponse>"))
        };
        if signer(head, "cloudformation") == "expired" {
            return error("ExpiredToken", "The security token included in the request is expired");
        }
        let stage = body.split("StackName=gatewright-").nth(1).unwrap();
        let status = match stage {
            STAGE => "UPDATE_COMPLETE",
            "moving" => "UPDATE_IN_PROGRESS",
            "broken" => "ROLLBACK_COMPLETE",
            _ => return error("ValidationError", &format!("Stack with id gatewright-{stage} does not exist")),
        };
        let outputs = BTreeMap::from([
            ("ApiUrl", self.address.clone()),
            ("BucketName", Names::for_stage(STAGE).bucket),
            ("PipelineArn", machine_arn("pipeline")),
            ("PipelineStartArn", machine_arn("pipeline")),
            ("TaskArn", machine_arn("task")),
            ("TaskGraphArn", machine_arn("task-graph")),
        ]);
        let outputs = outputs.into_iter().map(|(key, value)| {
            format!("<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>")
        });
        let outputs: String = outputs.collect();
        let names = format!("<StackName>gatewright-{stage}</StackName><StackStatus>{status}</StackStatus>");
        let stack = format!("{names}<Outputs>{outputs}</Outputs>");
        let stacks = format!("<DescribeStacksResult><Stacks><member>{stack}</member></Stacks></DescribeStacksResult>");
        (200, format!("<DescribeStacksResponse xmlns=\"http://a\">{stacks}</DescribeStacksResponse>"))
    }

    /// As the gateway does it: payload format 2.0, with the principal that signed.
    async fn http_api(&self, head: &str, path: &str, body: &str) -> (u64, String) {
        let who = signer(head, "execute-api");
        if who == "stranger" {
            return (403, json!({ "message": "Forbidden" }).to_string());
        }
        let method = head.split(' ').next().unwrap();
        let iam = json!({ "userArn": format!("arn:aws:iam::000000000000:user/{who}") });
        let context = json!({
            "stage": "$default", "http": { "method": method, "path": path }, "authorizer": { "iam": iam },
        });
        let event = json!({
            "version": "2.0", "rawPath": path, "requestContext": context, "body": body, "isBase64Encoded": false,
        });
        let answer = if path.starts_with("/iam/v1/gates/") {
            gate_callback::handle(&self.gates, event).await.unwrap()
        } else {
            api::handle(&self.api, event).await.unwrap()
        };
        let body = answer["body"].as_str().unwrap().to_owned();
        (answer["statusCode"].as_u64().unwrap(), body)
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// The access key of whoever signed a request to this service.
fn signer<'a>(head: &'a str, service: &str) -> &'a str {
    let authorization = header(head, "authorization").unwrap();
    let credential = authorization.split_once("Credential=").unwrap().1.split(',').next().unwrap();
    let scope: Vec<&str> = credential.split('/').collect();
    assert_eq!(scope[2..], ["us-east-1", service, "aws4_request"]);
    scope[0]
}

/// The run that the program said it started.
pub fn run_of(ended: &Ended) -> RunId {
    let line = ended.stderr.lines().find_map(|line| line.strip_prefix("run ")).unwrap();
    RunId::new(line.trim()).unwrap()
}

/// Waits for a run's end, which has to be on its way; fails if it does not come.
pub async fn ended(store: &Store, run_id: &RunId) -> RunRecord {
    let end = async {
        loop {
            let run = store.run(run_id).await.unwrap();
            if run.status.is_final() {
                return run;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, end).await.unwrap()
}

/// A JSON list as it was printed.
pub fn listed(ended: &Ended) -> Vec<Value> {
    ended.json().as_array().cloned().unwrap()
}
