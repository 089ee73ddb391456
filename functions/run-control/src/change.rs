//! The change as a whole: put together from the tasks, judged, scanned, and its risk measured.

use std::collections::BTreeMap;

use assessment::Measured;
use run_model::change_set::{ChangeSet, Overlay};
use run_model::evidence::Purpose;
use run_model::gate::GateKind;
use run_model::judge::AcceptanceResult;
use run_model::run::{ArtefactRef, Ending, Outcome, RunRecord, RunStatus, Stage, TaskRecord, TaskStatus};
use run_model::{ErrorName, FunctionError, RepoPath, RunId, Sha256};
use serde_json::{Value, json};
use store::NewEvent;

use crate::{Context, gates, setup};

/// One change set from all tasks, or the end that a task's end means, or other dependencies that come first. `setups` is how often
/// that was so in this execution.
pub(crate) async fn merge(context: &Context, run_id: RunId, setups: u32) -> Result<Value, FunctionError> {
    let run = context.store.enter_stage(&run_id, Stage::Verify).await?;
    let tasks = context.store.tasks(&run_id).await?;
    if let Some(ending) = unfinished(&run_id, &tasks) {
        return end(context, &run_id, ending).await;
    }
    if let Some(first) = setup::due(context, &run, &tasks, setups).await? {
        return Ok(first);
    }
    let overlay = merged_overlay(context, &tasks.iter().collect::<Vec<_>>()).await?;
    if overlay.is_empty() {
        return end(context, &run_id, nothing_changed()).await;
    }
    let missing = || FunctionError::new(ErrorName::Internal, format!("{run_id} has no snapshot"));
    let base_commit = run.snapshot.as_ref().ok_or_else(missing)?.commit.clone();
    let hash = Sha256::of_json(&overlay);
    // What one task alone has made lies there already.
    let artefact = match tasks.into_iter().find_map(|task| task.overlay.filter(|made| made.sha256 == hash)) {
        Some(artefact) => artefact,
        None => context.store.put_json(&run_id, &overlay).await?,
    };
    let change_set = context.store.put_json(&run_id, &ChangeSet { base_commit, overlay }).await?;
    context
        .store
        .update_run(&run_id, |run| {
            if run.change_set.as_ref() != Some(&change_set) {
                forget(run);
            }
            run.change_set = Some(change_set.clone());
        })
        .await?;
    Ok(json!({ "next": "verify", "overlay": artefact }))
}

/// The gravest end among the tasks that came to nothing.
fn unfinished(run_id: &RunId, tasks: &[TaskRecord]) -> Option<Ending> {
    let order = [TaskStatus::Failed, TaskStatus::LimitReached, TaskStatus::Running];
    let worst = order.into_iter().find_map(|status| tasks.iter().find(|task| task.status == status))?;
    let (id, said) = (&worst.task_id, worst.feedback.join("\n"));
    let next_step = format!("`gatewright runs resume {run_id}` tries again.");
    let (status, reason) = match worst.status {
        TaskStatus::LimitReached => {
            (RunStatus::LimitReached, format!("Task {id} met its bound in round {}: {said}", worst.iteration))
        }
        _ => (RunStatus::Failed, format!("Task {id} failed: {said}")),
    };
    Some(Ending { status, outcome: Outcome { reason, next_step } })
}

pub(crate) async fn end(context: &Context, run_id: &RunId, ending: Ending) -> Result<Value, FunctionError> {
    let end = |run: &mut RunRecord| {
        forget(run);
        run.ending = Some(ending.clone());
    };
    context.store.update_run(run_id, end).await?;
    Ok(json!({ "next": "finish", "overlay": null }))
}

/// Takes the whole change out of the record, with what was measured and published of it.
pub(crate) fn forget(run: &mut RunRecord) {
    run.change_set = None;
    run.risk = None;
    run.commit = None;
}

fn nothing_changed() -> Ending {
    let next_step = "Say more exactly what should be different, and start again.".to_owned();
    failed("The crew changed nothing.".into(), next_step)
}

fn failed(reason: String, next_step: String) -> Ending {
    Ending { status: RunStatus::Failed, outcome: Outcome { reason, next_step } }
}

/// What these tasks made together, wave by wave.
pub(crate) async fn merged_overlay(context: &Context, tasks: &[&TaskRecord]) -> Result<Overlay, FunctionError> {
    let mut waves: BTreeMap<u32, Vec<&TaskRecord>> = BTreeMap::new();
    for task in tasks {
        waves.entry(task.wave).or_default().push(task);
    }
    let mut merged = Overlay::default();
    for tasks in waves.into_values() {
        let mut edits = Vec::new();
        for task in &tasks {
            if let Some(overlay) = &task.overlay {
                edits.push((*task, own_edits(context.store.get_json(overlay).await?, &merged)));
            }
        }
        let wave = Overlay::merge(edits.iter().map(|(_, edits)| edits.clone()));
        merged.extend(wave.map_err(|path| conflict(&path, &edits))?);
    }
    Ok(merged)
}

fn conflict(path: &RepoPath, edits: &[(&TaskRecord, Overlay)]) -> FunctionError {
    let touching = edits.iter().filter(|(_, edits)| edits.0.contains_key(path));
    let names: Vec<&str> = touching.map(|(task, _)| task.task_id.as_str()).collect();
    let problem = format!("{path} was changed differently by tasks that ran side by side ({})", names.join(", "));
    FunctionError::new(ErrorName::MergeConflict, problem)
}

/// What a task changed beyond what its wave was given.
pub(crate) fn own_edits(overlay: Overlay, given: &Overlay) -> Overlay {
    Overlay(overlay.0.into_iter().filter(|(path, edit)| given.0.get(path) != Some(edit)).collect())
}

/// Evidence, scan and risk of the actual diff, before any ref is written; and whether that risk needs a gate.
pub(crate) async fn assess(
    context: &Context,
    run_id: RunId,
    evidence: ArtefactRef,
    acceptance: Option<ArtefactRef>,
) -> Result<Value, FunctionError> {
    let held_out = context.store.run(&run_id).await?.acceptance.is_some();
    if held_out != acceptance.is_some() {
        let problem = format!("evidence of held-out tests: {}, held-out tests: {held_out}", acceptance.is_some());
        return Err(FunctionError::invalid("acceptance", problem));
    }
    let record = |run: &mut RunRecord| {
        run.evidence.retain(|(purpose, _)| !matches!(purpose, Purpose::Final | Purpose::AcceptanceFinal));
        run.evidence.push((Purpose::Final, evidence.clone()));
        run.evidence.extend(acceptance.clone().map(|evidence| (Purpose::AcceptanceFinal, evidence)));
    };
    let run = context.store.update_run(&run_id, record).await?;
    let measured = measure(context, &run, acceptance.as_ref()).await?;
    let ending = verdict(&run_id, &measured);
    let next = if ending.is_none() { "publish" } else { "finish" };
    let message = told(&measured);
    let risk = measured.risk(&context.store, &run).await?;
    let assess = |run: &mut RunRecord| {
        run.risk = Some(risk.clone());
        run.ending.clone_from(&ending);
        NewEvent::new("change.assessed", format!("{message}; {} risk", risk.level.as_str()))
    };
    let run = context.store.update_run_telling(&run_id, assess).await?;
    Ok(json!({ "next": next, "gate": gates::needed(context, &run, GateKind::Change).await? }))
}

/// What the crew can mend in a change that was assessed: red evidence, or what the scan blocks. The held-out tests are no
/// part of it, since there is no way from them back to an agent.
pub(crate) async fn complaint(context: &Context, run: &RunRecord) -> Result<Option<String>, FunctionError> {
    if run.change_set.is_none() || !run.evidence.iter().any(|(purpose, _)| *purpose == Purpose::Final) {
        return Ok(None);
    }
    let measured = measure(context, run, None).await?;
    Ok(red(&measured).or_else(|| blocked(&measured)))
}

async fn measure(
    context: &Context,
    run: &RunRecord,
    acceptance: Option<&ArtefactRef>,
) -> Result<Measured, FunctionError> {
    assessment::measure(&context.store, run, &change_set(context, run).await?.overlay, acceptance).await
}

async fn change_set(context: &Context, run: &RunRecord) -> Result<ChangeSet, FunctionError> {
    let missing = || FunctionError::new(ErrorName::Internal, format!("{} has no change set", run.run_id));
    Ok(context.store.get_json(run.change_set.as_ref().ok_or_else(missing)?).await?)
}

/// The end that red evidence, unmet acceptance tests or a blocking finding mean; `None` if the change is good.
fn verdict(run_id: &RunId, measured: &Measured) -> Option<Ending> {
    if measured.paths.is_empty() {
        return Some(nothing_changed());
    }
    let mend = || format!("`gatewright runs resume {run_id} --from build` lets the crew deal with it.");
    if let Some(red) = red(measured) {
        return Some(failed(red, mend()));
    }
    if let Some(unmet) = measured.acceptance.as_ref().filter(|acceptance| !acceptance.ok) {
        let next_step = "Say more exactly what should be different, and start again.".to_owned();
        return Some(failed(format!("The change was not accepted: {unmet}"), next_step));
    }
    blocked(measured).map(|blocked| failed(blocked, mend()))
}

fn red(measured: &Measured) -> Option<String> {
    (!measured.judgement.green).then(|| format!("The whole change is {}", measured.judgement))
}

fn blocked(measured: &Measured) -> Option<String> {
    let blocking: Vec<String> = measured
        .blocking()
        .map(|finding| format!("{}:{} {} ({})", finding.path, finding.line, finding.message, finding.rule))
        .collect();
    (!blocking.is_empty()).then(|| format!("The scan blocks the change: {}", blocking.join("; ")))
}

fn told(measured: &Measured) -> String {
    let colour = if measured.judgement.green { "green" } else { "red" };
    let acceptance = match &measured.acceptance {
        None => "",
        Some(AcceptanceResult { ok: true, base_fails: false, .. }) => {
            ", the held-out tests pass, as they do on the base"
        }
        Some(AcceptanceResult { ok: true, .. }) => ", the held-out tests pass",
        Some(_) => ", the held-out tests are not met",
    };
    format!("the whole change is {colour}{acceptance}; {} findings of the scan", measured.findings.len())
}
