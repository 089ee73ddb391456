#![doc = include_str!("../README.md")]

mod serve;

use std::sync::Arc;

use aws_types::SdkConfig;
use run_model::claim::no_runner_is_alive;
use run_model::evidence::{CheckJob, Purpose};
use run_model::run::{ArtefactRef, Stage};
use run_model::{Clock, ErrorName, FunctionError, JobId, Randomness, RunId, Sha256, TaskId};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{JobStands, Names, NewEvent, Store};

pub use crate::serve::serve;

/// What the function needs, built once per cold start.
pub struct Context {
    store: Store,
}

impl Context {
    /// Connects lazily to the store behind `sdk`.
    pub fn new(sdk: &SdkConfig, names: Names, clock: Arc<dyn Clock>, randomness: Arc<dyn Randomness>) -> Self {
        Self { store: Store::new(sdk, names, clock, randomness) }
    }
}

#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
enum Request {
    Queue(Input),
    Look { visit: Visit },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    token: String,
    held_out: bool,
    visit: Visit,
}

/// One stay of a machine in a state that asks for checks, however often the state is tried again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Visit {
    run_id: RunId,
    purpose: Purpose,
    #[serde(default)]
    task_id: Option<TaskId>,
    #[serde(default)]
    iteration: Option<u32>,
    #[serde(default)]
    overlay: Option<ArtefactRef>,
    /// Which execution entered the state when, as the machine says it.
    asked: String,
}

impl Visit {
    /// The visit's job and how it stands: the newest that has not come to nothing. A state that is tried again, because its
    /// runner failed or its run was taken up again, gets a job of its own.
    async fn job(&self, store: &Store) -> Result<(JobId, JobStands), FunctionError> {
        let overlay = self.overlay.as_ref().map(|overlay| &overlay.sha256);
        for number in 1_u32.. {
            let visit = (&self.purpose, &self.task_id, self.iteration, overlay, &self.asked, number);
            let job = JobId::new(format!("{}-{}", self.run_id, Sha256::of_json(&visit).short()));
            let job = job.map_err(|problem| internal(problem.to_string()))?;
            let stands = store.job_stands(&job).await?;
            if stands != JobStands::CameToNothing {
                return Ok((job, stands));
            }
        }
        Err(internal("no number is left for a job".into()))
    }
}

fn internal(message: String) -> FunctionError {
    FunctionError::new(ErrorName::Internal, message)
}

/// Takes one action. `queue` writes the job; the answer comes by callback: `{"evidence": ArtefactRef}`. A job that was written for
/// the same visit of the state, and still stands, takes the new token; if it is done its answer is sent again. `look` answers
/// `{"evidence": ArtefactRef}` itself, for a state that no answer reached in time.
///
/// # Errors
/// `InvalidInput`, also if held-out tests are asked for where an agent would read the evidence, or the run has none;
/// `NoEvidence` if nobody has reported yet; `NotFound`, `StoreUnavailable`; `Internal` if the run has no snapshot yet.
pub async fn handle(context: &Context, input: Value) -> Result<Value, FunctionError> {
    match serde_json::from_value(input).map_err(|problem| FunctionError::invalid("input", problem))? {
        Request::Queue(input) => queue(context, input).await,
        Request::Look { visit } => look(context, &visit).await,
    }
}

/// The table, not the callback, says whether there is evidence.
async fn look(context: &Context, visit: &Visit) -> Result<Value, FunctionError> {
    let store = context.store.of_run(&visit.run_id);
    let (job, stands) = visit.job(&store).await?;
    let (run, task) = (&visit.run_id, visit.task_id.as_ref().map(TaskId::as_str));
    let found = matches!(stands, JobStands::Done(_));
    tracing::info!(%run, task, %job, purpose = ?visit.purpose, found, "no answer came, and the table was read");
    let said = match stands {
        JobStands::Done(result) => return Ok(json!({ "evidence": result["evidence"] })),
        JobStands::Claimed => "a runner took them and has not reported",
        JobStands::Queued => "no runner took them",
        JobStands::Unknown | JobStands::CameToNothing => "they came to nothing",
    };
    let mut message = format!("there is no evidence of the checks in time: {said}");
    if is_without_runner(&store).await? {
        message = format!("{message}; {}", no_runner_is_alive(None));
    }
    Err(FunctionError::new(ErrorName::NoEvidence, message))
}

async fn queue(context: &Context, input: Input) -> Result<Value, FunctionError> {
    let Input { token, held_out, visit } = input;
    // A job is of one run: a runner elsewhere reads whatever it names.
    let store = context.store.of_run(&visit.run_id);
    let run = store.run(&visit.run_id).await?;
    let held_out = held_out_archive(&visit, held_out, run.acceptance)?;
    if let Some(stage) = stage(visit.purpose) {
        store.enter_stage(&visit.run_id, stage).await?;
    }
    let snapshot = run.snapshot.ok_or_else(|| internal(format!("{} has no snapshot to check", visit.run_id)))?;
    let (job_id, _) = visit.job(&store).await?;
    let job = CheckJob {
        job_id: job_id.clone(),
        run_id: visit.run_id.clone(),
        purpose: visit.purpose,
        priority: run.priority,
        snapshot,
        overlay_key: visit.overlay.map(|overlay| overlay.key),
        setup_key: setup(visit.purpose, run.setup).map(|manifests| manifests.key),
        held_out_key: held_out.map(|archive| archive.key),
        config_key: run.config.key,
    };
    let mut message = message(visit.purpose, visit.iteration);
    if is_without_runner(&store).await? {
        message = format!("{message} once a runner has them; {}", no_runner_is_alive(None));
    }
    let (run, task) = (&visit.run_id, visit.task_id.as_ref().map(TaskId::as_str));
    tracing::info!(%run, task, job = %job_id, purpose = ?visit.purpose, "a check is queued");
    let event = NewEvent { task: visit.task_id, ..NewEvent::new("checks.queued", message) };
    check_inputs(&store, &job)?;
    store.put_job(job, &token, event).await?;
    Ok(json!({ "job_id": job_id }))
}

/// Whether everything that the runner is to read is the run's own.
fn check_inputs(store: &Store, job: &CheckJob) -> Result<(), FunctionError> {
    let own = [&job.snapshot.archive_key, &job.snapshot.manifest_key, &job.config_key];
    own.into_iter().chain(&job.overlay_key).chain(&job.setup_key).try_for_each(|key| store.check_object(key))?;
    Ok(job.held_out_key.iter().try_for_each(|key| store.check_held_out(key))?)
}

/// Whether nobody would take a job now. On one machine the driver does.
async fn is_without_runner(store: &Store) -> Result<bool, FunctionError> {
    Ok(!store.names().is_local() && store.runners_alive().await?.is_empty())
}

/// The held-out archive, where it is asked for: only a measurement that no agent reads may have it, and such a measurement
/// must.
fn held_out_archive(
    visit: &Visit,
    held_out: bool,
    acceptance: Option<ArtefactRef>,
) -> Result<Option<ArtefactRef>, FunctionError> {
    let unseen = matches!(visit.purpose, Purpose::AcceptanceBase | Purpose::AcceptanceFinal);
    if held_out != unseen {
        let problem = format!("{held_out} does not go with the purpose {:?}", visit.purpose);
        return Err(FunctionError::invalid("held_out", problem));
    }
    if !unseen {
        return Ok(None);
    }
    let missing = || FunctionError::invalid("held_out", format!("{} was given no held-out tests", visit.run_id));
    acceptance.ok_or_else(missing).map(Some)
}

/// Other dependencies that were let in, where they are part of what is measured: the base is what it is without them.
fn setup(purpose: Purpose, let_in: Option<ArtefactRef>) -> Option<ArtefactRef> {
    let_in.filter(|_| !matches!(purpose, Purpose::Baseline | Purpose::AcceptanceBase))
}

fn stage(purpose: Purpose) -> Option<Stage> {
    match purpose {
        Purpose::Baseline | Purpose::AcceptanceBase => Some(Stage::Baseline),
        Purpose::Final | Purpose::AcceptanceFinal => Some(Stage::Verify),
        Purpose::Session | Purpose::Task | Purpose::RegressionProof => None,
    }
}

fn message(purpose: Purpose, iteration: Option<u32>) -> String {
    let what = match purpose {
        Purpose::Baseline => "the checks run on the base",
        Purpose::Session => "the checks run for an agent",
        Purpose::Task => "the checks run on the task's change",
        Purpose::RegressionProof => "the new tests run on the base, where they should fail",
        Purpose::Final => "the checks run on the whole change",
        Purpose::AcceptanceBase => "the held-out tests run on the base, where they should fail",
        Purpose::AcceptanceFinal => "the held-out tests run on the whole change",
    };
    iteration.map_or_else(|| what.to_owned(), |iteration| format!("{what} (round {iteration})"))
}
