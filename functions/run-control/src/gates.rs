//! Whether a person is asked, and what came of it.

use run_model::gate::{GateDecision, GateKind, GateState};
use run_model::risk::{Risk, RiskLevel};
use run_model::run::{Ending, Outcome, RunStatus};
use run_model::{ErrorName, FunctionError, RunId};
use serde_json::{Value, json};

use crate::Context;

/// A change waits from medium risk on, a plan only from high on.
pub(crate) async fn needed(context: &Context, run_id: RunId, kind: GateKind) -> Result<Value, FunctionError> {
    let run = context.store.run(&run_id).await?;
    let limits = context.config(&run).await?.limits;
    let (risk, from) = match kind {
        GateKind::Plan => (run.plan_risk, RiskLevel::High),
        GateKind::Change => (run.risk, RiskLevel::Medium),
    };
    let unmeasured = || FunctionError::new(ErrorName::Internal, format!("the risk of {run_id} was not measured"));
    let Risk { level, .. } = risk.ok_or_else(unmeasured)?;
    let wait = limits.gate_wait_seconds(level);
    let needed = level >= from && wait.is_some();
    Ok(json!({ "needed": needed, "risk_level": level, "timeout_seconds": wait.unwrap_or(0) }))
}

/// Reads the gate again: the table, not the callback, says what was decided.
pub(crate) async fn closed(context: &Context, run_id: RunId, kind: GateKind) -> Result<Value, FunctionError> {
    let run = context.store.run(&run_id).await?;
    let missing = || FunctionError::new(ErrorName::Internal, format!("{run_id} has no gate"));
    let gate_id = run.gate.ok_or_else(missing)?;
    let mut gate = context.store.gate(&gate_id).await?;
    if gate.binding.kind != kind {
        return Err(FunctionError::new(ErrorName::Internal, format!("{gate_id} is not the gate of this stage")));
    }
    if gate.state == GateState::Pending {
        gate = context.store.expire_gate(&gate_id).await?;
    }
    let (ending, message) = match &gate.state {
        GateState::Decided { decision: GateDecision::Approved, approver, .. } => {
            (None, format!("{} approved ({})", approver.name, approver.seen_as))
        }
        GateState::Decided { decision: GateDecision::Denied, approver, comment, .. } => {
            let said = comment.as_ref().map(|comment| format!(": {comment}")).unwrap_or_default();
            let reason = format!("{} denied it at gate {gate_id}{said}.", approver.name);
            let next_step =
                format!("Start a new run, or take this one up again with `gatewright runs resume {run_id}`.");
            (Some((RunStatus::Denied, next_step)), reason)
        }
        GateState::Pending | GateState::Expired | GateState::Void => {
            let reason = format!("Nobody decided on gate {gate_id} in time; silence means no.");
            let next_step = format!("`gatewright runs resume {run_id}` opens a fresh gate over the same change.");
            (Some((RunStatus::TimedOut, next_step)), reason)
        }
    };
    let next = if ending.is_none() { "go" } else { "finish" };
    let reason = message.clone();
    context
        .store
        .update_run(&run_id, |run| {
            run.status = RunStatus::Running;
            run.ending = ending
                .clone()
                .map(|(status, next_step)| Ending { status, outcome: Outcome { reason: reason.clone(), next_step } });
        })
        .await?;
    context.tell(&run_id, "gate.closed", message).await?;
    Ok(json!({ "next": next }))
}
