//! Runs as they stand, brought up to date with their executions where the record has heard nothing for too long.

use http_host::{Answer, Request};
use run_model::RunId;
use run_model::claim::no_runner_is_alive;
use run_model::run::{ExecutionEnd, RunRecord, RunStatus};
use serde_json::{Value, json};
use store::StoreError;

use crate::Context;

const MOST_RUNS: u64 = 100;
const USUAL_RUNS: u64 = 20;
const MOST_EVENTS: usize = 500;

/// The newest runs, or those before one.
pub(crate) async fn list(context: &Context, request: &Request<'_>) -> Result<Answer, Answer> {
    http_host::person(&context.store, request).await?;
    let limit = request.number("limit")?.unwrap_or(USUAL_RUNS);
    let limit = usize::try_from(limit).ok().filter(|_| (1..=MOST_RUNS).contains(&limit));
    let limit = limit.ok_or_else(|| Answer::invalid("limit: is out of range", "use 1 to 100"))?;
    let runs = match request.query("after") {
        Some(after) => context.store.list_runs_before(&crate::run_id(after)?, limit).await?,
        None => context.store.list_runs(limit).await?,
    };
    let next = runs.last().filter(|_| runs.len() == limit).map(|run| &run.run_id);
    Ok(Answer::json(200, json!({ "runs": runs.iter().map(summary).collect::<Vec<_>>(), "next": next })))
}

/// One run.
pub(crate) async fn show(context: &Context, request: &Request<'_>, run_id: &RunId) -> Result<Answer, Answer> {
    http_host::person(&context.store, request).await?;
    let run = match context.store.run(run_id).await {
        Err(StoreError::NotFound(_)) => return asked_for(context, run_id).await,
        found => reconciled(context, found?).await?,
    };
    let gates = context.store.run_gates(run_id).await?;
    let gates = gates.iter().map(|gate| {
        json!({
            "gate_id": gate.gate_id,
            "kind": gate.binding.kind,
            "state": gate.state.word(),
            "level": gate.risk.level,
            "deadline_ms": gate.deadline_ms,
        })
    });
    let cost_microusd: u64 = context.store.usage(run_id).await?.iter().map(|entry| entry.cost_microusd).sum();
    let mut shown = summary(&run);
    shown["execution_arn"] = run.execution_arn.as_str().into();
    shown["executions"] = run.executions.into();
    shown["notices"] = json!(run.notices);
    shown["plan_risk"] = json!(run.plan_risk);
    shown["gates"] = gates.collect();
    shown["blocked_by"] = json!(blocked_by(context, request, &run).await?);
    shown["cost_microusd"] = cost_microusd.into();
    shown["budget_microusd"] = context.store.budget(run_id).await?.limit_microusd.into();
    Ok(Answer::json(200, shown))
}

/// Why nothing moves, in words that say what to do about it.
async fn blocked_by(context: &Context, request: &Request<'_>, run: &RunRecord) -> Result<Option<String>, Answer> {
    let waits = run.status == RunStatus::Running && context.store.waits_for_a_runner(&run.run_id).await?;
    Ok(waits.then(|| no_runner_is_alive(request.address().as_deref())))
}

fn summary(run: &RunRecord) -> Value {
    json!({
        "run_id": run.run_id,
        "status": run.status,
        "stage": run.stage,
        "repository": run.repository,
        "base_ref": run.base_ref,
        "requester": { "name": run.requester.name, "seen_as": run.requester.seen_as },
        "priority": run.priority,
        "created_ms": run.created_ms,
        "updated_ms": run.updated_ms,
        "risk": run.risk,
        "gate": run.gate,
        "branch": run.branch,
        "commit": run.commit,
        "pull_request": run.pull_request,
        "outcome": run.outcome,
    })
}

/// A run that was asked for and has no record: its execution has not come to it yet, or was refused.
async fn asked_for(context: &Context, run_id: &RunId) -> Result<Answer, Answer> {
    let unknown = || Answer::not_found(format!("there is no run {run_id}"));
    let start = context.store.start(run_id.as_str()).await?.ok_or_else(unknown)?;
    let ending = match execution_arn(&context.pipeline_arn, run_id.as_str()) {
        Some(arn) => end_of(context, run_id, &arn).await?,
        None => None,
    };
    Ok(Answer::json(
        200,
        json!({
            "run_id": run_id,
            "status": ending.as_ref().map_or("accepted", |ending| ending.status.as_str()),
            "repository": start.input["repository"],
            "requester": { "name": start.requester.name, "seen_as": start.requester.seen_as },
            "outcome": ending.map(|ending| ending.outcome),
        }),
    ))
}

async fn reconciled(context: &Context, run: RunRecord) -> Result<RunRecord, Answer> {
    let deadline_ms = match &run.gate {
        Some(gate) => Some(context.store.gate(gate).await?.deadline_ms),
        None => None,
    };
    if !run.is_overdue(context.clock.now_ms(), deadline_ms) {
        return Ok(run);
    }
    match end_of(context, &run.run_id, &run.execution_arn).await? {
        Some(ending) => Ok(context.store.end_with_execution(&run.run_id, &run.execution_arn, &ending).await?),
        None => Ok(run),
    }
}

/// How the execution ended; `None` while it goes on, and if nobody remembers it.
async fn end_of(
    context: &Context,
    run_id: &RunId,
    execution_arn: &str,
) -> Result<Option<run_model::run::Ending>, Answer> {
    match context.step_functions.describe_execution().execution_arn(execution_arn).send().await {
        Ok(execution) => {
            let (error, cause) = (execution.error(), execution.cause());
            Ok(ExecutionEnd { status: execution.status().as_str(), error, cause }.ending(run_id))
        }
        Err(error) if error.as_service_error().is_some_and(|error| error.is_execution_does_not_exist()) => Ok(None),
        Err(error) => {
            tracing::warn!(run = %run_id, ?error, "an execution could not be asked");
            let cure = "repeat the request in a moment";
            Err(Answer::error(503, "Unavailable", "Step Functions does not answer", cure))
        }
    }
}

/// The ARN of an execution of the pipeline, which may be named by its alias.
fn execution_arn(pipeline_arn: &str, name: &str) -> Option<String> {
    let parts: Vec<&str> = pipeline_arn.split(':').collect();
    let ["arn", partition, "states", region, account, "stateMachine", machine, ..] = parts.as_slice() else {
        return None;
    };
    Some(format!("arn:{partition}:states:{region}:{account}:execution:{machine}:{name}"))
}

/// The run's log from a number on.
pub(crate) async fn events(context: &Context, request: &Request<'_>, run_id: &RunId) -> Result<Answer, Answer> {
    http_host::person(&context.store, request).await?;
    let after = request.number("after")?.unwrap_or(0);
    context.store.run(run_id).await?;
    let mut events = context.store.events(run_id, after).await?;
    events.truncate(MOST_EVENTS);
    let last = events.last().map_or(after, |event| event.sequence);
    Ok(Answer::json(200, json!({ "events": events, "last": last })))
}
