//! A change set as a commit under a ref of its own.

use run_model::plan::Plan;
use run_model::run::Stage;
use run_model::{ErrorName, FunctionError, RunId};
use serde_json::{Value, json};
use store::NewEvent;

use crate::{Context, failed, present, repository};

/// Publishes the assessed change set; asked again, it finds the same commit.
pub(crate) async fn publish(context: &Context, run_id: RunId) -> Result<Value, FunctionError> {
    let run = context.store.enter_stage(&run_id, Stage::Publish).await?;
    if run.risk.is_none() || run.ending.is_some() {
        let problem = format!("the change of {run_id} was not found good, so it is not published");
        return Err(FunctionError::new(ErrorName::PolicyRefused, problem));
    }
    let change = context.change_set(&run).await?;
    let plan: Plan = context.store.get_json(present(&run, "plan", run.plan.as_ref())?).await?;
    let message = message(&plan, &run_id, change.hash().as_str());
    let git = repository(&run).await?;
    // The run's admission dates the commit, so that a repeated call makes the same one.
    let published = git.publish(&run_id, &change.base_commit, &change.overlay, &message, run.created_ms);
    let commit = published.await.map_err(failed)?;
    if run.commit.as_ref() != Some(&commit) {
        context.store.update_run(&run_id, |run| run.commit = Some(commit.clone())).await?;
        let message = format!("commit {} at refs/gatewright/{run_id}", commit.get(..12).unwrap_or(&commit));
        context.store.append_event(&run_id, NewEvent::new("change.published", message)).await?;
    }
    Ok(json!({ "commit": commit, "ref": format!("refs/gatewright/{run_id}") }))
}

/// The plan's summary, its tasks, and what ties the commit to the run.
fn message(plan: &Plan, run_id: &RunId, hash: &str) -> String {
    let subject = plan.tasks.first().map_or(plan.summary.as_str(), |task| task.title.as_str());
    let subject: String = subject.lines().next().unwrap_or_default().chars().take(72).collect();
    let tasks: Vec<String> = plan.tasks.iter().map(|task| format!("- {}: {}", task.id, task.title)).collect();
    format!("{subject}\n\n{}\n\n{}\n\nGatewright-Run: {run_id}\nGatewright-Change: {hash}\n", plan.summary, tasks.join("\n"))
}
