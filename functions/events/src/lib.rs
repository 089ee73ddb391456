#![doc = include_str!("../README.md")]

mod serve;

use std::sync::Arc;

use aws_types::SdkConfig;
use run_model::run::{ExecutionEnd, RunRecord, RunStatus, runs_of_execution};
use run_model::{Clock, FunctionError, Randomness};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Names, NewEvent, Store, StoreError};

pub use crate::serve::serve;

const STATUS_CHANGE: &str = "Step Functions Execution Status Change";

/// What the function needs, built once per cold start.
pub struct Context {
    store: Store,
}

impl Context {
    /// Connects lazily to the store behind `sdk`.
    pub fn new(sdk: &SdkConfig, names: Names, clock: Arc<dyn Clock>, randomness: Arc<dyn Randomness>) -> Self {
        Self { store: Store::new(sdk, names, clock, randomness) }
    }
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "detail-type")]
    detail_type: String,
    detail: Detail,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    execution_arn: String,
    name: String,
    status: String,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    cause: Option<String>,
    #[serde(default)]
    redrive_count: Option<u32>,
}

/// Brings the run of an execution up to date with how the execution stands; `{"run_id", "status"}`, both null if it is no
/// run's newest execution.
///
/// # Errors
/// `InvalidInput` if it is no such event; `Conflict`, `StoreUnavailable` as the store has them: EventBridge sends it again.
pub async fn handle(context: &Context, event: Value) -> Result<Value, FunctionError> {
    let event: Event = serde_json::from_value(event).map_err(|problem| FunctionError::invalid("event", problem))?;
    if event.detail_type != STATUS_CHANGE {
        return Err(FunctionError::invalid("detail-type", format!("{:?} is not {STATUS_CHANGE:?}", event.detail_type)));
    }
    let detail = event.detail;
    let Some(run) = carried(context, &detail).await? else {
        return Ok(json!({ "run_id": null, "status": null }));
    };
    let run = if detail.status == "RUNNING" && detail.redrive_count.is_some_and(|count| count > 0) {
        taken_up_again(context, run).await?
    } else {
        let (error, cause) = (detail.error.as_deref(), detail.cause.as_deref());
        match (ExecutionEnd { status: &detail.status, error, cause }).ending(&run.run_id) {
            Some(ending) => context.store.end_with_execution(&run.run_id, &detail.execution_arn, &ending).await?,
            None => run,
        }
    };
    tracing::info!(run = %run.run_id, execution = detail.name, status = detail.status, "an execution changed");
    Ok(json!({ "run_id": run.run_id, "status": run.status }))
}

/// The run that the execution carries: the one whose record names it.
async fn carried(context: &Context, detail: &Detail) -> Result<Option<RunRecord>, FunctionError> {
    for run_id in runs_of_execution(&detail.name) {
        match context.store.run(&run_id).await {
            Ok(run) if run.execution_arn == detail.execution_arn => return Ok(Some(run)),
            Ok(_) | Err(StoreError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Redrive: the execution that had ended goes on, whatever the record said of its end. What it said is kept until there is
/// another end: an execution that ended in a `Fail` state only ends there again.
async fn taken_up_again(context: &Context, run: RunRecord) -> Result<RunRecord, FunctionError> {
    let execution_arn = run.execution_arn;
    let go_on = |run: &mut RunRecord| {
        // What has landed has landed.
        if run.status.is_final() && run.status != RunStatus::Succeeded && run.execution_arn == execution_arn {
            run.status = RunStatus::Running;
        }
        NewEvent::new("run.redriven", "its execution was redriven in Step Functions")
    };
    Ok(context.store.update_run_telling(&run.run_id, go_on).await?)
}
