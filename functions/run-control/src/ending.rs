//! How a run ended: its status, the reason, the next step and the cost, written once.

use run_model::budget::UsageEntry;
use run_model::run::{Ending, Outcome, RunRecord, RunStatus, Stage};
use run_model::{ErrorName, FunctionError, RunId};
use serde_json::{Value, json};

use crate::{Context, Failure};

impl Failure {
    /// The reason in words: the cause as the function gave it, without Step Functions' wrapping.
    pub(crate) fn reason(&self) -> String {
        let cause = innermost(&self.cause);
        if cause.is_empty() { self.error.clone() } else { cause }
    }
}

impl Failure {
    /// Whether the failure, or the one inside it, bears this name.
    pub(crate) fn names(&self, name: ErrorName) -> bool {
        let inside = serde_json::from_str::<Value>(&self.cause).ok();
        let inner = inside.filter(|wrapped| wrapped["Error"].is_string()).map(|wrapped| Self {
            error: wrapped["Error"].as_str().unwrap_or_default().to_owned(),
            cause: wrapped["Cause"].as_str().unwrap_or_default().to_owned(),
        });
        self.error == name.as_str() || inner.is_some_and(|inner| inner.names(name))
    }
}

/// The message inside a cause: Lambda wraps it as `errorMessage`, a nested execution as `Cause`.
fn innermost(cause: &str) -> String {
    let Ok(wrapped) = serde_json::from_str::<Value>(cause) else { return cause.to_owned() };
    let inner = wrapped["errorMessage"].as_str().or_else(|| wrapped["Cause"].as_str());
    inner.map_or_else(|| cause.to_owned(), innermost)
}

/// Makes the ending that was found the run's status, or failure if an error ended it, or success.
pub(crate) async fn finish(context: &Context, run_id: RunId, error: Option<Failure>) -> Result<Value, FunctionError> {
    let stuck = error.as_ref().is_some_and(|error| error.names(ErrorName::AgentStuck));
    let failure = error.map(|error| failed(&run_id, &error));
    context.store.enter_stage(&run_id, Stage::Report).await?;
    let run = context
        .store
        .update_run(&run_id, |run| {
            let ending = failure.clone().or_else(|| run.ending.clone()).unwrap_or_else(|| landed(run));
            if stuck && !run.status.is_final() {
                // A session that went in circles stays so; whoever resumes gets a fresh one.
                run.attempt += 1;
            }
            run.status = ending.status;
            run.outcome = Some(ending.outcome);
            run.ending = None;
        })
        .await?;
    context.store.void_gates(&run_id).await?;
    let outcome = run.outcome.clone().unwrap_or(Outcome { reason: String::new(), next_step: String::new() });
    let message = format!("{}: {}", run.status.as_str(), outcome.reason);
    context.tell(&run_id, "run.ended", message).await?;
    let cost_microusd: u64 =
        context.store.usage(&run_id).await?.iter().map(|entry: &UsageEntry| entry.cost_microusd).sum();
    Ok(json!({
        "run_id": run_id,
        "status": run.status,
        "reason": outcome.reason,
        "next_step": outcome.next_step,
        "branch": run.branch,
        "commit": run.commit,
        "cost_usd": cost_microusd as f64 / 1e6,
    }))
}

fn landed(run: &RunRecord) -> Ending {
    let branch = run.branch.as_deref().unwrap_or("(no branch)");
    let outcome = Outcome {
        reason: format!("The change is on branch {branch}."),
        next_step: format!("Merge it with `git merge {branch}`."),
    };
    Ending { status: RunStatus::Succeeded, outcome }
}

fn failed(run_id: &RunId, error: &Failure) -> Ending {
    let next_step = match error.error.as_str() {
        name if name == ErrorName::BudgetExceeded.as_str() => {
            format!("Raise the budget, or narrow the requirement, and `gatewright runs resume {run_id}`.")
        }
        name if name == ErrorName::ModelRefused.as_str() => {
            format!("Mend the key or the model's settings, then `gatewright runs resume {run_id}`.")
        }
        name if name == ErrorName::CassetteMiss.as_str() => "Record again, or use a live provider.".to_owned(),
        name if name == ErrorName::InvalidInput.as_str() => "Mend the input and start again.".to_owned(),
        _ => format!("Look at `gatewright runs events {run_id}`, then `gatewright runs resume {run_id}`."),
    };
    Ending { status: RunStatus::Failed, outcome: Outcome { reason: error.reason(), next_step } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_what_the_function_said() {
        let inner = r#"{"errorType":"ForgeFailed","errorMessage":"git: no such ref"}"#;
        let nested = json!({ "Status": "FAILED", "Cause": inner }).to_string();
        for cause in ["git: no such ref", inner, &nested] {
            let failure = Failure { error: "States.TaskFailed".into(), cause: cause.into() };
            assert_eq!(failure.reason(), "git: no such ref");
        }
        let inner = json!({ "Error": "AgentStuck", "Cause": "in circles" }).to_string();
        let nested = Failure { error: "States.TaskFailed".into(), cause: inner };
        assert!(nested.names(ErrorName::AgentStuck) && !nested.names(ErrorName::ForgeFailed));
        let bare = Failure { error: "States.Timeout".into(), cause: String::new() };
        assert_eq!(bare.reason(), "States.Timeout");
    }
}
