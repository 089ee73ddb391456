//! The record of an execution, in the words of `GetExecutionHistory`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most events one execution may have; with the last one it fails, as on AWS.
pub const MAX_HISTORY_EVENTS: u64 = 25_000;

/// One entry of an execution's history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryEvent {
    /// From 1 on, without gaps.
    pub id: u64,
    /// The event that led here within the same branch; 0 for the first.
    pub previous_event_id: u64,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: HistoryEventType,
    /// The object that AWS puts under [`HistoryEventType::details_key`]; `null` where there is none.
    pub details: Value,
}

macro_rules! event_types {
    ($($name:ident => $details:expr,)*) => {
        /// What a history event tells, by its AWS name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[allow(missing_docs)] // the names are AWS's own
        pub enum HistoryEventType { $($name,)* }

        impl HistoryEventType {
            /// The AWS name, such as `TaskStateEntered`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The member of AWS's `HistoryEvent` that holds the details, such as `stateEnteredEventDetails`.
            pub fn details_key(self) -> Option<&'static str> {
                match self { $(Self::$name => $details,)* }
            }
        }
    };
}

const ENTERED: Option<&str> = Some("stateEnteredEventDetails");
const EXITED: Option<&str> = Some("stateExitedEventDetails");

event_types! {
    ExecutionStarted => Some("executionStartedEventDetails"),
    ExecutionSucceeded => Some("executionSucceededEventDetails"),
    ExecutionFailed => Some("executionFailedEventDetails"),
    ExecutionTimedOut => Some("executionTimedOutEventDetails"),
    ExecutionAborted => Some("executionAbortedEventDetails"),
    TaskStateEntered => ENTERED,
    TaskScheduled => Some("taskScheduledEventDetails"),
    TaskStarted => Some("taskStartedEventDetails"),
    TaskSubmitted => Some("taskSubmittedEventDetails"),
    TaskSucceeded => Some("taskSucceededEventDetails"),
    TaskFailed => Some("taskFailedEventDetails"),
    TaskTimedOut => Some("taskTimedOutEventDetails"),
    TaskStateAborted => None,
    TaskStateExited => EXITED,
    ChoiceStateEntered => ENTERED,
    ChoiceStateExited => EXITED,
    PassStateEntered => ENTERED,
    PassStateExited => EXITED,
    WaitStateEntered => ENTERED,
    WaitStateAborted => None,
    WaitStateExited => EXITED,
    SucceedStateEntered => ENTERED,
    SucceedStateExited => EXITED,
    FailStateEntered => ENTERED,
    ParallelStateEntered => ENTERED,
    ParallelStateStarted => None,
    ParallelStateSucceeded => None,
    ParallelStateFailed => None,
    ParallelStateAborted => None,
    ParallelStateExited => EXITED,
    MapStateEntered => ENTERED,
    MapStateStarted => Some("mapStateStartedEventDetails"),
    MapIterationStarted => Some("mapIterationStartedEventDetails"),
    MapIterationSucceeded => Some("mapIterationSucceededEventDetails"),
    MapIterationFailed => Some("mapIterationFailedEventDetails"),
    MapIterationAborted => Some("mapIterationAbortedEventDetails"),
    MapStateSucceeded => None,
    MapStateFailed => None,
    MapStateAborted => None,
    MapStateExited => EXITED,
    EvaluationFailed => Some("evaluationFailedEventDetails"),
}
