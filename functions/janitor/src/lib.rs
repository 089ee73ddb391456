#![doc = include_str!("../README.md")]

mod serve;

use std::sync::{Arc, OnceLock};

use aws_sdk_sfn::Client;
use aws_sdk_sfn::error::ProvideErrorMetadata;
use aws_types::SdkConfig;
use run_model::run::{Ending, ExecutionEnd, RunRecord};
use run_model::{Clock, ErrorName, FunctionError, Randomness, RunId};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Names, Store, StoreError};

pub use crate::serve::serve;

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
    match ending(context, &run).await? {
        Some(ending) => {
            tracing::info!(run = %run.run_id, "an execution had ended without its run's knowing");
            Ok(context.store.end_with_execution(&run.run_id, &run.execution_arn, &ending).await?)
        }
        None => Ok(run),
    }
}

/// What the end of its execution means for the run; `None` while it goes on. An execution that Step Functions does not know
/// (any more: it keeps one for 90 days) has come to nothing.
async fn ending(context: &Context, run: &RunRecord) -> Result<Option<Ending>, FunctionError> {
    let client = context.step_functions.get_or_init(|| Client::new(&context.sdk));
    match client.describe_execution().execution_arn(&run.execution_arn).send().await {
        Ok(found) => {
            let (error, cause) = (found.error.as_deref(), found.cause.as_deref());
            Ok(ExecutionEnd { status: found.status.as_str(), error, cause }.ending(&run.run_id))
        }
        Err(error) if error.as_service_error().is_some_and(|error| error.is_execution_does_not_exist()) => {
            let cause = Some("Step Functions does not know its execution.");
            Ok(ExecutionEnd { status: "FAILED", error: None, cause }.ending(&run.run_id))
        }
        Err(error) => {
            let message = format!("Step Functions cannot be asked: {}", error.code().unwrap_or("no answer"));
            Err(FunctionError::new(ErrorName::StoreUnavailable, message))
        }
    }
}
