//! Task states that call a function.

use std::sync::Arc;

use serde_json::{Value, json};
use states_language::{Event, TaskId, TimerId};

use super::chance::uuid;
use super::driver::{Engine, Mail};
use crate::{FunctionError, InvocationContext};

/// How long a function may run, the most that Lambda allows.
const LONGEST_MS: i64 = 900_000;

/// A call that a committed transition asked for.
pub(super) struct Invocation {
    pub(super) execution: i64,
    pub(super) task: TaskId,
    pub(super) function: String,
    pub(super) payload: Value,
    /// The timer of the task's own `TimeoutSeconds`, and when they are over.
    pub(super) timeout: Option<(TimerId, i64)>,
    /// Whether the function's answer is the task's; a callback is waited for beyond it.
    pub(super) is_waited_for: bool,
}

impl Engine {
    /// Invokes a function and hands its answer to the task.
    ///
    /// The function is told the earlier of Lambda's limit and the task's timeout, and ended when so much time has passed: a machine
    /// whose clock is set, or that was asleep, ends no call whose answer is on its way. A
    /// task that is given up before (stopped, a sibling failed) does not end its invocation, as on AWS: the answer is ignored.
    pub(super) async fn invoke(self: Arc<Self>, invocation: Invocation) {
        let Invocation { execution, task, function, payload, timeout, is_waited_for } = invocation;
        let Ok(functions) = self.functions() else { return };
        let now_ms = self.clock.now_ms();
        let limit_ms = now_ms + LONGEST_MS;
        // One whose time passed while nobody drove has done nothing with it: it begins anew, with all of Lambda's.
        let due_ms = timeout.map(|(_, due_ms)| due_ms).filter(|due_ms| *due_ms > now_ms || !is_waited_for);
        let deadline_ms = due_ms.map_or(limit_ms, |due_ms| due_ms.min(limit_ms));
        let context = InvocationContext { deadline_ms, request_id: uuid(&*self.randomness) };
        let timed_out = format!("{} Task timed out after {}.00 seconds", context.request_id, LONGEST_MS / 1_000);
        // An answer that is there counts, and sets no timer.
        let answer = tokio::select! {
            biased;
            answer = functions.invoke(&function, payload, context) => Some(answer),
            () = self.clock.sleep_for(deadline_ms - now_ms) => None,
        };
        let event = match answer {
            Some(Ok(output)) => Some(Event::TaskSucceeded { task, output }),
            Some(Err(error)) => Some(failed(task, &error.of_task())),
            None => match timeout.filter(|(_, due_ms)| *due_ms <= limit_ms) {
                // The task's own timer tells it.
                Some(_) if !is_waited_for => None,
                Some((timer, due_ms)) if due_ms <= self.clock.now_ms() => Some(Event::TimerFired { timer }),
                // Without one, or the clock was set back.
                _ => Some(failed(task, &FunctionError::new("Sandbox.Timedout", timed_out))),
            },
        };
        self.deliver(execution, Mail::returning(event));
    }
}

/// The error's name is the function's `errorType`, the cause its whole error object, as Step Functions has it.
fn failed(task: TaskId, error: &FunctionError) -> Event {
    let cause = json!({ "errorMessage": error.message, "errorType": error.error_type }).to_string();
    Event::TaskFailed { task, error: error.error_type.clone(), cause }
}
