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
        let mut description = json!({
            "ExecutionArn": self.execution_arn,
            "Input": self.input,
            "InputDetails": { "Included": true },
            "Name": self.name,
            "RedriveCount": 0,
            "RedriveStatus": "NOT_REDRIVABLE",
            "RedriveStatusReason": format!("Execution is {status} and cannot be redriven"),
            "StartDate": self.started_ms,
            "StateMachineArn": self.machine_arn,
            "Status": status,
            "StopDate": self.stopped_ms,
        });
        if let Some(output) = &self.outcome.output {
            description["Output"] = output.clone();
            description["OutputDetails"] = json!({ "Included": true });
        }
        for (member, text) in [("Error", &self.outcome.error), ("Cause", &self.outcome.cause)] {
            if let Some(text) = text {
                description[member] = json!(text);
            }
        }
        description
    }
}
