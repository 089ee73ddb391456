//! Whole invocations of a role over a real store, with a script for a model.

#![allow(clippy::unwrap_used, reason = "a broken world should fail the test")]

mod recorder;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use agent::ports::{Checkpoint, ModelResponse, Part, Sessions, StopReason};
use agent::{Role, ToolKind, Writes};
use config::{Provider, RunConfig};
use embedded_cloud::{Attachment, Cloud, CloudOptions};
use flate2::Compression;
use flate2::write::GzEncoder;
use models::cassette::{CASSETTE_FORMAT, Cassette, Entry, Header};
use role_host::{Context, Definition, Section};
use run_model::budget::{Budget, TokenUsage, UsageState};
use run_model::change_set::Overlay;
use run_model::evidence::{CommandEvidence, EVIDENCE_SCHEMA, Evidence, Exit, Purpose};
use run_model::gate::GateKind;
use run_model::run::{ArtefactRef, NewRun, Requester, RunRecord, Stage, TaskRecord, TaskStatus};
use run_model::snapshot::{Entry as SnapshotEntry, EntryKind, Manifest, SnapshotRef};
use run_model::time::{SeededRandomness, VirtualClock};
use run_model::verdict::DeveloperReport;
use run_model::{ErrorName, FunctionError, RepoPath, RunId, SessionId, Sha256, TaskId};
use serde_json::{Value, json};
use store::{Names, Store};

use crate::recorder::{Asked, Recorder};

const DEVELOPER: Definition = Definition {
    role: Role {
        name: "developer",
        prompt: "You develop.",
        tools: ToolKind::ALL,
        writes: Writes::Source,
        output_schema: agent::schema_of::<DeveloperReport>,
    },
    sections: &[Section::Requirement, Section::Project, Section::Files, Section::BaseEvidence, Section::Task],
    accept: |output, _, _| role_host::typed::<DeveloperReport>(output).map(drop),
};

const FILES: [(&str, &str); 2] = [("src/lib.rs", "fn a() {}\n"), ("README.md", "# a\n")];

struct World {
    store: Store,
    context: Context,
    recorder: Recorder,
    run: RunId,
    deadline_ms: i64,
    scratch: PathBuf,
    script: PathBuf,
    _cloud: Attachment,
    _folder: tempfile::TempDir,
}

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

impl World {
    /// A run with one task, its base checked, and this script for the developer's session.
    async fn new(run: &str, requester: &str, now_ms: i64, script: &[ModelResponse]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(VirtualClock::at(now_ms));
        let options = CloudOptions::new(folder.path().join("state"), clock.clone(), Arc::new(SeededRandomness::new(1)));
        let cloud = Cloud::open(options).await.unwrap();
        let (sdk, names, chance) = (cloud.sdk_config(), Names::for_stage("local"), Arc::new(SeededRandomness::new(2)));
        let store = Store::new(&sdk, names.clone(), clock.clone(), chance.clone());
        store.create_table_and_bucket().await.unwrap();
        let scratch = folder.path().join("scratch");
        let recorder = Recorder::default();
        let context = Context::new(&recorder.listening(&sdk), names, clock, chance, scratch.clone());
        let file = folder.path().join("script.jsonl");
        write_script(&file, script);
        let run = id::<RunId>(run);
        admit(&store, &run, requester, file.clone()).await;
        let deadline_ms = now_ms + 900_000;
        Self { store, context, recorder, run, deadline_ms, scratch, script: file, _cloud: cloud, _folder: folder }
    }

    async fn invoke(&self, evidence: Option<&ArtefactRef>) -> Result<Value, FunctionError> {
        let input = json!({"run_id": self.run, "task_id": "t1", "iteration": 1, "overlay": null, "evidence": evidence});
        role_host::handle(&DEVELOPER, &self.context, input, self.deadline_ms).await
    }

    async fn overlay(&self, answer: &Value, field: &str) -> Overlay {
        let artefact: ArtefactRef = serde_json::from_value(answer[field].clone()).unwrap();
        self.store.get_json(&artefact).await.unwrap()
    }

    async fn checkpoint(&self) -> Checkpoint {
        let session = SessionId::new("developer", Some(&id("t1")), 1);
        self.store.take(&self.run, &session).await.unwrap().checkpoint
    }

    async fn keep_evidence(&self, overlay: Option<&Overlay>) -> ArtefactRef {
        self.store.put_json(&self.run, &evidence(Purpose::Session, overlay)).await.unwrap()
    }
}

fn write_script(file: &std::path::Path, script: &[ModelResponse]) {
    let session = SessionId::new("developer", Some(&id("t1")), 1);
    write_entries(file, (1..).zip(script).map(|(t, r)| Entry::scripted(session.clone(), t, r.clone())).collect());
}

fn write_entries(file: &std::path::Path, entries: Vec<Entry>) {
    let header = Header {
        gatewright_cassette: CASSETTE_FORMAT,
        answered_by: "a script".into(),
        recorded: "2026-01-01".into(),
        note: None,
    };
    Cassette::write(file, &header, &entries).unwrap();
}

fn evidence(purpose: Purpose, overlay: Option<&Overlay>) -> Evidence {
    Evidence {
        schema: EVIDENCE_SCHEMA,
        purpose,
        tree_sha256: Sha256::of(b"tree"),
        overlay_sha256: overlay.map(Sha256::of_json),
        commands: vec![CommandEvidence {
            name: "test".into(),
            command: "cargo test".into(),
            exit: Exit::Code(0),
            tests: vec![],
            doubt: None,
            output_tail: String::new(),
            truncated: false,
            duration_ms: 3,
        }],
        layers: vec![],
        toolchain: String::new(),
    }
}

async fn put_snapshot(store: &Store, run: &RunId) -> SnapshotRef {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, content) in FILES {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    let archive = builder.into_inner().unwrap().finish().unwrap();
    let entry = |(path, content): (&str, &str)| SnapshotEntry {
        path: path.into(),
        kind: EntryKind::File,
        bytes: content.len() as u64,
        sha256: Sha256::of(content.as_bytes()),
    };
    let manifest = Manifest { entries: FILES.map(entry).into() };
    let snapshot = SnapshotRef {
        commit: "0".repeat(40),
        archive_key: format!("runs/{run}/snapshot.tar.gz"),
        archive_sha256: Sha256::of(&archive),
        manifest_key: format!("runs/{run}/manifest.json"),
    };
    store.put_object(&snapshot.archive_key, archive).await.unwrap();
    store.put_object(&snapshot.manifest_key, serde_json::to_vec(&manifest).unwrap()).await.unwrap();
    snapshot
}

async fn admit(store: &Store, run: &RunId, requester: &str, script: PathBuf) {
    let config = RunConfig { provider: Provider::Scripted { script }, ..RunConfig::default() };
    let plan = json!({"summary": "s", "tasks": [
        {"id": "t1", "title": "First", "description": "Do it.", "role": "developer"}
    ]});
    let new = NewRun {
        run_id: run.clone(),
        execution_arn: format!("arn:{run}"),
        repository: format!("/home/{requester}/project"),
        base_ref: "main".into(),
        requirement: store.put_artefact(run, b"It crashes.".to_vec()).await.unwrap(),
        config: store.put_json(run, &config).await.unwrap(),
        requester: Requester::local(requester),
        now_ms: 0,
    };
    let record = RunRecord {
        stage: Stage::Build,
        snapshot: Some(put_snapshot(store, run).await),
        plan: Some(store.put_json(run, &plan).await.unwrap()),
        evidence: vec![(Purpose::Baseline, store.put_json(run, &evidence(Purpose::Baseline, None)).await.unwrap())],
        ..RunRecord::admitted(new)
    };
    let budget =
        Budget { limit_microusd: 5_000_000, limit_tokens: 1_000_000, committed_microusd: 0, committed_tokens: 0 };
    store.admit(record, budget).await.unwrap();
    let task = TaskRecord {
        task_id: id::<TaskId>("t1"),
        wave: 0,
        status: TaskStatus::Running,
        iteration: 1,
        iteration_bound: 20,
        base_overlay: None,
        overlay: None,
        test_overlay: None,
        evidence: None,
        regression_proof: None,
        proof_evidence: None,
        developed: None,
        tested: None,
        verdict: None,
        feedback: vec![],
        failure_fingerprints: vec![],
    };
    store.put_task(run, &task).await.unwrap();
}

fn calls(calls: &[(&str, Value)]) -> ModelResponse {
    let part =
        |(name, input): &(&str, Value)| Part::ToolCall { id: "x".into(), name: (*name).into(), input: input.clone() };
    ModelResponse {
        parts: calls.iter().map(part).collect(),
        stop_reason: StopReason::ToolUse,
        usage: TokenUsage { input_tokens: 1_000, output_tokens: 100, ..TokenUsage::default() },
        estimated: true,
    }
}

/// Edits, asks for the checks, submits.
fn script() -> Vec<ModelResponse> {
    let edit = json!({"path": "src/lib.rs", "old": "fn a", "new": "fn b"});
    vec![
        calls(&[("read_file", json!({"path": "src/lib.rs"})), ("edit_file", edit), ("run_checks", json!({}))]),
        calls(&[("submit", json!({"summary": "done"}))]),
    ]
}

#[tokio::test]
async fn a_session_asks_for_checks_gets_them_and_is_done() {
    let world = World::new("r-1", "ada", 1_000, &script()).await;
    let first = world.invoke(None).await.unwrap();
    assert_eq!((&first["status"], &first["output"]), (&json!("needs_checks"), &Value::Null));
    let overlay = world.overlay(&first, "overlay").await;
    assert_eq!(serde_json::to_value(&overlay).unwrap(), json!({"src/lib.rs": {"write": "fn b() {}\n"}}));

    let stale = world.keep_evidence(None).await;
    assert_eq!(world.invoke(Some(&stale)).await.unwrap(), first, "measured on another state");
    let measured = world.keep_evidence(Some(&overlay)).await;
    let done = world.invoke(Some(&measured)).await.unwrap();
    assert_eq!(done["status"], "done");
    let output: ArtefactRef = serde_json::from_value(done["output"].clone()).unwrap();
    assert_eq!(world.store.get_json::<Value>(&output).await.unwrap(), json!({"summary": "done"}));
    assert_eq!(world.overlay(&done, "overlay").await, overlay);

    assert_eq!(world.invoke(Some(&measured)).await.unwrap(), done, "called again, it says the same");
    let usage = world.store.usage(&world.run).await.unwrap();
    let paid: Vec<_> = usage.iter().map(|entry| (entry.call_id.as_str(), entry.state, entry.role.as_str())).collect();
    assert_eq!(
        paid,
        [
            ("developer/t1/1#1#1", UsageState::Settled, "developer"),
            ("developer/t1/1#2#3", UsageState::Settled, "developer"),
        ]
    );
    let events = world.store.events(&world.run, 1).await.unwrap();
    let told: Vec<_> = events.iter().map(|event| (event.kind.as_str(), event.role.as_deref())).collect();
    assert_eq!(told, [("turn.ended", Some("developer")); 2]);
    assert!(
        events[0].message.starts_with("turn 1: read_file src/lib.rs, edit_file src/lib.rs, run_checks; 1100 tokens")
    );
    assert_eq!(std::fs::read_dir(world.scratch.join("snapshots")).unwrap().count(), 1);
}

#[tokio::test]
async fn what_a_model_is_asked_does_not_depend_on_user_folder_run_or_day() {
    let mut transcripts = Vec::new();
    for (run, requester, now_ms) in [("r-1", "ada", 1_000), ("r-2", "grace", 90_000_000_000)] {
        let world = World::new(run, requester, now_ms, &script()).await;
        let first = world.invoke(None).await.unwrap();
        let measured = world.keep_evidence(Some(&world.overlay(&first, "overlay").await)).await;
        world.invoke(Some(&measured)).await.unwrap();
        transcripts.push(world.checkpoint().await.messages);
    }
    assert_eq!(transcripts[0], transcripts[1]);
    assert!(format!("{:?}", transcripts[0][0]).contains("It crashes."));
}

#[tokio::test]
async fn near_the_deadline_the_machine_is_asked_to_call_again() {
    let mut world = World::new("r-1", "ada", 1_000, &script()).await;
    world.deadline_ms = 1_000 + 5_000;
    let error = world.invoke(None).await.unwrap_err();
    assert_eq!(error.name, ErrorName::InvalidInput, "not even one call fits: {error}");
    world.deadline_ms = 901_000;
    let first = world.invoke(None).await.unwrap();
    let measured = world.keep_evidence(Some(&world.overlay(&first, "overlay").await)).await;
    world.deadline_ms = 1_000 + 5_000;
    let again = world.invoke(Some(&measured)).await.unwrap();
    assert_eq!(again, json!({"status": "continue", "output": null, "overlay": null}));
    world.deadline_ms = 901_000;
    assert_eq!(world.invoke(None).await.unwrap()["status"], "done");
}

#[tokio::test]
async fn bad_input_and_missing_things_are_named() {
    let world = World::new("r-1", "ada", 1_000, &script()).await;
    let call = |input| role_host::handle(&DEVELOPER, &world.context, input, world.deadline_ms);
    let error = call(json!({"run_id": "r-1", "iteration": 1, "colour": "red"})).await.unwrap_err();
    assert!(error.name == ErrorName::InvalidInput && error.message.contains("colour"), "{error}");
    let error = call(json!({"run_id": "r-9", "iteration": 1})).await.unwrap_err();
    assert!(error.name == ErrorName::NotFound && error.message.contains("r-9"), "{error}");
    let error = call(json!({"run_id": "r-1", "task_id": "t9", "iteration": 1})).await.unwrap_err();
    assert!(error.name == ErrorName::NotFound && error.message.contains("t9"), "{error}");
}

/// The partitions that a request to the table touches: those of the keys and rows it names, or the one it queries.
fn partitions(body: &Value) -> Vec<&str> {
    if body["KeyConditionExpression"].is_string() {
        let of_table = body["IndexName"].is_null() && body["ExpressionAttributeNames"]["#pk"] == "pk";
        return vec![body["ExpressionAttributeValues"][":pk"]["S"].as_str().filter(|_| of_table).unwrap_or("an index")];
    }
    let rows: Vec<&Value> = match body["TransactItems"].as_array() {
        Some(writes) => writes.iter().flat_map(|write| write.as_object().unwrap().values()).collect(),
        None => vec![body],
    };
    rows.into_iter().map(partition).collect()
}

/// The partition of the row that is read or written.
fn partition(row: &Value) -> &str {
    let keys = ["Key", "Item"].into_iter().find_map(|field| row[field]["pk"]["S"].as_str());
    keys.unwrap_or("no key")
}

#[tokio::test]
async fn a_role_asks_for_nothing_but_its_runs_rows_and_objects_and_the_models_keys() {
    let world = World::new("r-1", "ada", 1_000, &script()).await;
    let first = world.invoke(None).await.unwrap();
    let measured = world.keep_evidence(Some(&world.overlay(&first, "overlay").await)).await;
    world.invoke(Some(&measured)).await.unwrap();
    // Who is paid by a key asks for it; that there is none here ends the call before anybody else is asked.
    let config = world.store.put_json(&world.run, &RunConfig::default()).await.unwrap();
    world.store.update_run(&world.run, |run| run.config = config.clone()).await.unwrap();
    let input = json!({"run_id": "r-1", "task_id": "t1", "iteration": 2});
    let error = role_host::handle(&DEVELOPER, &world.context, input, world.deadline_ms).await.unwrap_err();
    assert_eq!(error.name, ErrorName::ModelRefused, "{error}");

    let mut seen = BTreeSet::new();
    for asked in world.recorder.taken() {
        match &asked {
            Asked::Object { method, key } => {
                assert!(["GET", "PUT"].contains(&method.as_str()) && key.starts_with("runs/r-1/"), "{asked:?}");
                seen.insert(method.clone());
            }
            Asked::Json { operation, body } => {
                match operation.as_str() {
                    "GetSecretValue" => assert_eq!(body["SecretId"], "gatewright/local/models"),
                    "GetItem" | "Query" | "PutItem" | "UpdateItem" | "TransactWriteItems" => {
                        // What others decide by it reads; what it writes lies beside that.
                        let own = ["RUN#r-1", "RUN#r-1#work"].iter().skip(usize::from(operation != "GetItem"));
                        let own: Vec<&str> = own.copied().collect();
                        assert!(partitions(body).iter().all(|partition| own.contains(partition)), "{asked:?}");
                    }
                    _ => panic!("{asked:?}"),
                }
                seen.insert(operation.clone());
            }
        }
    }
    let expected = ["GET", "GetItem", "GetSecretValue", "PUT", "PutItem", "Query", "TransactWriteItems", "UpdateItem"];
    assert_eq!(seen, expected.map(str::to_owned).into(), "what a role does was heard");
}

#[tokio::test]
async fn what_belongs_to_another_run_is_refused() {
    let world = World::new("r-1", "ada", 1_000, &script()).await;
    let foreign = world.store.put_json(&id::<RunId>("r-2"), &Overlay::default()).await.unwrap();
    let held_out = world.store.put_held_out(&world.run, b"{}".to_vec()).await.unwrap();
    for (field, artefact) in [("overlay", &foreign), ("evidence", &foreign), ("overlay", &held_out)] {
        let mut input = json!({"run_id": "r-1", "task_id": "t1", "iteration": 1});
        input[field] = json!(artefact);
        let error = role_host::handle(&DEVELOPER, &world.context, input, world.deadline_ms).await.unwrap_err();
        assert_eq!(error.name, ErrorName::PolicyRefused, "{error}");
        assert!(error.message.contains("does not belong to run r-1"), "{error}");
    }
    let asked = world.recorder.taken();
    let strange = |asked: &Asked| matches!(asked, Asked::Object { key, .. } if !key.starts_with("runs/r-1/"));
    assert!(!asked.iter().any(strange), "{asked:?}");
}

const ANSWERING: Definition = Definition {
    role: Role {
        name: "reviewer",
        prompt: "You answer.",
        tools: ToolKind::READING,
        writes: Writes::Nothing,
        ..DEVELOPER.role
    },
    sections: &[Section::Requirement, Section::Diff, Section::Evidence, Section::Question],
    accept: |_, material, _| {
        if material.has(&RepoPath::new("src/lib.rs").unwrap()) { Ok(()) } else { Err("it sees no file".into()) }
    },
};

#[tokio::test]
async fn whoever_is_asked_at_a_gate_sees_the_change_and_its_checks_and_no_held_out_test() {
    let world = World::new("r-1", "ada", 1_000, &[]).await;
    let answers = SessionId::at_gate("reviewer", GateKind::Change, 2);
    let answer = calls(&[("submit", json!({"summary": "because"}))]);
    write_entries(&world.script, vec![Entry::scripted(answers.clone(), 1, answer)]);
    let overlay: Overlay = serde_json::from_value(json!({"src/lib.rs": {"write": "fn b() {}\n"}})).unwrap();
    let mut keep = Vec::new();
    for (purpose, name) in [(Purpose::Final, "the-own-checks"), (Purpose::AcceptanceFinal, "the-held-out-tests")] {
        let mut measured = evidence(purpose, Some(&overlay));
        measured.commands[0].name = name.into();
        keep.push((purpose, world.store.put_json(&world.run, &measured).await.unwrap()));
    }
    world.store.update_run(&world.run, |run| run.evidence.extend(keep.clone())).await.unwrap();
    let inquiry = json!({"kind": "change", "question": "why?", "seen_as": "bearer", "earlier": []});
    let input = json!({
        "run_id": world.run, "iteration": 2, "evidence": null,
        "overlay": world.store.put_json(&world.run, &overlay).await.unwrap(),
        "question": world.store.put_json(&world.run, &inquiry).await.unwrap(),
    });
    let done = role_host::handle(&ANSWERING, &world.context, input.clone(), world.deadline_ms).await.unwrap();
    assert_eq!(done["status"], "done");
    assert_eq!(role_host::handle(&ANSWERING, &world.context, input, world.deadline_ms).await.unwrap(), done);
    assert_eq!(world.store.usage(&world.run).await.unwrap().len(), 1, "asked again, it costs nothing");
    let opening = format!("{:?}", world.store.take(&world.run, &answers).await.unwrap().checkpoint.messages[0]);
    assert!(opening.contains("why?") && opening.contains("fn b()") && opening.contains("the-own-checks"), "{opening}");
    assert!(!opening.contains("the-held-out-tests"), "{opening}");
}
