#![doc = include_str!("../README.md")]

mod assurance;
mod land;
mod message;
mod publish;
mod pull_request;
mod repository;
mod serve;
mod snapshot;

use std::sync::Arc;
#[cfg(feature = "github")]
use std::time::Duration;

use aws_types::SdkConfig;
use run_model::run::RunRecord;
use run_model::{Clock, ErrorName, FunctionError, Randomness, RunId};
use serde::Deserialize;
use serde_json::Value;
use store::{Names, NewEvent, Store};

pub use crate::serve::serve;

/// What the function needs, built once per cold start.
pub struct Context {
    store: Store,
    #[cfg(feature = "github")]
    patience: Option<Duration>,
}

impl Context {
    /// Connects lazily to the store behind `sdk`.
    pub fn new(sdk: &SdkConfig, names: Names, clock: Arc<dyn Clock>, randomness: Arc<dyn Randomness>) -> Self {
        Self {
            store: Store::new(sdk, names, clock, randomness),
            #[cfg(feature = "github")]
            patience: None,
        }
    }

    /// The same, with another bound on how long one call of GitHub may take.
    #[cfg(feature = "github")]
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }

    /// Keeps and tells those of the notices that the run had not before.
    async fn note(&self, before: &RunRecord, notices: &[String]) -> Result<(), FunctionError> {
        self.store.update_run(&before.run_id, |run| add_notices(run, notices)).await?;
        self.tell_new(before, notices).await
    }

    /// Tells those of the notices that the run had not before.
    async fn tell_new(&self, before: &RunRecord, notices: &[String]) -> Result<(), FunctionError> {
        for notice in notices.iter().filter(|notice| !before.notices.contains(notice)) {
            self.store.append_event(&before.run_id, NewEvent::new("notice", notice)).await?;
        }
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
/// or landed, with the reason; `MergeRefused` if the rules of a branch on a forge ask for more; `ForgeThrottled` and `ForgeUnavailable`,
/// which pass; `ForgeFailed` if git or the forge failed otherwise; `NotFound`, `Conflict`, `StoreUnavailable` as the store has them.
pub async fn handle(context: &Context, input: Value) -> Result<Value, FunctionError> {
    let request = serde_json::from_value(input).map_err(|problem| FunctionError::invalid("input", problem))?;
    let (run, action, done) = match request {
        Request::Snapshot { run_id } => {
            let done = snapshot::snapshot(context, &run_id).await;
            (run_id, "snapshot", done)
        }
        Request::Publish { run_id } => {
            let done = publish::publish(context, &run_id).await;
            (run_id, "publish", done)
        }
        Request::Land { run_id } => {
            let done = land::land(context, &run_id).await;
            (run_id, "land", done)
        }
    };
    let error = done.as_ref().err().map(|error| error.name.as_str());
    tracing::info!(%run, action, error, "acted");
    done
}

fn add_notices(run: &mut RunRecord, notices: &[String]) {
    let new: Vec<String> = notices.iter().filter(|notice| !run.notices.contains(notice)).cloned().collect();
    run.notices.extend(new);
}

fn missing(run: &RunId, what: &str) -> FunctionError {
    FunctionError::new(ErrorName::Internal, format!("{run} has no {what}"))
}

fn refused(reason: impl Into<String>) -> FunctionError {
    FunctionError::new(ErrorName::PolicyRefused, reason)
}
