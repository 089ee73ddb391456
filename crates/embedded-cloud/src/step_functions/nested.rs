//! Executions that other executions wait for (`startExecution.sync:2`).
//!
//! A child's row says for which task of which parent it was started. So a start that is performed again after a
//! crash finds the child it has made, and an end that the parent has not heard of is told when the parent asks again.

use std::sync::Arc;

use serde_json::{Value, json};
use states_language::{Action, ChildExecution, Event, Execution};

use super::EngineError;
use super::driver::{Engine, Mail};
use super::log::lock;
use super::records::{self, Parent};
use super::starts::{Begin, Begun};
use crate::AwsError;

/// Why a child is stopped that nobody waits for any more.
pub(super) const TASK_OVER: &str = "the task that started this execution is over";

impl Engine {
    /// Starts a task's child, tells the task, and sees to it that the child's end will be told.
    pub(super) async fn start_child(self: Arc<Self>, parent: Parent, machine: String, name: String, input: Value) {
        let begun = match self.place.machine_name(&machine) {
            Ok(machine) => self.begin(Begin { machine: machine.to_owned(), name, input, parent: Some(parent) }).await,
            Err(error) => Err(error),
        };
        let told = match begun {
            Ok(begun) => self.report_child(parent, begun).await,
            Err(error) if error.status >= 500 => Err(error),
            Err(error) => {
                self.deliver(parent.execution, Mail::new(refused(parent, &error)));
                Ok(())
            }
        };
        if let Err(error) = told {
            tracing::error!(parent = parent.execution, task = parent.task.0, %error, "a child execution waits for the next start");
        }
    }

    async fn report_child(self: &Arc<Self>, parent: Parent, begun: Begun) -> Result<(), AwsError> {
        let output = json!({ "ExecutionArn": begun.arn, "StartDate": begun.started_ms });
        let ignored = self.ask(parent.execution, Event::TaskSubmitted { task: parent.task, output }).await?;
        if ignored.is_some() && !self.awaits(parent)? {
            self.clone().stop_child(begun.arn, TASK_OVER.into()).await;
            return Ok(());
        }
        self.await_child(begun.id, parent)
    }

    /// Remembers who waits for a child, or tells its end at once if it has ended.
    fn await_child(self: &Arc<Self>, child: i64, parent: Parent) -> Result<(), AwsError> {
        lock(&self.waiters).entry(child).or_default().push(parent);
        // Looked up after the waiter is there: an end is seen here or by the child's own actor, or by both.
        let recorded = self.log.read(|connection| records::execution(connection, child)).map_err(EngineError::from)?;
        if let Some(ended) = recorded.filter(|recorded| !recorded.runs()) {
            self.child_ended(child, &self.state(&ended)?, ended.stopped_ms.unwrap_or_default());
        }
        Ok(())
    }

    /// Whether a task still waits for its child.
    pub(super) fn awaits(&self, parent: Parent) -> Result<bool, EngineError> {
        let live = self.load(parent.execution)?;
        Ok(live.is_some_and(|live| live.execution.pending_actions().iter().any(|action| starts(action, parent))))
    }

    /// Tells the end of an execution to everyone who waits for it.
    pub(super) fn child_ended(self: &Arc<Self>, child: i64, execution: &Execution, stopped_ms: i64) {
        let parents = lock(&self.waiters).remove(&child).unwrap_or_default();
        let Some(outcome) = execution.outcome().filter(|_| !parents.is_empty()) else { return };
        let identity = execution.identity();
        let ended = ChildExecution {
            execution_arn: identity.execution_arn.clone(),
            name: identity.execution_name.clone(),
            machine_arn: identity.machine_arn.clone(),
            started_ms: execution.started_ms().unwrap_or_default(),
            stopped_ms,
            input: execution.input().clone(),
            outcome: outcome.clone(),
        };
        for parent in parents {
            self.deliver(parent.execution, Mail::new(ended.ended(parent.task)));
        }
    }

    /// Stops a child whose task is over. One that has ended stays as it is.
    pub(super) async fn stop_child(self: Arc<Self>, arn: String, cause: String) {
        let stopped = match self.find(&arn) {
            Ok(child) => {
                self.ask(child.id, Event::Stop { error: None, cause: Some(cause) }).await.map_err(AwsError::from)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = stopped {
            tracing::error!(execution = arn, %error, "a child execution was not stopped");
        }
    }
}

fn starts(action: &Action, parent: Parent) -> bool {
    matches!(action, Action::StartExecution { task, .. } if *task == parent.task)
}

/// How a task fails whose child cannot be started.
fn refused(parent: Parent, error: &AwsError) -> Event {
    let name = format!("StepFunctions.{}Exception", error.code.trim_end_matches("Exception"));
    Event::TaskFailed { task: parent.task, error: name, cause: error.message.clone() }
}
