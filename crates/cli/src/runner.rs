//! `gatewright runner`: this machine runs the checks of a deployed stage.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::SandboxMode;
use lambda_host::{Environment, OsRandomness, SystemClock};
use run_model::Randomness;
use runner::remote::{Access, ApiAddress, ApiError, ApiJobs, Stop, Told};
use runner::{Confinement, End, Runner};
use sandbox::Sandbox;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch::{self, Receiver, Sender};

use crate::arguments::RunnerOptions;
use crate::aws::stack;
use crate::doctor::{self, Finding};
use crate::problem::{FAILED, INTERRUPTED, NOTHING_WAITS, Problem};
use crate::screen;
use crate::settings::environment;
use crate::signed::Signed;
use crate::stage::Stage;

/// The variable with the runner's bearer: never an argument, which every user of the machine can read.
const BEARER: &str = "GATEWRIGHT_RUNNER_BEARER";

pub(crate) async fn run(state: &Path, options: RunnerOptions) -> Result<u8, Problem> {
    let address = match &options.stage {
        Some(stage) => address_of(stage).await?,
        None => options.api.clone().unwrap_or_default(),
    };
    let address =
        ApiAddress::parse(&address).map_err(|problem| Problem::input(format!("--api {address:?}: {problem}")))?;
    let bearer = environment(BEARER).ok_or_else(|| {
        let cure = "make one with `gatewright aws tokens add --stage STAGE --runner NAME` and export it";
        Problem::missing(format!("{BEARER} is not set: {cure}"))
    })?;
    let confinement = Confinement { mode: mode(options.sandbox.as_deref()).await?, read_only: folders(&options)? };
    let folder = state.join("runner");
    let _lock = own(&folder)?;
    let instance = OsRandomness.hex_id(8);
    screen::tell(format!("asking {address} for jobs; workspaces and caches are in {}", folder.display()));
    let access = Access { address, bearer, instance };
    let jobs = ApiJobs::new(access, Arc::new(SystemClock), Arc::new(OsRandomness)).map_err(problem)?;
    let runner = Runner::over(jobs, Sandbox::new(), folder, Arc::new(SystemClock)).confining(confinement);
    let (sender, stop) = watch::channel(Stop::No);
    let listening = listen(sender)?;
    let outcome = match options.once {
        true => once(&runner, stop).await,
        false => always(&runner, stop).await,
    };
    listening.abort();
    outcome
}

/// The address of a stage's API, as its stack has it.
async fn address_of(stage: &str) -> Result<String, Problem> {
    Stage::of_environment(stage)?;
    let stack = stack::require(&Signed::of(&Environment::of_process())?, stage).await?;
    let cure = "deploy it with `gatewright aws deploy`";
    let unfinished = || Problem::input(format!("--stage {stage}: its stack has no output ApiUrl yet: {cure}"));
    stack.outputs.get("ApiUrl").cloned().ok_or_else(unfinished)
}

async fn always(runner: &Runner<ApiJobs>, stop: Receiver<Stop>) -> Result<u8, Problem> {
    runner.serve(stop.clone(), say).await.map_err(problem)?;
    let stopped = *stop.borrow();
    Ok(if stopped == Stop::GiveBack { INTERRUPTED } else { 0 })
}

async fn once(runner: &Runner<ApiJobs>, stop: Receiver<Stop>) -> Result<u8, Problem> {
    match runner.serve_once(stop.clone(), say).await.map_err(problem)? {
        Some(End::Measured) => Ok(0),
        Some(End::Unmeasured(_) | End::Lost | End::Untold(_)) => Ok(FAILED),
        Some(End::GivenBack) => Ok(INTERRUPTED),
        None if *stop.borrow() != Stop::No => Ok(INTERRUPTED),
        None => {
            screen::tell("no job waits");
            Ok(NOTHING_WAITS)
        }
    }
}

/// What whoever owns this machine says counts, and not what a repository's settings say.
async fn mode(chosen: Option<&str>) -> Result<SandboxMode, Problem> {
    let mode = chosen.map_or(Ok(SandboxMode::Auto), str::parse).map_err(Problem::input)?;
    if mode == SandboxMode::None {
        screen::tell("--sandbox none: what models and repositories wrote runs unconfined, as you");
        return Ok(mode);
    }
    match doctor::confinement().await {
        Finding { cure: None, .. } => Ok(mode),
        Finding { what, cure: Some(cure) } => {
            let last = "or say --sandbox none, and then a model's code runs as you";
            Err(Problem::missing(format!("this machine cannot confine ({what}): {cure}; {last}")))
        }
    }
}

/// The folders of this machine that commands may read, by their absolute paths.
fn folders(options: &RunnerOptions) -> Result<Vec<PathBuf>, Problem> {
    let absolute = |folder: &PathBuf| {
        folder.canonicalize().map_err(|error| Problem::input(format!("--read-only {}: {error}", folder.display())))
    };
    options.read_only.iter().map(absolute).collect()
}

/// The folder, for this process alone as long as the file stays open.
fn own(folder: &Path) -> Result<File, Problem> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let lock = File::create(folder.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => {
            let message = format!("another runner uses {}: stop it, or choose another --state", folder.display());
            Err(Problem::missing(message))
        }
        Err(std::fs::TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Ctrl-C finishes what was begun and a second one gives it back, as the end of the machine does at once.
fn listen(sender: Sender<Stop>) -> Result<tokio::task::JoinHandle<()>, Problem> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(tokio::spawn(async move {
        loop {
            let asked = tokio::select! {
                _ = interrupt.recv() => Stop::Finish,
                _ = terminate.recv() => Stop::GiveBack,
            };
            let stands = *sender.borrow();
            let stop = if asked == Stop::GiveBack || stands != Stop::No { Stop::GiveBack } else { Stop::Finish };
            if stop == Stop::Finish {
                screen::tell("claiming nothing more; what was begun is finished, or given back at the next Ctrl-C");
            }
            sender.send_replace(stop);
        }
    }))
}

fn say(told: Told<'_>) {
    screen::tell(match told {
        Told::Met => "the stage answers; Ctrl-C ends this runner".to_owned(),
        Told::Claimed(job) => format!("{}: claimed, for run {}", job.job_id, job.run_id),
        Told::Ended(job, End::Measured) => format!("{}: measured", job.job_id),
        Told::Ended(job, End::Unmeasured(reason)) => {
            format!("{}: not measured: {}", job.job_id, screen::hanging(reason, "    "))
        }
        Told::Ended(job, End::Lost) => format!("{}: lost to another runner, and given up here", job.job_id),
        Told::Ended(job, End::Untold(reason)) => {
            format!("{}: nobody could be told how it ended ({reason})", job.job_id)
        }
        Told::Ended(job, End::GivenBack) => format!("{}: given back", job.job_id),
        Told::Trouble(error) => format!("{error}; trying again"),
    });
}

fn problem(error: ApiError) -> Problem {
    match error {
        ApiError::NotTheApi { .. } => Problem::input(error),
        ApiError::Unreachable(_) => Problem::missing(format!("{error}: check --api and the network")),
        _ => Problem::missing(error),
    }
}
