//! What a run knows when a role is called: pure data once it is loaded.

use agent::ports::Tree as _;
use config::RunConfig;
use run_model::change_set::{Edit, Overlay};
use run_model::design::Design;
use run_model::evidence::{Evidence, Purpose};
use run_model::gate::{GateKind, Inquiry};
use run_model::plan::{Plan, PlannedTask};
use run_model::run::{ArtefactRef, RunRecord, TaskRecord};
use run_model::verdict::{DeveloperReport, TesterReport};
use run_model::{ErrorName, FunctionError, RepoPath};
use serde::de::DeserializeOwned;
use store::Store;

use crate::Input;
use crate::opening::Section;
use crate::scratch::{Base, LaidOver};

/// Everything a role may be told.
pub struct Material {
    /// The requirement, as it was written.
    pub requirement: String,
    /// How its author was seen: `local`, `console`.
    pub seen_as: String,
    /// The run's settings.
    pub config: RunConfig,
    /// The plan, once accepted.
    pub plan: Option<Plan>,
    /// The design, once accepted.
    pub design: Option<Design>,
    /// The task that the role works on, if it is called for one.
    pub task: Option<PlannedTask>,
    /// The task's record.
    pub record: Option<TaskRecord>,
    /// The evidence on the base.
    pub base_evidence: Option<Evidence>,
    /// The newest evidence on the task's tree, before this session; at the gate of the change, that on the whole change.
    pub task_evidence: Option<Evidence>,
    /// What the tests alone showed on the base.
    pub proof_evidence: Option<Evidence>,
    /// What the developer said of the round, once it is measured.
    pub developed: Option<DeveloperReport>,
    /// What the tester said of the round, once it is measured.
    pub tested: Option<TesterReport>,
    /// What a person asks at a gate, if the role is called for that.
    pub inquiry: Option<Inquiry>,
    /// The evidence that this invocation brought.
    pub(crate) brought: Option<Evidence>,
    /// The edits of tasks that this one builds on.
    pub(crate) earlier: Overlay,
    /// The tree that the session reads: the base with the given overlay.
    pub(crate) tree: LaidOver,
}

impl Material {
    /// Of the round's evidence and reports only what one of these sections shows is read.
    pub(crate) async fn load(
        store: &Store,
        run: &RunRecord,
        input: &Input,
        base: Base,
        sections: &[Section],
    ) -> Result<Self, FunctionError> {
        let requirement = store.get_artefact(&run.requirement).await?;
        let plan: Option<Plan> = load(store, run.plan.as_ref()).await?;
        let (mut task, mut record) = (None, None);
        if let Some(id) = &input.task_id {
            task = plan.as_ref().and_then(|plan| plan.tasks.iter().find(|task| task.id == *id)).cloned();
            if task.is_none() {
                let message = format!("run {} has no task {id} in its plan", run.run_id);
                return Err(FunctionError::new(ErrorName::NotFound, message));
            }
            record = Some(store.task(&run.run_id, id).await?);
        }
        let newest = |purpose| run.evidence.iter().rev().find(|(found, _)| *found == purpose).map(|(_, at)| at);
        let of_task = |pick: fn(&TaskRecord) -> Option<&ArtefactRef>| record.as_ref().and_then(pick);
        let shown = |section, at| if sections.contains(&section) { at } else { None };
        let proof = shown(Section::Evidence, of_task(|record| record.proof_evidence.as_ref()));
        let developed = shown(Section::Reports, of_task(|record| record.developed.as_ref()));
        let tested = shown(Section::Reports, of_task(|record| record.tested.as_ref()));
        let inquiry: Option<Inquiry> = load(store, input.question.as_ref()).await?;
        // What the held-out tests show is told to no agent, at a gate neither.
        let of_change = inquiry.as_ref().filter(|inquiry| inquiry.kind == GateKind::Change);
        let on_change = of_change.and_then(|_| newest(Purpose::Final));
        let given = load(store, input.overlay.as_ref()).await?.unwrap_or_default();
        Ok(Self {
            requirement: String::from_utf8_lossy(&requirement).into_owned(),
            seen_as: run.requester.seen_as.clone(),
            config: store.get_json(&run.config).await?,
            design: load(store, run.design.as_ref()).await?,
            base_evidence: load(store, newest(Purpose::Baseline)).await?,
            task_evidence: load(store, of_task(|record| record.evidence.as_ref()).or(on_change)).await?,
            proof_evidence: load(store, proof).await?,
            developed: load(store, developed).await?,
            tested: load(store, tested).await?,
            inquiry,
            brought: load(store, input.evidence.as_ref()).await?,
            earlier: load(store, of_task(|record| record.base_overlay.as_ref())).await?.unwrap_or_default(),
            tree: LaidOver { base, given },
            plan,
            task,
            record,
        })
    }

    /// The given overlay with a session's edits over it, without what changes nothing.
    pub(crate) fn with(&self, edits: &Overlay) -> Overlay {
        let mut all = self.tree.given.clone();
        all.extend(edits.clone());
        self.tree.base.really_changed(all)
    }

    /// Whether the task has changed nothing yet, a session's edits included.
    pub fn unchanged_by(&self, edits: &Overlay) -> bool {
        self.with(edits) == self.tree.base.really_changed(self.earlier.clone())
    }

    /// Whether the tree that the role reads has this file.
    pub fn has(&self, path: &RepoPath) -> bool {
        self.tree.read(path).is_ok_and(|content| content.is_some())
    }

    /// A file's text before this task.
    pub(crate) fn before(&self, path: &RepoPath) -> Option<String> {
        match self.earlier.0.get(path) {
            Some(Edit::Write(content)) => Some(content.clone()),
            Some(Edit::Delete) => None,
            None => self.tree.base.text(path),
        }
    }
}

async fn load<T: DeserializeOwned>(store: &Store, at: Option<&ArtefactRef>) -> Result<Option<T>, FunctionError> {
    match at {
        Some(at) => Ok(Some(store.get_json(at).await?)),
        None => Ok(None),
    }
}
