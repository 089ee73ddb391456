//! A stage with its table, objects and machines, and who asks it.

use std::collections::BTreeMap;
use std::sync::Arc;

use embedded_cloud::{ACCOUNT, Attachment, Cloud, CloudOptions, FunctionRegistry, REGION};
use lambda_host::Environment;
use run_model::evidence::{CheckJob, EVIDENCE_SCHEMA, Evidence, Purpose};
use run_model::person::ApproverRole;
use run_model::repositories::Repositories;
use run_model::run::Priority;
use run_model::snapshot::SnapshotRef;
use run_model::time::{SeededRandomness, VirtualClock};
use run_model::{JobId, RunId, Sha256};
use serde_json::{Value, json};
use store::{Answer, GrantKind, Names, NewEvent, NewGrant, OutboxKind, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const START_MS: i64 = 1_800_000_000_000;
pub(crate) const ADMIN: &str = "arn:aws:sts::123456789012:assumed-role/admin/ann";
/// It waits until it is stopped.
pub(crate) const WAITING: &str = r#"{"QueryLanguage": "JSONata", "StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 9000000, "End": true}}}"#;

pub(crate) struct World {
    pub(crate) context: api::Context,
    pub(crate) store: Store,
    pub(crate) clock: VirtualClock,
    pub(crate) step_functions: aws_sdk_sfn::Client,
    pub(crate) secrets: aws_sdk_secretsmanager::Client,
    pub(crate) address: String,
    pub(crate) ann: String,
    pub(crate) host: String,
    _cloud: Cloud,
    _folder: tempfile::TempDir,
}

pub(crate) fn machine(name: &str) -> String {
    format!("arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:gatewright-dev-{name}")
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = VirtualClock::at(START_MS);
        let machines =
            ["pipeline", "task-graph", "task"].map(|name| (format!("gatewright-dev-{name}"), WAITING.to_owned()));
        let options = CloudOptions {
            machines: machines.into(),
            ..CloudOptions::new(
                folder.path().join("state"),
                Arc::new(clock.clone()),
                Arc::new(SeededRandomness::new(1)),
            )
        };
        let Attachment::Driver(mut cloud) = Cloud::open(options).await.unwrap() else { panic!("somebody drives") };
        cloud.start(FunctionRegistry::new()).await.unwrap();
        let address = cloud.serve_loopback().await.unwrap().to_string();
        let url = format!("http://{address}");
        let variables = [
            ("AWS_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", "testing"),
            ("AWS_SECRET_ACCESS_KEY", "testing"),
            ("AWS_ENDPOINT_URL", url.as_str()),
        ];
        let sdk = Environment::of(variables).sdk_config().unwrap();
        let names = Names { repositories: Repositories::parse("o/r"), ..Names::for_stage("dev") };
        let time = Arc::new(clock.clone());
        let store = Store::new(&sdk, names.clone(), time.clone(), Arc::new(SeededRandomness::new(2)));
        store.create_table_and_bucket().await.unwrap();
        store.ensure_signing_secret().await.unwrap();
        let grant = |name: &str| NewGrant {
            name: name.into(),
            roles: [ApproverRole::Developer].into(),
            lifetime_seconds: 90 * 86_400,
        };
        store.grant_principal("123456789012:role/admin", grant("admins")).await.unwrap();
        let (ann, _) = store.add_bearer(GrantKind::Person, grant("ann")).await.unwrap();
        let (host, _) = store.add_bearer(GrantKind::Runner, grant("host")).await.unwrap();
        let chance = Arc::new(SeededRandomness::new(3));
        Self {
            context: api::Context::new(&sdk, names, time, chance, machine("pipeline")),
            store,
            clock,
            step_functions: aws_sdk_sfn::Client::new(&sdk),
            secrets: aws_sdk_secretsmanager::Client::new(&sdk),
            address,
            ann,
            host,
            _cloud: cloud,
            _folder: folder,
        }
    }

    pub(crate) async fn send(
        &self,
        bearer: Option<&str>,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        body: &str,
    ) -> (u64, Value) {
        let query: BTreeMap<&str, &str> = query.iter().copied().collect();
        let mut event = json!({
            "version": "2.0", "rawPath": path, "body": body, "isBase64Encoded": false, "queryStringParameters": query,
            "requestContext": {
                "stage": "$default", "domainName": "api.example", "http": { "method": method, "path": path },
            },
        });
        if let Some(bearer) = bearer {
            event["headers"] = json!({ "authorization": format!("Bearer {bearer}") });
        }
        if path.starts_with("/iam/") {
            event["requestContext"]["authorizer"] = json!({ "iam": { "userArn": ADMIN } });
        }
        let answer = api::handle(&self.context, event).await.unwrap();
        let body = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap_or(Value::Null);
        (answer["statusCode"].as_u64().unwrap(), body)
    }

    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> (u64, Value) {
        self.send(Some(&self.ann), "GET", &format!("/api/v1/{path}"), query, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u64, Value) {
        self.send(Some(&self.ann), "POST", &format!("/api/v1/{path}"), &[], &body.to_string()).await
    }

    pub(crate) async fn as_runner(&self, path: &str, body: &Value) -> (u64, Value) {
        self.send(Some(&self.host), "POST", &format!("/api/v1/{path}"), &[], &body.to_string()).await
    }

    /// Asks for a run and admits it as `run-control` would.
    pub(crate) async fn run(&self, key: &str) -> RunId {
        let asked = json!({ "repository": "o/r", "requirements": "count", "idempotency_key": key });
        let id = RunId::new(self.post("orchestrate", &asked).await.1["run_id"].as_str().unwrap()).unwrap();
        let start = self.store.start(id.as_str()).await.unwrap().unwrap();
        let arn = format!("arn:aws:states:{REGION}:{ACCOUNT}:execution:gatewright-dev-pipeline:{id}");
        let artefact = json!({ "key": "k", "sha256": "0".repeat(64), "bytes": 1 });
        let record = json!({
            "schema": 1, "version": 0, "run_id": id, "status": "running", "stage": "admit", "repository": "o/r",
            "base_ref": "HEAD", "requirement": start.input["requirement"], "config": artefact,
            "requester": start.requester, "executions": 1, "attempt": 1, "execution_arn": arn,
            "created_ms": run_model::Clock::now_ms(&self.clock), "updated_ms": 0, "notices": [], "evidence": [],
        });
        let budget = serde_json::from_value(json!({
            "limit_microusd": 9, "limit_tokens": 9, "committed_microusd": 0, "committed_tokens": 0,
        }));
        self.store.admit(serde_json::from_value(record).unwrap(), budget.unwrap()).await.unwrap();
        id
    }

    pub(crate) async fn executions(&self) -> usize {
        let listed = self.step_functions.list_executions().state_machine_arn(machine("pipeline")).send().await.unwrap();
        listed.executions().len()
    }

    /// What stands at a signed address.
    pub(crate) async fn fetch(&self, url: &str) -> String {
        let path = url.strip_prefix(&format!("http://{}", self.address)).unwrap();
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    pub(crate) async fn queue(&self, id: &str, run: &RunId, priority: Priority) -> JobId {
        let inputs = [
            ("archive", "the archive"),
            ("manifest", "{}"),
            ("config", "{}"),
            ("setup", "the manifests"),
            ("held", "held out"),
        ];
        for (key, content) in inputs {
            self.store.put_object(&format!("runs/{run}/{key}"), content.into()).await.unwrap();
        }
        let at = |key: &str| format!("runs/{run}/{key}");
        let job = CheckJob {
            job_id: JobId::new(id).unwrap(),
            run_id: run.clone(),
            purpose: Purpose::Final,
            priority,
            snapshot: SnapshotRef {
                commit: "c".into(),
                archive_key: at("archive"),
                archive_sha256: Sha256::of(b"the archive"),
                manifest_key: at("manifest"),
            },
            overlay_key: None,
            setup_key: Some(at("setup")),
            held_out_key: Some(at("held")),
            config_key: at("config"),
        };
        let told = NewEvent::new("checks.queued", "the checks run");
        self.store.put_job(job, &format!("token of {id}"), told).await.unwrap();
        JobId::new(id).unwrap()
    }

    pub(crate) async fn answer(&self, job: &JobId) -> Answer {
        self.store.answer_for(OutboxKind::Job, job.as_str()).await.unwrap()
    }
}

pub(crate) fn evidence(purpose: Purpose) -> Evidence {
    Evidence {
        schema: EVIDENCE_SCHEMA,
        purpose,
        tree_sha256: Sha256::of(b"tree"),
        overlay_sha256: None,
        commands: Vec::new(),
        layers: Vec::new(),
        toolchain: String::new(),
    }
}
