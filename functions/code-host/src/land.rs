//! The published commit becomes a branch, if a person approved exactly this change or the rules ask nobody.

use config::RunConfig;
use run_model::change_set::ChangeSet;
use run_model::gate::{Binding, GateDecision, GateKind, GateState};
use run_model::risk::RiskLevel;
use run_model::run::{RunRecord, Stage, branch_name};
use run_model::{FunctionError, RunId};
use serde_json::{Value, json};

use crate::{Context, assurance, missing, refused, repository};

/// Lands the change. A branch that is there already with this commit is left as it is.
pub(crate) async fn land(context: &Context, run_id: &RunId) -> Result<Value, FunctionError> {
    let run = context.store.enter_stage(run_id, Stage::Land).await?;
    let change = assurance::change_set(context, &run).await?;
    assurance::assure(context, &run, &change).await?;
    is_allowed(context, &run, &change).await?;
    let commit = run.commit.clone().ok_or_else(|| missing(run_id, "published commit"))?;
    let branch = repository(&run).await?.land(run_id, &commit).await?;
    if run.branch.as_ref() != Some(&branch) {
        context.store.update_run(run_id, |run| run.branch = Some(branch.clone())).await?;
        context.tell(run_id, "change.landed", format!("branch {branch} is {commit}")).await?;
    }
    Ok(json!({ "branch": branch }))
}

/// Whether the level opens no gate, or the run's gate was approved for exactly this change.
async fn is_allowed(context: &Context, run: &RunRecord, change: &ChangeSet) -> Result<(), FunctionError> {
    let level = run.risk.as_ref().ok_or_else(|| missing(&run.run_id, "measured risk"))?.level;
    let config: RunConfig = context.store.get_json(&run.config).await?;
    if level < RiskLevel::Medium || config.limits.gate_wait_seconds(level).is_none() {
        return Ok(());
    }
    let unasked = || refused(format!("{} risk needs an approval, and {} has no gate", level.as_str(), run.run_id));
    let gate = context.store.gate(run.gate.as_ref().ok_or_else(unasked)?).await?;
    let binding = Binding {
        kind: GateKind::Change,
        base_commit: change.base_commit.clone(),
        content_sha256: change.hash(),
        target: branch_name(&run.run_id),
    };
    if gate.binding.hash() != binding.hash() {
        return Err(refused(format!("gate {} stands before something else than this change", gate.gate_id)));
    }
    match gate.state {
        GateState::Decided { decision: GateDecision::Approved, .. } => Ok(()),
        _ => Err(refused(format!("gate {} was not approved", gate.gate_id))),
    }
}
