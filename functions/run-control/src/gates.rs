//! Whether a person is asked, and what came of it.

use run_model::gate::{Gate, GateDecision, GateKind, GateState};
use run_model::risk::RiskLevel;
use run_model::run::{Ending, Outcome, RunRecord, RunStatus};
use run_model::{ErrorName, FunctionError, GateId, RunId};
use serde_json::{Value, json};
use store::NewEvent;

use crate::{Context, questions, setup};

/// What the machine asks of a gate before it comes to it: a change waits from medium risk on, a plan only from high on, other
/// dependencies always; plan and dependencies once. A question that an earlier execution left unanswered comes first.
pub(crate) async fn needed(context: &Context, run: &RunRecord, kind: GateKind) -> Result<Value, FunctionError> {
    let (level, wait) = asked_for(context, run, kind).await?;
    let needed = wait.is_some() && !is_passed(context, run, kind).await?;
    let question = if needed { questions::left_over(context, run, kind).await? } else { Value::Null };
    Ok(json!({
        "needed": needed, "risk_level": level, "timeout_seconds": wait.unwrap_or(0), "question": question,
    }))
}

/// Whether a person still has to be asked: the rules ask for it, and nobody has approved yet.
pub(crate) async fn is_due(context: &Context, run: &RunRecord, kind: GateKind) -> Result<bool, FunctionError> {
    Ok(asked_for(context, run, kind).await?.1.is_some() && !is_passed(context, run, kind).await?)
}

/// Whether a gate over this very plan, or these very dependencies, was approved. A change is asked about anew by each execution
/// that comes to it.
async fn is_passed(context: &Context, run: &RunRecord, kind: GateKind) -> Result<bool, FunctionError> {
    let content = match kind {
        GateKind::Change => return Ok(false),
        GateKind::Plan => run.plan.as_ref(),
        GateKind::Setup => run.proposed_setup.as_ref().map(|proposed| &proposed.manifests),
    };
    let content = content.map(|content| &content.sha256);
    let opened = |gate: &Gate| {
        let approved = matches!(gate.state, GateState::Decided { decision: GateDecision::Approved, .. });
        approved && gate.binding.kind == kind && Some(&gate.binding.content_sha256) == content
    };
    Ok(context.store.run_gates(&run.run_id).await?.iter().any(opened))
}

/// The risk, and for how many seconds a gate waits because of it; `None` if it asks for no gate.
async fn asked_for(
    context: &Context,
    run: &RunRecord,
    kind: GateKind,
) -> Result<(RiskLevel, Option<u32>), FunctionError> {
    let (risk, from) = match kind {
        GateKind::Plan => (run.plan_risk.as_ref(), RiskLevel::High),
        GateKind::Setup => (run.proposed_setup.as_ref().map(|proposed| &proposed.risk), RiskLevel::Medium),
        GateKind::Change => (run.risk.as_ref(), RiskLevel::Medium),
    };
    let unmeasured = || FunctionError::new(ErrorName::Internal, format!("the risk of {} was not measured", run.run_id));
    let level = risk.ok_or_else(unmeasured)?.level;
    let wait = context.config(run).await?.limits.gate_wait_seconds(level);
    Ok((level, wait.filter(|_| level >= from)))
}

/// Reads the gate again: the table, not the callback, says what was decided.
pub(crate) async fn closed(context: &Context, run_id: RunId, kind: GateKind) -> Result<Value, FunctionError> {
    let run = context.store.run(&run_id).await?;
    let missing = || FunctionError::new(ErrorName::Internal, format!("{run_id} has no gate"));
    let gate = as_it_ended(context, &run_id, &run.gate.ok_or_else(missing)?).await?;
    if gate.binding.kind != kind {
        return Err(FunctionError::new(ErrorName::Internal, format!("{} is not the gate of this stage", gate.gate_id)));
    }
    if matches!(gate.state, GateState::Asked { .. }) {
        let work = |run: &mut RunRecord| {
            if run.status == RunStatus::ApprovalPending {
                run.status = RunStatus::Running;
            }
        };
        let run = context.store.update_run(&run_id, work).await?;
        return Ok(json!({ "next": "answer", "question": questions::errand(context, &run, &gate).await? }));
    }
    let (message, ending) = meaning(&run_id, &gate);
    let next = if ending.is_none() { "go" } else { "finish" };
    if kind == GateKind::Setup && ending.is_none() {
        setup::adopt(context, &run_id, &gate.binding.content_sha256).await?;
    }
    let close = |run: &mut RunRecord| {
        if run.status == RunStatus::ApprovalPending {
            run.status = RunStatus::Running;
            run.ending.clone_from(&ending);
        }
        NewEvent::new("gate.closed", message.as_str())
    };
    context.store.update_run_telling(&run_id, close).await?;
    Ok(json!({ "next": next, "question": null }))
}

/// The gate once nothing more can happen to it. One that still waits when its state does not is void, however early that is.
async fn as_it_ended(context: &Context, run_id: &RunId, gate_id: &GateId) -> Result<Gate, FunctionError> {
    let gate = context.store.expire_gate(gate_id).await?;
    if gate.state != GateState::Pending {
        return Ok(gate);
    }
    context.store.void_gates(run_id).await?;
    Ok(context.store.gate(gate_id).await?)
}

/// What is told of a gate, and the end that anything but an approval means.
fn meaning(run_id: &RunId, gate: &Gate) -> (String, Option<Ending>) {
    let gate_id = &gate.gate_id;
    let ended = |status, reason: String, next_step| {
        (reason.clone(), Some(Ending { status, outcome: Outcome { reason, next_step } }))
    };
    match &gate.state {
        GateState::Decided { decision: GateDecision::Approved, approver, .. } => {
            let names = gate.decided_by().unwrap_or_default();
            (format!("{names} approved ({})", approver.seen_as), None)
        }
        GateState::Decided { decision: GateDecision::Denied, approver, comment, .. } => {
            let said = comment.as_ref().map(|comment| format!(": {comment}")).unwrap_or_default();
            let reason = format!("{} denied it at gate {gate_id}{said}.", approver.name);
            let next_step =
                format!("Start a new run, or take this one up again with `gatewright runs resume {run_id}`.");
            ended(RunStatus::Denied, reason, next_step)
        }
        GateState::Pending | GateState::Asked { .. } | GateState::Expired | GateState::Void => {
            let reason = format!("Nobody decided on gate {gate_id} in time; silence means no.");
            let next_step = format!("`gatewright runs resume {run_id}` opens a fresh gate over the same change.");
            ended(RunStatus::TimedOut, reason, next_step)
        }
    }
}
