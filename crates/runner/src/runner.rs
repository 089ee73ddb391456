//! Claims jobs, several at once, and ends each with evidence or with the reason why there is none.

use std::path::PathBuf;
use std::sync::Arc;

use run_model::evidence::CheckJob;
use run_model::{Clock, FunctionError};
use sandbox::Sandbox;
use serde_json::json;
use store::{Store, StoreError};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::bench::Bench;
use crate::error::RunnerError;
use crate::inputs::Inputs;

/// After a failure of the store the runner looks for work again this much later.
const LOOK_AGAIN_MS: i64 = 1_000;
/// A build uses about this many cores.
const CORES_PER_JOB: usize = 2;

/// Runs check jobs on this machine.
#[derive(Clone)]
pub struct Runner {
    store: Store,
    bench: Arc<Bench>,
    clock: Arc<dyn Clock>,
    name: String,
}

impl Runner {
    /// A runner that keeps caches and workspaces under `state`.
    ///
    /// `name` is new for every process: claims under other names are those of processes that are gone.
    pub fn new(store: Store, sandbox: Sandbox, state: PathBuf, clock: Arc<dyn Clock>, name: &str) -> Self {
        let bench = Arc::new(Bench::new(sandbox, state, clock.clone()));
        Self { store, bench, clock, name: name.to_owned() }
    }

    /// Takes back what earlier processes had claimed, then works until it is dropped; `jobs` says that one was queued.
    pub async fn run(self, jobs: Arc<Notify>) {
        self.bench.clear_work();
        let at_once = std::thread::available_parallelism().map_or(1, usize::from).div_ceil(CORES_PER_JOB);
        let (mut requeued, mut at_work) = (false, JoinSet::new());
        loop {
            let claimed = if requeued { self.claim().await } else { self.requeue().await };
            match claimed {
                Ok(Some(job)) => {
                    let runner = self.clone();
                    at_work.spawn(async move { runner.end(&job).await });
                }
                Ok(None) if !requeued => requeued = true,
                Ok(None) => {
                    tokio::select! {
                        () = jobs.notified() => {}
                        Some(_) = at_work.join_next() => {}
                    }
                }
                Err(error) => {
                    tracing::warn!(error = error.with_causes(), "the runner tries again");
                    self.clock.sleep_until(self.clock.now_ms() + LOOK_AGAIN_MS).await;
                }
            }
            while at_work.len() >= at_once {
                at_work.join_next().await;
            }
        }
    }

    /// Claims one job and ends it. `false` if nothing was queued.
    ///
    /// # Errors
    /// Only if the store fails before a job is claimed.
    pub async fn run_once(&self) -> Result<bool, RunnerError> {
        let Some(job) = self.claim().await? else { return Ok(false) };
        self.end(&job).await;
        Ok(true)
    }

    async fn requeue(&self) -> Result<Option<CheckJob>, StoreError> {
        self.store.requeue_jobs_of_others(&self.name).await.map(|()| None)
    }

    async fn claim(&self) -> Result<Option<CheckJob>, StoreError> {
        self.store.claim_job(&self.name).await
    }

    /// What cannot be told leaves the job claimed; a later process takes it back.
    async fn end(&self, job: &CheckJob) {
        if let Err(error) = self.tell(job).await {
            tracing::warn!(job = %job.job_id, error = error.with_causes(), "the end of a job could not be told");
        }
    }

    async fn tell(&self, job: &CheckJob) -> Result<(), StoreError> {
        match self.measured(job).await {
            Ok(result) => self.store.complete_job(&job.job_id, &self.name, result).await,
            Err(error) => {
                let FunctionError { name, message } = error.into();
                tracing::info!(job = %job.job_id, error = message, "a job could not be measured");
                self.store.fail_job(&job.job_id, &self.name, name.as_str(), &message).await
            }
        }
    }

    async fn measured(&self, job: &CheckJob) -> Result<serde_json::Value, RunnerError> {
        let inputs = Inputs::of(&self.store, job).await?;
        let evidence = self.bench.measure(job.job_id.as_str(), inputs).await?;
        let artefact = self.store.put_json(&job.run_id, &evidence).await?;
        Ok(json!({ "evidence": artefact }))
    }
}
