//! A repository, a store, and a run between them.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use code_host::Context;
use config::RunConfig;
use embedded_cloud::{Attachment, Cloud, CloudOptions};
use run_model::budget::Budget;
use run_model::change_set::{ChangeSet, Edit, Overlay};
use run_model::evidence::{CommandEvidence, EVIDENCE_SCHEMA, Evidence, Exit, Purpose, TestOutcome};
use run_model::gate::{Approver, Binding, Gate, GateDecision, GateKind, GateState};
use run_model::risk::{Risk, RiskLevel, RiskReason};
use run_model::run::{NewRun, Requester, RunRecord};
use run_model::snapshot::Manifest;
use run_model::time::{SeededRandomness, VirtualClock};
use run_model::{FunctionError, GateId, RepoPath, RunId, Sha256};
use serde_json::{Value, json};
use store::{Names, Store};

const START_MS: i64 = 1_800_000_000_000;

pub(crate) mod evidence {
    use run_model::evidence::{TestOutcome, TestResult};

    pub(crate) fn test(name: &str, outcome: TestOutcome) -> TestResult {
        TestResult { name: name.into(), outcome }
    }
}

/// The one file, changed to this.
pub(crate) fn overlay(content: &str) -> Overlay {
    Overlay(BTreeMap::from([(RepoPath::new("src/lib.rs").unwrap(), Edit::Write(content.into()))]))
}

/// One file, changed to this or deleted.
pub(crate) fn edit(path: &str, edit: Edit) -> Overlay {
    Overlay(BTreeMap::from([(RepoPath::new(path).unwrap(), edit)]))
}

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) context: Context,
    pub(crate) run_id: RunId,
    #[cfg(feature = "github")]
    github: Option<forge::testing::FakeGitHub>,
    folder: tempfile::TempDir,
    _attachment: Attachment,
}

impl World {
    /// A repository with one commit, and a run that was admitted on it.
    pub(crate) async fn new() -> Self {
        let world = Self::over(BTreeMap::new()).await;
        world.admit(world.root().to_str().unwrap(), "main").await;
        world
    }

    /// The same on a GitHub, which is opened by its App's key.
    #[cfg(feature = "github")]
    pub(crate) async fn on_github() -> Self {
        let github = forge::testing::FakeGitHub::start().await;
        let secret = github.app_secret();
        Self::on(github, Some(secret)).await
    }

    /// The same on this GitHub, with this secret for the forge.
    #[cfg(feature = "github")]
    pub(crate) async fn on(github: forge::testing::FakeGitHub, secret: Option<Value>) -> Self {
        let secrets = secret.map(|secret| (Names::for_stage("local").forge_secret, secret));
        let mut world = Self::over(secrets.into_iter().collect()).await;
        world.git(&["push", "--quiet", github.git_dir().to_str().unwrap(), "main"]);
        world.github = Some(github);
        world.admit("acme/app", "HEAD").await;
        world
    }

    async fn over(environment_secrets: BTreeMap<String, Value>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(VirtualClock::at(START_MS));
        let options = CloudOptions {
            environment_secrets,
            ..CloudOptions::new(folder.path().join("state"), clock.clone(), Arc::new(SeededRandomness::new(1)))
        };
        let attachment = Cloud::open(options).await.unwrap();
        let (sdk, names) = (attachment.sdk_config(), Names::for_stage("local"));
        let store = Store::new(&sdk, names.clone(), clock.clone(), Arc::new(SeededRandomness::new(2)));
        store.create_table_and_bucket().await.unwrap();
        store.ensure_signing_secret().await.unwrap();
        let context = Context::new(&sdk, names, clock, Arc::new(SeededRandomness::new(3)));
        let world = Self {
            store,
            context,
            run_id: RunId::new("r-1").unwrap(),
            #[cfg(feature = "github")]
            github: None,
            folder,
            _attachment: attachment,
        };
        world.git(&["init", "--quiet", "--initial-branch=main"]);
        world.write("src/lib.rs", "fn one() {}\n");
        world.git(&["add", "--all"]);
        world.git(&["commit", "--quiet", "--message=base"]);
        world
    }

    /// The GitHub that it works on.
    #[cfg(feature = "github")]
    pub(crate) fn github(&self) -> &forge::testing::FakeGitHub {
        self.github.as_ref().unwrap()
    }

    /// The same with little patience for GitHub.
    #[cfg(feature = "github")]
    pub(crate) fn impatient(self) -> Self {
        Self { context: self.context.with_patience(std::time::Duration::from_millis(50)), ..self }
    }

    /// A run whose change was measured as good, with this risk.
    pub(crate) async fn assessed(level: RiskLevel) -> Self {
        let world = Self::new().await;
        world.call("snapshot").await.unwrap();
        world.assess(level).await;
        world
    }

    /// A run whose change is this one, and was recorded with this risk.
    pub(crate) async fn recorded(level: RiskLevel, overlay: Overlay) -> Self {
        let world = Self::new().await;
        world.call("snapshot").await.unwrap();
        world.record_change(level, overlay).await;
        world
    }

    /// Makes a change that was measured as good, with this risk.
    pub(crate) async fn assess(&self, level: RiskLevel) {
        self.record_change(level, overlay("pub fn two() {}\n")).await;
    }

    async fn record_change(&self, level: RiskLevel, overlay: Overlay) {
        let base_commit = self.run().await.snapshot.unwrap().commit;
        self.set_change(&ChangeSet { base_commit, overlay }).await;
        for purpose in [Purpose::Baseline, Purpose::Final] {
            let measured = self.measured(purpose, 0, TestOutcome::Passed).await;
            self.record(purpose, &measured).await;
        }
        let plan = json!({ "summary": "Count to two", "tasks": [] });
        let plan = self.store.put_json(&self.run_id, &plan).await.unwrap();
        let risk = Risk { level, reasons: vec![RiskReason::new(level, "code", "src/lib.rs")] };
        let assess = |run: &mut RunRecord| (run.plan, run.risk) = (Some(plan.clone()), Some(risk.clone()));
        self.store.update_run(&self.run_id, assess).await.unwrap();
    }

    async fn admit(&self, repository: &str, base_ref: &str) {
        let config = self.store.put_json(&self.run_id, &RunConfig::default()).await.unwrap();
        let requirement = self.store.put_artefact(&self.run_id, b"count".to_vec()).await.unwrap();
        let record = RunRecord::admitted(NewRun {
            run_id: self.run_id.clone(),
            execution_arn: "arn:1".into(),
            repository: repository.into(),
            base_ref: base_ref.into(),
            requirement,
            config,
            requester: Requester::local("ann"),
            now_ms: START_MS,
        });
        let budget = Budget { limit_microusd: 1, limit_tokens: 1, committed_microusd: 0, committed_tokens: 0 };
        self.store.admit(record, budget).await.unwrap();
    }

    fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("repository")
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let place = self.root().join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, content).unwrap();
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        std::fs::create_dir_all(self.root()).unwrap();
        let identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.com", "-c", "commit.gpgSign=false"];
        let ended = Command::new("git").current_dir(self.root()).args(identity).args(args).output().unwrap();
        assert!(ended.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&ended.stderr));
        String::from_utf8_lossy(&ended.stdout).trim().to_owned()
    }

    pub(crate) async fn call(&self, action: &str) -> Result<Value, FunctionError> {
        code_host::handle(&self.context, json!({ "action": action, "run_id": self.run_id })).await
    }

    pub(crate) async fn run(&self) -> RunRecord {
        self.store.run(&self.run_id).await.unwrap()
    }

    pub(crate) async fn events(&self) -> Vec<String> {
        self.store.events(&self.run_id, 0).await.unwrap().into_iter().map(|event| event.kind).collect()
    }

    pub(crate) async fn change(&self) -> ChangeSet {
        self.store.get_json(&self.run().await.change_set.unwrap()).await.unwrap()
    }

    pub(crate) async fn set_change(&self, change: &ChangeSet) {
        let artefact = self.store.put_json(&self.run_id, change).await.unwrap();
        self.store.update_run(&self.run_id, |run| run.change_set = Some(artefact.clone())).await.unwrap();
    }

    /// Evidence about the tree that the change makes: one check with one test.
    pub(crate) async fn measured(&self, purpose: Purpose, code: i32, outcome: TestOutcome) -> Evidence {
        let overlay = self.change().await.overlay;
        let key = self.run().await.snapshot.unwrap().manifest_key;
        let manifest: Manifest = serde_json::from_slice(&self.store.get_object(&key).await.unwrap()).unwrap();
        let check = CommandEvidence {
            name: "test".into(),
            command: "cargo test".into(),
            exit: Exit::Code(code),
            tests: vec![evidence::test("a", outcome)],
            doubt: None,
            output_tail: String::new(),
            truncated: false,
            duration_ms: 1,
        };
        Evidence {
            schema: EVIDENCE_SCHEMA,
            purpose,
            tree_sha256: manifest.with_overlay(&overlay).tree_hash(),
            overlay_sha256: Some(Sha256::of_json(&overlay)),
            commands: vec![check],
            layers: Vec::new(),
            toolchain: String::new(),
        }
    }

    pub(crate) async fn record(&self, purpose: Purpose, evidence: &Evidence) {
        let artefact = self.store.put_json(&self.run_id, evidence).await.unwrap();
        self.store.update_run(&self.run_id, |run| run.evidence.push((purpose, artefact.clone()))).await.unwrap();
    }

    /// Opens the gate before the change as it is now, and decides it.
    pub(crate) async fn decide(&self, decision: GateDecision) {
        let change = self.change().await;
        let binding = Binding {
            kind: GateKind::Change,
            base_commit: change.base_commit.clone(),
            content_sha256: change.hash(),
            target: self.run().await.target(),
        };
        let gate = Gate {
            gate_id: GateId::new("r-1-gate").unwrap(),
            run_id: self.run_id.clone(),
            binding: binding.clone(),
            risk: self.run().await.risk.unwrap(),
            summary: "s".into(),
            opened_ms: START_MS,
            deadline_ms: START_MS + 1000,
            state: GateState::Pending,
            approvals: Vec::new(),
            exchanges: Vec::new(),
        };
        let gate = self.store.open_gate(gate, "token").await.unwrap();
        self.store.update_run(&self.run_id, |run| run.gate = Some(gate.gate_id.clone())).await.unwrap();
        let approver = Approver { name: "ann".into(), seen_as: "self, local".into() };
        self.store.decide(&gate.gate_id, &binding.hash(), decision, approver, None).await.unwrap();
    }
}
