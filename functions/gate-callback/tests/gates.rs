//! Gates over HTTP, on a real table.

#![allow(clippy::unwrap_used, reason = "what a test builds on has to work")]

use std::sync::Arc;

use embedded_cloud::{Attachment, Cloud, CloudOptions};
use futures::future::join_all;
use run_model::budget::Budget;
use run_model::gate::{Binding, Gate, GateKind, GateState};
use run_model::person::{ApproverRole, named};
use run_model::risk::{Risk, RiskLevel, RiskReason};
use run_model::run::{Requester, RunRecord};
use run_model::time::{SeededRandomness, VirtualClock};
use run_model::{GateId, RunId, Sha256};
use serde_json::{Value, json};
use store::{GrantKind, Names, NewGrant, Store};

const START_MS: i64 = 1_800_000_000_000;
const HOUR_MS: i64 = 3_600_000;
const ADMIN: &str = "arn:aws:sts::123456789012:assumed-role/admin";

struct World {
    context: gate_callback::Context,
    store: Store,
    clock: VirtualClock,
    dynamodb: aws_types::SdkConfig,
    _attachment: Attachment,
    _folder: tempfile::TempDir,
}

impl World {
    /// A gate of this level, over a run that this requester asked for.
    async fn with(level: RiskLevel, requester: Requester) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = VirtualClock::at(START_MS);
        let options =
            CloudOptions::new(folder.path().join("state"), Arc::new(clock.clone()), Arc::new(SeededRandomness::new(1)));
        let attachment = Cloud::open(options).await.unwrap();
        let (sdk, names, time) = (attachment.sdk_config(), Names::for_stage("dev"), Arc::new(clock.clone()));
        let store = Store::new(&sdk, names.clone(), time.clone(), Arc::new(SeededRandomness::new(2)));
        store.create_table_and_bucket().await.unwrap();
        store.ensure_signing_secret().await.unwrap();
        let context = gate_callback::Context::new(&sdk, names, time, Arc::new(SeededRandomness::new(3)));
        let budget = Budget { limit_microusd: 1, limit_tokens: 1, committed_microusd: 0, committed_tokens: 0 };
        store.admit(run(requester), budget).await.unwrap();
        store.open_gate(gate(level), "the-task-token").await.unwrap();
        Self { context, store, clock, dynamodb: sdk, _attachment: attachment, _folder: folder }
    }

    async fn bearer(&self, name: &str, roles: &[ApproverRole]) -> String {
        let new = NewGrant { name: name.into(), roles: roles.iter().copied().collect(), lifetime_seconds: 86_400 };
        self.store.add_bearer(GrantKind::Person, new).await.unwrap().0
    }

    async fn send(&self, method: &str, path: &str, who: &Who<'_>, body: &str) -> (u64, Value) {
        let (group, mut event) =
            ("$default", json!({ "version": "2.0", "rawPath": path, "body": body, "isBase64Encoded": false }));
        event["requestContext"] = json!({ "stage": group, "http": { "method": method, "path": path } });
        match who {
            Who::Nobody => {}
            Who::Bearer(bearer) => event["headers"] = json!({ "authorization": format!("Bearer {bearer}") }),
            Who::Iam(arn) => event["requestContext"]["authorizer"] = json!({ "iam": { "userArn": arn } }),
        }
        let answer = gate_callback::handle(&self.context, event).await.unwrap();
        assert_eq!(answer["headers"]["cache-control"], "no-store");
        let text = answer["body"].as_str().unwrap();
        assert!(!text.contains("the-task-token"), "{text}");
        (answer["statusCode"].as_u64().unwrap(), serde_json::from_str(text).unwrap_or(Value::Null))
    }

    async fn get(&self, bearer: &str) -> Value {
        let (status, gate) = self.send("GET", "/api/v1/gates/g-1", &Who::Bearer(bearer), "").await;
        assert_eq!(status, 200, "{gate}");
        gate
    }

    async fn decide(&self, who: &Who<'_>, word: &str) -> (u64, Value) {
        let group = if matches!(who, Who::Iam(_)) { "iam" } else { "api" };
        let body = json!({ "decision": word, "binding": gate(RiskLevel::High).binding.hash(), "comment": "looked" });
        self.send("POST", &format!("/{group}/v1/gates/g-1"), who, &body.to_string()).await
    }

    async fn stands(&self) -> Gate {
        self.store.gate(&GateId::new("g-1").unwrap()).await.unwrap()
    }

    /// How many answers are on their way.
    async fn outbox(&self) -> usize {
        let client = aws_sdk_dynamodb::Client::new(&self.dynamodb);
        let items = client.scan().table_name("gatewright-dev").send().await.unwrap().items.unwrap();
        items.iter().filter(|item| item["pk"].as_s().unwrap().starts_with("OUTBOX#")).count()
    }
}

enum Who<'a> {
    Nobody,
    Bearer(&'a str),
    Iam(&'a str),
}

fn gate(level: RiskLevel) -> Gate {
    Gate {
        gate_id: GateId::new("g-1").unwrap(),
        run_id: RunId::new("r-1").unwrap(),
        binding: Binding {
            kind: GateKind::Change,
            base_commit: "c".repeat(40),
            content_sha256: Sha256::of(b"change"),
            target: "gatewright/r-1".into(),
        },
        risk: Risk { level, reasons: vec![RiskReason::new(level, "protected-path", "ci.yml")] },
        summary: "Count to two".into(),
        opened_ms: START_MS,
        deadline_ms: START_MS + HOUR_MS,
        state: GateState::Pending,
        approvals: Vec::new(),
        exchanges: Vec::new(),
    }
}

fn run(requester: Requester) -> RunRecord {
    let artefact = json!({ "key": "k", "sha256": "0".repeat(64), "bytes": 1 });
    let run = json!({
        "schema": 1, "version": 0, "run_id": "r-1", "status": "running", "stage": "gate", "repository": "o/r",
        "base_ref": "main", "requirement": artefact, "config": artefact, "requester": requester, "executions": 1,
        "attempt": 1, "execution_arn": "arn:1", "created_ms": 0, "updated_ms": 0, "notices": [], "evidence": [],
    });
    serde_json::from_value(run).unwrap()
}

fn zoe() -> Requester {
    Requester { name: "zoe".into(), seen_as: "bearer".into(), identities: [named("zoe")].into() }
}

#[tokio::test]
async fn looking_decides_nothing_and_shows_what_is_asked() {
    let world = World::with(RiskLevel::High, zoe()).await;
    let ann = world.bearer("ann", &[]).await;
    let before = world.stands().await;
    for _ in 0..3 {
        let shown = world.get(&ann).await;
        assert_eq!(shown["binding"], before.binding.hash().as_str());
        assert_eq!((&shown["state"], &shown["risk"]["level"]), (&json!("pending"), &json!("high")));
        assert_eq!(shown["risk"]["reasons"][0]["detail"], "ci.yml");
        assert_eq!((&shown["summary"], &shown["deadline_ms"]), (&json!("Count to two"), &json!(START_MS + HOUR_MS)));
        assert_eq!((&shown["approvals_needed"], &shown["decision"]), (&json!(1), &Value::Null));
    }
    assert_eq!(world.stands().await, before);
}

#[tokio::test]
async fn a_decision_counts_once_and_the_next_is_told_of_it() {
    let world = World::with(RiskLevel::High, zoe()).await;
    let (ann, ben) =
        (world.bearer("ann", &[ApproverRole::TechLead]).await, world.bearer("ben", &ApproverRole::ALL).await);
    let (status, decided) = world.decide(&Who::Bearer(&ann), "deny").await;
    assert_eq!((status, &decided["state"]), (200, &json!("denied")));
    assert_eq!(decided["decision"]["by"], "ann");
    assert_eq!((world.outbox().await, world.stands().await.state.word()), (1, "denied"));
    for again in [&ann, &ben] {
        let (status, refused) = world.decide(&Who::Bearer(again), "approve").await;
        assert_eq!((status, &refused["error"]["name"]), (409, &json!("AlreadyDecided")));
        assert!(refused["error"]["message"].as_str().unwrap().ends_with("denied by ann"), "{refused}");
    }
    assert_eq!(world.outbox().await, 1);
}

#[tokio::test]
async fn twenty_at_once_have_one_winner() {
    let world = World::with(RiskLevel::High, zoe()).await;
    let mut bearers = Vec::new();
    for number in 0..20 {
        bearers.push(world.bearer(&format!("p{number}"), &[ApproverRole::TechLead]).await);
    }
    let asked = bearers.iter().enumerate().map(|(number, bearer)| {
        let world = &world;
        async move { world.decide(&Who::Bearer(bearer), if number % 2 == 0 { "approve" } else { "deny" }).await.0 }
    });
    let mut statuses = join_all(asked).await;
    statuses.sort_unstable();
    assert_eq!((statuses[0], statuses[1]), (200, 409));
    assert_eq!(world.outbox().await, 1);
}

#[tokio::test]
async fn whoever_is_nobody_gets_nothing_whatever_the_body_says() {
    let world = World::with(RiskLevel::High, zoe()).await;
    let new = |name: &str, lifetime_seconds| NewGrant {
        name: name.into(),
        roles: ApproverRole::ALL.into(),
        lifetime_seconds,
    };
    let (expired, _) = world.store.add_bearer(GrantKind::Person, new("ann", 1)).await.unwrap();
    let (revoked, grant) = world.store.add_bearer(GrantKind::Person, new("ann", 100)).await.unwrap();
    let (runner, _) = world.store.add_bearer(GrantKind::Runner, new("host", 100)).await.unwrap();
    world.store.revoke_grant(&grant.id).await.unwrap();
    world.clock.advance(1_000);
    let mut answers = Vec::new();
    for who in [
        Who::Nobody,
        Who::Bearer("gwb_no"),
        Who::Bearer(&expired),
        Who::Bearer(&revoked),
        Who::Iam(&format!("{ADMIN}/ann")),
    ] {
        let (status, answer) = world.send("GET", "/api/v1/gates/g-1", &who, "").await;
        assert_eq!(status, 401);
        answers.push(answer);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "nobody learns what was wrong: {answers:?}");
    assert_eq!(world.decide(&Who::Bearer(&runner), "approve").await.0, 403);
    let by_bearer = world.send("GET", "/iam/v1/gates/g-1", &Who::Bearer(&runner), "").await;
    assert_eq!(by_bearer.0, 403, "a bearer is nothing where IAM is asked");
    let ann = world.bearer("ann", &[ApproverRole::Developer]).await;
    let binding = gate(RiskLevel::High).binding.hash();
    let forged = json!({ "decision": "approve", "binding": binding, "approver": "root", "roles": ["tech_lead"] });
    assert_eq!(world.send("POST", "/api/v1/gates/g-1", &Who::Bearer(&ann), &forged.to_string()).await.0, 400);
    assert_eq!(world.decide(&Who::Bearer(&ann), "approve").await.0, 403, "a developer does not decide high risk");
    assert_eq!((world.stands().await.state, world.outbox().await), (GateState::Pending, 0));
}

#[tokio::test]
async fn ones_own_run_is_somebody_elses_to_approve() {
    let world = World::with(RiskLevel::High, zoe()).await;
    let own = world.bearer("zoe", &ApproverRole::ALL).await;
    let (status, refused) = world.decide(&Who::Bearer(&own), "approve").await;
    assert_eq!((status, &refused["error"]["name"]), (403, &json!("NotAllowed")));
    // The same person by another way.
    let new = NewGrant { name: "zoe".into(), roles: ApproverRole::ALL.into(), lifetime_seconds: 100 };
    world.store.grant_principal("123456789012:role/admin", new).await.unwrap();
    assert_eq!(world.decide(&Who::Iam(&format!("{ADMIN}/s")), "approve").await.0, 403);
    assert_eq!(world.decide(&Who::Bearer(&own), "deny").await.0, 200);
}

#[tokio::test]
async fn a_console_run_needs_two_people_and_two_sessions_of_a_role_are_one() {
    for level in [RiskLevel::High, RiskLevel::Critical] {
        let world = World::with(level, Requester::console()).await;
        let ops = |name: &str| NewGrant {
            name: name.into(),
            roles: [ApproverRole::DevopsEngineer].into(),
            lifetime_seconds: 86_400,
        };
        world.store.grant_principal("123456789012:role/admin", ops("admins")).await.unwrap();
        for session in ["ann", "ben"] {
            let (status, waiting) = world.decide(&Who::Iam(&format!("{ADMIN}/{session}")), "approve").await;
            assert_eq!((status, &waiting["state"]), (202, &json!("pending")));
            assert_eq!(waiting["approvals"].as_array().unwrap().len(), 1);
        }
        assert_eq!(world.outbox().await, 0);
        let cid = world.bearer("cid", &[ApproverRole::DevopsEngineer]).await;
        let (status, decided) = world.decide(&Who::Bearer(&cid), "approve").await;
        assert_eq!((status, &decided["decision"]["by"]), (200, &json!("admins and cid")));
        assert_eq!(world.outbox().await, 1);
    }
    let world = World::with(RiskLevel::Medium, Requester::console()).await;
    let ann = world.bearer("ann", &[ApproverRole::Developer]).await;
    assert_eq!(world.decide(&Who::Bearer(&ann), "approve").await.0, 200);
}

#[tokio::test]
async fn the_deadline_is_exact() {
    let world = World::with(RiskLevel::High, zoe()).await;
    let ann = world.bearer("ann", &[ApproverRole::TechLead]).await;
    world.clock.advance(HOUR_MS);
    assert_eq!(world.get(&ann).await["state"], "pending");
    world.clock.advance(1);
    assert_eq!(world.get(&ann).await["state"], "expired");
    let (status, refused) = world.decide(&Who::Bearer(&ann), "approve").await;
    assert_eq!((status, &refused["error"]["name"]), (410, &json!("DeadlinePassed")));
    let last = World::with(RiskLevel::High, zoe()).await;
    let ann = last.bearer("ann", &[ApproverRole::TechLead]).await;
    last.clock.advance(HOUR_MS);
    assert_eq!(last.decide(&Who::Bearer(&ann), "approve").await.0, 200);
}

#[tokio::test]
async fn what_does_not_fit_is_refused() {
    let world = World::with(RiskLevel::High, zoe()).await;
    let ann = world.bearer("ann", &ApproverRole::ALL).await;
    let (who, binding) = (Who::Bearer(&ann), gate(RiskLevel::High).binding.hash());
    for body in [
        String::new(),
        "no json".into(),
        "[]".into(),
        json!({ "decision": "approve" }).to_string(),
        json!({ "decision": "approved", "binding": binding }).to_string(),
        json!({ "decision": "approve", "binding": binding, "comment": "x".repeat(4_001) }).to_string(),
    ] {
        assert_eq!(world.send("POST", "/api/v1/gates/g-1", &who, &body).await.0, 400, "{body:.60}");
    }
    let long = "x".repeat(256 * 1024 + 1);
    assert_eq!(world.send("POST", "/api/v1/gates/g-1", &who, &long).await.0, 413);
    let moved = json!({ "decision": "approve", "binding": Sha256::of(b"moved") }).to_string();
    let (status, refused) = world.send("POST", "/api/v1/gates/g-1", &who, &moved).await;
    assert_eq!((status, &refused["error"]["name"]), (409, &json!("BindingChanged")));
    for path in ["/api/v1/gates/g-2", "/api/v1/gates/g-1x", "/api/v1/gates/G-1", "/api/v1/gates/..", "/api/v1/gates/"] {
        assert_eq!(world.send("GET", path, &who, "").await.0, 404, "{path}");
    }
    for path in ["/api/v1/gates", "/api/v1/gates/g-1/x", "/gates/g-1"] {
        assert_eq!(world.send("GET", path, &who, "").await.0, 404, "{path}");
    }
    for method in ["HEAD", "PUT", "DELETE", "OPTIONS"] {
        assert_eq!(world.send(method, "/api/v1/gates/g-1", &who, "").await.0, 405, "{method}");
    }
    assert_eq!((world.stands().await.state, world.outbox().await), (GateState::Pending, 0));
}

#[tokio::test]
async fn a_void_gate_is_nobodys() {
    let world = World::with(RiskLevel::High, zoe()).await;
    let ann = world.bearer("ann", &[ApproverRole::TechLead]).await;
    world.store.void_gates(&RunId::new("r-1").unwrap()).await.unwrap();
    let (status, refused) = world.decide(&Who::Bearer(&ann), "approve").await;
    assert_eq!(status, 409);
    assert!(refused["error"]["message"].as_str().unwrap().ends_with("void"), "{refused}");
}

impl World {
    async fn ask(&self, bearer: &str, comment: Option<&str>) -> (u64, Value) {
        let binding = gate(RiskLevel::High).binding.hash();
        let body = json!({ "decision": "more_info", "binding": binding, "comment": comment }).to_string();
        self.send("POST", "/api/v1/gates/g-1", &Who::Bearer(bearer), &body).await
    }
}

#[tokio::test]
async fn whoever_may_decide_may_ask_and_so_may_the_requester() {
    for name in ["ann", "zoe"] {
        let world = World::with(RiskLevel::High, zoe()).await;
        let asker = world.bearer(name, &[ApproverRole::TechLead]).await;
        let (status, asked) = world.ask(&asker, Some("why?")).await;
        assert_eq!((status, &asked["state"], &asked["decision"]), (200, &json!("asked"), &Value::Null));
        let question = json!({ "by": name, "seen_as": "bearer", "text": "why?", "asked_ms": START_MS });
        assert_eq!((&asked["question"], &asked["exchanges"]), (&question, &json!([])));
        assert_eq!(world.outbox().await, 1);
        let (status, refused) = world.decide(&Who::Bearer(&asker), "deny").await;
        assert_eq!((status, &refused["error"]["name"]), (409, &json!("AlreadyDecided")));
    }
}

#[tokio::test]
async fn who_may_not_decide_may_not_ask_and_a_question_says_something() {
    let world = World::with(RiskLevel::High, zoe()).await;
    let (ann, ben) =
        (world.bearer("ann", &[ApproverRole::Developer]).await, world.bearer("ben", &ApproverRole::ALL).await);
    let (status, refused) = world.ask(&ann, Some("why?")).await;
    assert_eq!((status, &refused["error"]["name"]), (403, &json!("NotAllowed")));
    assert_eq!(world.ask("gwb_no", Some("why?")).await.0, 401);
    for nothing in [None, Some("  "), Some("x".repeat(4_001).as_str())] {
        let (status, refused) = world.ask(&ben, nothing).await;
        assert_eq!((status, &refused["error"]["name"]), (400, &json!("InvalidInput")), "{refused}");
    }
    assert_eq!((world.stands().await.state, world.outbox().await), (GateState::Pending, 0));
    let enough = |run: &mut RunRecord| {
        let answered = json!({
            "gate_id": "g-0", "kind": "change", "binding_hash": "0".repeat(64),
            "exchange": { "key": "k", "sha256": "0".repeat(64), "bytes": 1 },
        });
        run.answered = vec![serde_json::from_value(answered).unwrap(); 3];
    };
    world.store.update_run(&RunId::new("r-1").unwrap(), enough).await.unwrap();
    let (status, refused) = world.ask(&ben, Some("why?")).await;
    assert_eq!((status, &refused["error"]["cure"]), (409, &json!("approve or deny")));
}
