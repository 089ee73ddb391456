//! A run: the record in the table that executions carry.

mod closure;
mod setup;
mod task;

use std::collections::BTreeSet;

pub use closure::{ExecutionEnd, innermost, runs_of_execution};
use serde::{Deserialize, Serialize};
pub use setup::ProposedSetup;
pub use task::{TaskRecord, TaskStatus};

use crate::evidence::Purpose;
use crate::gate::{Answered, Binding, GateKind};
use crate::person::{self, Person};
use crate::risk::Risk;
use crate::snapshot::SnapshotRef;
use crate::{GateId, RunId, Sha256, TaskId};

/// The version of [`RunRecord`] that this code writes.
pub const RUN_SCHEMA: u32 = 1;

/// How long an execution of `pipeline` may last, its `TimeoutSeconds`: then it has ended, whatever it waited for.
pub const EXECUTION_BOUND_SECONDS: i64 = 604_800;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// At work.
    Running,
    /// Waiting at a gate.
    ApprovalPending,
    /// The change has landed.
    Succeeded,
    /// It ended without a change; the outcome says why.
    Failed,
    /// A person said no.
    Denied,
    /// Nobody decided in time.
    TimedOut,
    /// A bound was met before the evidence was green.
    LimitReached,
    /// The change touches dependencies again and again, which need yet another setup.
    NeedsSetup,
    /// A person stopped it.
    Stopped,
}

impl RunStatus {
    /// Every status.
    pub const ALL: [Self; 9] = [
        Self::Running,
        Self::ApprovalPending,
        Self::Succeeded,
        Self::Failed,
        Self::Denied,
        Self::TimedOut,
        Self::LimitReached,
        Self::NeedsSetup,
        Self::Stopped,
    ];

    /// The word for people and for JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::ApprovalPending => "approval_pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Denied => "denied",
            Self::TimedOut => "timed_out",
            Self::LimitReached => "limit_reached",
            Self::NeedsSetup => "needs_setup",
            Self::Stopped => "stopped",
        }
    }

    /// Whether nothing more happens without a resume.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Running | Self::ApprovalPending)
    }

    /// The exit code of `gatewright run`: 0 done, 1 failed, 2 denied, 3 timed out or limit reached, 4 waiting at a gate.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Succeeded => 0,
            Self::Failed | Self::NeedsSetup | Self::Stopped | Self::Running => 1,
            Self::Denied => 2,
            Self::TimedOut | Self::LimitReached => 3,
            Self::ApprovalPending => 4,
        }
    }
}

/// The stages of a run, in order. A resumed run begins at one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Admission: settings pinned, budget opened.
    Admit,
    /// The base commit becomes a snapshot.
    Snapshot,
    /// The base is checked.
    Baseline,
    /// The orchestrator plans.
    Plan,
    /// The architect designs.
    Design,
    /// A person looks at the plan.
    PlanGate,
    /// The tasks are done.
    Build,
    /// A person looks at other dependencies.
    SetupGate,
    /// The merged change is tested, scanned and measured for risk.
    Verify,
    /// A ref is written.
    Publish,
    /// A person looks at the change.
    Gate,
    /// The branch is made.
    Land,
    /// The end is told.
    Report,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 13] = [
        Self::Admit,
        Self::Snapshot,
        Self::Baseline,
        Self::Plan,
        Self::Design,
        Self::PlanGate,
        Self::Build,
        Self::SetupGate,
        Self::Verify,
        Self::Publish,
        Self::Gate,
        Self::Land,
        Self::Report,
    ];

    /// The word that `--from` takes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Snapshot => "snapshot",
            Self::Baseline => "baseline",
            Self::Plan => "plan",
            Self::Design => "design",
            Self::PlanGate => "plan_gate",
            Self::Build => "build",
            Self::SetupGate => "setup_gate",
            Self::Verify => "verify",
            Self::Publish => "publish",
            Self::Gate => "gate",
            Self::Land => "land",
            Self::Report => "report",
        }
    }
}

/// The branch that bears a run's change.
pub fn branch_name(run: &RunId) -> String {
    format!("gatewright/{run}")
}

/// The pull request in which a forge shows a run's change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    /// Its number in the repository.
    pub number: u64,
    /// Its page, for people.
    pub url: String,
    /// The branch it would be merged into.
    pub base: String,
}

/// How urgent a run is: of the jobs that wait, those of the more urgent run are claimed first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// It can wait.
    Low,
    /// As most.
    #[default]
    Normal,
    /// Before most.
    High,
    /// Before all.
    Critical,
}

/// Who asked, as the entrance saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requester {
    /// The name.
    pub name: String,
    /// How it was seen: `local`, `console`, `bearer`, `iam`, `workflow`.
    pub seen_as: String,
    /// All that the person is recognised by; empty on one machine, and where nobody was seen.
    #[serde(default)]
    pub identities: BTreeSet<String>,
}

impl Requester {
    const LOCAL: &str = "local";

    /// Nobody knows who: a person in the Step Functions console.
    pub fn console() -> Self {
        Self { name: "console".into(), seen_as: "console".into(), identities: BTreeSet::new() }
    }

    /// The person at this machine.
    pub fn local(name: impl Into<String>) -> Self {
        Self { name: name.into(), seen_as: Self::LOCAL.into(), identities: BTreeSet::new() }
    }

    /// Whether it is known which person asked. An IAM principal that nobody granted a person's name may be anybody, also
    /// one who approves under another identity.
    pub fn is_known(&self) -> bool {
        self.seen_as == Self::LOCAL || self.identities.iter().any(|identity| person::is_named(identity))
    }
}

impl From<Person> for Requester {
    fn from(Person { name, seen_as, identities, .. }: Person) -> Self {
        Self { name, seen_as, identities }
    }
}

/// How a run ended, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// What happened and why.
    pub reason: String,
    /// What to do next.
    pub next_step: String,
}

/// The end that a step has found; the last step of the execution makes it the run's status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// The status the run will have.
    pub status: RunStatus,
    /// Why, and what to do next.
    pub outcome: Outcome,
}

/// Content in the object store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtefactRef {
    /// Object key.
    pub key: String,
    /// Hash of the bytes.
    pub sha256: Sha256,
    /// Length in bytes.
    pub bytes: u64,
}

/// The record of a run. What it refers to lies in the object store under `runs/<run>/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// [`RUN_SCHEMA`] when written.
    pub schema: u32,
    /// Moves with every write; a write names the version it saw.
    pub version: u64,
    /// The run.
    pub run_id: RunId,
    /// Where it stands.
    pub status: RunStatus,
    /// The last stage that was entered.
    pub stage: Stage,
    /// The repository: a path on this machine, or `owner/name` on a forge.
    pub repository: String,
    /// The ref the work is based on.
    pub base_ref: String,
    /// The requirement's text.
    pub requirement: ArtefactRef,
    /// The pinned settings (JSON of `config::RunConfig`).
    pub config: ArtefactRef,
    /// The held-out acceptance archive, under `held-out/<run>/`, where no role may read.
    pub acceptance: Option<ArtefactRef>,
    /// Who asked.
    pub requester: Requester,
    /// How urgent it is.
    #[serde(default)]
    pub priority: Priority,
    /// What the requester lets it cost, in micro-dollars, whatever the repository's settings say.
    #[serde(default)]
    pub budget_microusd: Option<u64>,
    /// Executions started so far; the next resume is number `executions + 1`.
    pub executions: u32,
    /// Number of the sessions of orchestrator and architect, counted from 1; a new one begins after one that went in circles.
    pub attempt: u32,
    /// The ARN of the newest execution.
    pub execution_arn: String,
    /// When it was admitted, in milliseconds since the epoch.
    pub created_ms: i64,
    /// When it was last written, in milliseconds since the epoch.
    pub updated_ms: i64,
    /// The snapshot of the base, once taken.
    pub snapshot: Option<SnapshotRef>,
    /// Things the person should know (a dirty tree, LFS pointers, a red base).
    pub notices: Vec<String>,
    /// The plan, once accepted.
    pub plan: Option<ArtefactRef>,
    /// The design, once accepted.
    pub design: Option<ArtefactRef>,
    /// Evidence by purpose: baseline, final, acceptance. Session and task evidence lies with its task.
    pub evidence: Vec<(Purpose, ArtefactRef)>,
    /// Other dependencies that the crew asks for, until they are let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposed_setup: Option<ProposedSetup>,
    /// The edits to manifest and lock files that setup lays over the base (JSON of [`crate::change_set::Overlay`]), once a person
    /// has let them in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<ArtefactRef>,
    /// The merged change set, once there is one.
    pub change_set: Option<ArtefactRef>,
    /// The risk of the plan, once measured.
    pub plan_risk: Option<Risk>,
    /// The risk of the actual change, once measured.
    pub risk: Option<Risk>,
    /// The gate that is or was last open.
    pub gate: Option<GateId>,
    /// The questions at gates that were answered, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answered: Vec<Answered>,
    /// The commit that was published.
    pub commit: Option<String>,
    /// The pull request that shows the change, on a forge.
    #[serde(default)]
    pub pull_request: Option<PullRequest>,
    /// The branch that the change landed on.
    pub branch: Option<String>,
    /// The end that a step has found, until the execution's last step has told it.
    pub ending: Option<Ending>,
    /// How it ended.
    pub outcome: Option<Outcome>,
}

/// What is known of a run when it is admitted.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// The run.
    pub run_id: RunId,
    /// The ARN of its first execution.
    pub execution_arn: String,
    /// As [`RunRecord::repository`].
    pub repository: String,
    /// As [`RunRecord::base_ref`].
    pub base_ref: String,
    /// As [`RunRecord::requirement`].
    pub requirement: ArtefactRef,
    /// As [`RunRecord::config`].
    pub config: ArtefactRef,
    /// Who asked.
    pub requester: Requester,
    /// Now, in milliseconds since the epoch.
    pub now_ms: i64,
}

impl RunRecord {
    /// A run that has just been admitted: nothing is done yet, and nothing that may be left out was asked for.
    pub fn admitted(new: NewRun) -> Self {
        let NewRun { run_id, execution_arn, repository, base_ref, requirement, config, requester, now_ms } = new;
        Self {
            schema: RUN_SCHEMA,
            version: 0,
            run_id,
            status: RunStatus::Running,
            stage: Stage::Admit,
            repository,
            base_ref,
            requirement,
            config,
            acceptance: None,
            requester,
            priority: Priority::default(),
            budget_microusd: None,
            executions: 1,
            attempt: 1,
            execution_arn,
            created_ms: now_ms,
            updated_ms: now_ms,
            snapshot: None,
            notices: Vec::new(),
            plan: None,
            design: None,
            evidence: Vec::new(),
            proposed_setup: None,
            setup: None,
            change_set: None,
            plan_risk: None,
            risk: None,
            gate: None,
            answered: Vec::new(),
            commit: None,
            pull_request: None,
            branch: None,
            ending: None,
            outcome: None,
        }
    }

    /// How many questions were answered at gates of this kind.
    pub fn answered_at(&self, kind: GateKind) -> usize {
        self.answered.iter().filter(|answered| answered.kind == kind).count()
    }

    /// What a gate of this kind would stand before now; `None` if there is nothing to decide on yet.
    pub fn binding(&self, kind: GateKind) -> Option<Binding> {
        let content = match kind {
            GateKind::Plan => self.plan.as_ref()?,
            GateKind::Setup => &self.proposed_setup.as_ref()?.manifests,
            GateKind::Change => self.change_set.as_ref()?,
        };
        let base_commit = self.snapshot.as_ref()?.commit.clone();
        let target = if kind == GateKind::Change { self.target() } else { branch_name(&self.run_id) };
        Some(Binding { kind, base_commit, content_sha256: content.sha256.clone(), target })
    }

    /// What an approval of the change lets it into: the pull request's branch on a forge, else the run's own branch.
    pub fn target(&self) -> String {
        let merged_into = |pull_request: &PullRequest| format!("{} {}", self.repository, pull_request.base);
        self.pull_request.as_ref().map_or_else(|| branch_name(&self.run_id), merged_into)
    }
}

/// One event of a run's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEvent {
    /// Counted from 1, without gap or repeat.
    pub sequence: u64,
    /// When, in milliseconds since the epoch.
    pub at_ms: i64,
    /// What kind: `run.admitted`, `stage.entered`, `turn.ended`, `gate.opened`, ...
    pub kind: String,
    /// The task, if it is about one.
    pub task: Option<TaskId>,
    /// The role, if it is about one.
    pub role: Option<String>,
    /// One line for people.
    pub message: String,
    /// What it is about, if that is kept: the evidence that was judged (JSON of [`crate::evidence::Evidence`]), the verdict that
    /// was given (JSON of [`crate::verdict::Verdict`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artefact: Option<ArtefactRef>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_codes_are_the_documented_ones() {
        let codes = [
            (RunStatus::Succeeded, 0),
            (RunStatus::Running, 1),
            (RunStatus::Failed, 1),
            (RunStatus::NeedsSetup, 1),
            (RunStatus::Stopped, 1),
            (RunStatus::Denied, 2),
            (RunStatus::TimedOut, 3),
            (RunStatus::LimitReached, 3),
            (RunStatus::ApprovalPending, 4),
        ];
        assert_eq!(codes.map(|(status, _)| status.exit_code()), codes.map(|(_, code)| code));
    }
}
