//! What the end of an execution means for its run, where the execution did not say so itself.

use serde_json::Value;

use super::{Ending, Outcome, RunRecord, RunStatus};
use crate::RunId;

/// A run whose record was not written for longer than a Lambda may take may have lost its execution.
const QUIET_MS: i64 = 15 * 60 * 1000;
/// How long after its deadline a gate's state has ended for certain.
const GATE_GRACE_MS: i64 = 3 * 60 * 1000;

/// How an execution ended, as Step Functions tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecutionEnd<'a> {
    /// `SUCCEEDED`, `FAILED`, `TIMED_OUT` or `ABORTED`.
    pub status: &'a str,
    /// The error's name, if it has one.
    pub error: Option<&'a str>,
    /// The error's cause, if it has one.
    pub cause: Option<&'a str>,
}

impl ExecutionEnd<'_> {
    /// The ending that this makes for a run that knows of none; `None` while the execution goes on.
    pub fn ending(&self, run: &RunId) -> Option<Ending> {
        let resume = format!("`gatewright runs resume {run}` goes on from where it was.");
        let cause = self.cause.map(innermost).filter(|cause| !cause.is_empty());
        let (status, reason) = match self.status {
            "ABORTED" => {
                let said = cause.map(|cause| format!(" ({cause})")).unwrap_or_default();
                (RunStatus::Stopped, format!("It was stopped in Step Functions{said}."))
            }
            "TIMED_OUT" => (RunStatus::TimedOut, "Its execution ran out of time.".to_owned()),
            "FAILED" => {
                let error = self.error.unwrap_or("an unnamed error");
                let status = RunStatus::ALL.into_iter().find(|status| status.is_final() && status.as_str() == error);
                (
                    status.unwrap_or(RunStatus::Failed),
                    cause.unwrap_or_else(|| format!("Its execution failed: {error}.")),
                )
            }
            "SUCCEEDED" => (RunStatus::Failed, "Its execution ended without telling how.".to_owned()),
            _ => return None,
        };
        Some(Ending { status, outcome: Outcome { reason, next_step: resume } })
    }
}

/// The message inside a cause: Lambda wraps it as `errorMessage`, a nested execution as `Cause`.
pub fn innermost(cause: &str) -> String {
    let Ok(wrapped) = serde_json::from_str::<Value>(cause) else { return cause.to_owned() };
    let inner = wrapped["errorMessage"].as_str().or_else(|| wrapped["Cause"].as_str());
    inner.map_or_else(|| cause.to_owned(), innermost)
}

impl RunRecord {
    /// The end of a run whose change has landed; `None` if it has not.
    pub fn landed(&self) -> Option<Ending> {
        let branch = self.branch.as_ref()?;
        let (reason, next_step) = match &self.pull_request {
            Some(pull_request) => {
                (format!("The change is merged into {branch}, by {}.", pull_request.url), format!("Fetch {branch}."))
            }
            None => (
                format!("The change is on branch {branch}."),
                format!("Merge it with `git merge {branch}` in {}.", self.repository),
            ),
        };
        Some(Ending { status: RunStatus::Succeeded, outcome: Outcome { reason, next_step } })
    }

    /// The end of an execution, in the words that the record has for it: a redriven execution that had told its end comes to the
    /// same `Fail` state again, whose cause runs reason and next step together.
    pub fn said_before(&self, ending: &Ending) -> Ending {
        let before = self.outcome.as_ref().filter(|before| !before.reason.is_empty());
        match before.filter(|before| ending.outcome.reason.starts_with(&before.reason)) {
            Some(before) => Ending { status: ending.status, outcome: before.clone() },
            None => ending.clone(),
        }
    }

    /// Whether the record says that the run is at work for longer than it can be without a word: its execution should be
    /// asked. `gate_deadline_ms` is the deadline of the gate it waits at.
    pub fn is_overdue(&self, now_ms: i64, gate_deadline_ms: Option<i64>) -> bool {
        match (self.status, gate_deadline_ms) {
            (RunStatus::ApprovalPending, Some(deadline_ms)) => now_ms > deadline_ms + GATE_GRACE_MS,
            (RunStatus::Running | RunStatus::ApprovalPending, _) => now_ms > self.updated_ms + QUIET_MS,
            _ => false,
        }
    }
}

/// The run that an execution of `pipeline` may carry, by its name: the run's id, or that and a number.
pub fn runs_of_execution(name: &str) -> Vec<RunId> {
    let numbered = name.rsplit_once('-').filter(|(_, number)| number.parse::<u32>().is_ok());
    let candidates = [Some(name), numbered.map(|(run, _)| run)];
    candidates.into_iter().flatten().filter_map(|name| RunId::new(name).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end<'a>(status: &'a str, error: Option<&'a str>, cause: Option<&'a str>) -> Option<(RunStatus, String)> {
        let run = RunId::new("r-1").unwrap();
        let ending = ExecutionEnd { status, error, cause }.ending(&run)?;
        assert!(ending.outcome.next_step.contains("gatewright runs resume r-1"));
        Some((ending.status, ending.outcome.reason))
    }

    #[test]
    fn each_end_of_an_execution_is_an_end_of_its_run() {
        assert_eq!(end("RUNNING", None, None), None);
        assert_eq!(end("PENDING_REDRIVE", None, None), None);
        assert_eq!(end("ABORTED", None, None), Some((RunStatus::Stopped, "It was stopped in Step Functions.".into())));
        assert_eq!(end("ABORTED", None, Some("enough")).unwrap().1, "It was stopped in Step Functions (enough).");
        assert_eq!(end("TIMED_OUT", Some("States.Timeout"), None).unwrap().0, RunStatus::TimedOut);
        let cause = r#"{"errorType":"InvalidInput","errorMessage":"repository: no such thing"}"#;
        let failed = end("FAILED", Some("InvalidInput"), Some(cause));
        assert_eq!(failed, Some((RunStatus::Failed, "repository: no such thing".into())));
        // The machine's own Fail state names the status.
        assert_eq!(end("FAILED", Some("denied"), Some("ann denied it")).unwrap().0, RunStatus::Denied);
        assert_eq!(end("FAILED", Some("running"), None).unwrap().0, RunStatus::Failed);
        assert_eq!(end("SUCCEEDED", None, None).unwrap().0, RunStatus::Failed);
    }

    #[test]
    fn an_execution_is_named_after_its_run() {
        let names = |name| runs_of_execution(name).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names("r-0a1b"), ["r-0a1b"]);
        assert_eq!(names("r-1"), ["r-1", "r"]);
        assert_eq!(names("r-0a1b-12"), ["r-0a1b-12", "r-0a1b"]);
        assert_eq!(names("Not a run"), Vec::<String>::new());
        let uuid = "0b9fdd29-5c4e-4f0e-8a40-1f5f4a3a7c11";
        assert_eq!(names(uuid), [uuid]);
        assert_eq!(names(&format!("{uuid}-2")), [&format!("{uuid}-2"), uuid]);
    }
}
