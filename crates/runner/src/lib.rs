#![doc = include_str!("../README.md")]

mod checks;
mod environment;
mod preparation;
mod workspace;

use std::path::PathBuf;
use std::sync::Arc;

use config::{RunConfig, SandboxMode};
use run_model::change_set::Overlay;
use run_model::evidence::{CheckJob, EVIDENCE_SCHEMA, Evidence};
use run_model::{Clock, ErrorName, FunctionError, Sha256};
use sandbox::{Mode, Sandbox, SandboxError};
use serde_json::json;
use store::{Store, StoreError};
use tokio::sync::Notify;

use crate::workspace::Workspace;

/// After a failure of the store the runner looks for work again this much later, in milliseconds.
const LOOK_AGAIN_MS: i64 = 1_000;

/// Why a job could not be measured. The run is told; the runner goes on with the next job.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sandbox refused.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The project's toolchain is not there.
    #[error(transparent)]
    Toolchain(#[from] sandbox::toolchain::ToolchainError),
    /// The disk failed.
    #[error("could not use {path}")]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An overlay or an archive wants to write where it may not.
    #[error("{0}")]
    Refused(String),
    /// A setup command failed.
    #[error("setup command `{command}` failed ({exit}): {tail}; mend [[setup]] in gatewright.toml")]
    Setup {
        /// The command line.
        command: String,
        /// How it ended.
        exit: String,
        /// The end of its output.
        tail: String,
    },
    /// What was stored cannot be read.
    #[error("{what} cannot be read: {problem}")]
    Unreadable {
        /// Which object.
        what: String,
        /// Why.
        problem: String,
    },
}

impl RunnerError {
    /// The name that the machines see.
    fn name(&self) -> ErrorName {
        match self {
            Self::Store(_) | Self::Disk { .. } => ErrorName::StoreUnavailable,
            Self::Setup { .. } | Self::Toolchain(_) => ErrorName::InvalidInput,
            Self::Sandbox(_) | Self::Refused(_) => ErrorName::PolicyRefused,
            Self::Unreadable { .. } => ErrorName::Internal,
        }
    }

    fn with_causes(&self) -> String {
        let causes = std::iter::successors(std::error::Error::source(self), |cause| cause.source());
        causes.fold(self.to_string(), |text, cause| format!("{text}: {cause}"))
    }
}

/// Runs one job after the other.
pub struct Runner {
    store: Store,
    state: PathBuf,
    clock: Arc<dyn Clock>,
    name: String,
}

impl Runner {
    /// A runner that keeps caches and workspaces under `state`. `name` is new for every process: claims under other names are
    /// those of processes that are gone.
    pub fn new(store: Store, state: PathBuf, clock: Arc<dyn Clock>, name: &str) -> Self {
        Self { store, state, clock, name: name.to_owned() }
    }

    /// Takes back what earlier processes had claimed, then works until it is dropped; `jobs` says that one was queued.
    pub async fn run(self, jobs: Arc<Notify>) {
        let mut requeued = false;
        loop {
            let worked = match requeued {
                true => self.run_once().await,
                false => self.store.requeue_jobs_of_others(&self.name).await.map(|()| true).map_err(Into::into),
            };
            match worked {
                Ok(true) => requeued = true,
                Ok(false) => jobs.notified().await,
                Err(error) => {
                    tracing::warn!(error = error.with_causes(), "the runner tries again");
                    self.clock.sleep_until(self.clock.now_ms() + LOOK_AGAIN_MS).await;
                }
            }
        }
    }

    /// Claims one job and ends it, with evidence or with the reason why there is none. `false` if nothing was queued.
    ///
    /// # Errors
    /// Only if the store fails; the claim is then taken back by [`Runner::run`] of a later process.
    pub async fn run_once(&self) -> Result<bool, RunnerError> {
        let Some(job) = self.store.claim_job(&self.name).await? else { return Ok(false) };
        match self.measure(&job).await {
            Ok(evidence) => {
                let artefact = self.store.put_json(&job.run_id, &evidence).await?;
                self.store.complete_job(&job.job_id, &self.name, json!({ "evidence": artefact })).await?;
            }
            Err(error) => {
                let failure = FunctionError::new(error.name(), error.with_causes());
                self.store.fail_job(&job.job_id, &self.name, failure.name.as_str(), &failure.message).await?;
            }
        }
        Ok(true)
    }

    async fn measure(&self, job: &CheckJob) -> Result<Evidence, RunnerError> {
        let config: RunConfig = self.stored_json(&job.config_key).await?;
        let mode = match config.sandbox {
            SandboxMode::Auto => Mode::Auto,
            SandboxMode::None => Mode::None,
        };
        let sandbox = Sandbox::new(mode).await?;
        let archive = self.store.get_object(&job.snapshot.archive_key).await?;
        let (environment, prepared) = preparation::prepare(&self.state, &sandbox, &config, &archive).await?;
        let mut workspace = Workspace::create(&prepared.work(), &archive)?;
        let overlay = match &job.overlay_key {
            Some(key) => Some(self.stored_json::<Overlay>(key).await?),
            None => None,
        };
        if let Some(overlay) = &overlay {
            workspace.lay(overlay)?;
        }
        if let Some(key) = &job.held_out_key {
            workspace.lay_archive(&self.store.get_object(key).await?)?;
        }
        let tree_sha256 = workspace.hash()?;
        prepared.equip(&workspace, &config)?;
        let (commands, layers) = checks::run(&sandbox, &environment, &config, &prepared, &workspace).await?;
        workspace.remove()?;
        Ok(Evidence {
            schema: EVIDENCE_SCHEMA,
            purpose: job.purpose,
            tree_sha256,
            overlay_sha256: overlay.as_ref().map(Sha256::of_json),
            commands,
            layers,
        })
    }

    async fn stored_json<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<T, RunnerError> {
        let bytes = self.store.get_object(key).await?;
        serde_json::from_slice(&bytes)
            .map_err(|problem| RunnerError::Unreadable { what: format!("object {key}"), problem: problem.to_string() })
    }
}

/// Names the file or folder in a disk's error.
fn at<T>(path: &std::path::Path, result: std::io::Result<T>) -> Result<T, RunnerError> {
    result.map_err(|source| RunnerError::Disk { path: path.to_owned(), source })
}
