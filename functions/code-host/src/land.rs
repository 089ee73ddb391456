//! An approved commit as a branch.

use run_model::gate::{GateDecision, GateKind, GateState};
use run_model::risk::RiskLevel;
use run_model::run::{RunRecord, Stage};
use run_model::{ErrorName, FunctionError, RunId};
use serde_json::{Value, json};
use store::NewEvent;

use crate::{Context, failed, named, present, repository};

/// Lands what was approved, if it still is what was approved; asked again, it finds the branch.
pub(crate) async fn land(context: &Context, run_id: RunId) -> Result<Value, FunctionError> {
    let run = context.store.enter_stage(&run_id, Stage::Land).await?;
    allowed(context, &run).await?;
    let commit = present(&run, "published commit", run.commit.as_ref())?;
    let git = repository(&run).await?;
    let branch = git.land(&run_id, commit).await.map_err(failed)?;
    if run.branch.as_ref() != Some(&branch) {
        context.store.update_run(&run_id, |run| run.branch = Some(branch.clone())).await?;
        context.store.append_event(&run_id, NewEvent::new("change.landed", format!("branch {branch}"))).await?;
    }
    Ok(json!({ "branch": branch }))
}

/// Low risk passes alone; everything else needs an approval bound to exactly this change set.
async fn allowed(context: &Context, run: &RunRecord) -> Result<(), FunctionError> {
    let refused = |problem: String| FunctionError::new(ErrorName::PolicyRefused, problem);
    let risk = present(run, "measured risk", run.risk.as_ref())?;
    if risk.level == RiskLevel::Low {
        return Ok(());
    }
    let change = context.change_set(run).await?;
    let gate_id = run.gate.as_ref().ok_or_else(|| refused(format!("{} has no gate, so nothing lands", run.run_id)))?;
    let gate = context.store.gate(gate_id).await?;
    let approved = matches!(gate.state, GateState::Decided { decision: GateDecision::Approved, .. });
    if !approved || gate.binding.kind != GateKind::Change || gate.run_id != run.run_id {
        return Err(refused(format!("gate {gate_id} does not approve the change of {}", run.run_id)));
    }
    if gate.binding.content_sha256 != change.hash() || gate.binding.base_commit != change.base_commit {
        let now = run.change_set.as_ref().map_or("nothing", named);
        return Err(refused(format!("gate {gate_id} approved another change than {now}; it is void")));
    }
    Ok(())
}
