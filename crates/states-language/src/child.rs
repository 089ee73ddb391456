//! What a parent learns of a child execution that ended (`states:startExecution.sync:2`).

use serde_json::{Value, json};

use crate::{Event, Outcome, Status, TaskId};

/// A child execution that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildExecution {
    /// The child's ARN.
    pub execution_arn: String,
    /// The child's name.
    pub name: String,
    /// Its machine's ARN.
    pub machine_arn: String,
    /// Milliseconds since the Unix epoch.
    pub started_ms: i64,
    /// Milliseconds since the Unix epoch.
    pub stopped_ms: i64,
    /// What it was started with.
    pub input: Value,
    /// How it ended.
    pub outcome: Outcome,
}

impl ChildExecution {
    /// The event that ends the parent's task: the child's description as the result, or `States.TaskFailed` with the
    /// description as its cause.
    pub fn ended(&self, task: TaskId) -> Event {
        let description = self.description();
        match self.outcome.status {
            Status::Succeeded => Event::TaskSucceeded { task, output: description },
            _ => {
                Event::TaskFailed { task, error: crate::error::TASK_FAILED.to_owned(), cause: description.to_string() }
            }
        }
    }

    /// The description in the words of `DescribeExecution`, with input and output parsed.
    pub fn description(&self) -> Value {
        let status = self.outcome.status.as_str();
        let included = || json!({ "Included": true });
        // In the order of the alphabet, as AWS writes it.
        let members = [
            ("Cause", self.outcome.cause.as_deref().map(Value::from)),
            ("Error", self.outcome.error.as_deref().map(Value::from)),
            ("ExecutionArn", Some(json!(self.execution_arn))),
            ("Input", Some(self.input.clone())),
            ("InputDetails", Some(included())),
            ("Name", Some(json!(self.name))),
            ("Output", self.outcome.output.clone()),
            ("OutputDetails", self.outcome.output.as_ref().map(|_| included())),
            ("RedriveCount", Some(json!(0))),
            ("RedriveStatus", Some(json!("NOT_REDRIVABLE"))),
            ("RedriveStatusReason", Some(json!(format!("Execution is {status} and cannot be redriven")))),
            ("StartDate", Some(json!(self.started_ms))),
            ("StateMachineArn", Some(json!(self.machine_arn))),
            ("Status", Some(json!(status))),
            ("StopDate", Some(json!(self.stopped_ms))),
        ];
        members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}
