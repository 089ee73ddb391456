//! The durable state of one execution: everything that a restart needs, and nothing else.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::data::Data;
use crate::{Action, Outcome, TaskId, TimerId};

/// The version of the serialised form that this crate writes and reads.
const FORMAT: u32 = 1;

/// The variables of one scope.
pub(crate) type Variables = BTreeMap<String, Data>;

/// Where an execution stands; the names are AWS's, in upper case with underscores on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Not over.
    Running,
    /// Over, with an output.
    Succeeded,
    /// Over, with an error.
    Failed,
    /// The machine's `TimeoutSeconds` passed.
    TimedOut,
    /// Stopped from outside.
    Aborted,
}

impl Status {
    /// The AWS name, such as `TIMED_OUT`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
            Self::Aborted => "ABORTED",
        }
    }
}

/// Who an execution is; what `$states.context.Execution` and `.StateMachine` show.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The execution's ARN.
    pub execution_arn: String,
    /// The execution's name.
    pub execution_name: String,
    /// The state machine's ARN.
    pub machine_arn: String,
    /// The state machine's name.
    pub machine_name: String,
    /// The role the machine runs as.
    pub role_arn: String,
}

/// What an execution has from its start and keeps: written once, apart from the state that every step rewrites.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Who it is.
    pub identity: Identity,
    /// What it was started with.
    pub input: Value,
}

/// The whole durable state of one execution.
///
/// Serialises to JSON without its [`Origin`], which [`Execution::with_origin`] gives back: reading it so between any
/// two steps changes nothing that follows. It refers to the states of its [`crate::Machine`] by position, so it must
/// be stepped with the definition it was started with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    #[serde(rename = "v", deserialize_with = "known_format")]
    format: u32,
    #[serde(skip)]
    pub(crate) origin: Origin,
    /// `None` until [`crate::Event::Start`].
    pub(crate) started_ms: Option<i64>,
    pub(crate) outcome: Option<Outcome>,
    /// The last id given to a task, timer or branch.
    pub(crate) last_id: u64,
    pub(crate) last_event_id: u64,
    pub(crate) branches: BTreeMap<BranchId, Branch>,
    pub(crate) timers: BTreeMap<TimerId, Timer>,
}

fn known_format<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        FORMAT => Ok(FORMAT),
        other => Err(serde::de::Error::custom(format!(
            "execution format {other} is not known here (this build reads {FORMAT}): update the program that reads it"
        ))),
    }
}

/// A line of control: the execution itself, one iteration of a Map or one branch of a Parallel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct BranchId(pub(crate) u64);

/// The branch that is the execution itself.
pub(crate) const ROOT: BranchId = BranchId(0);

/// One line of control and the scope of its variables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Branch {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<Parent>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) variables: Variables,
    /// The position of the current state in the machine.
    pub(crate) state: usize,
    pub(crate) entered_ms: i64,
    /// The input of the current state.
    pub(crate) input: Data,
    /// Attempts used, by position in the current state's `Retry`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) attempts: Vec<u32>,
    /// The history event of the entry to the current state.
    pub(crate) entered_event: u64,
    pub(crate) last_event: u64,
    pub(crate) activity: Activity,
}

impl Branch {
    /// How often the current state was retried: `$states.context.State.RetryCount`.
    pub(crate) fn retry_count(&self) -> u32 {
        self.attempts.iter().sum()
    }
}

/// What a branch of a Map or Parallel hangs on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Parent {
    pub(crate) branch: BranchId,
    /// The place of its output among the results.
    pub(crate) index: usize,
    /// Whether it is an iteration of a Map rather than a branch of a Parallel.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) iteration: bool,
    /// The item of a Map iteration, where the machine reads it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::present")]
    pub(crate) item: Option<Value>,
}

/// What a branch waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Activity {
    /// Nothing: it is about to enter its state. Only within a step.
    Ready,
    /// An attempt of a Task.
    Task(Attempt),
    /// A Wait state.
    Wait { timer: TimerId },
    /// The pause before the next attempt of a failed state.
    Backoff { timer: TimerId },
    /// The branches of a Map or Parallel.
    Join(Join),
}

/// One attempt of a Task state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    pub(crate) task: TaskId,
    pub(crate) call: Call,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<TimerId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) heartbeat: Option<Heartbeat>,
}

/// The timer that a heartbeat moves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Heartbeat {
    pub(crate) timer: TimerId,
    pub(crate) interval_ms: i64,
}

/// What an attempt asked the outside for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Call {
    Function {
        function: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        qualifier: Option<String>,
        payload: Value,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<String>,
        /// A callback task whose function has returned: only the token is awaited.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        handed_over: bool,
    },
    Execution {
        machine: String,
        name: String,
        input: Value,
        /// The child's ARN, once told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        child: Option<String>,
    },
}

/// The branches of a Map or Parallel that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Join {
    /// The items of a Map whose iterations have not begun; empty for a Parallel.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub(crate) waiting: VecDeque<Value>,
    pub(crate) total: usize,
    /// How many iterations may run at once.
    pub(crate) limit: usize,
    pub(crate) running: usize,
    pub(crate) results: BTreeMap<usize, Value>,
}

/// A timer that is set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Timer {
    pub(crate) due_ms: i64,
    pub(crate) branch: BranchId,
    pub(crate) purpose: Purpose,
}

/// What it means when a timer fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Purpose {
    /// The machine's `TimeoutSeconds`.
    Execution,
    /// A Wait state is over.
    Wait,
    /// The next attempt may begin.
    Retry,
    /// A Task's `TimeoutSeconds`.
    Timeout,
    /// A Task's `HeartbeatSeconds`.
    Heartbeat,
}

impl Execution {
    /// An execution that has not started; its first event is [`crate::Event::Start`].
    pub fn new(identity: Identity, input: Value) -> Self {
        Self {
            format: FORMAT,
            origin: Origin { identity, input },
            started_ms: None,
            outcome: None,
            last_id: 0,
            last_event_id: 0,
            branches: BTreeMap::new(),
            timers: BTreeMap::new(),
        }
    }

    /// What it has from its start.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// A state that was read, with what its execution has from its start.
    pub fn with_origin(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.origin.identity
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        self.outcome.as_ref().map_or(Status::Running, |outcome| outcome.status)
    }

    /// How it ended, once it has.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// What it was started with.
    pub fn input(&self) -> &Value {
        &self.origin.input
    }

    /// When it started, in milliseconds since the Unix epoch.
    pub fn started_ms(&self) -> Option<i64> {
        self.started_ms
    }

    /// How many history events it has had.
    pub fn history_length(&self) -> u64 {
        self.last_event_id
    }

    /// The tokens that tasks wait for, with their tasks.
    pub fn open_tokens(&self) -> impl Iterator<Item = (TaskId, &str)> {
        self.attempts().filter_map(|attempt| match &attempt.call {
            Call::Function { token: Some(token), .. } => Some((attempt.task, token.as_str())),
            _ => None,
        })
    }

    /// The timer of a task's `TimeoutSeconds` while it is in flight, and when it is due, in milliseconds since the Unix epoch.
    pub fn task_timeout(&self, task: TaskId) -> Option<(TimerId, i64)> {
        let timer = self.attempts().find(|attempt| attempt.task == task)?.timeout?;
        Some((timer, self.timers.get(&timer)?.due_ms))
    }

    /// What the driver must do again after a restart: invocations and child executions in flight, with the same task
    /// ids, tokens and names, and the timers that are set. Every one of them may have been done before.
    pub fn pending_actions(&self) -> Vec<Action> {
        let calls = self.attempts().filter_map(Attempt::action);
        let timers = self.timers.iter().map(|(timer, t)| Action::SetTimer { timer: *timer, due_ms: t.due_ms });
        calls.chain(timers).collect()
    }

    fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.branches.values().filter_map(|branch| match &branch.activity {
            Activity::Task(attempt) => Some(attempt),
            _ => None,
        })
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

impl Attempt {
    /// What the driver has to do for it; nothing once a callback has been handed over.
    pub(crate) fn action(&self) -> Option<Action> {
        let task = self.task;
        match &self.call {
            Call::Function { handed_over: true, .. } => None,
            Call::Function { function, qualifier, payload, token, .. } => Some(Action::InvokeFunction {
                task,
                function: function.clone(),
                qualifier: qualifier.clone(),
                payload: payload.clone(),
                token: token.clone(),
            }),
            Call::Execution { machine, name, input, .. } => Some(Action::StartExecution {
                task,
                machine: machine.clone(),
                name: name.clone(),
                input: input.clone(),
            }),
        }
    }
}
