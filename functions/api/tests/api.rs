//! Every route over a real table, a real machine and real objects.

#![allow(clippy::unwrap_used, reason = "what a test builds on has to work")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use embedded_cloud::{ACCOUNT, Attachment, Cloud, CloudOptions, FunctionRegistry, REGION};
use lambda_host::Environment;
use run_model::evidence::{CheckJob, EVIDENCE_SCHEMA, Evidence, Purpose};
use run_model::person::{ApproverRole, named};
use run_model::repositories::Repositories;
use run_model::run::{Priority, RunStatus};
use run_model::snapshot::SnapshotRef;
use run_model::time::{SeededRandomness, VirtualClock};
use run_model::{JobId, RunId, Sha256};
use serde_json::{Value, json};
use store::{Answer, GrantKind, Names, NewEvent, NewGrant, OutboxKind, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const START_MS: i64 = 1_800_000_000_000;
const ADMIN: &str = "arn:aws:sts::123456789012:assumed-role/admin/ann";
/// It waits until it is stopped.
const WAITING: &str = r#"{"QueryLanguage": "JSONata", "StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 9000000, "End": true}}}"#;

struct World {
    context: api::Context,
    store: Store,
    clock: VirtualClock,
    step_functions: aws_sdk_sfn::Client,
    secrets: aws_sdk_secretsmanager::Client,
    address: String,
    ann: String,
    host: String,
    _cloud: Cloud,
    _folder: tempfile::TempDir,
}

fn machine(name: &str) -> String {
    format!("arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:gatewright-dev-{name}")
}

impl World {
    async fn new() -> Self {
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

    async fn send(
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

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> (u64, Value) {
        self.send(Some(&self.ann), "GET", &format!("/api/v1/{path}"), query, "").await
    }

    async fn post(&self, path: &str, body: &Value) -> (u64, Value) {
        self.send(Some(&self.ann), "POST", &format!("/api/v1/{path}"), &[], &body.to_string()).await
    }

    async fn as_runner(&self, path: &str, body: &Value) -> (u64, Value) {
        self.send(Some(&self.host), "POST", &format!("/api/v1/{path}"), &[], &body.to_string()).await
    }

    /// Asks for a run and admits it as `run-control` would.
    async fn run(&self, key: &str) -> RunId {
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

    async fn executions(&self) -> usize {
        let listed = self.step_functions.list_executions().state_machine_arn(machine("pipeline")).send().await.unwrap();
        listed.executions().len()
    }

    /// What stands at a signed address.
    async fn fetch(&self, url: &str) -> String {
        let path = url.strip_prefix(&format!("http://{}", self.address)).unwrap();
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    async fn queue(&self, id: &str, run: &RunId, priority: Priority) -> JobId {
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

    async fn answer(&self, job: &JobId) -> Answer {
        self.store.answer_for(OutboxKind::Job, job.as_str()).await.unwrap()
    }
}

fn evidence(purpose: Purpose) -> Evidence {
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

#[tokio::test]
async fn a_requirement_starts_a_run_of_whoever_asks() {
    let world = World::new().await;
    let asked = json!({
        "repository": "o/r", "requirements": "count", "base": "main", "priority": "high", "budget_usd": 2.5,
        "idempotency_key": "push-1",
    });
    let (status, started) = world.post("orchestrate", &asked).await;
    assert_eq!((status, &started["status"], &started["repeated"]), (202, &json!("accepted"), &json!(false)));
    assert!(started["budget"].as_str().unwrap().contains("limits.budget_usd"), "{started}");
    let id = started["run_id"].as_str().unwrap();
    let start = world.store.start(id).await.unwrap().unwrap();
    assert_eq!(start.requester.identities, [named("ann")].into());
    assert_eq!((&start.input["budget_microusd"], &start.input["priority"]), (&json!(2_500_000), &json!("high")));
    let arn = format!("arn:aws:states:{REGION}:{ACCOUNT}:execution:gatewright-dev-pipeline:{id}");
    let execution = world.step_functions.describe_execution().execution_arn(arn).send().await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(execution.input().unwrap()).unwrap(), start.input);
    // A repeated request is the same run; tasks is the same entrance.
    for route in ["orchestrate", "tasks"] {
        let (status, again) = world.post(route, &asked).await;
        assert_eq!((status, &again["run_id"], &again["repeated"]), (200, &started["run_id"], &json!(true)));
    }
    assert_eq!(world.executions().await, 1);
    let mut other = asked.clone();
    other["requirements"] = "something else".into();
    assert_eq!(world.post("orchestrate", &other).await.0, 409);
    // The same key of somebody else is another run, and a request without a key is always new.
    let (_, by_iam) = world.send(None, "POST", "/iam/v1/orchestrate", &[], &asked.to_string()).await;
    assert_ne!(by_iam["run_id"], started["run_id"]);
    let (one, two) = (
        json!({ "repository": "o/r", "description": "count" }),
        json!({ "repository": "o/r", "description": "count" }),
    );
    assert_ne!(world.post("tasks", &one).await.1["run_id"], world.post("tasks", &two).await.1["run_id"]);
    assert_eq!(world.executions().await, 4);
}

#[tokio::test]
async fn a_start_that_was_lost_half_way_is_taken_up() {
    let world = World::new().await;
    let asked = json!({ "repository": "o/r", "requirements": "count", "idempotency_key": "k" });
    let id = world.post("orchestrate", &asked).await.1["run_id"].as_str().unwrap().to_owned();
    let arn = format!("arn:aws:states:{REGION}:{ACCOUNT}:execution:gatewright-dev-pipeline:{id}");
    world.step_functions.stop_execution().execution_arn(arn).send().await.unwrap();
    // Its execution has ended: the same request still is the same run and starts nothing.
    let (status, again) = world.post("orchestrate", &asked).await;
    assert_eq!((status, again["run_id"].as_str().unwrap()), (200, id.as_str()));
    let (status, shown) = world.get(&format!("runs/{id}"), &[]).await;
    assert_eq!((status, &shown["status"]), (200, &json!("stopped")), "an end before admission is shown");
    let other = json!({ "repository": "o/r", "requirements": "count", "idempotency_key": "k2" });
    let other = world.post("orchestrate", &other).await.1["run_id"].as_str().unwrap().to_owned();
    assert_eq!(world.get(&format!("runs/{other}"), &[]).await.1["status"], "accepted");
}

#[tokio::test]
async fn a_request_that_does_not_fit_starts_nothing() {
    let world = World::new().await;
    let with = |field: &str, value: Value| {
        let mut body = json!({ "repository": "o/r", "requirements": "count" });
        body[field] = value;
        body
    };
    for body in [
        json!({}),
        json!([]),
        json!({ "requirements": "count" }),
        with("repository", json!("")),
        with("repository", json!("o/r x")),
        with("requirements", json!("  ")),
        with("base", json!("")),
        with("priority", json!("urgent")),
        with("budget_usd", json!(0)),
        with("budget_usd", json!(-1.5)),
        with("idempotency_key", json!("")),
        with("idempotency_key", json!("x".repeat(129))),
        with("requester", json!({ "name": "root", "seen_as": "local" })),
        with("config", json!({ "auto_approve": true })),
    ] {
        let (status, refused) = world.post("orchestrate", &body).await;
        assert_eq!((status, &refused["error"]["name"]), (400, &json!("InvalidInput")), "{body}");
        assert!(!refused["error"]["cure"].as_str().unwrap().is_empty());
    }
    let (status, _) = world.post("orchestrate", &with("requirements", json!("x".repeat(256 * 1024)))).await;
    assert_eq!(status, 413);
    for text in ["", "{", "\u{0}", "null"] {
        assert_eq!(world.send(Some(&world.ann), "POST", "/api/v1/orchestrate", &[], text).await.0, 400, "{text:?}");
    }
    assert_eq!(world.executions().await, 0);
}

#[tokio::test]
async fn a_repository_that_the_stage_does_not_work_on_starts_nothing() {
    let world = World::new().await;
    for stranger in ["mallory/r", "https://github.com/mallory/r", "/o/r", "o/r2"] {
        let asked = json!({ "repository": stranger, "requirements": "count" });
        let (status, refused) = world.post("orchestrate", &asked).await;
        assert_eq!((status, &refused["error"]["name"]), (403, &json!("NotAllowed")), "{stranger}");
        assert!(refused["error"]["cure"].as_str().unwrap().contains("aws deploy --stage STAGE --repository"));
    }
    assert_eq!(world.executions().await, 0);
    let spelt = json!({ "repository": "https://github.com/O/r.git", "requirements": "count" });
    assert_eq!(world.post("orchestrate", &spelt).await.0, 202);
}

#[tokio::test]
async fn who_has_no_role_looks_on_and_workflows_ask() {
    let world = World::new().await;
    let viewer = NewGrant { name: "vic".into(), roles: BTreeSet::new(), lifetime_seconds: 60 };
    let (vic, _) = world.store.add_bearer(GrantKind::Person, viewer.clone()).await.unwrap();
    let asked = json!({ "repository": "o/r", "requirements": "count" }).to_string();
    let by_role = "123456789012:role/admin";
    world.store.revoke_grant(by_role).await.unwrap();
    for (bearer, path) in [(Some(vic.as_str()), "/api/v1/orchestrate"), (None, "/iam/v1/tasks")] {
        let (status, refused) = world.send(bearer, "POST", path, &[], &asked).await;
        assert_eq!((status, &refused["error"]["name"]), (403, &json!("NotAllowed")), "{path}");
        assert!(refused["error"]["cure"].as_str().unwrap().contains("aws tokens add"), "{refused}");
    }
    assert_eq!(world.send(Some(&vic), "GET", "/api/v1/runs", &[], "").await.0, 200);
    assert_eq!(world.executions().await, 0);
    world.store.grant_workflow(by_role, viewer).await.unwrap();
    let (status, started) = world.send(None, "POST", "/iam/v1/orchestrate", &[], &asked).await;
    assert_eq!(status, 202, "{started}");
    let start = world.store.start(started["run_id"].as_str().unwrap()).await.unwrap().unwrap();
    assert_eq!((start.requester.seen_as.as_str(), start.requester.is_known()), ("workflow", false));
}

#[tokio::test]
async fn nobody_asks_without_a_grant_and_nobody_does_what_is_anothers() {
    let world = World::new().await;
    let job = world.queue("j-1", &world.run("k").await, Priority::Normal).await;
    let of_people = [
        ("POST", "orchestrate".to_owned()),
        ("POST", "tasks".into()),
        ("GET", "runs".into()),
        ("GET", "runs/r-1".into()),
        ("GET", "runs/r-1/events".into()),
    ];
    let of_runners = [
        "claim".to_owned(),
        format!("{job}/heartbeat"),
        format!("{job}/evidence"),
        format!("{job}/failure"),
        format!("{job}/give-back"),
    ];
    let of_runners = of_runners.map(|route| ("POST", format!("jobs/{route}")));
    for (method, route) in of_people.iter().chain(&of_runners) {
        let path = format!("/api/v1/{route}");
        assert_eq!(world.send(None, method, &path, &[], "{}").await.0, 401, "{route}");
        assert_eq!(world.send(Some("gwb_no"), method, &path, &[], "{}").await.0, 401, "{route}");
    }
    for (method, route) in &of_people {
        assert_eq!(
            world.send(Some(&world.host), method, &format!("/api/v1/{route}"), &[], "{}").await.0,
            403,
            "{route}"
        );
    }
    for (method, route) in &of_runners {
        assert_eq!(
            world.send(Some(&world.ann), method, &format!("/api/v1/{route}"), &[], "{}").await.0,
            403,
            "{route}"
        );
        assert_eq!(
            world.send(Some(&world.host), method, &format!("/iam/v1/{route}"), &[], "{}").await.0,
            404,
            "{route}"
        );
    }
}

#[tokio::test]
async fn addresses_that_are_none_and_methods_that_do_not_fit_are_told_apart() {
    let world = World::new().await;
    for (method, path, status) in [
        ("GET", "/", 404),
        ("GET", "/health", 404),
        ("GET", "/api/v1/", 404),
        ("GET", "/api/v1/runs/../../x", 404),
        ("GET", "/api/v1/runs/Not%20a%20run", 404),
        ("GET", "/api/v1/runs/r-1/x", 404),
        ("POST", "/api/v1/runs", 405),
        ("DELETE", "/api/v1/runs/r-1", 405),
        ("GET", "/api/v1/orchestrate", 405),
        ("HEAD", "/api/v1/health", 405),
        ("GET", "/api/v1/jobs/claim", 405),
    ] {
        assert_eq!(world.send(Some(&world.ann), method, path, &[], "").await.0, status, "{method} {path}");
    }
    assert_eq!(world.get("runs/r-0", &[]).await.0, 404);
    assert_eq!(world.get("runs/r-0/events", &[]).await.0, 404);
}

#[tokio::test]
async fn runs_are_listed_page_by_page_and_shown() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for key in ["a", "b", "c"] {
        ids.push(world.run(key).await.to_string());
        world.clock.advance(1_000);
    }
    ids.reverse();
    let names = |page: &Value| -> Vec<String> {
        page["runs"].as_array().unwrap().iter().map(|run| run["run_id"].as_str().unwrap().to_owned()).collect()
    };
    let (_, all) = world.get("runs", &[]).await;
    assert_eq!((names(&all), &all["next"]), (ids.clone(), &Value::Null));
    let (_, first) = world.get("runs", &[("limit", "2")]).await;
    assert_eq!((names(&first), first["next"].as_str()), (ids[..2].to_vec(), Some(ids[1].as_str())));
    let (_, rest) = world.get("runs", &[("limit", "2"), ("after", &ids[1])]).await;
    assert_eq!((names(&rest), &rest["next"]), (ids[2..].to_vec(), &Value::Null));
    for bad in ["0", "101", "-1", "x"] {
        assert_eq!(world.get("runs", &[("limit", bad)]).await.0, 400, "{bad}");
    }
    let (status, run) = world.get(&format!("runs/{}", ids[0]), &[]).await;
    assert_eq!((status, &run["requester"]), (200, &json!({ "name": "ann", "seen_as": "bearer" })));
    assert_eq!((&run["budget_microusd"], &run["cost_microusd"], &run["gates"]), (&json!(9), &json!(0), &json!([])));
}

#[tokio::test]
async fn events_go_on_from_a_number() {
    let world = World::new().await;
    let id = world.run("k").await;
    for number in 0..3 {
        world.store.append_event(&id, NewEvent::new("notice", format!("n{number}"))).await.unwrap();
    }
    let (_, all) = world.get(&format!("runs/{id}/events"), &[]).await;
    assert_eq!((all["events"].as_array().unwrap().len(), &all["last"]), (4, &json!(4)));
    let (_, rest) = world.get(&format!("runs/{id}/events"), &[("after", "3")]).await;
    assert_eq!((&rest["events"][0]["message"], &rest["last"]), (&json!("n2"), &json!(4)));
    let (_, none) = world.get(&format!("runs/{id}/events"), &[("after", "4")]).await;
    assert_eq!(none, json!({ "events": [], "last": 4 }));
}

#[tokio::test]
async fn a_run_that_was_silent_for_too_long_is_reconciled_with_its_execution() {
    let world = World::new().await;
    let id = world.run("k").await;
    let path = format!("runs/{id}");
    let arn = world.store.run(&id).await.unwrap().execution_arn;
    world.clock.advance(16 * 60_000);
    assert_eq!(world.get(&path, &[]).await.1["status"], "running", "its execution goes on");
    world.step_functions.stop_execution().execution_arn(&arn).send().await.unwrap();
    let young = world.run("k2").await;
    let young_arn = world.store.run(&young).await.unwrap().execution_arn;
    world.step_functions.stop_execution().execution_arn(&young_arn).send().await.unwrap();
    let (_, run) = world.get(&path, &[]).await;
    assert_eq!(
        (&run["status"], &run["outcome"]["reason"]),
        (&json!("stopped"), &json!("It was stopped in Step Functions."))
    );
    assert_eq!(world.store.run(&id).await.unwrap().status, RunStatus::Stopped);
    assert_eq!(world.get(&format!("runs/{young}"), &[]).await.1["status"], "running", "the rule has time to tell");
}

#[tokio::test]
async fn a_runner_claims_fetches_and_reports() {
    let world = World::new().await;
    let run = world.run("k").await;
    let me = json!({ "instance": "i-1" });
    assert_eq!(world.as_runner("jobs/claim", &me).await, (204, Value::Null));
    let job = world.queue("j-1", &run, Priority::Normal).await;
    let (status, claim) = world.as_runner("jobs/claim", &me).await;
    assert_eq!((status, &claim["job"]["job_id"], &claim["lease_seconds"]), (200, &json!("j-1"), &json!(120)));
    assert!(!claim.to_string().contains("token of"));
    assert_eq!(world.fetch(claim["inputs"]["archive"].as_str().unwrap()).await, "the archive");
    assert_eq!(world.fetch(claim["inputs"]["held_out"].as_str().unwrap()).await, "held out");
    assert_eq!(claim["inputs"]["overlay"], Value::Null);
    assert_eq!(world.fetch(claim["inputs"]["setup"].as_str().unwrap()).await, "the manifests");
    assert_eq!(world.as_runner("jobs/claim", &me).await.0, 204, "one job, one claim");
    let report = |purpose| json!({ "instance": "i-1", "evidence": evidence(purpose) });
    let (status, _) = world.as_runner("jobs/j-1/evidence", &report(Purpose::Baseline)).await;
    assert_eq!(status, 400, "the evidence is for another purpose");
    for _ in 0..2 {
        assert_eq!(
            world.as_runner("jobs/j-1/evidence", &report(Purpose::Final)).await.0,
            204,
            "the answer may be lost"
        );
    }
    let answer = world.answer(&job).await;
    assert_eq!(answer.token, "token of j-1");
    let artefact = serde_json::from_value(answer.result.unwrap()["evidence"].clone()).unwrap();
    assert_eq!(world.store.get_json::<Evidence>(&artefact).await.unwrap(), evidence(Purpose::Final));
}

#[tokio::test]
async fn a_claim_without_a_heartbeat_is_another_runners() {
    let world = World::new().await;
    let job = world.queue("j-1", &world.run("k").await, Priority::Normal).await;
    let (one, two) = (json!({ "instance": "i-1" }), json!({ "instance": "i-2" }));
    assert_eq!(world.as_runner("jobs/claim", &one).await.0, 200);
    world.clock.advance(119_000);
    let (status, beat) = world.as_runner("jobs/j-1/heartbeat", &one).await;
    assert_eq!((status, &beat["lease_until_ms"]), (200, &json!(START_MS + 119_000 + 120_000)));
    world.clock.advance(119_000);
    assert_eq!(world.as_runner("jobs/claim", &two).await.0, 204, "it is alive");
    assert_eq!(world.as_runner("jobs/j-1/heartbeat", &two).await.0, 409, "it is another's");
    world.clock.advance(1_001);
    assert_eq!(world.as_runner("jobs/claim", &two).await.0, 200);
    assert_eq!(world.as_runner("jobs/j-1/heartbeat", &one).await.0, 409);
    let late = json!({ "instance": "i-1", "evidence": evidence(Purpose::Final) });
    assert_eq!(world.as_runner("jobs/j-1/evidence", &late).await.0, 409, "the first one was given up");
    let failed = json!({ "instance": "i-2", "name": "PolicyRefused", "message": "cannot confine" });
    assert_eq!(world.as_runner("jobs/j-1/failure", &failed).await.0, 204);
    let told = world.answer(&job).await.result.unwrap_err();
    assert_eq!(told, ("PolicyRefused".to_owned(), "cannot confine".to_owned()));
    assert_eq!(world.as_runner("jobs/j-2/failure", &failed).await.0, 404);
    let unnamed = json!({ "instance": "i-2", "name": "Whatever", "message": "m" });
    assert_eq!(world.as_runner("jobs/j-1/failure", &unnamed).await.0, 400);
    assert_eq!(world.as_runner("jobs/claim", &json!({ "instance": "a/b" })).await.0, 400);
}

#[tokio::test]
async fn a_job_that_is_given_back_is_the_next_runners_at_once() {
    let world = World::new().await;
    world.queue("j-1", &world.run("k").await, Priority::Normal).await;
    let (one, two) = (json!({ "instance": "i-1" }), json!({ "instance": "i-2" }));
    assert_eq!(world.as_runner("jobs/claim", &one).await.0, 200);
    assert_eq!(world.as_runner("jobs/j-1/give-back", &two).await.0, 409, "it is another's");
    assert_eq!(world.as_runner("jobs/j-1/give-back", &one).await.0, 204);
    assert_eq!(world.as_runner("jobs/claim", &two).await.0, 200);
}

#[tokio::test]
async fn a_run_whose_checks_nobody_takes_says_so_with_the_command() {
    let world = World::new().await;
    let run = world.run("k").await;
    let blocked = async || world.get(&format!("runs/{run}"), &[]).await.1["blocked_by"].clone();
    assert_eq!(blocked().await, Value::Null, "nothing waits");
    world.queue("j-1", &run, Priority::Normal).await;
    let said = "no runner is alive: start one with `gatewright runner --api https://api.example`";
    assert_eq!(blocked().await, json!(said));
    assert_eq!(world.as_runner("jobs/claim", &json!({ "instance": "i-1" })).await.0, 200);
    assert_eq!(blocked().await, Value::Null, "a runner has it");
    world.clock.advance(170_000);
    assert_eq!(world.as_runner("jobs/j-1/heartbeat", &json!({ "instance": "i-1" })).await.0, 200);
    world.clock.advance(110_000);
    assert_eq!(blocked().await, Value::Null, "it is at work");
    world.clock.advance(100_000);
    assert_eq!(blocked().await, json!(said), "it fell silent");
}

#[tokio::test]
async fn the_most_urgent_job_is_claimed_first() {
    let world = World::new().await;
    let run = world.run("k").await;
    for (id, priority) in [("j-low", Priority::Low), ("j-critical", Priority::Critical), ("j-high", Priority::High)] {
        world.queue(id, &run, priority).await;
        world.clock.advance(1_000);
    }
    let mut claimed = Vec::new();
    for _ in 0..3 {
        claimed.push(world.as_runner("jobs/claim", &json!({ "instance": "i" })).await.1["job"]["job_id"].clone());
    }
    assert_eq!(claimed, ["j-critical", "j-high", "j-low"]);
}

#[tokio::test]
async fn health_names_each_component_that_is_not_well() {
    let world = World::new().await;
    let look = async || world.send(None, "GET", "/api/v1/health", &[], "").await;
    let (status, sick) = look().await;
    assert_eq!((status, &sick["status"]), (503, &json!("degraded")));
    let state = |health: &Value, name: &str| {
        let components = health["components"].as_array().unwrap();
        components.iter().find(|component| component["name"] == name).unwrap()["state"].clone()
    };
    assert_eq!((state(&sick, "secret models"), state(&sick, "secret signing")), (json!("missing"), json!("ok")));
    for name in ["models", "forge"] {
        let create =
            world.secrets.create_secret().name(format!("gatewright/dev/{name}")).secret_string("{\"k\": \"v\"}");
        create.send().await.unwrap();
    }
    assert_eq!(look().await, (503, sick), "a look is worth some seconds");
    world.clock.advance(5_000);
    let (status, well) = look().await;
    assert_eq!((status, &well["status"], &well["stage"]), (200, &json!("ok"), &json!("dev")), "{well}");
    assert_eq!(well["runners_alive"], 0);
    world.as_runner("jobs/claim", &json!({ "instance": "i-1" })).await;
    world.clock.advance(5_000);
    assert_eq!(look().await.1["runners_alive"], 1);
    assert_eq!(well["components"].as_array().unwrap().len(), 8);
    assert_eq!(state(&well, "machine task-graph"), "ok");
}
