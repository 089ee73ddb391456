#![doc = include_str!("../README.md")]

use std::sync::{Arc, OnceLock};

use aws_sdk_sfn::Client;
use aws_sdk_sfn::error::DisplayErrorContext;
use aws_types::SdkConfig;
use run_model::run::{Outcome, RunRecord, RunStatus};
use run_model::{Clock, ErrorName, FunctionError, Randomness, RunId};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Names, NewEvent, Store, StoreError};

/// What the function needs, built once per cold start.
pub struct Context {
    store: Store,
    sdk: SdkConfig,
    step_functions: OnceLock<Client>,
}

impl Context {
    /// Connects lazily to the store and to Step Functions behind `sdk`.
    pub fn new(sdk: &SdkConfig, names: Names, clock: Arc<dyn Clock>, randomness: Arc<dyn Randomness>) -> Self {
        let store = Store::new(sdk, names, clock, randomness);
        Self { store, sdk: sdk.clone(), step_functions: OnceLock::new() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    run_id: RunId,
}

/// How an execution stands.
struct Standing {
    status: String,
    error: Option<String>,
    cause: Option<String>,
}

/// Expires the run's overdue gates and brings its record up to date with its execution: `{"run_id", "status"}`, the status null
/// if there is no such run.
///
/// # Errors
/// `InvalidInput`; `StoreUnavailable` if the table or Step Functions cannot be asked: whoever called tries again.
pub async fn handle(context: &Context, input: Value) -> Result<Value, FunctionError> {
    let Input { run_id } = serde_json::from_value(input).map_err(|problem| FunctionError::invalid("input", problem))?;
    let run = match context.store.run(&run_id).await {
        Ok(run) => run,
        Err(StoreError::NotFound(_)) => return Ok(json!({ "run_id": run_id, "status": null })),
        Err(error) => return Err(error.into()),
    };
    for gate in context.store.run_gates(&run_id).await? {
        context.store.expire_gate(&gate.gate_id).await?;
    }
    let run = if run.status.is_final() { run } else { reconciled(context, run).await? };
    Ok(json!({ "run_id": run_id, "status": run.status }))
}

/// The run as it stands, with the end of its execution if that has ended.
async fn reconciled(context: &Context, run: RunRecord) -> Result<RunRecord, FunctionError> {
    let standing = standing(context, &run.execution_arn).await?;
    let Some((status, outcome)) = standing.end_of(&run.run_id) else { return Ok(run) };
    tracing::info!(run = %run.run_id, status = standing.status, "an execution had ended without its run's knowing");
    let event = NewEvent::new("run.ended", format!("{}: {}", status.as_str(), outcome.reason));
    Ok(context.store.end_run(&run.run_id, status, outcome, event).await?)
}

impl Standing {
    /// What this means for a run that knows of no end; nothing while the execution goes on.
    fn end_of(&self, run_id: &RunId) -> Option<(RunStatus, Outcome)> {
        let said = self.cause.as_ref().or(self.error.as_ref()).map(|said| format!(" ({said})")).unwrap_or_default();
        let (status, reason) = match self.status.as_str() {
            "ABORTED" => (RunStatus::Stopped, format!("It was stopped in Step Functions{said}.")),
            "TIMED_OUT" => (RunStatus::TimedOut, format!("Its execution ran out of time{said}.")),
            "FAILED" => (RunStatus::Failed, format!("Its execution failed{said}.")),
            "SUCCEEDED" => (RunStatus::Failed, "Its execution ended without telling how.".to_owned()),
            _ => return None,
        };
        let next_step = format!("`gatewright runs resume {run_id}` goes on from where it was.");
        Some((status, Outcome { reason, next_step }))
    }
}

/// An execution that Step Functions does not know (any more: it keeps one for 90 days) has come to nothing.
async fn standing(context: &Context, execution_arn: &str) -> Result<Standing, FunctionError> {
    let client = context.step_functions.get_or_init(|| Client::new(&context.sdk));
    match client.describe_execution().execution_arn(execution_arn).send().await {
        Ok(found) => Ok(Standing { status: found.status.as_str().to_owned(), error: found.error, cause: found.cause }),
        Err(error) if error.as_service_error().is_some_and(|error| error.is_execution_does_not_exist()) => {
            let cause = Some("Step Functions does not know its execution.".to_owned());
            Ok(Standing { status: "FAILED".into(), error: None, cause })
        }
        Err(error) => {
            let message = format!("Step Functions cannot be asked: {}", DisplayErrorContext(error));
            Err(FunctionError::new(ErrorName::StoreUnavailable, message))
        }
    }
}
