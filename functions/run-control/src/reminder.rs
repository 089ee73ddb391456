//! The one-shot that looks after a run when its execution has ended for certain, told or not.

use run_model::run::EXECUTION_BOUND_SECONDS;
use run_model::{FunctionError, RunId};
use serde_json::json;

use crate::{Context, Execution};

/// After the bound of an execution until it has ended and every status change was told.
const GRACE_SECONDS: i64 = 180;

/// Makes the one-shot of an execution, once.
pub(crate) async fn set(context: &Context, execution: &Execution, run_id: &RunId) -> Result<(), FunctionError> {
    let Some(one_shots) = &context.one_shots else { return Ok(()) };
    let moment_ms = context.clock.now_ms() + (EXECUTION_BOUND_SECONDS + GRACE_SECONDS) * 1_000;
    Ok(one_shots.at(&format!("run-{}", execution.name), moment_ms, &json!({ "run_id": run_id })).await?)
}
