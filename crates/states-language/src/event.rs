//! What goes into a step and what comes out: events, actions and the world's clock and chance.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{HistoryEvent, Status};

/// One attempt of one Task state; never reused within an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(pub u64);

/// One timer of an execution; never reused within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimerId(pub u64);

/// What the language itself does not have: a clock and chance.
pub trait Env {
    /// Milliseconds since the Unix epoch; the same value for the whole of one step.
    fn now_ms(&self) -> i64;
    /// The next number of `[0, 1)`: jitter and `$random()`.
    fn random(&mut self) -> f64;
    /// A new task token: unguessable and unique over all executions.
    fn token(&mut self) -> String;
    /// A new version 4 UUID: `$uuid()` and the names of child executions without one.
    fn uuid(&mut self) -> String;
}

/// Something that happened outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first event of every execution.
    Start,
    /// A child execution was accepted; `output` is `{ExecutionArn, StartDate}`. Optional, but with it history shows
    /// `TaskSubmitted` and [`Action::StopExecution`] can name the child.
    TaskSubmitted {
        /// The task that started the child.
        task: TaskId,
        /// What `StartExecution` answered.
        output: Value,
    },
    /// A function returned (`output` is its bare payload) or a child succeeded (`output` is its description,
    /// see [`crate::ChildExecution`]). For a callback task it only means that the token was handed over.
    TaskSucceeded {
        /// The task that was invoked.
        task: TaskId,
        /// The payload or description.
        output: Value,
    },
    /// A function failed (`error` is its `errorType`, `cause` its whole error object as JSON text) or a child ended badly.
    TaskFailed {
        /// The task that was invoked.
        task: TaskId,
        /// The error name that `ErrorEquals` is compared with.
        error: String,
        /// Free text.
        cause: String,
    },
    /// `SendTaskSuccess`.
    TokenSucceeded {
        /// The token handed to the function.
        token: String,
        /// The result of the task.
        output: Value,
    },
    /// `SendTaskFailure`.
    TokenFailed {
        /// The token handed to the function.
        token: String,
        /// The error name that `ErrorEquals` is compared with.
        error: String,
        /// Free text.
        cause: String,
    },
    /// `SendTaskHeartbeat`.
    TokenHeartbeat {
        /// The token handed to the function.
        token: String,
    },
    /// A timer set by [`Action::SetTimer`] came due.
    TimerFired {
        /// Which one.
        timer: TimerId,
    },
    /// `StopExecution`.
    Stop {
        /// The error name to record, if one was given.
        error: Option<String>,
        /// The cause to record, if one was given.
        cause: Option<String>,
    },
}

/// Something the driver has to do, after it has made the new state durable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Invoke a function and answer with [`Event::TaskSucceeded`] or [`Event::TaskFailed`].
    InvokeFunction {
        /// Comes back in the answer.
        task: TaskId,
        /// Name, partial ARN or ARN, as the machine wrote it.
        function: String,
        /// Version or alias.
        qualifier: Option<String>,
        /// The event the function gets.
        payload: Value,
        /// The token that ends the task, if it is a callback task: remember whose it is. The payload holds it already.
        token: Option<String>,
    },
    /// Start a child execution and answer with [`Event::TaskSubmitted`], and when it ended with the event
    /// that [`crate::ChildExecution::ended`] makes.
    StartExecution {
        /// Comes back in the answer.
        task: TaskId,
        /// The child's state machine ARN.
        machine: String,
        /// The child's name; the same when the action is performed again after a restart.
        name: String,
        /// The child's input.
        input: Value,
    },
    /// Stop the child execution of a task that is over. Its end is not awaited.
    StopExecution {
        /// The task of [`Action::StartExecution`].
        task: TaskId,
        /// The child's ARN, once [`Event::TaskSubmitted`] has told it.
        execution: Option<String>,
        /// Why, for the child's record.
        cause: String,
    },
    /// Answer with [`Event::TimerFired`] at `due_ms`. Setting a timer that is already set moves it.
    SetTimer {
        /// Comes back in the answer.
        timer: TimerId,
        /// Milliseconds since the Unix epoch.
        due_ms: i64,
    },
    /// Forget a timer. If it fires all the same, the event is ignored.
    CancelTimer {
        /// Which one.
        timer: TimerId,
    },
    /// The execution is over; nothing follows.
    Finish(Outcome),
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Any but [`Status::Running`].
    pub status: Status,
    /// The output, when it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::present")]
    pub output: Option<Value>,
    /// The error name, when it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The cause, when it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// What one step came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// To be performed in this order, once state and history are durable.
    pub actions: Vec<Action>,
    /// To be appended to the execution's history.
    pub history: Vec<HistoryEvent>,
    /// Set when the event meant nothing (any more): state is unchanged, and there are neither actions nor history.
    pub ignored: Option<Ignored>,
}

/// Why an event changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// The execution has ended.
    Ended,
    /// [`Event::Start`] for an execution that runs.
    AlreadyStarted,
    /// Any other event before [`Event::Start`].
    NotStarted,
    /// The task is over: it timed out, was answered before, or belongs to a cancelled branch.
    TaskClosed,
    /// The task was submitted before, and goes on waiting.
    AlreadySubmitted,
    /// No task waits for the token (any more); AWS says `TaskTimedOut` where the token was once given out.
    TokenClosed,
    /// The timer was cancelled or has fired.
    TimerClosed,
}
