#![doc = include_str!("../README.md")]

mod land;
mod publish;
mod snapshot;

use std::path::Path;
use std::sync::Arc;

use aws_types::SdkConfig;
use forge::{ForgeError, LocalGit};
use run_model::change_set::ChangeSet;
use run_model::run::{ArtefactRef, RunRecord};
use run_model::{Clock, ErrorName, FunctionError, Randomness, RunId};
use serde::Deserialize;
use serde_json::Value;
use store::{Names, Store};

/// What the function needs, built once per cold start.
pub struct Context {
    store: Store,
}

impl Context {
    /// Connects lazily to the store behind `sdk`.
    pub fn new(sdk: &SdkConfig, names: Names, clock: Arc<dyn Clock>, randomness: Arc<dyn Randomness>) -> Self {
        Self { store: Store::new(sdk, names, clock, randomness) }
    }

    async fn change_set(&self, run: &RunRecord) -> Result<ChangeSet, FunctionError> {
        Ok(self.store.get_json(present(run, "change set", run.change_set.as_ref())?).await?)
    }
}

#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
enum Request {
    Snapshot { run_id: RunId },
    Publish { run_id: RunId },
    Land { run_id: RunId },
}

/// Takes a snapshot, publishes or lands: `{"commit"}`, `{"commit", "ref"}` or `{"branch"}`.
///
/// # Errors
/// `InvalidInput` names the repository or ref and the cure; `PolicyRefused` if nothing allows the effect; `ForgeFailed` if git
/// does; `NotFound`, `Conflict`, `StoreUnavailable` as the store has them.
pub async fn handle(context: &Context, input: Value) -> Result<Value, FunctionError> {
    match serde_json::from_value(input).map_err(|problem| FunctionError::invalid("input", problem))? {
        Request::Snapshot { run_id } => snapshot::take(context, run_id).await,
        Request::Publish { run_id } => publish::publish(context, run_id).await,
        Request::Land { run_id } => land::land(context, run_id).await,
    }
}

/// The repository by its shape: a path is one on this machine.
async fn repository(run: &RunRecord) -> Result<LocalGit, FunctionError> {
    LocalGit::open(Path::new(&run.repository)).await.map_err(failed)
}

fn failed(error: ForgeError) -> FunctionError {
    error.into()
}

/// What a step needs of the run, or a defect if the machine asked too early.
fn present<'a, T>(run: &RunRecord, what: &str, found: Option<&'a T>) -> Result<&'a T, FunctionError> {
    found.ok_or_else(|| FunctionError::new(ErrorName::Internal, format!("{} has no {what}", run.run_id)))
}

/// The reference of what an approval is bound to, in messages.
fn named(artefact: &ArtefactRef) -> &str {
    artefact.sha256.short()
}
