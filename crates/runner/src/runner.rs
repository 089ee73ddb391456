//! Claims jobs, several at once, and ends each with evidence or with the reason why there is none.

use std::path::PathBuf;
use std::sync::Arc;

use config::SandboxMode;
use run_model::evidence::Evidence;
use run_model::{Clock, ErrorName, FunctionError};
use sandbox::Sandbox;
use store::Store;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};

use crate::bench::Bench;
use crate::error::RunnerError;
use crate::inputs::Inputs;
use crate::jobs::Jobs;
use crate::queue::StoreJobs;

/// After a failure of the store the runner tries again this much later, then after twice as long each time.
const TRY_AGAIN_MS: i64 = 1_000;
/// How often it tries, about a minute long, before it gives up.
const TRIES: u32 = 7;
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
    /// The claim was lost: another runner measures it again, or nobody, since its run was stopped.
    Lost,
    /// Nobody could be told how it ended, for this reason.
    Untold(String),
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

    /// Claims one job and ends it; `None` if nothing was queued.
    ///
    /// # Errors
    /// Only if the queue cannot be asked.
    pub async fn run_once(&self) -> Result<Option<End>, RunnerError> {
        let Some(claim) = self.jobs.claim().await? else { return Ok(None) };
        Ok(Some(self.end(&claim).await))
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
            if error.is_lost() {
                return End::Lost;
            }
            let reason = error.with_causes();
            tracing::error!(job = %job.job_id, error = reason, "the end of a job could not be told");
            End::Untold(reason)
        })
    }

    async fn tell(&self, claim: &J::Claim) -> Result<End, RunnerError> {
        let error: FunctionError = match self.measured(claim).await {
            Ok(evidence) => match self.insist(claim, Ok(evidence)).await {
                // An error is smaller than evidence: where a disk is full, there may be room for it.
                Err(error) if error.may_pass() => {
                    let cure = "make room or mend the disk, then resume the run";
                    let message = format!("the evidence could not be kept ({}): {cure}", error.with_causes());
                    FunctionError::new(ErrorName::StoreUnavailable, message)
                }
                told => return told.map(|()| End::Measured),
            },
            Err(error) => error.into(),
        };
        let job = &self.jobs.job(claim).job_id;
        tracing::info!(%job, error = error.message, "a job could not be measured");
        let end = End::Unmeasured(error.message.clone());
        self.insist(claim, Err(error)).await.map(|()| end)
    }

    /// Reports until it is heard, or until it has failed for a minute.
    async fn insist(&self, claim: &J::Claim, end: Result<Evidence, FunctionError>) -> Result<(), RunnerError> {
        let mut trouble = Trouble::default();
        loop {
            match self.jobs.report(claim, end.clone()).await {
                Err(error) if error.may_pass() => trouble.wait_out(error, &*self.clock).await?,
                told => return told,
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
    ///
    /// Ends only if the store has failed for a minute, or a job broke off, with the reason: whoever waits for a check would
    /// wait in vain. The next process takes back what was claimed.
    pub async fn run(self, jobs: Arc<Notify>) -> String {
        self.bench.clear_all();
        let (mut requeued, mut at_work, mut trouble) = (false, JoinSet::new(), Trouble::default());
        loop {
            let claimed = if requeued { self.jobs.claim().await } else { self.jobs.take_back().await.map(|()| None) };
            let waited = match claimed {
                Ok(claimed) => {
                    trouble = Trouble::default();
                    let nothing = claimed.is_none() && std::mem::replace(&mut requeued, true);
                    if let Some(job) = claimed {
                        let runner = self.clone();
                        at_work.spawn(async move { runner.end(&job).await });
                    }
                    if nothing { or_ended(jobs.notified(), &mut at_work).await } else { Ok(()) }
                }
                Err(error) => trouble.wait_out(error, &*self.clock).await.map_err(|error| error.with_causes()),
            };
            let freed = match waited {
                Ok(()) => free_hands(&mut at_work).await,
                failed => failed,
            };
            if let Err(reason) = freed {
                return reason;
            }
        }
    }
}

/// Waits until there is a job, or until one ends.
async fn or_ended(queued: impl Future<Output = ()>, at_work: &mut JoinSet<End>) -> Result<(), String> {
    tokio::select! {
        () = queued => Ok(()),
        Some(ended) = at_work.join_next() => told(ended),
    }
}

/// Waits until one more job may run.
async fn free_hands(at_work: &mut JoinSet<End>) -> Result<(), String> {
    while at_work.len() >= Runner::<StoreJobs>::at_once() {
        if let Some(ended) = at_work.join_next().await {
            told(ended)?;
        }
    }
    Ok(())
}

/// Why nobody knows how a job ended, if so.
fn told(ended: Result<End, JoinError>) -> Result<(), String> {
    match ended {
        Ok(End::Untold(reason)) => Err(reason),
        Ok(_) => Ok(()),
        Err(broken) => Err(format!("a check broke off: {broken}")),
    }
}

/// How often in a row the store has failed.
#[derive(Default)]
struct Trouble(u32);

impl Trouble {
    /// Waits before the next try; hands the error back where that was the last one.
    async fn wait_out(&mut self, error: RunnerError, clock: &dyn Clock) -> Result<(), RunnerError> {
        self.0 += 1;
        if self.0 == TRIES {
            return Err(error);
        }
        let seconds = (TRY_AGAIN_MS << (self.0 - 1)) / 1_000;
        tracing::error!(
            error = error.with_causes(),
            seconds,
            "the store does not answer the runner, which tries again"
        );
        clock.sleep_for(seconds * 1_000).await;
        Ok(())
    }
}
