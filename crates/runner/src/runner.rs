//! Claims jobs, several at once, and ends each with evidence or with the reason why there is none.

use std::path::PathBuf;
use std::sync::Arc;

use config::SandboxMode;
use run_model::evidence::Evidence;
use run_model::{Clock, FunctionError};
use sandbox::Sandbox;
use store::Store;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::bench::Bench;
use crate::error::RunnerError;
use crate::inputs::Inputs;
use crate::jobs::Jobs;
use crate::queue::StoreJobs;

/// After a failure of the store the runner looks for work again this much later.
const LOOK_AGAIN_MS: i64 = 1_000;
/// A build uses about this many cores.
const CORES_PER_JOB: usize = 2;

/// Runs check jobs on this machine, wherever they come from.
#[derive(Clone)]
pub struct Runner<J = StoreJobs> {
    pub(crate) jobs: J,
    pub(crate) bench: Arc<Bench>,
    clock: Arc<dyn Clock>,
    confinement: Option<Confinement>,
}

/// What whoever owns a machine lets the projects' commands do there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    /// How much they are confined.
    pub mode: SandboxMode,
    /// Folders outside the workspace that they may read besides the toolchain's. Setup has the network, and so may send away
    /// what it reads.
    pub read_only: Vec<PathBuf>,
}

/// How a job ended for its runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Its evidence was reported.
    Measured,
    /// It could not be measured, and that was reported.
    Unmeasured(String),
    /// The claim was lost, or the end could not be told: another runner measures it again.
    Lost,
    /// It was given back for another runner.
    GivenBack,
}

impl<J: Jobs> Runner<J> {
    /// A runner of these jobs that keeps caches and workspaces under `state`, which no other runner uses.
    pub fn over(jobs: J, sandbox: Sandbox, state: PathBuf, clock: Arc<dyn Clock>) -> Self {
        let bench = Arc::new(Bench::new(sandbox, state, clock.clone()));
        Self { jobs, bench, clock, confinement: None }
    }

    /// The same, confining as whoever owns the machine says and not as a job's settings do.
    #[must_use]
    pub fn confining(self, confinement: Confinement) -> Self {
        Self { confinement: Some(confinement), ..self }
    }

    /// How many jobs run at once here.
    pub(crate) fn at_once() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from).div_ceil(CORES_PER_JOB)
    }

    /// Ends a job that was claimed. A job whose claim is lost is left where it stands.
    pub(crate) async fn end(&self, claim: &J::Claim) -> End {
        let job = self.jobs.job(claim);
        let told = tokio::select! {
            told = self.tell(claim) => told,
            () = self.jobs.hold(claim) => {
                tracing::warn!(job = %job.job_id, "the claim is lost");
                self.bench.clear(job.job_id.as_str()).await;
                return End::Lost;
            }
        };
        told.unwrap_or_else(|error| {
            tracing::warn!(job = %job.job_id, error = error.with_causes(), "the end of a job could not be told");
            End::Lost
        })
    }

    async fn tell(&self, claim: &J::Claim) -> Result<End, RunnerError> {
        match self.measured(claim).await {
            Ok(evidence) => self.jobs.report(claim, Ok(evidence)).await.map(|()| End::Measured),
            Err(error) => {
                let error: FunctionError = error.into();
                let job = &self.jobs.job(claim).job_id;
                tracing::info!(%job, error = error.message, "a job could not be measured");
                let end = End::Unmeasured(error.message.clone());
                self.jobs.report(claim, Err(error)).await.map(|()| end)
            }
        }
    }

    async fn measured(&self, claim: &J::Claim) -> Result<Evidence, RunnerError> {
        let mut inputs = Inputs::of(&self.jobs, claim).await?;
        if let Some(confinement) = &self.confinement {
            inputs.config.sandbox = confinement.mode;
            inputs.config.read_only.clone_from(&confinement.read_only);
        }
        self.bench.measure(self.jobs.job(claim).job_id.as_str(), inputs).await
    }
}

impl Runner {
    /// A runner of the jobs in this store that keeps caches and workspaces under `state`.
    ///
    /// `name` is new for every process: claims under other names are those of processes that are gone.
    pub fn new(store: Store, sandbox: Sandbox, state: PathBuf, clock: Arc<dyn Clock>, name: &str) -> Self {
        Self::over(StoreJobs::new(store, name), sandbox, state, clock)
    }

    /// Takes back what earlier processes had claimed, then works until it is dropped; `jobs` says that one was queued.
    pub async fn run(self, jobs: Arc<Notify>) {
        self.bench.clear_all();
        let (mut requeued, mut at_work) = (false, JoinSet::new());
        loop {
            let claimed = if requeued { self.jobs.claim().await } else { self.jobs.take_back().await.map(|()| None) };
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
            while at_work.len() >= Self::at_once() {
                at_work.join_next().await;
            }
        }
    }

    /// Claims one job and ends it. `false` if nothing was queued.
    ///
    /// # Errors
    /// Only if the store fails before a job is claimed.
    pub async fn run_once(&self) -> Result<bool, RunnerError> {
        let Some(job) = self.jobs.claim().await? else { return Ok(false) };
        self.end(&job).await;
        Ok(true)
    }
}
