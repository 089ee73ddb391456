//! The published commit becomes a branch or is merged, if a person approved exactly this change or the rules ask nobody.

use config::RunConfig;
use forge::Landing;
use run_model::change_set::ChangeSet;
use run_model::gate::{Binding, GateDecision, GateKind, GateState};
use run_model::risk::RiskLevel;
use run_model::run::{RunRecord, Stage};
use run_model::{FunctionError, RunId};
use serde_json::{Value, json};
use store::NewEvent;

use crate::message::commit_message;
use crate::publish::summary;
use crate::repository::{self, Purpose};
use crate::{Context, assurance, missing, refused};

/// Lands the change. One that is where it belongs already is left as it is.
pub(crate) async fn land(context: &Context, run_id: &RunId) -> Result<Value, FunctionError> {
    let run = context.store.enter_stage(run_id, Stage::Land).await?;
    let change = assurance::change_set(context, &run).await?;
    assurance::assure(context, &run, &change).await?;
    is_allowed(context, &run, &change).await?;
    let commit = run.commit.clone().ok_or_else(|| missing(run_id, "published commit"))?;
    let message = commit_message(run_id, &change, &summary(context, &run).await?);
    let repository = repository::open(context, &run, Purpose::writing(change.overlay.paths())).await?;
    let landing = Landing {
        run: run_id,
        base_commit: &change.base_commit,
        commit: &commit,
        pull_request: run.pull_request.as_ref(),
        message: &message,
    };
    let landed = repository.land(&landing).await?;
    let record = |run: &mut RunRecord| {
        run.branch = Some(landed.branch.clone());
        NewEvent::new("change.landed", format!("branch {} is {}", landed.branch, landed.commit))
    };
    context.store.update_run_telling(run_id, record).await?;
    context.note(&run, &landed.notices).await?;
    Ok(json!({ "branch": landed.branch }))
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
        target: run.target(),
    };
    if gate.binding.hash() != binding.hash() {
        return Err(refused(format!("gate {} stands before something else than this change", gate.gate_id)));
    }
    if gate.risk.level < level {
        let opened = gate.risk.level.as_str();
        return Err(refused(format!(
            "gate {} was opened for {opened} risk, the change has {}",
            gate.gate_id,
            level.as_str()
        )));
    }
    match gate.state {
        GateState::Decided { decision: GateDecision::Approved, .. } => Ok(()),
        _ => Err(refused(format!("gate {} was not approved", gate.gate_id))),
    }
}
