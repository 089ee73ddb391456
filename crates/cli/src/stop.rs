//! Stops runs: one, or everything that moves.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_sfn::error::ProvideErrorMetadata;
use run_model::run::{Outcome, RunRecord, RunStatus};
use run_model::{JobId, RunId};
use store::NewEvent;

use crate::machines::name_of;
use crate::place::Place;
use crate::problem::{self, Problem};
use crate::{executions, render, screen};

/// How often what still runs is stopped again before it is given up.
const ROUNDS: u32 = 30;

/// Stops one run.
pub(crate) async fn one(place: Place, run_id: &RunId) -> Result<u8, Problem> {
    let run = place.store().run(run_id).await?;
    if run.status.is_final() {
        place.close().await;
        screen::print(format!("{run_id} has ended already: {}", render::words(run.status)));
        return Ok(0);
    }
    let (flag, mut place) = (place.flag(), place.driving().await?);
    let stopped = loop {
        match stopped(&place, &run).await {
            // Whoever drove followed this run, and went.
            Err(problem) if problem.exit == problem::DRIVER_GONE => place = place.reopen().await?,
            stopped => break stopped,
        }
    };
    place.close().await;
    screen::print(told(&stopped?, &flag));
    Ok(0)
}

/// Stops a run's execution and says so in its record.
async fn stopped(place: &Place, run: &RunRecord) -> Result<RunRecord, Problem> {
    stop_execution(place, &run.execution_arn).await?;
    record(place, &run.run_id).await
}

/// Stops every execution of every machine, and looks until none is left. A run that was stopped says so in its record.
pub(crate) async fn all(place: Place) -> Result<u8, Problem> {
    let (mut place, mut stopped) = (place.driving().await?, Stopped::default());
    let left = loop {
        match everything(&place, &mut stopped).await {
            // Whoever drove followed a run that has been stopped, and went.
            Err(problem) if problem.exit == problem::DRIVER_GONE => place = place.reopen().await?,
            left => break left,
        }
    };
    let flag = place.flag();
    place.close().await;
    for run in stopped.runs.values() {
        screen::print(told(run, &flag));
    }
    let left = left?;
    if !stopped.open_checks.is_empty() {
        let jobs: Vec<&str> = stopped.open_checks.iter().map(JobId::as_str).collect();
        let message =
            format!("checks still open: {}; their runners let go of them at the next heartbeat", jobs.join(", "));
        return Err(Problem { message, exit: problem::FAILED });
    }
    if !left.is_empty() {
        let names: Vec<&str> = left.iter().map(|arn| name_of(arn)).collect();
        let message =
            format!("still running: {}; stop them again: `gatewright runs stop --all{flag}`", names.join(", "));
        return Err(Problem { message, exit: problem::FAILED });
    }
    screen::print(match stopped.executions.len() {
        0 => "nothing was running".to_owned(),
        count => format!(
            "{count} executions stopped, of {} runs; none is running any more, and none of their checks is open",
            stopped.runs.len()
        ),
    });
    Ok(0)
}

/// What was stopped so far.
#[derive(Default)]
struct Stopped {
    runs: BTreeMap<RunId, RunRecord>,
    /// By ARN.
    executions: BTreeSet<String>,
    /// Check jobs of those runs that a runner could still have.
    open_checks: Vec<JobId>,
}

/// Stops what runs until nothing does, or for so many rounds; what is left.
async fn everything(place: &Place, stopped: &mut Stopped) -> Result<Vec<String>, Problem> {
    for _ in 0..ROUNDS {
        let running = running(place).await?;
        if running.is_empty() {
            break;
        }
        for arn in running {
            // Noted first: whoever drives may go as soon as it is stopped.
            stopped.executions.insert(arn.clone());
            stop_execution(place, &arn).await?;
        }
        tokio::time::sleep(place.pace().shortest).await;
    }
    for arn in &stopped.executions {
        if let Some(RunRecord { run_id, .. }) = executions::carried(place.store(), arn).await? {
            stopped.runs.insert(run_id.clone(), record(place, &run_id).await?);
        }
    }
    stopped.open_checks.clear();
    for run in stopped.runs.keys() {
        // The index may have lagged behind when the run's end closed them.
        place.store().close_jobs(run).await?;
        stopped.open_checks.extend(place.store().open_jobs(run).await?);
    }
    running(place).await
}

/// Every execution that runs, those that call others first.
async fn running(place: &Place) -> Result<Vec<String>, Problem> {
    executions::running(&place.step_functions(), &place.machine_arns()?).await
}

async fn stop_execution(place: &Place, arn: &str) -> Result<(), Problem> {
    let stopping = place.step_functions().stop_execution().execution_arn(arn);
    match stopping.error("Stopped").cause("stopped by a person").send().await {
        // It is as good as stopped: nobody remembers it.
        Err(error) if error.code() == Some("ExecutionDoesNotExist") => Ok(()),
        stopped => stopped.map(drop).map_err(Problem::of_service),
    }
}

/// Writes the end into the run's record, unless it had come to another one before.
async fn record(place: &Place, run_id: &RunId) -> Result<RunRecord, Problem> {
    let outcome = Outcome {
        reason: "A person stopped it.".into(),
        next_step: format!("`gatewright runs resume {run_id}` goes on from where it was."),
    };
    let event = NewEvent::new("run.ended", "stopped by a person");
    Ok(place.store().end_run(run_id, RunStatus::Stopped, outcome, event).await?)
}

fn told(run: &RunRecord, flag: &str) -> String {
    let run_id = &run.run_id;
    match (run.status, &run.branch) {
        (RunStatus::Stopped, _) => format!("{run_id} is stopped; `gatewright runs resume {run_id}{flag}` goes on"),
        (_, Some(branch)) => format!("{run_id} had landed before it could be stopped: branch {branch}"),
        (status, None) => format!("{run_id} had ended before it could be stopped: {}", render::words(status)),
    }
}
