//! The rounds of one task: begin, judge what was measured, conclude what the reviewer said.

use run_model::change_set::Overlay;
use run_model::evidence::{Evidence, Purpose};
use run_model::judge::{self, Judgement};
use run_model::run::{ArtefactRef, TaskRecord, TaskStatus};
use run_model::verdict::{TesterReport, Verdict, VerdictDecision};
use run_model::{ErrorName, FunctionError, RunId, Sha256, TaskId};
use serde::Deserialize;
use serde_json::{Value, json};
use store::NewEvent;

use crate::{Context, Failure, change, setup};

/// The same failure this many rounds in a row ends the task: more of the same would not help.
const SAME_FAILURE_ROUNDS: usize = 4;

/// What the machine measured in a round.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Measured {
    run_id: RunId,
    task_id: TaskId,
    iteration: u32,
    overlay: Option<ArtefactRef>,
    tests: Option<ArtefactRef>,
    evidence: ArtefactRef,
    proof: Option<ArtefactRef>,
    /// What the developer said; none of it is proof.
    #[serde(default)]
    developed: Option<ArtefactRef>,
    /// What the tester said.
    #[serde(default)]
    tested: Option<ArtefactRef>,
}

/// The round the task is in and the tree it works on. A task that has ended is refused: what it came to stands.
pub(crate) async fn begin(context: &Context, run_id: RunId, task_id: TaskId) -> Result<Value, FunctionError> {
    let task = context
        .store
        .update_task(&run_id, &task_id, |task| {
            if task.status == TaskStatus::Waiting {
                task.status = TaskStatus::Running;
            }
        })
        .await?;
    if task.status != TaskStatus::Running {
        return Err(FunctionError::invalid(
            "task_id",
            format!("{task_id} has ended: only a resumed run begins it again"),
        ));
    }
    let overlay = task.overlay.or(task.base_overlay);
    Ok(json!({ "iteration": task.iteration, "overlay": overlay }))
}

/// The tests that the task has made so far, in whichever round, over what its wave was given and with the dependencies that were
/// let in: laid over the base they should fail. `null` if there are none.
pub(crate) async fn pick_tests(
    context: &Context,
    run_id: RunId,
    task_id: TaskId,
    overlay: Option<ArtefactRef>,
) -> Result<Value, FunctionError> {
    let Some(overlay) = overlay else { return Ok(json!({ "tests": null })) };
    let run = context.store.run(&run_id).await?;
    let rules = config::PathRules::new(&context.config(&run).await?)?;
    let mut given = match context.store.task(&run_id, &task_id).await?.base_overlay {
        Some(given) => context.store.get_json(&given).await?,
        None => Overlay::default(),
    };
    let made = change::own_edits(context.store.get_json(&overlay).await?, &given);
    let tests = Overlay(made.0.into_iter().filter(|(path, _)| rules.is_test(path.as_str())).collect());
    if tests.is_empty() {
        return Ok(json!({ "tests": null }));
    }
    given.extend(setup::let_in(context, &run).await?);
    given.extend(tests);
    Ok(json!({ "tests": context.store.put_json(&run_id, &given).await? }))
}

/// Green goes to the reviewer, red back to the developer, other dependencies than those that were let in out of the loop.
pub(crate) async fn judge(context: &Context, measured: Measured) -> Result<Value, FunctionError> {
    let run = context.store.run(&measured.run_id).await?;
    let config = context.config(&run).await?;
    let rules = config::PathRules::new(&config)?;
    let base = context.evidence(&run, Purpose::Baseline).await?;
    let now: Evidence = context.store.get_json(&measured.evidence).await?;
    let judgement = judge::judge(&base, &now);
    let proof = match &measured.proof {
        Some(proof) => Some(judge::regression_proof(&base, &context.store.get_json(proof).await?, &now).holds()),
        None => None,
    };
    let overlay: Overlay = match &measured.overlay {
        Some(overlay) => context.store.get_json(overlay).await?,
        None => Overlay::default(),
    };
    let reported: Option<TesterReport> = match &measured.tested {
        Some(tested) => Some(context.store.get_json(tested).await?),
        None => None,
    };
    let red = red_feedback(&judgement, reported);
    let needs_setup = !setup::covers(&setup::let_in(context, &run).await?, &setup::manifests(&rules, &overlay));
    let fingerprint = judge::fingerprint(&now, &judgement);
    let task = context
        .store
        .update_task_telling(&measured.run_id, &measured.task_id, |task| {
            if is_in_round(task, measured.iteration) {
                record(task, &measured, proof);
                settle(task, needs_setup, red.as_ref(), &fingerprint);
            }
            let (task, artefact) = (Some(measured.task_id.clone()), Some(measured.evidence.clone()));
            NewEvent { task, artefact, ..NewEvent::new("evidence.judged", judgement.to_string()) }
        })
        .await?;
    Ok(json!({ "next": next(&task, judgement.green, measured.iteration) }))
}

/// Whether this round is the one at work. A call for a round that is over is a repeated one and changes nothing.
fn is_in_round(task: &TaskRecord, iteration: u32) -> bool {
    task.iteration == iteration && task.status == TaskStatus::Running
}

fn record(task: &mut TaskRecord, measured: &Measured, proof: Option<bool>) {
    task.overlay.clone_from(&measured.overlay);
    task.test_overlay.clone_from(&measured.tests);
    task.evidence = Some(measured.evidence.clone());
    task.regression_proof = proof;
    task.proof_evidence.clone_from(&measured.proof);
    task.developed.clone_from(&measured.developed);
    task.tested.clone_from(&measured.tested);
}

/// What a developer is told of a red tree: what was measured, and which defects the tester says that its tests show. `None` of a
/// green one.
fn red_feedback(judgement: &Judgement, reported: Option<TesterReport>) -> Option<Vec<String>> {
    let defects = reported.into_iter().flat_map(|report| report.defects);
    let defects = defects.map(|defect| format!("the tester reports a defect: {defect}"));
    (!judgement.green).then(|| std::iter::once(judgement.to_string()).chain(defects).collect())
}

/// Moves the task on by what was measured.
fn settle(task: &mut TaskRecord, needs_setup: bool, red: Option<&Vec<String>>, fingerprint: &Sha256) {
    if needs_setup {
        task.status = TaskStatus::NeedsSetup;
    } else if let Some(feedback) = red {
        task.failure_fingerprints.push(fingerprint.clone());
        let same = task.failure_fingerprints.iter().rev().take_while(|earlier| *earlier == fingerprint).count();
        next_round(task, feedback.clone(), same >= SAME_FAILURE_ROUNDS);
    }
}

fn next_round(task: &mut TaskRecord, feedback: Vec<String>, going_nowhere: bool) {
    task.feedback = feedback;
    if going_nowhere || task.iteration >= task.iteration_bound {
        task.status = TaskStatus::LimitReached;
    } else {
        task.iteration += 1;
    }
}

fn next(task: &TaskRecord, green: bool, iteration: u32) -> &'static str {
    match task.status {
        TaskStatus::NeedsSetup | TaskStatus::LimitReached | TaskStatus::Failed => "end",
        TaskStatus::Done | TaskStatus::Running | TaskStatus::Waiting if green && task.iteration == iteration => {
            "review"
        }
        TaskStatus::Done | TaskStatus::Running | TaskStatus::Waiting => "develop",
    }
}

/// An approval ends the task; findings go back to the developer.
pub(crate) async fn conclude(
    context: &Context,
    run_id: &RunId,
    task_id: &TaskId,
    iteration: u32,
    output: ArtefactRef,
) -> Result<Value, FunctionError> {
    let verdict: Verdict = context.store.get_json(&output).await?;
    let approved = verdict.decision == VerdictDecision::Approve;
    let word = if approved { "approved" } else { "asks for changes" };
    let told = NewEvent {
        task: Some(task_id.clone()),
        role: Some("reviewer".into()),
        artefact: Some(output.clone()),
        ..NewEvent::new("review.concluded", format!("the reviewer {word}: {}", verdict.summary))
    };
    let task = context
        .store
        .update_task_telling(run_id, task_id, |task| {
            if is_in_round(task, iteration) {
                task.verdict = Some(output.clone());
                if approved {
                    task.status = TaskStatus::Done;
                } else {
                    next_round(task, feedback(&verdict), false);
                }
            }
            told.clone()
        })
        .await?;
    Ok(json!({ "next": if task.status == TaskStatus::Running { "develop" } else { "end" } }))
}

fn feedback(verdict: &Verdict) -> Vec<String> {
    let place = |finding: &run_model::verdict::Finding| match finding.line {
        Some(line) => format!("{}:{line}", finding.path),
        None => finding.path.to_string(),
    };
    let findings = verdict.findings.iter().map(|finding| {
        format!("the reviewer, {} ({}): {}", place(finding), finding.severity.as_str(), finding.message)
    });
    std::iter::once(format!("the reviewer asks for changes: {}", verdict.summary)).chain(findings).collect()
}

/// Keeps why a task failed; its siblings go on.
pub(crate) async fn failed(
    context: &Context,
    run_id: RunId,
    task_id: TaskId,
    error: Failure,
) -> Result<Value, FunctionError> {
    let (reason, stuck) = (error.reason(), error.names(ErrorName::AgentStuck));
    context
        .store
        .update_task_telling(&run_id, &task_id, |task| {
            // What the task came to before its execution failed stands.
            if matches!(task.status, TaskStatus::Waiting | TaskStatus::Running) {
                if stuck {
                    // A session that went in circles stays so; whoever resumes gets a fresh round.
                    task.iteration += 1;
                    task.iteration_bound = task.iteration_bound.max(task.iteration);
                }
                task.status = TaskStatus::Failed;
                task.feedback = vec![reason.clone()];
            }
            NewEvent { task: Some(task_id.clone()), ..NewEvent::new("task.failed", reason.as_str()) }
        })
        .await?;
    Ok(json!({}))
}
