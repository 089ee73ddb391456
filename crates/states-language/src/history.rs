//! The record of an execution, in the words of `GetExecutionHistory`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::data::Text;
use crate::definition::Resource;
use crate::error::Failure;

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
    pub(crate) details: Details,
}

impl HistoryEvent {
    /// The object that AWS puts under [`HistoryEventType::details_key`], with execution data as JSON text or without any.
    pub fn details(&self, include_data: bool) -> Map<String, Value> {
        let mut shown = match serde_json::to_value(&self.details) {
            Ok(Value::Object(shown)) => shown,
            _ => Map::new(),
        };
        let Details { input, output, parameters, assigned_variables, .. } = &self.details;
        let as_text = |text: &Text| Value::from(text.as_str());
        let assigned = assigned_variables.as_ref();
        let assigned = assigned.map(|all| all.iter().map(|(name, text)| (name.clone(), as_text(text))).collect());
        for (member, marked, text) in [
            ("input", true, input.as_ref().map(as_text)),
            ("output", true, output.as_ref().map(as_text)),
            ("parameters", false, parameters.as_ref().map(as_text)),
            ("assignedVariables", true, assigned),
        ] {
            shown.shift_remove(member);
            let Some(text) = text.filter(|_| include_data) else { continue };
            shown.insert(member.to_owned(), text);
            if marked {
                // Nothing is ever cut here.
                shown.insert(format!("{member}Details"), json!({ "truncated": false }));
            }
        }
        shown
    }
}

macro_rules! details {
    ($($member:ident: $type:ty,)*) => {
        /// Whatever AWS tells of events, in its names; the last four are execution data.
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        pub(crate) struct Details {
            $(#[serde(skip_serializing_if = "Option::is_none")] pub(crate) $member: Option<$type>,)*
        }
    };
}

details! {
    name: String,
    index: usize,
    length: usize,
    resource_type: Cow<'static, str>,
    resource: Cow<'static, str>,
    region: String,
    timeout_in_seconds: i64,
    heartbeat_in_seconds: i64,
    role_arn: String,
    error: String,
    cause: String,
    location: String,
    state: String,
    input: Text,
    output: Text,
    parameters: Text,
    assigned_variables: Vec<(String, Text)>,
}

impl Details {
    /// Those that name an integration.
    pub(crate) fn of_task(resource: Resource) -> Self {
        let (resource_type, resource) = resource.names();
        Self { resource_type: Some(resource_type.into()), resource: Some(resource.into()), ..Self::default() }
    }

    /// With what went wrong; an error without a name is left out.
    pub(crate) fn failed(self, failure: &Failure) -> Self {
        let error = Some(failure.error.clone()).filter(|error| !error.is_empty());
        Self { error, cause: failure.cause.clone(), ..self }
    }
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
