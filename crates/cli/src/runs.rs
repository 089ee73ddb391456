//! `gatewright runs`: look at runs, take them up again, stop them.

use std::path::Path;

use aws_sdk_sfn::error::ProvideErrorMetadata;
use aws_sdk_sfn::types::{ExecutionStatus, HistoryEvent};
use lambda_host::SystemClock;
use run_model::run::{ExecutionEnd, RunRecord, RunStatus, Stage};
use run_model::{Clock, RunId, diff};
use serde_json::{Value, json};
use store::{Store, StoreError};

use crate::arguments::{At, RunsCommand, Waiting};
use crate::bill::{self, Bill};
use crate::machines::{self, name_of};
use crate::place::{self, Place};
use crate::problem::{self, Problem, causes};
use crate::render::{self, Facts};
use crate::story::{Past, nobody_is_at_work, story};
use crate::{columns, follow, logs, report, screen, stop};

/// The state of `pipeline` after which a run has its record.
const ADMISSION: &str = "Admit the request";

pub(crate) async fn run(state: &Path, at: At, command: RunsCommand) -> Result<u8, Problem> {
    match command {
        RunsCommand::Resume { run, from, budget, waiting } => {
            place::check_yes(&at, &waiting)?;
            resume(Place::read(state, &at).await?, &id(&run)?, from.as_deref(), budget, &waiting).await
        }
        RunsCommand::Stop { run: Some(run), .. } => stop::one(Place::read(state, &at).await?, &id(&run)?).await,
        RunsCommand::Stop { run: None, .. } => stop::all(Place::read(state, &at).await?).await,
        looking => {
            let shown = problem::once_more(async || {
                let place = Place::read(state, &at).await?;
                let shown = look(&place, &looking).await;
                place.close().await;
                shown
            });
            let shown = shown.await?;
            if !shown.is_empty() {
                screen::print(shown.trim_end());
            }
            Ok(0)
        }
    }
}

fn id(text: &str) -> Result<RunId, Problem> {
    RunId::new(text).map_err(Problem::input)
}

async fn look(place: &Place, command: &RunsCommand) -> Result<String, Problem> {
    let store = place.store();
    match command {
        RunsCommand::List { json } => list(place, *json).await,
        RunsCommand::Show { run, json } => show(place, &id(run)?, *json).await,
        RunsCommand::Events { run, json } => events(place, &id(run)?, *json).await,
        RunsCommand::Diff { run, stat } => diff_of(&Facts::of(store, recorded(place, &id(run)?).await?).await?, *stat),
        RunsCommand::Logs { run, task } => {
            let facts = Facts::of(store, recorded(place, &id(run)?).await?).await?;
            logs::told(store, &facts, task.as_deref()).await
        }
        RunsCommand::Report { run, output } => {
            let (past, facts) = past_and_facts(place, &id(run)?).await?;
            let page = report::page(&past, &facts, &logs::measured(store, &facts, &past.events).await?);
            report::write(output.as_deref(), page)
        }
        RunsCommand::Cost { run, json } => cost(place, &id(run)?, *json).await,
        RunsCommand::Resume { .. } | RunsCommand::Stop { .. } => {
            Err(Problem::defect("this command does not only look"))
        }
    }
}

/// A run's record. Where there is none at all, its tables may have lost it.
async fn recorded(place: &Place, run: &RunId) -> Result<RunRecord, Problem> {
    match place.store().run(run).await {
        Err(error @ StoreError::NotFound(_)) => {
            check_tables(place).await?;
            Err(error.into())
        }
        found => Ok(found?),
    }
}

/// What a run's story and its report are told from.
async fn past_and_facts(place: &Place, run: &RunId) -> Result<(Past, Facts), Problem> {
    let store = place.store();
    let run = reconciled(place, recorded(place, run).await?).await?;
    let past = Past::of(store, &run, place.is_orphaned(&run).await?).await?;
    Ok((past, Facts::of(store, run).await?))
}

async fn show(place: &Place, run: &RunId, json: bool) -> Result<String, Problem> {
    if json {
        let run = reconciled(place, recorded(place, run).await?).await?;
        return Ok(screen::json_line(&as_json(place, &run).await?));
    }
    let (past, facts) = past_and_facts(place, run).await?;
    let told = format!("{}{}", story(&past, &facts), render::report(&facts));
    Ok(columns::for_terminal(&told, 2))
}

async fn events(place: &Place, run: &RunId, json: bool) -> Result<String, Problem> {
    let (store, run) = (place.store(), recorded(place, run).await?);
    let events = store.events(&run.run_id, 0).await?;
    if json {
        return Ok(screen::json_line(&json!(events)));
    }
    let lines = events.iter().map(|event| {
        let who = event.role.as_deref().unwrap_or("-");
        let task = event.task.as_ref().map_or("-", |task| task.as_str());
        let at = render::moment(event.at_ms);
        let message = screen::hanging(&event.message, "      ");
        format!("{:>5} {at} {:<20} {who:<12} {task:<8} {message}", event.sequence, event.kind)
    });
    Ok(columns::for_terminal(&lines.collect::<Vec<_>>().join("\n"), 6))
}

async fn cost(place: &Place, run: &RunId, json: bool) -> Result<String, Problem> {
    let store = place.store();
    let facts = Facts::of(store, recorded(place, run).await?).await?;
    let bill = bill(place, &facts).await;
    // Whoever may look at the run need not have the right to its executions' histories.
    if let (Place::Stage(_), Err(problem)) = (place, &bill) {
        screen::tell(format!("note: what AWS charges for its transitions could not be read: {problem}"));
    }
    let bill = match place {
        Place::Here(_) => Some(bill?),
        Place::Stage(_) => bill.ok(),
    };
    if json {
        return Ok(screen::json_line(&cost_as_json(&facts, bill.as_ref())));
    }
    Ok(format!("{}{}", render::cost(&facts), bill.as_ref().map(render::bill).unwrap_or_default()))
}

/// The change of a run, or how much of it there is.
fn diff_of(facts: &Facts, stat: bool) -> Result<String, Problem> {
    let run = &facts.run;
    if run.change_set.is_none() {
        let cure = format!("`gatewright runs show {}` says how far it is", run.run_id);
        return Err(Problem::input(format!("{} has no change that was put together yet: {cure}", run.run_id)));
    }
    if !stat {
        return Ok(diff::unified(&facts.files));
    }
    let mut lines: Vec<String> = facts.files.iter().map(render::changed).collect();
    let count = |side: fn(&diff::FileDiff) -> usize| facts.files.iter().map(side).sum::<usize>();
    let (added, removed) = (count(|file| file.added.len()), count(|file| file.removed.len()));
    lines.push(format!("{} files, {added} lines added, {removed} removed", facts.files.len()));
    Ok(lines.join("\n"))
}

async fn list(place: &Place, as_json: bool) -> Result<String, Problem> {
    let runs = place.store().list_runs(50).await?;
    if as_json {
        let mut rows = Vec::new();
        for run in &runs {
            rows.push(json!({
                "run_id": run.run_id, "status": run.status, "stage": run.stage, "repository": run.repository,
                "created_ms": run.created_ms, "requester": run.requester.name, "gate": run.gate, "branch": run.branch,
                "is_orphaned": place.is_orphaned(run).await?,
            }));
        }
        return Ok(screen::json_line(&json!(rows)));
    }
    if runs.is_empty() {
        check_tables(place).await?;
        return Ok("no runs yet: start one with `gatewright run`, or look at `gatewright demo`".into());
    }
    let width = columns::of_terminal();
    let mut lines = Vec::new();
    for run in &runs {
        lines.push(row(run, width));
        if place.is_orphaned(run).await? {
            lines.push(format!("{:15}{}", "", nobody_is_at_work(run)));
        }
    }
    Ok(lines.join("\n"))
}

/// A run on a line of this width.
fn row(run: &RunRecord, width: Option<usize>) -> String {
    let (at, status, stage) = (render::moment(run.created_ms), run.status.as_str(), run.stage.as_str());
    let row = format!("{:<14} {at}  {status:<17} {stage:<10} ", run.run_id);
    match width {
        None => row + &run.repository,
        Some(width) if row.len() + 8 > width => columns::beginning_of(row.trim_end(), width),
        Some(width) => {
            let left = width - row.len();
            row + &columns::end_of(&run.repository, left)
        }
    }
}

/// Where runs were admitted and none is recorded, this machine's tables are not those that were written.
async fn check_tables(place: &Place) -> Result<(), Problem> {
    let Place::Here(local) = place else { return Ok(()) };
    if !local.store.list_runs(1).await?.is_empty() {
        return Ok(());
    }
    let (client, pipeline) = (place.step_functions(), machines::machine_arn("pipeline"));
    let listed = client.list_executions().state_machine_arn(pipeline).send().await.map_err(Problem::of_service)?;
    for execution in listed.executions {
        let history =
            client.get_execution_history().execution_arn(execution.execution_arn).max_results(20).send().await;
        let left = |event: &HistoryEvent| event.state_exited_event_details().map(|left| left.name().to_owned());
        if history.map_err(Problem::of_service)?.events.iter().filter_map(left).any(|state| state == ADMISSION) {
            let tables = local.state().join("tables.sqlite");
            return Err(Problem::missing(format!(
                "no run is recorded, but {} was admitted: {} has lost what it held; put a copy of the state folder back, or \
                 begin a new one with --state DIR",
                execution.name,
                tables.display()
            )));
        }
    }
    Ok(())
}

/// What AWS would charge for a run of this machine; of one on a stage, what its executions' histories say of what it charges.
async fn bill(place: &Place, facts: &Facts) -> Result<Bill, Problem> {
    match place {
        Place::Here(local) => {
            let gates = local.store.run_gates(&facts.run.run_id).await?.len();
            let known = bill::Known { run: &facts.run, usage: &facts.usage, gates };
            bill::of_local_run(local.state(), &place.step_functions(), &known).await
        }
        Place::Stage(stage) => {
            let name = &stage.store.names().stage;
            bill::of_run_on_a_stage(&place.step_functions(), &facts.run, name).await
        }
    }
}

/// What a run cost, for scripts.
fn cost_as_json(facts: &Facts, bill: Option<&Bill>) -> Value {
    json!({
        "run_id": facts.run.run_id,
        "cost_microusd": facts.usage.iter().map(|entry| entry.cost_microusd).sum::<u64>(),
        "cost_estimated": facts.usage.iter().any(|entry| entry.estimated),
        "usage": facts.usage,
        "aws": bill,
    })
}

/// A run for scripts.
pub(crate) async fn as_json(place: &Place, run: &RunRecord) -> Result<Value, Problem> {
    let store = place.store();
    let facts = Facts::of(store, run.clone()).await?;
    let cost_microusd: u64 = facts.usage.iter().map(|entry| entry.cost_microusd).sum();
    Ok(json!({
        "run_id": run.run_id,
        "status": run.status,
        "is_orphaned": place.is_orphaned(run).await?,
        "exit_code": run.status.exit_code(),
        "stage": run.stage,
        "repository": run.repository,
        "gate": run.gate,
        "gates": store.run_gates(&run.run_id).await?,
        "branch": run.branch,
        "pull_request": run.pull_request,
        "commit": run.commit,
        "risk": run.risk,
        "outcome": run.outcome,
        "blocked_by": facts.blocked_by,
        "notices": run.notices,
        "evidence": facts.evidence.values().collect::<Vec<_>>(),
        "changed": facts.files.iter().map(|file| json!({
            "path": file.path, "added": file.added.len(), "removed": file.removed.len(),
        })).collect::<Vec<_>>(),
        "cost_microusd": cost_microusd,
        "cost_estimated": facts.usage.iter().any(|entry| entry.estimated),
        "usage": facts.usage,
    }))
}

/// Goes on with a run: with its execution if that is still alive, with a new one otherwise.
async fn resume(
    place: Place,
    run_id: &RunId,
    from: Option<&str>,
    budget_usd: Option<f64>,
    waiting: &Waiting,
) -> Result<u8, Problem> {
    let run = match place.store().run(run_id).await {
        Err(error @ StoreError::NotFound(_)) => {
            check_tables(&place).await?;
            // Interrupted before it was admitted: once somebody drives, it is.
            if is_alive(&place, &place.execution_arn(run_id.as_str())).await {
                return go_on(place, run_id, run_id.as_str(), waiting).await;
            }
            return Err(error.into());
        }
        found => found?,
    };
    if render::kept(place.store().get_artefact(&run.requirement).await)?.is_none() {
        return Err(Problem::input(format!("{run_id} was cleaned away but for its record: start a new run")));
    }
    let alive = is_alive(&place, &run.execution_arn).await;
    if run.status == RunStatus::Succeeded && !alive {
        return Err(Problem::input(format!("{run_id} has landed already: there is nothing to resume")));
    }
    if let Some(usd) = budget_usd {
        raise_budget(place.store(), run_id, usd).await?;
    }
    if alive && from.is_some() {
        return Err(Problem::input(format!("{run_id} is still at work: stop it first, or resume without --from")));
    }
    if alive {
        return go_on(place, run_id, name_of(&run.execution_arn), waiting).await;
    }
    let from = match from {
        Some(stage) => stage.to_owned(),
        None => resume_stage(&run, place.is_published(&run).await?).as_str().to_owned(),
    };
    let place = place.driving().await?;
    let name = next_name(&place, &run).await?;
    place.start_execution(&name, json!({ "run_id": run_id, "from": from })).await?;
    wait_until_taken_up(&place, run_id, &name).await?;
    follow::follow(place, run_id, name, waiting).await
}

/// Goes on with the execution that carries the run.
async fn go_on(place: Place, run_id: &RunId, execution: &str, waiting: &Waiting) -> Result<u8, Problem> {
    let place = place.driving().await?;
    place.take_up(execution).await?;
    follow::follow(place, run_id, execution.to_owned(), waiting).await
}

async fn is_alive(place: &Place, execution_arn: &str) -> bool {
    status(place, execution_arn).await.is_ok_and(|status| status == Some(ExecutionStatus::Running))
}

async fn raise_budget(store: &Store, run_id: &RunId, usd: f64) -> Result<(), Problem> {
    let microusd = (usd * 1e6).round();
    let budget = store.budget(run_id).await?;
    if !(microusd > budget.limit_microusd as f64 && microusd < 9e15) {
        let now = render::usd(budget.limit_microusd);
        return Err(Problem::input(format!(
            "--budget {usd:?}: {run_id} has {now} already: name more US dollars than that"
        )));
    }
    store.raise_budget(run_id, microusd as u64).await?;
    Ok(())
}

/// The name of the run's next execution: one that was refused has its number used up.
async fn next_name(place: &Place, run: &RunRecord) -> Result<String, Problem> {
    let mut number = run.executions + 1;
    loop {
        let name = format!("{}-{number}", run.run_id);
        match status(place, &place.execution_arn(&name)).await? {
            // One that runs was started by somebody else just now: starting it again joins it, or is refused.
            None | Some(ExecutionStatus::Running) => return Ok(name),
            Some(_) => number += 1,
        }
    }
}

/// How an execution stands, if there is one.
async fn status(place: &Place, arn: &str) -> Result<Option<ExecutionStatus>, Problem> {
    match place.step_functions().describe_execution().execution_arn(arn).send().await {
        Ok(execution) => Ok(Some(execution.status().clone())),
        Err(error) if error.code() == Some("ExecutionDoesNotExist") => Ok(None),
        Err(error) => Err(Problem::missing(causes(&error))),
    }
}

/// A record that has heard nothing for too long is brought up to date with its execution.
async fn reconciled(place: &Place, run: RunRecord) -> Result<RunRecord, Problem> {
    let deadline_ms = match &run.gate {
        Some(gate) => Some(place.store().gate(gate).await?.deadline_ms),
        None => None,
    };
    if !run.is_overdue(SystemClock.now_ms(), deadline_ms) {
        return Ok(run);
    }
    if let Some(run) = place.reconciled(&run.run_id).await? {
        return Ok(run);
    }
    let asked = place.step_functions().describe_execution().execution_arn(&run.execution_arn).send().await;
    let execution = match asked {
        Err(error) if error.code() == Some("ExecutionDoesNotExist") => return Ok(run),
        asked => asked.map_err(|error| Problem::missing(causes(&error)))?,
    };
    let end = ExecutionEnd { status: execution.status().as_str(), error: execution.error(), cause: execution.cause() };
    match end.ending(&run.run_id) {
        Some(ending) => Ok(place.store().end_with_execution(&run.run_id, &run.execution_arn, &ending).await?),
        None => Ok(run),
    }
}

/// Until the new execution carries the run: before that the record still tells the old end.
async fn wait_until_taken_up(place: &Place, run_id: &RunId, name: &str) -> Result<(), Problem> {
    let arn = place.execution_arn(name);
    loop {
        if place.store().run(run_id).await?.execution_arn == arn {
            return Ok(());
        }
        let execution = match place.step_functions().describe_execution().execution_arn(&arn).send().await {
            // On AWS it may take a moment to be seen.
            Err(error) if error.code() == Some("ExecutionDoesNotExist") => None,
            execution => Some(execution.map_err(Problem::of_service)?),
        };
        if let Some(cause) = execution.as_ref().and_then(|execution| execution.cause()) {
            let cause: Value = serde_json::from_str(cause).unwrap_or_else(|_| json!({ "errorMessage": cause }));
            return Err(Problem::input(cause["errorMessage"].as_str().unwrap_or("the run was not taken up")));
        }
        tokio::time::sleep(place.pace().shortest).await;
    }
}

/// Where to go on: the stage it ended in; a change that was judged is not judged again for a gate alone, and one whose ref is
/// gone is published again.
fn resume_stage(run: &RunRecord, is_published: bool) -> Stage {
    match run.status {
        _ if run.commit.is_some() && !is_published => Stage::Publish,
        RunStatus::Denied | RunStatus::TimedOut if run.commit.is_some() => Stage::Gate,
        RunStatus::Denied | RunStatus::TimedOut if run.proposed_setup.is_some() => Stage::SetupGate,
        RunStatus::Denied | RunStatus::TimedOut => Stage::PlanGate,
        RunStatus::LimitReached | RunStatus::NeedsSetup => Stage::Build,
        _ => last_stage_with_inputs(run),
    }
}

/// The record's stage is `report` once the end was told; what the run has got says how far it had come.
fn last_stage_with_inputs(run: &RunRecord) -> Stage {
    let reached = [
        (run.commit.is_some(), Stage::Gate),
        // It was assessed and not published: measured again, it would be no better.
        (run.risk.is_some(), Stage::Build),
        (run.change_set.is_some(), Stage::Verify),
        (run.proposed_setup.is_some(), Stage::SetupGate),
        (run.design.is_some(), Stage::PlanGate),
        (run.plan.is_some(), Stage::Design),
        (!run.evidence.is_empty(), Stage::Plan),
        (run.snapshot.is_some(), Stage::Baseline),
    ];
    reached.into_iter().find(|(there, _)| *there).map_or(Stage::Snapshot, |(_, stage)| stage)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run that ended like this with what these fields say.
    fn ended(status: &str, got: &[&str]) -> RunRecord {
        let artefact = json!({ "key": "k", "sha256": "0".repeat(64), "bytes": 1 });
        let mut run = json!({
            "schema": 1, "version": 0, "run_id": "r-1", "status": status, "stage": "report", "repository": "/r",
            "base_ref": "HEAD", "requirement": artefact, "config": artefact,
            "requester": { "name": "ann", "seen_as": "local" }, "executions": 1, "attempt": 1, "execution_arn": "arn:1",
            "created_ms": 0, "updated_ms": 0, "notices": [], "evidence": [],
        });
        for field in got {
            run[*field] = match *field {
                "commit" => json!("c1"),
                "risk" => json!({ "level": "medium", "reasons": [] }),
                "proposed_setup" => {
                    json!({ "manifests": artefact, "risk": { "level": "critical", "reasons": [] }, "summary": "s" })
                }
                "evidence" => json!([["baseline", artefact]]),
                _ => artefact.clone(),
            };
        }
        serde_json::from_value(run).unwrap()
    }

    #[test]
    fn a_run_goes_on_where_something_is_left_to_do() {
        for (status, got, stage) in [
            ("failed", &[][..], Stage::Snapshot),
            ("failed", &["evidence"], Stage::Plan),
            ("failed", &["evidence", "plan"], Stage::Design),
            ("failed", &["evidence", "plan", "design"], Stage::PlanGate),
            ("failed", &["evidence", "plan", "design", "change_set"], Stage::Verify),
            ("failed", &["evidence", "plan", "design", "change_set", "risk"], Stage::Build),
            ("failed", &["evidence", "plan", "design", "change_set", "risk", "commit"], Stage::Gate),
            ("limit_reached", &["evidence", "plan", "design"], Stage::Build),
            ("denied", &["evidence", "plan", "design"], Stage::PlanGate),
            ("denied", &["evidence", "plan", "design", "proposed_setup"], Stage::SetupGate),
            ("stopped", &["evidence", "plan", "design", "proposed_setup"], Stage::SetupGate),
            ("timed_out", &["evidence", "plan", "design", "change_set", "risk", "commit"], Stage::Gate),
            ("denied", &["evidence", "plan", "design", "change_set", "risk", "commit"], Stage::Gate),
        ] {
            assert_eq!(resume_stage(&ended(status, got), true), stage, "{status} with {got:?}");
        }
        for (status, got, stage) in
            [("failed", &["commit"][..], Stage::Publish), ("denied", &["design"], Stage::PlanGate)]
        {
            assert_eq!(resume_stage(&ended(status, got), false), stage, "{status} with {got:?} and no ref");
        }
    }
}
