#![doc = include_str!("../README.md")]

mod assignment;
mod evidence_text;
mod material;
mod opening;
mod scratch;
mod telling;

use std::path::PathBuf;
use std::sync::Arc;

use agent::ports::PortError;
use agent::{ModelChoice, Ports, Role, SessionEnd, SessionLimits, SessionRequest};
use async_trait::async_trait;
use aws_types::SdkConfig;
use config::{PathRules, Server};
use futures::future::BoxFuture;
use models::{ApiKey, KeySource};
use run_model::change_set::Overlay;
use run_model::run::ArtefactRef;
use run_model::{Clock, ErrorName, FunctionError, Randomness, RunId, SessionId, TaskId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Names, Store, StoreError};

use crate::assignment::Desk;
pub use crate::assignment::typed;
pub use crate::material::Material;
pub use crate::opening::Section;
use crate::scratch::Scratch;
use crate::telling::Telling;

/// A role as its function defines it.
#[derive(Clone, Copy)]
pub struct Definition {
    /// Prompt, output, tools and what it may write.
    pub role: Role,
    /// What its first message holds, in order.
    pub sections: &'static [Section],
    /// Whether an output of the right shape makes sense; the error says what is wrong, in words for the model.
    pub accept: Accept,
}

/// Judges an output by what the run knows and by the session's edits.
pub type Accept = fn(&Value, &Material, &Overlay) -> Result<(), String>;

/// What a role's function needs, built once per cold start.
pub struct Context {
    store: Store,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
    scratch: Scratch,
}

impl Context {
    /// Connects lazily to the store behind `sdk`. Snapshots are unpacked under `scratch`, a folder of its own that only
    /// this user may read.
    pub fn new(
        sdk: &SdkConfig,
        names: Names,
        clock: Arc<dyn Clock>,
        randomness: Arc<dyn Randomness>,
        scratch: PathBuf,
    ) -> Self {
        let store = Store::new(sdk, names, clock.clone(), randomness.clone());
        Self { store, clock, scratch: Scratch::new(&scratch, randomness.clone()), randomness }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    run_id: RunId,
    #[serde(default)]
    task_id: Option<TaskId>,
    iteration: u32,
    #[serde(default)]
    overlay: Option<ArtefactRef>,
    #[serde(default)]
    evidence: Option<ArtefactRef>,
    /// What a person asks at a gate (JSON of [`run_model::gate::Inquiry`]).
    #[serde(default)]
    question: Option<ArtefactRef>,
}

/// What the machine is told.
#[derive(Debug, Serialize)]
struct Output {
    status: &'static str,
    output: Option<ArtefactRef>,
    overlay: Option<ArtefactRef>,
}

/// Runs one invocation of a role: takes its session up, works until it is done, has to wait for checks, or time is short.
///
/// `input` is `{run_id, task_id?, iteration, overlay, evidence, question?}`: `overlay` is what the session starts from, `evidence` the
/// results of the checks it asked for, `question` what a person asks at a gate; `iteration` is then the question's number. The answer
/// is `{status, output, overlay}` with status `done`, `needs_checks` or `continue`; `overlay` is the given one with the session's
/// edits over it, null if it changes nothing. `deadline_ms` is when the invocation will be ended from outside, in milliseconds since
/// the epoch.
///
/// # Errors
/// As [`agent::run_session`]; [`ErrorName::InvalidInput`] if the input cannot be read, [`ErrorName::NotFound`] if there is
/// no such run or task, [`ErrorName::UnknownPrice`] if the role's model has no price.
///
/// In a box, so that the future of all this is compiled once, here, and not in each role again.
pub fn handle<'a>(
    definition: &'a Definition,
    context: &'a Context,
    input: Value,
    deadline_ms: i64,
) -> BoxFuture<'a, Result<Value, FunctionError>> {
    Box::pin(invoke(definition, context, input, deadline_ms))
}

async fn invoke(
    definition: &Definition,
    context: &Context,
    input: Value,
    deadline_ms: i64,
) -> Result<Value, FunctionError> {
    let input: Input = serde_json::from_value(input).map_err(|problem| FunctionError::invalid("input", problem))?;
    // A role works for one run at a time and reaches no other, whatever it is handed.
    let store = context.store.of_run(&input.run_id);
    let run = store.run(&input.run_id).await?;
    let snapshot = run.snapshot.as_ref().ok_or_else(|| missing("snapshot", &input.run_id))?;
    let base = context.scratch.open(&store, snapshot).await?;
    let material = Material::load(&store, &run, &input, base, definition.sections).await?;
    let rules = PathRules::new(&material.config).map_err(|problem| FunctionError::invalid("config", problem))?;
    let desk = Desk { definition, material: &material, rules };
    let (keys, clock, randomness) = (Keys(&store), context.clock.clone(), context.randomness.clone());
    let model = models::connect(&material.config, &keys, clock, randomness).await?;
    let telling = Telling { store: &store, role: definition.role.name, task: input.task_id.clone() };
    let ports = Ports {
        model: model.as_ref(),
        ledger: &telling,
        sessions: &store,
        observer: &telling,
        tree: &material.tree,
        clock: context.clock.as_ref(),
        assignment: &desk,
    };
    let request = request(definition, &input, &material, deadline_ms)?;
    let end = agent::run_session(&definition.role, &request, &ports).await?;
    let output = keep(&store, &input, &material, end).await?;
    serde_json::to_value(output).map_err(|problem| FunctionError::new(ErrorName::Internal, problem.to_string()))
}

fn request(
    definition: &Definition,
    input: &Input,
    material: &Material,
    deadline_ms: i64,
) -> Result<SessionRequest, FunctionError> {
    let config = &material.config;
    let chosen = config.role(definition.role.name);
    Ok(SessionRequest {
        run: input.run_id.clone(),
        session: match &material.inquiry {
            Some(inquiry) => SessionId::at_gate(definition.role.name, inquiry.kind, input.iteration),
            None => SessionId::new(definition.role.name, input.task_id.as_ref(), input.iteration),
        },
        opening: opening::render(definition.sections, material),
        model: ModelChoice {
            price: config.price(&chosen.model)?,
            model: chosen.model,
            max_output_tokens: chosen.max_output_tokens,
            context_tokens: chosen.context_tokens,
            temperature_milli: chosen.temperature_milli,
        },
        limits: SessionLimits {
            turns: config.limits.turns,
            repairs: config.limits.repairs,
            call_ms: longest_call_ms(config.provider.server()),
            reserve_ms: RESERVE_MS,
        },
        deadline_ms,
    })
}

/// For a provider's short waits, the ledger and the checkpoint.
const RESERVE_MS: i64 = 20_000;

fn longest_call_ms(server: Option<Server<'_>>) -> i64 {
    // Without one, answers come from a file.
    let seconds = server.map_or(1, |server| server.timeout_seconds);
    i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX / 2)
}

/// Keeps what a session made and says where.
async fn keep(store: &Store, input: &Input, material: &Material, end: SessionEnd) -> Result<Output, FunctionError> {
    let (status, output, edits) = match end {
        SessionEnd::Continue => return Ok(Output { status: "continue", output: None, overlay: None }),
        SessionEnd::NeedsChecks { edits } => ("needs_checks", None, edits),
        SessionEnd::Done { output, edits } => ("done", Some(output), edits),
    };
    let run = &input.run_id;
    let output = match output {
        Some(output) => Some(store.put_json(run, &output).await?),
        None => None,
    };
    let overlay = match material.with(&edits) {
        unchanged if unchanged == material.tree.given => input.overlay.clone(),
        nothing if nothing.is_empty() => None,
        changed => Some(store.put_json(run, &changed).await?),
    };
    Ok(Output { status, output, overlay })
}

fn missing(what: &str, run: &RunId) -> FunctionError {
    FunctionError::new(ErrorName::NotFound, format!("run {run} has no {what} yet: the machine called too early"))
}

/// The providers' keys in the stage's secret.
pub struct Keys<'a>(pub &'a Store);

#[async_trait]
impl KeySource for Keys<'_> {
    async fn key(&self, name: &str) -> Result<Option<ApiKey>, PortError> {
        match self.0.secret(&self.0.names().models_secret).await {
            Ok(fields) => Ok(fields.get(name).and_then(Value::as_str).and_then(ApiKey::new)),
            Err(StoreError::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn place(&self) -> String {
        format!("the secret {}, or in the environment on one machine", self.0.names().models_secret)
    }
}
