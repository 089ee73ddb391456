//! A store, a clock, and a run that is led from action to action as the machines lead it.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use config::{CheckSpec, RunConfig, TestFormat};
use embedded_cloud::{Attachment, Cloud, CloudOptions};
use flate2::Compression;
use flate2::write::GzEncoder;
use run_control::Context;
use run_model::change_set::{Edit, Overlay};
use run_model::evidence::{CommandEvidence, EVIDENCE_SCHEMA, Evidence, Exit, Purpose, TestOutcome, TestResult};
use run_model::gate::{Approver, Binding, Gate, GateDecision, GateKind, GateState};
use run_model::repositories::Repositories;
use run_model::run::{ArtefactRef, RunEvent, RunRecord, TaskRecord};
use run_model::snapshot::{Entry, EntryKind, Manifest, SnapshotRef};
use run_model::time::{SeededRandomness, VirtualClock};
use run_model::{FunctionError, GateId, RepoPath, RunId, Sha256, TaskId};
use serde::Serialize;
use serde_json::{Value, json};
use store::{Names, Store};

const START_MS: i64 = 1_800_000_000_000;
/// What the base holds.
const BASE: [(&str, &str); 2] = [("src/lib.rs", "pub fn one() {}\n"), ("README.md", "# One\n")];

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) clock: VirtualClock,
    pub(crate) run_id: RunId,
    context: Context,
    dynamodb: aws_sdk_dynamodb::Client,
    s3: aws_sdk_s3::Client,
    _attachment: Attachment,
    _folder: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::on_stage(Names::LOCAL).await
    }

    pub(crate) async fn on_stage(stage: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = VirtualClock::at(START_MS);
        let options =
            CloudOptions::new(folder.path().join("state"), Arc::new(clock.clone()), Arc::new(SeededRandomness::new(1)));
        let attachment = Cloud::open(options).await.unwrap();
        let sdk = attachment.sdk_config();
        let names = Names { repositories: Repositories::parse("o/r"), ..Names::for_stage(stage) };
        let chance = |seed| Arc::new(SeededRandomness::new(seed));
        let store = Store::new(&sdk, names.clone(), Arc::new(clock.clone()), chance(2));
        store.create_table_and_bucket().await.unwrap();
        store.ensure_signing_secret().await.unwrap();
        let s3 = aws_sdk_s3::config::Builder::from(&sdk).force_path_style(true).build();
        Self {
            context: Context::new(&sdk, names, Arc::new(clock.clone()), chance(3)),
            dynamodb: aws_sdk_dynamodb::Client::new(&sdk),
            s3: aws_sdk_s3::Client::from_conf(s3),
            run_id: RunId::new("r-1").unwrap(),
            store,
            clock,
            _attachment: attachment,
            _folder: folder,
        }
    }

    /// A run with a base, whose checks showed this: see [`evidence`].
    pub(crate) async fn on_base(config: &RunConfig, code: i32, tests: &[&str]) -> Self {
        let world = Self::new().await;
        world.admit(json!({ "repository": "/r", "requirements": "count", "config": config })).await.unwrap();
        world.take_snapshot().await;
        let evidence = world.keep(&evidence(code, tests)).await;
        world.act("baseline", json!({ "evidence": evidence, "acceptance": null })).await.unwrap();
        world
    }

    /// A run on a green base, with tasks as `(id, depends_on)`; each has a folder of its own, so that none waits for another
    /// because of paths. Plan and design are accepted.
    pub(crate) async fn planned(config: &RunConfig, tasks: &[(&str, &[&str])]) -> Self {
        let world = Self::on_base(config, 0, &["+a"]).await;
        world.plan(tasks).await;
        world
    }

    pub(crate) async fn plan(&self, tasks: &[(&str, &[&str])]) {
        let plan = self.keep(&plan(tasks)).await;
        self.act("accept-plan", json!({ "output": plan })).await.unwrap();
        let design = self.keep(&design(tasks)).await;
        self.act("accept-design", json!({ "output": design })).await.unwrap();
    }

    /// A run with one task, `t1`, which is done with these edits.
    pub(crate) async fn with_change(edits: &[(&str, Option<&str>)]) -> Self {
        let world = Self::planned(&config(), &[("t1", &[])]).await;
        world.act("next-wave", json!({})).await.unwrap();
        world.do_task("t1", &overlay(edits)).await;
        world
    }

    pub(crate) async fn admit(&self, input: Value) -> Result<Value, FunctionError> {
        let execution = json!({ "name": self.run_id, "arn": "arn:r-1" });
        self.repeat(json!({ "action": "admit", "execution": execution, "input": input })).await
    }

    /// Resumes in a new execution of this name.
    pub(crate) async fn resume(&self, name: &str, from: &str) -> Result<Value, FunctionError> {
        let execution = json!({ "name": name, "arn": format!("arn:{name}") });
        self.repeat(json!({ "action": "resume", "execution": execution, "run_id": self.run_id, "from": from })).await
    }

    /// Takes an action of this run. Every action is taken twice; the second time answers the same and leaves no trace.
    pub(crate) async fn act(&self, action: &str, mut input: Value) -> Result<Value, FunctionError> {
        input["action"] = action.into();
        input["run_id"] = self.run_id.as_str().into();
        self.repeat(input).await
    }

    async fn repeat(&self, input: Value) -> Result<Value, FunctionError> {
        let first = run_control::handle(&self.context, input.clone()).await;
        let left = self.everything().await;
        // Whatever is written at a later moment bears a later time.
        self.clock.advance(1_000);
        let second = run_control::handle(&self.context, input.clone()).await;
        assert_eq!(second, first, "{input} again");
        assert_eq!(self.everything().await, left, "{input} again");
        first
    }

    /// Every row of the table and every object.
    async fn everything(&self) -> Vec<String> {
        let names = self.store.names();
        let rows = self.dynamodb.scan().table_name(&names.table).into_paginator().items().send();
        let rows = rows.try_collect().await.unwrap();
        let mut all: Vec<String> =
            rows.into_iter().map(|row| format!("{:?}", row.into_iter().collect::<BTreeMap<_, _>>())).collect();
        let mut pages = self.s3.list_objects_v2().bucket(&names.bucket).into_paginator().send();
        while let Some(page) = pages.next().await {
            all.extend(page.unwrap().contents().iter().map(|object| format!("{:?} {:?}", object.key, object.e_tag)));
        }
        all.sort();
        all
    }

    pub(crate) async fn take_snapshot(&self) {
        self.take_snapshot_of(&BASE).await;
    }

    pub(crate) async fn take_snapshot_of(&self, files: &[(&str, &str)]) {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, path, content.as_bytes()).unwrap();
        }
        let mut archive = archive.into_inner().unwrap();
        archive.flush().unwrap();
        let bytes = archive.finish().unwrap();
        let snapshot = SnapshotRef {
            commit: "c".repeat(40),
            archive_key: "runs/r-1/snapshot.tar.gz".into(),
            archive_sha256: Sha256::of(&bytes),
            manifest_key: "runs/r-1/manifest.json".into(),
        };
        self.store.put_object(&snapshot.archive_key, bytes).await.unwrap();
        let entries = files.iter().map(|(path, content)| Entry {
            path: (*path).to_owned(),
            kind: EntryKind::File,
            bytes: content.len() as u64,
            sha256: Sha256::of(content.as_bytes()),
        });
        let manifest = serde_json::to_vec(&Manifest { entries: entries.collect() }).unwrap();
        self.store.put_object(&snapshot.manifest_key, manifest).await.unwrap();
        self.store.update_run(&self.run_id, |run| run.snapshot = Some(snapshot.clone())).await.unwrap();
    }

    /// Keeps a value as an artefact.
    pub(crate) async fn keep(&self, value: &(impl Serialize + Sync)) -> ArtefactRef {
        self.store.put_json(&self.run_id, value).await.unwrap()
    }

    /// Judges round `iteration` of a task, whose tree showed this.
    pub(crate) async fn judge(&self, task: &str, iteration: u32, overlay: &Overlay, now: &Evidence) -> Value {
        let (overlay, evidence) = (self.keep(overlay).await, self.keep(now).await);
        let input = json!({
            "task_id": task, "iteration": iteration, "overlay": overlay, "tests": null, "evidence": evidence, "proof": null,
        });
        self.act("judge-task", input).await.unwrap()["next"].clone()
    }

    pub(crate) async fn conclude(&self, task: &str, iteration: u32, verdict: Value) -> Value {
        let output = self.keep(&verdict).await;
        let input = json!({ "task_id": task, "iteration": iteration, "output": output });
        self.act("conclude-review", input).await.unwrap()["next"].clone()
    }

    /// A round that goes well.
    pub(crate) async fn do_task(&self, task: &str, overlay: &Overlay) {
        let begun = self.act("begin-task", json!({ "task_id": task })).await.unwrap();
        let iteration = u32::try_from(begun["iteration"].as_u64().unwrap()).unwrap();
        assert_eq!(self.judge(task, iteration, overlay, &evidence(0, &["+a"])).await, "review");
        assert_eq!(self.conclude(task, iteration, approval()).await, "end");
    }

    pub(crate) async fn merge(&self) -> Value {
        self.act("merge", json!({})).await.unwrap()["next"].clone()
    }

    /// Merges and assesses a change whose checks showed this; where it goes on.
    pub(crate) async fn assess(&self, now: &Evidence) -> Value {
        self.assessed(now).await["next"].clone()
    }

    /// Merges and assesses a change whose checks showed this; the whole answer.
    pub(crate) async fn assessed(&self, now: &Evidence) -> Value {
        assert_eq!(self.merge().await, "verify");
        let evidence = self.keep(now).await;
        self.act("assess", json!({ "evidence": evidence, "acceptance": null })).await.unwrap()
    }

    /// Opens the gate of the plan, or of other dependencies, and decides it.
    pub(crate) async fn decide_on(&self, kind: GateKind, id: &str, decision: Option<GateDecision>) {
        let run = self.run().await;
        let (content_sha256, risk) = match (kind, run.proposed_setup) {
            (GateKind::Setup, Some(proposed)) => (proposed.manifests.sha256, proposed.risk),
            _ => (run.plan.unwrap().sha256, run.plan_risk.unwrap()),
        };
        let binding = Binding {
            kind,
            base_commit: run.snapshot.unwrap().commit,
            content_sha256,
            target: "gatewright/r-1".into(),
        };
        let hash: Sha256 = binding.hash();
        let opened_ms = run_model::Clock::now_ms(&self.clock);
        let gate = Gate {
            gate_id: GateId::new(id).unwrap(),
            run_id: self.run_id.clone(),
            binding,
            risk,
            summary: "s".into(),
            opened_ms,
            deadline_ms: opened_ms + 1_000_000,
            state: GateState::Pending,
            approvals: Vec::new(),
            exchanges: Vec::new(),
        };
        let gate = self.store.open_gate(gate, "token").await.unwrap();
        let approver = Approver { name: "ann".into(), seen_as: "self, local".into() };
        if let Some(decision) = decision {
            self.store.decide(&gate.gate_id, &hash, decision, approver, None).await.unwrap();
        }
    }

    pub(crate) async fn run(&self) -> RunRecord {
        self.store.run(&self.run_id).await.unwrap()
    }

    pub(crate) async fn task(&self, id: &str) -> TaskRecord {
        self.store.task(&self.run_id, &TaskId::new(id).unwrap()).await.unwrap()
    }

    /// The reason and the next step of the end that a step has found.
    pub(crate) async fn ending(&self) -> (String, String) {
        let outcome = self.run().await.ending.unwrap().outcome;
        (outcome.reason, outcome.next_step)
    }

    pub(crate) async fn events(&self, kind: &str) -> Vec<RunEvent> {
        let events = self.store.events(&self.run_id, 0).await.unwrap();
        events.into_iter().filter(|event| event.kind == kind).collect()
    }
}

pub(crate) fn config() -> RunConfig {
    let check = CheckSpec { name: "test".into(), command: "cargo test".into(), format: TestFormat::CargoTest };
    RunConfig { checks: vec![check], ..RunConfig::default() }
}

/// Edits by path: new content, or gone.
pub(crate) fn overlay(edits: &[(&str, Option<&str>)]) -> Overlay {
    let edit = |content: &Option<&str>| content.map_or(Edit::Delete, |text| Edit::Write(text.into()));
    Overlay(edits.iter().map(|(path, content)| (RepoPath::new(*path).unwrap(), edit(content))).collect())
}

/// One check that exited with `code`, and its tests as `+passed` or `-failed`.
pub(crate) fn evidence(code: i32, tests: &[&str]) -> Evidence {
    let outcome = |test: &str| if test.starts_with('+') { TestOutcome::Passed } else { TestOutcome::Failed };
    let tests = tests.iter().map(|test| TestResult { name: test[1..].to_owned(), outcome: outcome(test) }).collect();
    let check = CommandEvidence {
        name: "test".into(),
        command: "cargo test".into(),
        exit: Exit::Code(code),
        tests,
        doubt: None,
        output_tail: String::new(),
        truncated: false,
        duration_ms: 1,
    };
    Evidence {
        schema: EVIDENCE_SCHEMA,
        purpose: Purpose::Task,
        tree_sha256: Sha256::of(b"tree"),
        overlay_sha256: None,
        commands: vec![check],
        layers: Vec::new(),
        toolchain: String::new(),
    }
}

/// A plan with these tasks, as `(id, depends_on)`.
pub(crate) fn plan(tasks: &[(&str, &[&str])]) -> Value {
    let task = |(id, depends_on): &(&str, &[&str])| {
        json!({
            "id": id, "title": format!("do {id}"), "description": "as asked", "role": "developer",
            "depends_on": depends_on, "paths": [format!("src/{id}/**")],
        })
    };
    json!({ "summary": "count", "tasks": tasks.iter().map(task).collect::<Vec<_>>() })
}

/// A design that all these tasks serve.
pub(crate) fn design(tasks: &[(&str, &[&str])]) -> Value {
    let ids: Vec<&str> = tasks.iter().map(|(id, _)| *id).collect();
    let item = json!({ "id": "d1", "title": "count", "detail": "one by one", "tasks": ids });
    json!({ "summary": "count on", "items": [item], "test_strategy": "count" })
}

pub(crate) fn approval() -> Value {
    json!({ "decision": "approve", "summary": "good" })
}
