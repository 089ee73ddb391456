//! A runner at the service of a stage: asks for jobs, seldom while there is nothing to do, until it is told to stop.

use run_model::evidence::CheckJob;
use tokio::sync::watch::Receiver;
use tokio::task::JoinSet;

use crate::jobs::Jobs;
use crate::remote::{ApiError, ApiJobs, Lease};
use crate::runner::{End, Runner};

/// How soon the runner asks again after a job, and how seldom it asks when nothing has come for a minute and a half. Thirty
/// seconds are some 90,000 requests a month: twenty cents.
const IDLE_MS: (i64, i64) = (2_000, 30_000);
/// How often an API that has never answered is asked, about a minute long, before its address is taken for wrong.
const FIRST_TRIES: u32 = 8;

/// Whether the runner is to stop, and how soon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Go on.
    #[default]
    No,
    /// Claim nothing more and finish what was begun.
    Finish,
    /// Give back what was begun.
    GiveBack,
}

/// What happens, for whoever watches.
pub enum Told<'a> {
    /// The stage answered for the first time.
    Met,
    /// A job was claimed.
    Claimed(&'a CheckJob),
    /// A job ended.
    Ended(&'a CheckJob, &'a End),
    /// The stage cannot be asked; the runner tries again.
    Trouble(&'a ApiError),
}

/// Somebody who is told.
pub(crate) type Watcher = fn(Told<'_>);

impl Runner<ApiJobs> {
    /// Claims and ends jobs, several at once, until it is told to stop.
    ///
    /// # Errors
    /// What waiting does not mend: a wrong address, also one that nobody has ever answered at; a bearer that does not count.
    pub async fn serve(&self, stop: Receiver<Stop>, watcher: Watcher) -> Result<(), ApiError> {
        self.bench.clear_all();
        let mut idle = self.jobs.pauses(IDLE_MS.0, IDLE_MS.1);
        let mut contact = Contact::new(self, watcher);
        let mut at_work = JoinSet::new();
        while *stop.borrow() == Stop::No {
            match contact.lease(&stop).await? {
                Some(lease) => {
                    idle.reset();
                    let (runner, stop) = (self.clone(), stop.clone());
                    at_work.spawn(async move { runner.end_unless(&lease, stop, watcher).await });
                }
                None => or_stopped(&stop, idle.pause()).await,
            }
            while at_work.len() >= Self::at_once() && *stop.borrow() == Stop::No {
                or_stopped(&stop, async { drop(at_work.join_next().await) }).await;
            }
            // What has ended is let go of.
            while at_work.try_join_next().is_some() {}
        }
        while at_work.join_next().await.is_some() {}
        Ok(())
    }

    /// Claims one job and ends it; `None` if none waits, or if it is told to stop before.
    ///
    /// # Errors
    /// As [`Runner::serve`].
    pub async fn serve_once(&self, stop: Receiver<Stop>, watcher: Watcher) -> Result<Option<End>, ApiError> {
        self.bench.clear_all();
        match Contact::new(self, watcher).lease(&stop).await? {
            Some(lease) => Ok(Some(self.end_unless(&lease, stop, watcher).await)),
            None => Ok(None),
        }
    }

    async fn end_unless(&self, lease: &Lease, stop: Receiver<Stop>, watcher: Watcher) -> End {
        let job = self.jobs.job(lease);
        watcher(Told::Claimed(job));
        let end = tokio::select! {
            end = self.end(lease) => end,
            () = told_to(stop, Stop::GiveBack) => {
                self.jobs.give_back(lease).await;
                self.bench.clear(job.job_id.as_str()).await;
                End::GivenBack
            }
        };
        watcher(Told::Ended(job, &end));
        end
    }
}

/// What is known of the stage's API.
struct Contact<'a> {
    runner: &'a Runner<ApiJobs>,
    watcher: Watcher,
    has_answered: bool,
}

impl<'a> Contact<'a> {
    fn new(runner: &'a Runner<ApiJobs>, watcher: Watcher) -> Self {
        Self { runner, watcher, has_answered: false }
    }

    /// A job, or `None` if none waits or the runner is told to stop before the stage answers.
    async fn lease(&mut self, stop: &Receiver<Stop>) -> Result<Option<Lease>, ApiError> {
        let (mut pauses, mut tries) = (self.runner.jobs.pauses_in_trouble(), 1);
        while *stop.borrow() == Stop::No {
            // Never cut short: a claim whose answer nobody hears would keep the job from others until its lease ends.
            match self.runner.jobs.lease().await {
                Ok(lease) => {
                    if !std::mem::replace(&mut self.has_answered, true) {
                        (self.watcher)(Told::Met);
                    }
                    return Ok(lease);
                }
                Err(error) if error.may_pass() && (self.has_answered || tries < FIRST_TRIES) => {
                    (self.watcher)(Told::Trouble(&error));
                    or_stopped(stop, pauses.pause()).await;
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// Waits, but not once the runner is told to stop.
async fn or_stopped(stop: &Receiver<Stop>, waiting: impl Future<Output = ()>) {
    tokio::select! {
        () = waiting => {}
        () = told_to(stop.clone(), Stop::Finish) => {}
    }
}

/// Ends when the runner is told to stop as soon as this or sooner.
async fn told_to(mut stop: Receiver<Stop>, how: Stop) {
    if stop.wait_for(|told| *told >= how).await.is_err() {
        // Nobody is left who could tell.
        std::future::pending::<()>().await;
    }
}
