//! Admission and resumption: who asks for what, pinned settings, an open budget.

use config::RunConfig;
use run_model::gate::GateKind;
use run_model::repositories::NotListed;
use run_model::run::{ArtefactRef, NewRun, Priority, Requester, RunRecord, RunStatus, Stage, TaskRecord, TaskStatus};
use run_model::{ErrorName, FunctionError, RunId};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Admission, NewEvent};

use crate::{Context, Execution, change, gates, settings};

const LONGEST_REQUIREMENT: usize = 1 << 20;

/// What a request may say; everything but repository and requirement has a default.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Application {
    repository: String,
    #[serde(default)]
    requirements: Option<String>,
    #[serde(default)]
    requirement: Option<ArtefactRef>,
    #[serde(default)]
    base: Option<String>,
    #[serde(default)]
    config: Option<RunConfig>,
    #[serde(default)]
    acceptance: Option<ArtefactRef>,
    #[serde(default)]
    requester: Option<Requester>,
    #[serde(default)]
    priority: Priority,
    #[serde(default)]
    budget_microusd: Option<u64>,
}

/// Writes the run record and opens the budget; a repeated request with the same execution name is the same run.
///
/// Without settings in the input the defaults are pinned, and `read-settings` lays the project's own over them once there is
/// a snapshot.
pub(crate) async fn admit(context: &Context, execution: Execution, input: Value) -> Result<Value, FunctionError> {
    let run_id = RunId::new(execution.name.as_str()).map_err(|problem| FunctionError::invalid("name", problem))?;
    let application: Application =
        serde_json::from_value(input.clone()).map_err(|problem| FunctionError::invalid("input", problem))?;
    check_trust(context, &application)?;
    check_repository(context, &application.repository)?;
    check_place("requirement", application.requirement.as_ref(), &format!("runs/{run_id}/"))?;
    check_place("acceptance", application.acceptance.as_ref(), &format!("held-out/{run_id}/"))?;
    let mut config = application.config.clone().unwrap_or_default();
    config.limits.budget_microusd = application.budget_microusd.unwrap_or(config.limits.budget_microusd);
    if config.limits.budget_microusd == 0 {
        return Err(FunctionError::invalid("budget_microusd", "is 0: nothing could be done; leave it out or say more"));
    }
    if application.config.is_some() {
        config.validate().map_err(|problem| FunctionError::invalid("config", problem))?;
    }
    let requester = requester(context, &execution, &input, application.requester.clone()).await?;
    let record = record(context, run_id, execution.arn, application, (requester, &config)).await?;
    let (Admission::New(run) | Admission::Existing(run)) =
        context.store.admit(record, settings::budget(&config)).await?;
    Ok(entrance(&run))
}

/// To choose the repository is to choose who gets the stage's key and which commands run on a runner.
fn check_repository(context: &Context, repository: &str) -> Result<(), FunctionError> {
    let refused =
        |problem: NotListed| FunctionError::new(ErrorName::PolicyRefused, format!("{problem}: {}", NotListed::CURE));
    context.store.names().check_repository(repository).map_err(refused)
}

/// What only the person at this machine may say. On AWS an input says neither who asks nor by which settings: those would
/// name the server that gets the stage's key, the paths that nobody may change, and that no person looks.
fn check_trust(context: &Context, application: &Application) -> Result<(), FunctionError> {
    if context.store.names().is_local() {
        return Ok(());
    }
    if application.config.is_some() {
        let cure = "leave it out, and commit the settings to gatewright.toml of the default branch";
        return Err(FunctionError::invalid("config", format!("a stage takes no settings from an input: {cure}")));
    }
    match application.requester {
        Some(_) => {
            Err(FunctionError::invalid("requester", "no input says who asks: leave it out, or start it by the API"))
        }
        None => Ok(()),
    }
}

/// Whom the entrance wrote down before it started exactly this execution; on one machine the person at it. Anybody else is a
/// person in the console, of whom nothing is known.
async fn requester(
    context: &Context,
    execution: &Execution,
    input: &Value,
    said: Option<Requester>,
) -> Result<Requester, FunctionError> {
    let start = context.store.start(&execution.name).await?;
    let start = start.filter(|start| start.input == *input);
    Ok(start.map(|start| start.requester).or(said).unwrap_or_else(Requester::console))
}

async fn record(
    context: &Context,
    run_id: RunId,
    execution_arn: String,
    application: Application,
    (requester, config): (Requester, &RunConfig),
) -> Result<RunRecord, FunctionError> {
    let requirement = match (application.requirement, application.requirements) {
        (Some(stored), _) => stored,
        (None, text) => {
            let text = text.unwrap_or_default();
            check_requirement(&text)?;
            context.store.put_artefact(&run_id, text.into_bytes()).await?
        }
    };
    let new = NewRun {
        config: context.store.put_json(&run_id, config).await?,
        run_id,
        execution_arn,
        repository: application.repository,
        base_ref: application.base.unwrap_or_else(|| "HEAD".into()),
        requirement,
        requester,
        now_ms: context.clock.now_ms(),
    };
    Ok(RunRecord {
        acceptance: application.acceptance,
        priority: application.priority,
        budget_microusd: application.budget_microusd,
        ..RunRecord::admitted(new)
    })
}

/// A run reads its own objects: agents see what the requirement refers to, and never the held-out tests.
fn check_place(field: &str, artefact: Option<&ArtefactRef>, prefix: &str) -> Result<(), FunctionError> {
    match artefact {
        Some(artefact) if !artefact.key.starts_with(prefix) => {
            Err(FunctionError::invalid(field, format!("{:?} does not lie under {prefix}", artefact.key)))
        }
        _ => Ok(()),
    }
}

fn check_requirement(text: &str) -> Result<(), FunctionError> {
    if text.trim().is_empty() {
        return Err(FunctionError::invalid("requirements", "is empty: say in a sentence what should be different"));
    }
    if text.len() > LONGEST_REQUIREMENT {
        let problem = format!("is {} bytes long: shorten it to {LONGEST_REQUIREMENT} bytes", text.len());
        return Err(FunctionError::invalid("requirements", problem));
    }
    Ok(())
}

/// Takes a run up again at `from`; what it finished before that stage is kept.
pub(crate) async fn resume(
    context: &Context,
    execution: Execution,
    run_id: RunId,
    from: &str,
) -> Result<Value, FunctionError> {
    let stage = Stage::ALL.into_iter().find(|stage| stage.as_str() == from).ok_or_else(|| {
        let stages: Vec<&str> = Stage::ALL.into_iter().map(Stage::as_str).collect();
        FunctionError::invalid("from", format!("{from:?} is not a stage: use one of {}", stages.join(", ")))
    })?;
    let run = context.store.run(&run_id).await?;
    check_repository(context, &run.repository)?;
    if run.status == RunStatus::Succeeded {
        return Err(FunctionError::invalid(
            "run_id",
            format!("{run_id} has landed already: there is nothing to resume"),
        ));
    }
    if let Some(missing) = missing(&run, stage) {
        let problem = format!("{from:?} needs the run's {missing}, which it has not got: resume from an earlier stage");
        return Err(FunctionError::invalid("from", problem));
    }
    if run.execution_arn == execution.arn {
        return entrance_at(context, &run, stage).await;
    }
    if (Stage::Build..Stage::Report).contains(&stage) && gates::is_due(context, &run, GateKind::Plan).await? {
        let problem = format!("{from:?} comes after a gate that nobody has opened: resume from \"plan_gate\"");
        return Err(FunctionError::invalid("from", problem));
    }
    let complaint = if stage <= Stage::Build { change::complaint(context, &run).await? } else { None };
    if stage <= Stage::Build {
        reopen_tasks(context, &run, complaint.as_deref()).await?;
    }
    // A gate that an earlier execution left is nobody's any more.
    context.store.void_gates(&run_id).await?;
    let take_up = |run: &mut RunRecord| {
        if run.execution_arn != execution.arn {
            run.executions += 1;
            run.execution_arn.clone_from(&execution.arn);
            if complaint.is_some() {
                change::forget(run);
            }
            if stage != Stage::Report {
                run.status = RunStatus::Running;
                run.ending = None;
                run.outcome = None;
            }
        }
        NewEvent::new("run.resumed", format!("resumed from {from} as {}", execution.name))
    };
    let run = context.store.update_run_telling(&run_id, take_up).await?;
    // Every other stage is entered by the function that its first state calls; these two begin with a model.
    if matches!(stage, Stage::Plan | Stage::Design) {
        context.store.enter_stage(&run_id, stage).await?;
    }
    entrance_at(context, &run, stage).await
}

/// What a stage reads and this run has not got.
fn missing(run: &RunRecord, stage: Stage) -> Option<&'static str> {
    let needs = [
        (Stage::Baseline, run.snapshot.is_some(), "snapshot"),
        (Stage::Plan, !run.evidence.is_empty(), "baseline"),
        (Stage::Design, run.plan.is_some(), "plan"),
        (Stage::PlanGate, run.design.is_some(), "design"),
        (Stage::Publish, run.change_set.is_some() && run.risk.is_some(), "assessed change set"),
        (Stage::Gate, run.commit.is_some(), "published commit"),
    ];
    needs
        .into_iter()
        .find(|(first, there, _)| stage >= *first && stage != Stage::Report && !there)
        .map(|(.., what)| what)
}

/// Tasks that did not get done may try again, with as many rounds as at first. Where all were done and their change as a
/// whole was not good, those of the last wave, which see all of it, deal with that.
async fn reopen_tasks(context: &Context, run: &RunRecord, complaint: Option<&str>) -> Result<(), FunctionError> {
    let rounds = context.config(run).await?.limits.iterations;
    let tasks = context.store.tasks(&run.run_id).await?;
    let last_wave = tasks.iter().map(|task| task.wave).max();
    for task in &tasks {
        let complaint = complaint.filter(|_| Some(task.wave) == last_wave);
        context.store.update_task(&run.run_id, &task.task_id, |task| reopen(task, rounds, complaint)).await?;
    }
    Ok(())
}

fn reopen(task: &mut TaskRecord, rounds: u32, complaint: Option<&str>) {
    match (task.status, complaint) {
        (TaskStatus::Waiting, _) | (TaskStatus::Done, None) => return,
        (TaskStatus::Done, Some(complaint)) => task.feedback = vec![complaint.to_owned()],
        _ => {}
    }
    if matches!(task.status, TaskStatus::Done | TaskStatus::LimitReached) {
        task.iteration_bound = task.iteration + rounds;
        task.iteration += 1;
    }
    task.status = TaskStatus::Waiting;
    task.failure_fingerprints.clear();
}

fn entrance(run: &RunRecord) -> Value {
    json!({ "run_id": run.run_id, "held_out": run.acceptance.is_some(), "attempt": run.attempt })
}

/// The entrance at a stage, and what the machine must know of the next gate where it passes by the step that would have told.
async fn entrance_at(context: &Context, run: &RunRecord, from: Stage) -> Result<Value, FunctionError> {
    let gate = match from {
        Stage::PlanGate => gates::needed(context, run, GateKind::Plan).await?,
        Stage::Publish | Stage::Gate => gates::needed(context, run, GateKind::Change).await?,
        _ => Value::Null,
    };
    let mut entrance = entrance(run);
    entrance["from"] = from.as_str().into();
    entrance["gate"] = gate;
    Ok(entrance)
}
