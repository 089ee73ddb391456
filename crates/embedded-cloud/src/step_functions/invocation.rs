//! Task states that call a function.

use std::sync::Arc;

use serde_json::{Value, json};
use states_language::{Event, TaskId};

use super::chance::uuid;
use super::driver::{Engine, Mail};
use crate::{FunctionError, InvocationContext, InvokeError};

/// How long a function may run, the most that Lambda allows.
const LONGEST_MS: i64 = 900_000;

impl Engine {
    /// Invokes a function and hands its answer to the task.
    ///
    /// A task that is given up (timed out, stopped) does not end its invocation, as on AWS: the answer is ignored.
    pub(super) async fn invoke(self: Arc<Self>, id: i64, task: TaskId, function: String, payload: Value) {
        let event = match self.call(&function, payload).await {
            Ok(output) => Event::TaskSucceeded { task, output },
            Err(InvokeError::NotFound(_)) => failed(
                task,
                &FunctionError::new("Lambda.ResourceNotFoundException", format!("Function not found: {function}")),
            ),
            Err(InvokeError::Function(error)) => failed(task, &error),
        };
        self.deliver(id, Mail::returning(event));
    }

    async fn call(&self, function: &str, payload: Value) -> Result<Value, InvokeError> {
        let Ok(registry) = self.registry() else {
            // Closed meanwhile: this task is about to be dropped and the answer with it.
            return std::future::pending().await;
        };
        let context =
            InvocationContext { deadline_ms: self.clock.now_ms() + LONGEST_MS, request_id: uuid(&*self.randomness) };
        let over = self.clock.sleep_until(context.deadline_ms);
        let timed_out = format!("{} Task timed out after {}.00 seconds", context.request_id, LONGEST_MS / 1_000);
        tokio::select! {
            answer = registry.invoke(function, payload, context) => answer,
            () = over => Err(FunctionError::new("Sandbox.Timedout", timed_out).into()),
        }
    }
}

/// The error's name is the function's `errorType`, the cause its whole error object, as Step Functions has it.
fn failed(task: TaskId, error: &FunctionError) -> Event {
    let cause = json!({ "errorMessage": error.message, "errorType": error.error_type }).to_string();
    Event::TaskFailed { task, error: error.error_type.clone(), cause }
}
