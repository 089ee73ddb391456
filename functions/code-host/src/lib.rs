#![doc = include_str!("../README.md")]

mod assurance;
mod land;
mod message;
mod publish;
mod snapshot;

use std::path::Path;
use std::sync::Arc;

use aws_types::SdkConfig;
use forge::LocalGit;
use run_model::run::RunRecord;
use run_model::{Clock, ErrorName, FunctionError, Randomness, RunId};
use serde::Deserialize;
use serde_json::Value;
use store::{Names, NewEvent, Store};

/// What the function needs, built once per cold start.
pub struct Context {
    store: Store,
}

impl Context {
    /// Connects lazily to the store behind `sdk`.
    pub fn new(sdk: &SdkConfig, names: Names, clock: Arc<dyn Clock>, randomness: Arc<dyn Randomness>) -> Self {
        Self { store: Store::new(sdk, names, clock, randomness) }
    }

    async fn tell(&self, run: &RunId, kind: &str, message: String) -> Result<(), FunctionError> {
        self.store.append_event(run, NewEvent::new(kind, message)).await?;
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case", deny_unknown_fields)]
enum Request {
    Snapshot { run_id: RunId },
    Publish { run_id: RunId },
    Land { run_id: RunId },
}

/// Takes one action.
///
/// # Errors
/// `InvalidInput` if the repository cannot be worked on, with the cure; `PolicyRefused` if the change may not be published
/// or landed, with the reason; `ForgeFailed` if git failed; `NotFound`, `Conflict`, `StoreUnavailable` as the store has them.
pub async fn handle(context: &Context, input: Value) -> Result<Value, FunctionError> {
    let request = serde_json::from_value(input).map_err(|problem| FunctionError::invalid("input", problem))?;
    match request {
        Request::Snapshot { run_id } => snapshot::snapshot(context, &run_id).await,
        Request::Publish { run_id } => publish::publish(context, &run_id).await,
        Request::Land { run_id } => land::land(context, &run_id).await,
    }
}

/// The repository that a run works on: an absolute path is a folder of this machine.
async fn repository(run: &RunRecord) -> Result<LocalGit, FunctionError> {
    let path = Path::new(&run.repository);
    if !path.is_absolute() {
        let problem = format!(
            "{:?} is not a folder of this machine, and no forge is connected: give an absolute path",
            run.repository
        );
        return Err(FunctionError::invalid("repository", problem));
    }
    Ok(LocalGit::open(path).await?)
}

fn missing(run: &RunId, what: &str) -> FunctionError {
    FunctionError::new(ErrorName::Internal, format!("{run} has no {what}"))
}

fn refused(reason: impl Into<String>) -> FunctionError {
    FunctionError::new(ErrorName::PolicyRefused, reason)
}
