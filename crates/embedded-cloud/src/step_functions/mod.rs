//! Step Functions: the thin, durable driver under the pure step function of `states-language`, and its API.
//!
//! Every transition (the execution's state and the history it made) is committed to the [log](self) before its actions
//! are performed and before the next begins. So a process may die anywhere: [`StepFunctions::start`] goes on with every
//! execution that runs, with the same task tokens, and repeats nothing that was recorded complete. What was in flight is
//! done again: an invocation happens at least once, its result counts once.
//!
//! An execution that waits holds no task and no state in memory, only its timers.

mod api;
mod arn;
mod callbacks;
mod chance;
mod driver;
mod history;
mod invocation;
mod log;
mod machines;
mod nested;
mod records;
mod recovery;
mod starts;
mod status;
mod timers;

use std::path::PathBuf;
use std::sync::Arc;

use run_model::{Clock, Randomness};
use serde_json::Value;
use states_language::Problem;
use tokio::sync::broadcast;

pub use api::ASLEEP;
pub use arn::Place;
pub(crate) use chance::uuid;
pub use log::{CommitHook, CommitPoint, CommitSide, LogError, LogStats};
pub use status::StatusChange;

use crate::{AwsError, Functions};
use driver::Engine;

/// What an engine is made of.
pub struct Options {
    /// The log's file; created if it is not there.
    pub path: PathBuf,
    /// The time that timers and timestamps go by.
    pub clock: Arc<dyn Clock>,
    /// Task tokens, ids and jitter.
    pub randomness: Arc<dyn Randomness>,
    /// Machines by name, each with its definition as JSON text. A changed definition becomes a new version: executions
    /// that run go on with the one they started with.
    pub machines: Vec<(String, String)>,
    /// Region and account of every ARN.
    pub place: Place,
    /// Looks on at every commit: to see them, or to stop at one as a crash would.
    pub commit_hook: Option<CommitHook>,
}

impl Options {
    /// Options without machines, in the default place.
    pub fn new(path: impl Into<PathBuf>, clock: Arc<dyn Clock>, randomness: Arc<dyn Randomness>) -> Self {
        Options {
            path: path.into(),
            clock,
            randomness,
            machines: Vec::new(),
            place: Place::default(),
            commit_hook: None,
        }
    }
}

/// Why the engine cannot go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// The log failed: free the disk or use the right program, then start again from the file.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A machine's name or definition is not usable: mend it.
    #[error("machine {machine} cannot run here: {}", machines::listed(problems))]
    Definition {
        /// The machine.
        machine: String,
        /// Every problem of its definition.
        problems: Vec<Problem>,
    },
    /// What the log holds of an execution cannot be understood: use the program that wrote it, or stop the execution there.
    #[error("execution {execution} cannot go on: {reason} (its record in {} was left as it is)", path.display())]
    Unreadable {
        /// The execution's ARN.
        execution: String,
        /// What is wrong with the record.
        reason: String,
        /// The log's file.
        path: PathBuf,
    },
    /// The engine was asked to drive before [`StepFunctions::start`] or after [`StepFunctions::close`].
    #[error("the engine does not run: start it first")]
    NotRunning,
}

impl From<EngineError> for AwsError {
    fn from(error: EngineError) -> Self {
        AwsError::internal(error.to_string())
    }
}

/// Step Functions on one machine; cheap to clone, all clones are one engine.
#[derive(Clone)]
pub struct StepFunctions(Arc<Handle>);

/// Closes the engine with the last clone.
struct Handle(Arc<Engine>);

impl Drop for Handle {
    fn drop(&mut self) {
        drop(self.0.shut());
    }
}

impl StepFunctions {
    /// Opens the log and registers the machines. Nothing runs before [`StepFunctions::start`].
    ///
    /// # Errors
    /// [`EngineError::Log`] if the file cannot be opened, [`EngineError::Definition`] for a machine that cannot run here.
    pub async fn open(options: Options) -> Result<Self, EngineError> {
        let machines = options.machines.clone();
        let engine = Arc::new(Engine::open(options)?);
        let opened = StepFunctions(Arc::new(Handle(engine)));
        for (name, definition) in machines {
            opened.0.0.register(name, definition).await?;
        }
        Ok(opened)
    }

    /// Goes on with every execution that runs, calling these functions from now on.
    ///
    /// # Errors
    /// [`EngineError::Unreadable`] names an execution whose record cannot be read; then nothing has been started.
    pub fn start(&self, functions: impl Into<Functions>) -> Result<(), EngineError> {
        self.0.0.recover(functions.into())
    }

    /// Begins to drive without going on with anything: an execution that runs is left alone until it is started again
    /// with the same name and input. Until then answers to it are kept and it can be stopped.
    ///
    /// # Errors
    /// [`EngineError::Log`] if the log cannot be read.
    pub fn start_asleep(&self, functions: impl Into<Functions>) -> Result<(), EngineError> {
        self.0.0.begin_asleep(functions.into())
    }

    /// Answers one operation of the API, such as `StartExecution`, in the shapes of the JSON 1.0 protocol.
    ///
    /// # Errors
    /// The operation's own errors as AWS names them; `UnknownOperationException` for what is not answered here.
    pub async fn handle(&self, operation: &str, body: Value) -> Result<Value, AwsError> {
        self.0.0.answer(operation, body).await
    }

    /// Status changes from now on. Best effort, as on AWS: who lags by more than a thousand misses some.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<StatusChange>> {
        self.0.0.changes.subscribe()
    }

    /// Where this engine claims to be.
    pub fn place(&self) -> &Place {
        &self.0.0.place
    }

    /// Commits and writes since the log was opened.
    pub fn log_stats(&self) -> LogStats {
        self.0.0.log.stats()
    }

    /// Ends when the log has failed, with the reason: nothing goes on until it is opened again.
    pub async fn failed(&self) -> String {
        self.0.0.log.failed().await
    }

    /// Stops driving, drops the functions and closes the file, as if the process had ended.
    ///
    /// Needed where functions hold clones of this engine: then the last clone never goes by itself.
    pub async fn close(&self) {
        if let Some(mut tasks) = self.0.0.shut() {
            while tasks.join_next().await.is_some() {}
        }
    }
}
