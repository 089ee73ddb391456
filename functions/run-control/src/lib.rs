#![doc = include_str!("../README.md")]

mod admission;
mod change;
mod ending;
mod gates;
mod planning;
mod questions;
mod reminder;
mod rounds;
mod serve;
mod settings;
mod setup;

use std::sync::Arc;

use aws_types::SdkConfig;
use config::RunConfig;
use run_model::evidence::{Evidence, Purpose};
use run_model::gate::GateKind;
use run_model::run::{ArtefactRef, RunRecord};
use run_model::{Clock, FunctionError, GateId, Randomness, RunId, TaskId};
use schedules::OneShots;
use serde::Deserialize;
use serde_json::Value;
use store::{Names, Store};

pub use crate::serve::serve;

/// What the function needs, built once per cold start.
pub struct Context {
    store: Store,
    clock: Arc<dyn Clock>,
    one_shots: Option<OneShots>,
}

impl Context {
    /// Connects lazily to the store behind `sdk`.
    pub fn new(sdk: &SdkConfig, names: Names, clock: Arc<dyn Clock>, randomness: Arc<dyn Randomness>) -> Self {
        Self { store: Store::new(sdk, names, clock.clone(), randomness), clock, one_shots: None }
    }

    /// Has every execution looked after when its bound is over.
    #[must_use]
    pub fn with_one_shots(self, one_shots: OneShots) -> Self {
        Self { one_shots: Some(one_shots), ..self }
    }

    async fn config(&self, run: &RunRecord) -> Result<RunConfig, FunctionError> {
        Ok(self.store.get_json(&run.config).await?)
    }

    /// The run's newest evidence of this purpose.
    async fn evidence(&self, run: &RunRecord, purpose: Purpose) -> Result<Evidence, FunctionError> {
        assessment::evidence(&self.store, run, purpose).await
    }
}

/// The execution that calls.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Execution {
    name: String,
    arn: String,
}

/// What Step Functions says of a failure.
#[derive(Clone, Debug, Deserialize)]
struct Failure {
    #[serde(rename = "Error", default)]
    error: String,
    #[serde(rename = "Cause", default)]
    cause: String,
}

#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case", deny_unknown_fields)]
enum Request {
    Admit { execution: Execution, input: Value },
    ReadSettings { run_id: RunId },
    Resume { execution: Execution, run_id: RunId, from: String },
    Baseline { run_id: RunId, evidence: ArtefactRef, acceptance: Option<ArtefactRef> },
    AcceptPlan { run_id: RunId, output: ArtefactRef },
    AcceptDesign { run_id: RunId, output: ArtefactRef },
    NextWave { run_id: RunId },
    BeginTask { run_id: RunId, task_id: TaskId },
    PickTests { run_id: RunId, task_id: TaskId, overlay: Option<ArtefactRef> },
    JudgeTask(Box<rounds::Measured>),
    ConcludeReview { run_id: RunId, task_id: TaskId, iteration: u32, output: ArtefactRef },
    TaskFailed { run_id: RunId, task_id: TaskId, error: Failure },
    Merge { run_id: RunId, setups: Option<u32> },
    Assess { run_id: RunId, evidence: ArtefactRef, acceptance: Option<ArtefactRef> },
    GateClosed { run_id: RunId, kind: GateKind },
    KeepAnswer { run_id: RunId, gate_id: GateId, output: Option<ArtefactRef>, error: Option<Failure> },
    Finish { run_id: RunId, error: Option<Failure> },
}

/// Takes one action; see the table in the crate's front page and `state-machines/README.md` for inputs and outputs.
///
/// # Errors
/// `InvalidInput` names the field, the value and the cure; `PolicyRefused` the rule; `MergeConflict` the path; `NotFound`,
/// `Conflict`, `StoreUnavailable` as the store has them.
pub async fn handle(context: &Context, input: Value) -> Result<Value, FunctionError> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (action, task) = (text(&input["action"]), text(&input["task_id"]));
    let run = text(&input["run_id"]).or_else(|| text(&input["execution"]["name"]));
    let done = act(context, input).await;
    let error = done.as_ref().err().map(|error| error.name.as_str());
    tracing::info!(run, task, action, error, "acted");
    done
}

async fn act(context: &Context, input: Value) -> Result<Value, FunctionError> {
    let request = serde_json::from_value(input).map_err(|problem| FunctionError::invalid("input", problem))?;
    match request {
        Request::Admit { execution, input } => {
            let entrance = admission::admit(context, execution.clone(), input).await?;
            let run_id =
                RunId::new(execution.name.as_str()).map_err(|problem| FunctionError::invalid("name", problem))?;
            reminder::set(context, &execution, &run_id).await.map(|()| entrance)
        }
        Request::ReadSettings { run_id } => settings::read(context, run_id).await,
        Request::Resume { execution, run_id, from } => {
            let entrance = admission::resume(context, execution.clone(), run_id.clone(), &from).await?;
            reminder::set(context, &execution, &run_id).await.map(|()| entrance)
        }
        Request::Baseline { run_id, evidence, acceptance } => {
            planning::baseline(context, run_id, evidence, acceptance).await
        }
        Request::AcceptPlan { run_id, output } => planning::accept_plan(context, run_id, output).await,
        Request::AcceptDesign { run_id, output } => planning::accept_design(context, run_id, output).await,
        Request::NextWave { run_id } => planning::next_wave(context, run_id).await,
        Request::BeginTask { run_id, task_id } => rounds::begin(context, run_id, task_id).await,
        Request::PickTests { run_id, task_id, overlay } => rounds::pick_tests(context, run_id, task_id, overlay).await,
        Request::JudgeTask(measured) => rounds::judge(context, *measured).await,
        Request::ConcludeReview { run_id, task_id, iteration, output } => {
            rounds::conclude(context, &run_id, &task_id, iteration, output).await
        }
        Request::TaskFailed { run_id, task_id, error } => rounds::failed(context, run_id, task_id, error).await,
        Request::Merge { run_id, setups } => change::merge(context, run_id, setups.unwrap_or_default()).await,
        Request::Assess { run_id, evidence, acceptance } => change::assess(context, run_id, evidence, acceptance).await,
        Request::GateClosed { run_id, kind } => gates::closed(context, run_id, kind).await,
        Request::KeepAnswer { run_id, gate_id, output, error } => {
            questions::keep(context, run_id, &gate_id, output, error).await
        }
        Request::Finish { run_id, error } => ending::finish(context, run_id, error).await,
    }
}
