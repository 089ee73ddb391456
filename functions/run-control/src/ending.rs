//! How a run ended: its status, the reason, the next step and the cost, written once.

use run_model::budget::UsageEntry;
use run_model::run::{Ending, Outcome, RunRecord, RunStatus, Stage, innermost};
use run_model::{ErrorName, FunctionError, RunId};
use serde_json::{Value, json};
use store::NewEvent;

use crate::{Context, Failure};

impl Failure {
    /// The reason in words: the cause as the function gave it, without Step Functions' wrapping.
    pub(crate) fn reason(&self) -> String {
        let cause = innermost(&self.cause);
        if cause.is_empty() { self.error.clone() } else { cause }
    }

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

/// Makes the ending that was found the run's status, or failure if an error ended it, or success if the change has landed.
/// A run that has ended stays as it ended.
pub(crate) async fn finish(context: &Context, run_id: RunId, error: Option<Failure>) -> Result<Value, FunctionError> {
    // A session that went in circles, or whose plan was refused, says the same again; whoever resumes gets a fresh one.
    let is_spent = |error: &Failure| error.names(ErrorName::AgentStuck) || error.names(ErrorName::PolicyRefused);
    let spent = error.as_ref().is_some_and(is_spent);
    let failure = error.map(|error| failed(&run_id, &error));
    context.store.enter_stage(&run_id, Stage::Report).await?;
    context.store.void_gates(&run_id).await?;
    let end = |run: &mut RunRecord| {
        if !run.status.is_final() {
            let ending = failure.clone().or_else(|| run.ending.take()).unwrap_or_else(|| reached(run));
            run.attempt += u32::from(spent);
            run.status = ending.status;
            run.outcome = Some(ending.outcome);
            run.ending = None;
        }
        // The rest of it, such as what a command said last, is told once, at the end.
        let reason = run.outcome.as_ref().and_then(|outcome| outcome.reason.lines().next()).unwrap_or_default();
        NewEvent::new("run.ended", format!("{}: {reason}", run.status.as_str()))
    };
    let run = context.store.update_run_telling(&run_id, end).await?;
    let outcome = run.outcome.unwrap_or(Outcome { reason: String::new(), next_step: String::new() });
    let cost_microusd: u64 =
        context.store.usage(&run_id).await?.iter().map(|entry: &UsageEntry| entry.cost_microusd).sum();
    Ok(json!({
        "run_id": run_id,
        "status": run.status,
        "reason": outcome.reason,
        "next_step": outcome.next_step,
        "branch": run.branch,
        "commit": run.commit,
        "pull_request": run.pull_request.as_ref().map(|pull_request| &pull_request.url),
        "evidence": run.evidence.iter().map(|(purpose, evidence)| json!({ "purpose": purpose, "object": evidence.key })).collect::<Value>(),
        "cost_usd": cost_microusd as f64 / 1e6,
    }))
}

/// The end of a run that nothing spoke against.
fn reached(run: &RunRecord) -> Ending {
    let stopped = || {
        let reason = "It stopped before the change landed.".to_owned();
        let next_step = format!("`gatewright runs resume {}` goes on from where it was.", run.run_id);
        Ending { status: RunStatus::Failed, outcome: Outcome { reason, next_step } }
    };
    run.landed().unwrap_or_else(stopped)
}

fn failed(run_id: &RunId, error: &Failure) -> Ending {
    let resume = format!("`gatewright runs resume {run_id}`");
    let cures = [
        (
            ErrorName::BudgetExceeded,
            format!(
                "`gatewright runs resume {run_id} --budget USD` goes on with a higher budget; or ask for less and start again."
            ),
        ),
        (
            ErrorName::ModelRefused,
            format!("Put right what was refused, then {resume}; with another model, start again."),
        ),
        (
            ErrorName::ModelUnavailable,
            format!(
                "Check the network, and base_url in gatewright.toml, ANTHROPIC_BASE_URL or OPENAI_BASE_URL; then {resume}."
            ),
        ),
        (ErrorName::ModelThrottled, format!("When the provider's limit allows it again, {resume}.")),
        (ErrorName::CassetteMiss, "Record again, or use a live provider.".to_owned()),
        (ErrorName::UnknownPrice, "Mend the settings and start again.".to_owned()),
        (
            ErrorName::NotMeasurable,
            "Mend [[setup]] or [[checks]] in gatewright.toml, commit, and start again.".to_owned(),
        ),
        (
            ErrorName::RequirementRefused,
            "Start again with what it says instead, or with more of what has to come out.".to_owned(),
        ),
        (ErrorName::InvalidInput, "Mend the input and start again.".to_owned()),
        (
            ErrorName::MergeRefused,
            format!("Give the pull request what it lacks, then `gatewright runs resume {run_id} --from land`."),
        ),
        (ErrorName::ForgeThrottled, format!("When the rate limit allows it again, {resume}.")),
        (ErrorName::NoEvidence, format!("See that a runner is alive and can end the checks in time, then {resume}.")),
        (ErrorName::MergeConflict, "Start again and ask for less at once.".to_owned()),
    ];
    let cure = cures.into_iter().find(|(name, _)| error.names(*name)).map(|(_, cure)| cure);
    let next_step = cure.unwrap_or_else(|| format!("Look at `gatewright runs events {run_id}`, then {resume}."));
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
