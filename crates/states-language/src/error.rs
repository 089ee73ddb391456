//! What went wrong in a state, and the error names that the language itself raises.

use serde_json::{Value, json};

pub(crate) const ALL: &str = "States.ALL";
pub(crate) const TASK_FAILED: &str = "States.TaskFailed";
pub(crate) const TIMEOUT: &str = "States.Timeout";
pub(crate) const HEARTBEAT_TIMEOUT: &str = "States.HeartbeatTimeout";
pub(crate) const DATA_LIMIT: &str = "States.DataLimitExceeded";
pub(crate) const RUNTIME: &str = "States.Runtime";
const QUERY_EVALUATION: &str = "States.QueryEvaluationError";

/// The names beginning with `States.` that exist; all others are the author's own.
pub(crate) const RESERVED: [&str; 17] = [
    ALL,
    TASK_FAILED,
    TIMEOUT,
    HEARTBEAT_TIMEOUT,
    DATA_LIMIT,
    RUNTIME,
    QUERY_EVALUATION,
    "States.BranchFailed",
    "States.ExceedToleratedFailureThreshold",
    "States.Http.Socket",
    "States.IntrinsicFailure",
    "States.ItemReaderFailed",
    "States.NoChoiceMatched",
    "States.ParameterPathFailure",
    "States.Permissions",
    "States.ResultPathMatchFailure",
    "States.ResultWriterFailed",
];

/// Why a state failed: what `Retry` and `Catch` match on and `$states.errorOutput` shows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure {
    /// Empty for a Fail state without `Error`.
    pub(crate) error: String,
    /// A timeout has none.
    pub(crate) cause: Option<String>,
    /// Set for a missed heartbeat, that `ErrorEquals` knows by two names.
    heartbeat: bool,
    /// Raised by the language, not by the outside or the author: AWS puts the state's name before the cause.
    pub(crate) raised: bool,
    /// The field whose expression failed.
    pub(crate) field: Option<String>,
}

impl Failure {
    /// Told from outside, or by a Fail state.
    pub(crate) fn told(error: String, cause: Option<String>) -> Self {
        Self { error, cause, heartbeat: false, raised: false, field: None }
    }

    pub(crate) fn timeout(heartbeat: bool) -> Self {
        Self { heartbeat, ..Self::told(TIMEOUT.to_owned(), None) }
    }

    pub(crate) fn raised(error: &str, cause: impl Into<String>) -> Self {
        Self { raised: true, ..Self::told(error.to_owned(), Some(cause.into())) }
    }

    pub(crate) fn query(cause: impl Into<String>) -> Self {
        Self::raised(QUERY_EVALUATION, cause)
    }

    pub(crate) fn query_at(field: &str, cause: impl Into<String>) -> Self {
        Self { field: Some(field.to_owned()), ..Self::query(cause) }
    }

    /// Whether an `ErrorEquals` entry means this failure. `States.Runtime` can never be retried or caught.
    pub(crate) fn is(&self, name: &str) -> bool {
        if self.error == RUNTIME {
            return false;
        }
        match name {
            ALL => self.error != DATA_LIMIT,
            TASK_FAILED => self.error != TIMEOUT,
            HEARTBEAT_TIMEOUT if self.heartbeat => true,
            _ => self.error == name,
        }
    }

    /// What a catcher sees as `$states.errorOutput`.
    pub(crate) fn output(&self) -> Value {
        match &self.cause {
            Some(cause) => json!({ "Error": self.error, "Cause": cause }),
            None => json!({ "Error": self.error }),
        }
    }
}
