//! Answers on their way from the table to an execution that waits.

#![allow(clippy::unwrap_used, reason = "what a test builds on has to work")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sfn::config::retry::RetryConfig;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use embedded_cloud::{Attachment, Cloud, CloudOptions, FunctionRegistry};
use run_model::budget::Budget;
use run_model::evidence::CheckJob;
use run_model::gate::{Approver, Gate, GateDecision};
use run_model::run::RunRecord;
use run_model::time::{SeededRandomness, VirtualClock};
use run_model::{ErrorName, JobId, Sha256};
use serde_json::{Value, json};
use store::{Names, NewEvent, OutboxState, Store};
use tokio::sync::mpsc;

const MACHINE: &str = "arn:aws:states:us-east-1:000000000000:stateMachine:asks";
const START_MS: i64 = 1_800_000_000_000;

/// What all tests of this program logged: a subscriber of one thread would miss what other threads saw first.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct World {
    store: Store,
    context: task_callback::Context,
    machines: aws_sdk_sfn::Client,
    sdk: aws_types::SdkConfig,
    dynamodb: aws_sdk_dynamodb::Client,
    tokens: mpsc::UnboundedReceiver<String>,
    _cloud: Cloud,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_writer(|| Log);
        // Another test's world may have been faster.
        let _ = log.try_init();
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(VirtualClock::at(START_MS));
        let asks = json!({
            "QueryLanguage": "JSONata",
            "StartAt": "Ask",
            "States": { "Ask": {
                "Type": "Task",
                "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
                "Arguments": { "FunctionName": "ask", "Payload": { "token": "{% $states.context.Task.Token %}" } },
                "TimeoutSeconds": 3600,
                "End": true
            }}
        });
        let options = CloudOptions {
            machines: vec![("asks".into(), asks.to_string())],
            ..CloudOptions::new(folder.path().join("state"), clock.clone(), Arc::new(SeededRandomness::new(1)))
        };
        let Attachment::Driver(mut cloud) = Cloud::open(options).await.unwrap() else { panic!("nobody else drives") };
        let (asked, tokens) = mpsc::unbounded_channel();
        let ask = move |event: Value, _| {
            asked.send(event["token"].as_str().unwrap().to_owned()).unwrap();
            async { Ok(Value::Null) }
        };
        cloud.start(FunctionRegistry::new().with("ask", ask)).await.unwrap();
        let (sdk, names) = (cloud.sdk_config(), Names::for_stage("local"));
        let store = Store::new(&sdk, names.clone(), clock.clone(), Arc::new(SeededRandomness::new(2)));
        store.create_table_and_bucket().await.unwrap();
        store.ensure_signing_secret().await.unwrap();
        Self {
            context: task_callback::Context::new(&sdk, names, clock, Arc::new(SeededRandomness::new(3))),
            machines: aws_sdk_sfn::Client::new(&sdk),
            dynamodb: aws_sdk_dynamodb::Client::new(&sdk),
            sdk,
            store,
            tokens,
            _cloud: cloud,
            _folder: folder,
        }
    }

    /// An execution that waits, with its token.
    async fn ask(&mut self) -> (String, String) {
        let started = self.machines.start_execution().state_machine_arn(MACHINE).input("{}").send().await.unwrap();
        (started.execution_arn, self.tokens.recv().await.unwrap())
    }

    /// A job with this token, claimed by `runner`.
    async fn job(&self, id: &str, token: &str) -> JobId {
        let job: CheckJob = serde_json::from_value(json!({
            "job_id": id, "run_id": "r-1", "purpose": "task", "config_key": "c",
            "snapshot": { "commit": "c0", "archive_key": "a", "archive_sha256": Sha256::of(b"a"), "manifest_key": "m" },
        }))
        .unwrap();
        let job_id = job.job_id.clone();
        self.store.put_job(job, token, NewEvent::new("checks.queued", "the checks run")).await.unwrap();
        self.store.claim_job("runner").await.unwrap().unwrap();
        job_id
    }

    /// The images of all outbox items, as the stream gives them.
    async fn images(&self) -> BTreeMap<String, Value> {
        let spell = |value: &AttributeValue| match value {
            AttributeValue::S(text) => json!({ "S": text }),
            AttributeValue::N(number) => json!({ "N": number }),
            other => panic!("{other:?}"),
        };
        let rows = self.dynamodb.scan().table_name(&self.store.names().table).send().await.unwrap().items.unwrap();
        let outbox = rows.iter().filter_map(|row| {
            let id = row["pk"].as_s().unwrap().strip_prefix("OUTBOX#")?.to_owned();
            Some((id, row.iter().map(|(name, value)| (name.clone(), spell(value))).collect()))
        });
        outbox.collect()
    }

    /// Hands all outbox items to the function; the ids it hands back.
    async fn deliver(&self) -> Vec<String> {
        let records = self.images().await.into_iter().map(|(id, image)| record(&id, &image)).collect::<Vec<_>>();
        self.handle(records).await
    }

    async fn handle(&self, records: Vec<Value>) -> Vec<String> {
        let answer = task_callback::handle(&self.context, json!({ "Records": records })).await.unwrap();
        let failures = answer["batchItemFailures"].as_array().unwrap();
        failures.iter().map(|failure| failure["itemIdentifier"].as_str().unwrap().to_owned()).collect()
    }

    async fn states(&self) -> Vec<OutboxState> {
        let mut states = Vec::new();
        for id in self.images().await.into_keys() {
            states.push(self.store.outbox(&id).await.unwrap().state);
        }
        states
    }

    /// How an execution ended: status, output or error, cause.
    async fn end_of(&self, execution: &str) -> (String, String, String) {
        loop {
            let found = self.machines.describe_execution().execution_arn(execution).send().await.unwrap();
            if found.status().as_str() != "RUNNING" {
                let said = found.output().or(found.error()).unwrap_or_default().to_owned();
                return (found.status().as_str().into(), said, found.cause().unwrap_or_default().into());
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Answers for Step Functions, always the same, and lets everything else through.
#[derive(Clone, Debug)]
struct Refusing<T> {
    inner: T,
    status: u16,
    code: &'static str,
}

impl HttpClient for Refusing<SharedHttpClient> {
    fn http_connector(&self, settings: &HttpConnectorSettings, parts: &RuntimeComponents) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, parts);
        SharedHttpConnector::new(Refusing { inner, status: self.status, code: self.code })
    }
}

impl HttpConnector for Refusing<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if request.headers().get("x-amz-target").is_none_or(|target| !target.contains(".SendTask")) {
            return self.inner.call(request);
        }
        let body = json!({ "__type": self.code, "message": "no" }).to_string();
        let status = self.status.try_into().unwrap();
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::from(body))))
    }
}

/// A record of the stream; its sequence number is the item's id.
fn record(id: &str, image: &Value) -> Value {
    json!({ "eventName": "INSERT", "dynamodb": { "SequenceNumber": id, "NewImage": image } })
}

#[tokio::test]
async fn a_result_reaches_who_waits_once() {
    let mut world = World::new().await;
    let (execution, token) = world.ask().await;
    let job = world.job("j-1", &token).await;
    world.store.complete_job(&job, "runner", json!({ "evidence": 7 })).await.unwrap();
    for _ in 0..2 {
        assert!(world.deliver().await.is_empty());
        assert_eq!(world.states().await, [OutboxState::Delivered]);
    }
    let (status, output, _) = world.end_of(&execution).await;
    assert_eq!((status.as_str(), output.as_str()), ("SUCCEEDED", r#"{"evidence":7}"#));
}

#[tokio::test]
async fn a_failed_job_fails_the_state_by_its_name() {
    let mut world = World::new().await;
    let (execution, token) = world.ask().await;
    let job = world.job("j-1", &token).await;
    // Longer than Step Functions takes, and cut between two bytes of a character.
    let message = format!("x{}", "ä".repeat(20_000));
    world.store.fail_job(&job, "runner", "StoreUnavailable", &message).await.unwrap();
    assert!(world.deliver().await.is_empty());
    assert_eq!(world.states().await, [OutboxState::Delivered]);
    let (status, error, cause) = world.end_of(&execution).await;
    assert_eq!((status.as_str(), error.as_str()), ("FAILED", "StoreUnavailable"));
    assert!(message.starts_with(&cause) && cause.len() == 32_767, "{}", cause.len());
}

#[tokio::test]
async fn a_decision_reaches_the_gate_that_waits() {
    let mut world = World::new().await;
    let artefact = json!({ "key": "k", "sha256": Sha256::of(b"k"), "bytes": 1 });
    let run: RunRecord = serde_json::from_value(json!({
        "schema": 1, "version": 0, "run_id": "r-1", "status": "running", "stage": "gate", "repository": "/r",
        "base_ref": "HEAD", "requirement": artefact, "config": artefact, "requester": { "name": "ann", "seen_as": "local" },
        "executions": 1, "attempt": 1, "execution_arn": "arn:1", "created_ms": 0, "updated_ms": 0, "notices": [],
        "evidence": [],
    }))
    .unwrap();
    let budget = Budget { limit_microusd: 1, limit_tokens: 1, committed_microusd: 0, committed_tokens: 0 };
    world.store.admit(run, budget).await.unwrap();
    let (execution, token) = world.ask().await;
    let gate: Gate = serde_json::from_value(json!({
        "gate_id": "g-1", "run_id": "r-1", "risk": { "level": "medium", "reasons": [] }, "summary": "s",
        "binding": { "kind": "change", "base_commit": "c0", "content_sha256": Sha256::of(b"x"), "target": "b" },
        "opened_ms": START_MS, "deadline_ms": START_MS + 1, "state": { "state": "pending" },
    }))
    .unwrap();
    let gate = world.store.open_gate(gate, &token).await.unwrap();
    let ann = Approver { name: "ann".into(), seen_as: "self, local".into() };
    world.store.decide(&gate.gate_id, &gate.binding.hash(), GateDecision::Denied, ann, None).await.unwrap();
    assert!(world.deliver().await.is_empty());
    let output: Value = serde_json::from_str(&world.end_of(&execution).await.1).unwrap();
    assert_eq!(output, json!({ "gate_id": "g-1", "decision": "denied" }));
}

#[tokio::test]
async fn what_was_answered_by_another_hand_is_an_orphan_and_changes_nothing() {
    let mut world = World::new().await;
    let (execution, token) = world.ask().await;
    world.machines.send_task_success().task_token(&token).output("1").send().await.unwrap();
    let job = world.job("j-1", &token).await;
    world.store.complete_job(&job, "runner", json!(2)).await.unwrap();
    let nobodys = world.job("j-2", "no token at all").await;
    world.store.complete_job(&nobodys, "runner", json!(3)).await.unwrap();
    assert!(world.deliver().await.is_empty());
    assert_eq!(world.states().await, [OutboxState::Orphaned; 2]);
    assert_eq!(world.end_of(&execution).await.1, "1");
}

#[tokio::test]
async fn an_answer_that_is_not_ready_is_handed_back_and_holds_up_nobody() {
    let mut world = World::new().await;
    let (execution, token) = world.ask().await;
    let ready = world.job("j-1", &token).await;
    world.store.complete_job(&ready, "runner", json!(1)).await.unwrap();
    world.job("j-2", "another").await;
    let early = json!({
        "pk": { "S": "OUTBOX#early" }, "kind": { "S": "job" }, "about": { "S": "j-2" }, "state": { "S": "waiting" },
    });
    let mut records = vec![record("early", &early)];
    records.extend(world.images().await.iter().map(|(id, image)| record(id, image)));
    assert_eq!(world.handle(records).await, ["early"]);
    assert_eq!(world.states().await, [OutboxState::Delivered]);
    assert_eq!(world.end_of(&execution).await.0, "SUCCEEDED");
}

#[tokio::test]
async fn an_answer_that_can_never_be_given_does_not_block_the_stream() {
    let world = World::new().await;
    let job = world.job("j-1", "token").await;
    world.store.complete_job(&job, "runner", json!(1)).await.unwrap();
    let delete = world.dynamodb.delete_item().table_name(&world.store.names().table);
    let text = |text: &str| AttributeValue::S(text.into());
    delete.key("pk", text("JOB#j-1")).key("sk", text("JOB")).send().await.unwrap();
    assert!(world.deliver().await.is_empty());
    assert_eq!(world.states().await, [OutboxState::Orphaned]);
}

#[tokio::test]
async fn what_step_functions_refuses_is_an_orphan_at_once_and_what_may_pass_is_handed_back() {
    for (status, code, state) in [
        (400, "AccessDeniedException", OutboxState::Orphaned),
        (400, "ValidationException", OutboxState::Orphaned),
        (400, "SomethingThatNobodyKnowsYet", OutboxState::Orphaned),
        (400, "ThrottlingException", OutboxState::Waiting),
        (400, "ExpiredTokenException", OutboxState::Waiting),
        (500, "ServiceUnavailable", OutboxState::Waiting),
    ] {
        let mut world = World::new().await;
        let inner = world.sdk.http_client().unwrap();
        let refusing = world.sdk.to_builder().http_client(Refusing { inner, status, code });
        let sdk = refusing.retry_config(RetryConfig::disabled()).build();
        let clock = Arc::new(VirtualClock::at(START_MS));
        let names = world.store.names().clone();
        world.context = task_callback::Context::new(&sdk, names, clock, Arc::new(SeededRandomness::new(3)));
        let job = world.job("j-1", "token").await;
        world.store.complete_job(&job, "runner", json!(1)).await.unwrap();
        let handed_back = world.deliver().await.len();
        assert_eq!(world.states().await, [state], "{code}");
        assert_eq!(handed_back, usize::from(state == OutboxState::Waiting), "{code}");
    }
}

#[tokio::test]
async fn only_waiting_outbox_items_are_looked_at() {
    let world = World::new().await;
    let over = json!({
        "pk": { "S": "OUTBOX#x" }, "kind": { "S": "job" }, "about": { "S": "j-9" }, "state": { "S": "delivered" },
    });
    let other = json!({ "pk": { "S": "RUN#r-1" }, "sk": { "S": "RUN" } });
    let removed = json!({ "eventName": "REMOVE", "dynamodb": { "SequenceNumber": "3" } });
    assert!(world.handle(vec![record("1", &over), record("2", &other), removed]).await.is_empty());
    let error = task_callback::handle(&world.context, json!({ "detail": {} })).await.unwrap_err();
    assert_eq!(error.name, ErrorName::InvalidInput);
}

#[tokio::test]
async fn no_token_is_logged_however_the_delivery_ends() {
    let mut world = World::new().await;
    let (_, token) = world.ask().await;
    for id in ["j-1", "j-2"] {
        let job = world.job(id, &token).await;
        world.store.complete_job(&job, "runner", json!(1)).await.unwrap();
    }
    world.job("j-3", &token).await;
    let early = json!({
        "pk": { "S": "OUTBOX#early" }, "kind": { "S": "job" }, "about": { "S": "j-3" }, "state": { "S": "waiting" },
    });
    world.handle(vec![record("early", &early)]).await;
    world.deliver().await;
    assert_eq!(world.states().await, [OutboxState::Delivered, OutboxState::Orphaned]);
    let logged = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("could not be delivered yet"));
    let leak = logged.lines().find(|line| line.contains(&token));
    assert_eq!(leak, None);
}
