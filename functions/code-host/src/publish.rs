//! The change becomes a commit under a ref of its own.

use run_model::plan::Plan;
use run_model::run::{RunRecord, Stage};
use run_model::{FunctionError, RunId};
use serde_json::{Value, json};

use crate::message::commit_message;
use crate::{Context, assurance, missing, repository};

/// Publishes the change that was measured. The commit depends on the run's record alone, so a repeated call makes the same one.
pub(crate) async fn publish(context: &Context, run_id: &RunId) -> Result<Value, FunctionError> {
    let run = context.store.enter_stage(run_id, Stage::Publish).await?;
    let change = assurance::change_set(context, &run).await?;
    assurance::assure(context, &run, &change).await?;
    let message = commit_message(run_id, &change, &summary(context, &run).await?);
    let git = repository(&run).await?;
    let commit = git.publish(run_id, &change.base_commit, &change.overlay, &message, run.created_ms).await?;
    if run.commit.as_ref() != Some(&commit) {
        context.store.update_run(run_id, |run| run.commit = Some(commit.clone())).await?;
        context.tell(run_id, "change.published", format!("refs/gatewright/{run_id} is {commit}")).await?;
    }
    Ok(json!({ "commit": commit, "ref": format!("refs/gatewright/{run_id}") }))
}

async fn summary(context: &Context, run: &RunRecord) -> Result<String, FunctionError> {
    let plan = run.plan.as_ref().ok_or_else(|| missing(&run.run_id, "plan"))?;
    Ok(context.store.get_json::<Plan>(plan).await?.summary)
}
