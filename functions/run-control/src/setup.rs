//! Other dependencies: what a crew asks for, and from when on it is set up.

use std::collections::BTreeSet;

use config::{PathRules, RunConfig};
use run_model::change_set::Overlay;
use run_model::dependencies::package_changes;
use run_model::diff::diff;
use run_model::gate::GateKind;
use run_model::risk::{Risk, RiskLevel, RiskReason};
use run_model::run::{ArtefactRef, Ending, Outcome, ProposedSetup, RunRecord, RunStatus, TaskRecord, TaskStatus};
use run_model::{FunctionError, RepoPath, RunId, Sha256};
use serde_json::{Value, json};
use store::NewEvent;

use crate::{Context, change, gates};

/// So often dependencies are set up anew in one execution: what goes on longer goes nowhere.
const MOST_SETUPS: u32 = 9;

/// The edits to manifest and lock files among these.
pub(crate) fn manifests(rules: &PathRules, overlay: &Overlay) -> Overlay {
    let edits = overlay.0.iter().filter(|(path, _)| rules.is_manifest(path.as_str()));
    Overlay(edits.map(|(path, edit)| (path.clone(), edit.clone())).collect())
}

/// The edits that were let in; none for a run whose dependencies are its base's.
pub(crate) async fn let_in(context: &Context, run: &RunRecord) -> Result<Overlay, FunctionError> {
    match &run.setup {
        Some(setup) => Ok(context.store.get_json(setup).await?),
        None => Ok(Overlay::default()),
    }
}

/// Whether all of a task's edits to manifest and lock files are let in. Others may be too: tasks run side by side.
pub(crate) fn covers(let_in: &Overlay, asked: &Overlay) -> bool {
    asked.0.iter().all(|(path, edit)| let_in.0.get(path) == Some(edit))
}

/// Where a run goes whose tasks wait for other dependencies, or are not yet all done since they did: to a person, or back to its
/// tasks. `None` if nothing waits and what was let in is what the tasks made.
///
/// What a person is asked about is every edit to a manifest or lock file that the tasks made together, over the base.
pub(crate) async fn due(
    context: &Context,
    run: &RunRecord,
    tasks: &[TaskRecord],
    setups: u32,
) -> Result<Option<Value>, FunctionError> {
    let config = context.config(run).await?;
    let rules = PathRules::new(&config)?;
    let made = change::merged_overlay(context, &tasks.iter().collect::<Vec<_>>()).await?;
    let asked = manifests(&rules, &made);
    let is_let_in = asked == let_in(context, run).await?;
    let is_any = |status| tasks.iter().any(|task| task.status == status);
    let waits = is_any(TaskStatus::NeedsSetup) || is_any(TaskStatus::Waiting);
    if is_let_in && !waits {
        return Ok(None);
    }
    if setups >= MOST_SETUPS {
        return change::end(context, &run.run_id, too_often(&run.run_id)).await.map(Some);
    }
    if !is_let_in || is_any(TaskStatus::NeedsSetup) {
        let proposed = proposal(context, run, &config, &asked).await?;
        let run = propose(context, &run.run_id, &proposed).await?;
        let gate = gates::needed(context, &run, GateKind::Setup).await?;
        if gate["needed"] == true {
            let next = if gate["question"].is_null() { "ask" } else { "answer" };
            return Ok(Some(json!({ "next": next, "overlay": null, "gate": gate })));
        }
        adopt(context, &run.run_id, &proposed.manifests.sha256).await?;
    }
    Ok(waits.then(|| json!({ "next": "work", "overlay": null })))
}

async fn propose(context: &Context, run_id: &RunId, proposed: &ProposedSetup) -> Result<RunRecord, FunctionError> {
    let propose = |run: &mut RunRecord| {
        change::forget(run);
        run.proposed_setup = Some(proposed.clone());
        NewEvent::new("setup.proposed", proposed.summary.as_str())
    };
    Ok(context.store.update_run_telling(run_id, propose).await?)
}

/// What a person is shown and approves.
async fn proposal(
    context: &Context,
    run: &RunRecord,
    config: &RunConfig,
    asked: &Overlay,
) -> Result<ProposedSetup, FunctionError> {
    let paths: BTreeSet<RepoPath> = asked.paths().cloned().collect();
    let base = context.store.base_contents(assessment::taken(run)?, &paths).await?;
    let content = |path: &RepoPath| base.get(path).cloned();
    let changed: Vec<String> = diff(asked, &content).iter().map(|file| file.path.to_string()).collect();
    let manifests: ArtefactRef = context.store.put_json(&run.run_id, asked).await?;
    if changed.is_empty() {
        let summary = "The dependencies are the base's again.".to_owned();
        return Ok(ProposedSetup { manifests, risk: Risk::of(Vec::new()), summary });
    }
    let (changed, packages) = (changed.join(", "), package_changes(asked, &content));
    let commands: Vec<String> = config.setup.iter().map(|setup| format!("`{}`", setup.command)).collect();
    let runs = match commands.is_empty() {
        true => "there is no setup command: the checks alone read these files".to_owned(),
        false => format!(
            "{} runs with the network on and these files laid over the base; a package may run scripts of its own there",
            commands.join(", ")
        ),
    };
    let reason = |rule, detail: String| RiskReason::new(RiskLevel::Critical, rule, detail);
    let told = packages.into_iter().map(|line| reason("packages", line));
    let reasons = [reason("dependencies", changed.clone()), reason("setup", runs)].into_iter().chain(told).collect();
    let summary = format!(
        "The crew asks for other dependencies: {changed}. Nothing else of its change is there when they are set up."
    );
    Ok(ProposedSetup { manifests, risk: Risk::of(reasons), summary })
}

/// Lets what was proposed in, if it is exactly this, and sends the tasks that waited for it back to work. Once more changes
/// nothing.
pub(crate) async fn adopt(context: &Context, run_id: &RunId, approved: &Sha256) -> Result<(), FunctionError> {
    for task in context.store.tasks(run_id).await? {
        if task.status == TaskStatus::NeedsSetup {
            context.store.update_task(run_id, &task.task_id, |task| task.status = TaskStatus::Waiting).await?;
        }
    }
    let let_in = |run: &mut RunRecord| {
        if let Some(proposed) = run.proposed_setup.take_if(|proposed| proposed.manifests.sha256 == *approved) {
            run.setup = Some(proposed.manifests);
        }
    };
    context.store.update_run(run_id, let_in).await?;
    Ok(())
}

fn too_often(run_id: &RunId) -> Ending {
    let reason = format!("The dependencies were set up anew {MOST_SETUPS} times, and the crew asks for others again.");
    let next_step = format!(
        "Change the dependencies yourself, commit that and start again; `gatewright runs resume {run_id}` lets the crew go on."
    );
    Ending { status: RunStatus::NeedsSetup, outcome: Outcome { reason, next_step } }
}
