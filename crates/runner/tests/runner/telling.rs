//! Ends of jobs that cannot be written at once, or never.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use run_model::evidence::{CheckJob, Evidence};
use run_model::time::VirtualClock;
use run_model::{Clock, ErrorName, FunctionError};
use runner::{End, Input, Jobs, Runner, RunnerError};
use store::{Store, StoreError};
use tokio::sync::Notify;

use crate::world::{Project, World, sandbox};

/// One job whose end is heard only after some tries.
#[derive(Clone)]
struct Deaf {
    store: Store,
    job: CheckJob,
    /// How many reports of evidence, and how many of errors, still fail.
    fails: Arc<[AtomicU32; 2]>,
    /// What they fail with.
    problem: fn() -> StoreError,
    heard: Arc<Mutex<Option<Result<Evidence, FunctionError>>>>,
}

impl Jobs for Deaf {
    type Claim = CheckJob;

    fn job<'a>(&self, claim: &'a CheckJob) -> &'a CheckJob {
        claim
    }

    async fn claim(&self) -> Result<Option<CheckJob>, RunnerError> {
        Ok(Some(self.job.clone()))
    }

    async fn read(&self, job: &CheckJob, input: Input) -> Result<Vec<u8>, RunnerError> {
        let key = match input {
            Input::Archive => &job.snapshot.archive_key,
            Input::Manifest => &job.snapshot.manifest_key,
            Input::Settings => &job.config_key,
            Input::Overlay | Input::HeldOut | Input::Setup => job.overlay_key.as_ref().unwrap(),
        };
        Ok(self.store.get_object(key).await?)
    }

    async fn hold(&self, _job: &CheckJob) {
        std::future::pending().await
    }

    async fn report(&self, _job: &CheckJob, end: Result<Evidence, FunctionError>) -> Result<(), RunnerError> {
        let fails = &self.fails[usize::from(end.is_err())];
        if fails.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            return Err((self.problem)().into());
        }
        *self.heard.lock().unwrap() = Some(end);
        Ok(())
    }
}

fn full() -> StoreError {
    StoreError::Unavailable { action: "write the item", source: "no space left on device".into() }
}

/// What is heard of a job whose reports fail so often, how it ended for its runner, and how long that took in seconds.
async fn ended(evidence_fails: u32, error_fails: u32) -> (Option<Result<Evidence, FunctionError>>, End, i64) {
    ended_by(full, evidence_fails, error_fails).await
}

/// The same, of reports that fail with this.
async fn ended_by(
    problem: fn() -> StoreError,
    evidence_fails: u32,
    error_fails: u32,
) -> (Option<Result<Evidence, FunctionError>>, End, i64) {
    let mut world = World::new().await;
    let job = world.queue(&Project::plain("true")).await;
    let fails = Arc::new([evidence_fails, error_fails].map(AtomicU32::new));
    let deaf = Deaf { store: world.store.clone(), job, fails, problem, heard: Arc::default() };
    let clock = VirtualClock::at(0);
    let runner = Runner::over(deaf.clone(), sandbox(), world.state.join("deaf"), Arc::new(clock.clone()));
    let end = patiently(&clock, runner.run_once()).await.unwrap().unwrap();
    let heard = deaf.heard.lock().unwrap().take();
    (heard, end, clock.now_ms() / 1_000)
}

/// Moves the clock whenever somebody waits for it.
async fn patiently<T>(clock: &VirtualClock, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::task::yield_now() => {
                if let Some(due_ms) = clock.next_due_ms() {
                    clock.advance(due_ms - clock.now_ms());
                }
            }
        }
    }
}

#[tokio::test]
async fn what_could_not_be_told_at_once_is_told_again() {
    let (heard, end, seconds) = ended(1, 0).await;
    assert!(heard.unwrap().unwrap().commands[0].exit.is_success());
    assert_eq!((end, seconds), (End::Measured, 1));
}

#[tokio::test]
async fn evidence_for_which_there_is_no_room_ends_the_job_with_the_reason_and_the_cure() {
    let (heard, _, seconds) = ended(u32::MAX, 0).await;
    let error = heard.unwrap().unwrap_err();
    assert_eq!((error.name, seconds), (ErrorName::StoreUnavailable, 63));
    assert_eq!(
        error.message,
        "the evidence could not be kept (could not write the item: no space left on device): make room or mend the disk, then \
         resume the run"
    );
}

#[tokio::test]
async fn where_nothing_can_be_told_the_runner_says_so_in_the_end() {
    let (heard, end, seconds) = ended(u32::MAX, u32::MAX).await;
    assert_eq!((heard, seconds), (None, 126));
    assert_eq!(end, End::Untold("could not write the item: no space left on device".into()));
}

#[tokio::test]
async fn a_job_that_is_anothers_or_whose_run_was_stopped_is_let_go_of_at_once() {
    let (heard, end, seconds) = ended_by(|| StoreError::Conflict("the job".into()), u32::MAX, u32::MAX).await;
    assert_eq!((heard, end, seconds), (None, End::Lost, 0));
}

#[tokio::test]
async fn a_runner_whose_store_is_gone_ends_with_the_reason() {
    let world = World::new().await;
    let clock = VirtualClock::at(0);
    let (store, state) = world.store_without_a_table(&clock);
    let runner = Runner::new(store, sandbox(), state, Arc::new(clock.clone()), "another");
    let reason = patiently(&clock, runner.run(Arc::new(Notify::new()))).await;
    assert!(reason.starts_with("could not "), "{reason}");
    assert_eq!(clock.now_ms(), 63_000);
}
