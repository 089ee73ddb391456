//! Check jobs: put with a task token, claimed by one runner, ended once.

use aws_sdk_dynamodb::types::AttributeValue;
use run_model::evidence::CheckJob;
use run_model::run::{Priority, RunRecord};
use run_model::{JobId, RunId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::listing::Listing;
use crate::outbox::{Answer, OutboxItem, OutboxKind};
use crate::record::{Record, Stored};
use crate::table::{ATTEMPTS, Condition, EXPIRES_AT, Key, Range, Write, number, sortable, text};
use crate::{NewEvent, Store, StoreError};

/// How long a job that has ended is kept.
const KEPT_SECONDS: i64 = 30 * 24 * 3600;
/// How long a job may wait for a runner before it is forgotten: no state waits for its checks for longer.
const WAITING_SECONDS: i64 = 7 * 24 * 3600;
/// How many queued jobs a runner looks at in one query.
const LOOKED_AT: usize = 50;

/// A job with its token beside it.
#[derive(Serialize, Deserialize)]
struct JobItem {
    job: CheckJob,
    sealed_token: String,
    queued_ms: i64,
    state: JobState,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum JobState {
    Queued,
    Claimed {
        runner: String,
        /// Until when the claim counts; on one machine it has no end.
        #[serde(default)]
        lease_until_ms: Option<i64>,
    },
    Done {
        runner: String,
        result: Value,
        ended_ms: i64,
    },
    Failed {
        runner: String,
        name: String,
        message: String,
        ended_ms: i64,
    },
    /// Its run ended before it did: nobody waits for it.
    Closed {
        ended_ms: i64,
    },
}

impl JobState {
    /// Whether any runner may have it: it is queued, or its claim counts no more.
    fn is_waiting(&self, now_ms: i64) -> bool {
        match self {
            Self::Queued => true,
            Self::Claimed { lease_until_ms, .. } => lease_until_ms.is_some_and(|end_ms| end_ms < now_ms),
            Self::Done { .. } | Self::Failed { .. } | Self::Closed { .. } => false,
        }
    }

    /// Whether it is still to be done, by whomever.
    fn is_open(&self) -> bool {
        matches!(self, Self::Queued | Self::Claimed { .. })
    }
}

impl Record for JobItem {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let waiting = |word, listing: &Listing| {
            // The most urgent first, of equals the oldest.
            let rank = Priority::Critical as u8 - self.job.priority as u8;
            let place = format!("{rank}#{}#{}", sortable(self.queued_ms), self.job.job_id);
            let expires = number(self.queued_ms / 1000 + WAITING_SECONDS);
            vec![
                ("state", text(word)),
                ("gsi1pk", text(listing.partition)),
                ("gsi1sk", text(place)),
                (EXPIRES_AT, expires),
            ]
        };
        let ended = |word, ended_ms| vec![("state", text(word)), (EXPIRES_AT, number(ended_ms / 1000 + KEPT_SECONDS))];
        match &self.state {
            JobState::Queued => waiting("queued", &Listing::QUEUED_JOBS),
            JobState::Claimed { .. } => waiting("claimed", &Listing::CLAIMED_JOBS),
            JobState::Done { ended_ms, .. } => ended("done", ended_ms),
            JobState::Failed { ended_ms, .. } => ended("failed", ended_ms),
            JobState::Closed { ended_ms } => ended("closed", ended_ms),
        }
    }
}

/// How a job stands, for whoever asks again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobStands {
    /// There is none of this id.
    Unknown,
    /// It waits for a runner.
    Queued,
    /// A runner has it.
    Claimed,
    /// It was measured; this is its result.
    Done(Value),
    /// It ended without evidence, or was closed with its run.
    CameToNothing,
}

fn what(job: &JobId) -> String {
    format!("job {job}")
}

fn without_a_run(job: &JobId) -> StoreError {
    StoreError::Conflict(format!("{}, whose run has ended: stop its checks and claim another", what(job)))
}

fn not_held(job: &JobId, runner: &str) -> StoreError {
    StoreError::Conflict(format!("{}, which {runner} does not hold", what(job)))
}

impl Store {
    /// Queues a job, once per job id, and keeps the token of the state that waits for it, sealed. With a new job `told`
    /// becomes an event of its run, both together.
    ///
    /// A job of this id that has not ended takes the new token; one that has ended takes it too and its answer is sent
    /// again, to the new token.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without a signing secret; [`StoreError::Conflict`] if others were first again and again;
    /// [`StoreError::Unavailable`].
    pub async fn put_job(&self, job: CheckJob, token: &str, told: NewEvent) -> Result<(), StoreError> {
        let key = Key::job(&job.job_id);
        let sealed_token = self.close_token(&what(&job.job_id), token).await?;
        for _ in 0..ATTEMPTS {
            let found = self.load::<JobItem>(&key).await?;
            let written = match found {
                Some(found) => {
                    let ended = matches!(found.value.state, JobState::Done { .. } | JobState::Failed { .. });
                    let change = |item: &mut JobItem| item.sealed_token.clone_from(&sealed_token);
                    self.write_job(found, ended, change).await?.is_some()
                }
                None => {
                    let (sealed_token, queued_ms) = (sealed_token.clone(), self.now_ms());
                    let mut item = JobItem { job: job.clone(), sealed_token, queued_ms, state: JobState::Queued };
                    let row = self.encode(&job.run_id, &key, &mut item, 1).await?;
                    let event = self.next_event_item(&job.run_id, told.clone()).await?;
                    let writes = || [&row, &event].map(|row| Write::Put(row.clone(), Condition::absent())).into();
                    self.transact(&key, writes).await?.is_written()
                }
            };
            if written {
                return Ok(());
            }
            self.step_aside().await;
        }
        Err(StoreError::Conflict(what(&job.job_id)))
    }

    /// Claims the oldest queued job of the highest priority for a runner; `None` if there is none. A job whose run has ended is
    /// closed instead. The claim has no end: for one machine.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`]; [`StoreError::Corrupt`]; [`StoreError::Unavailable`].
    pub async fn claim_job(&self, runner: &str) -> Result<Option<CheckJob>, StoreError> {
        self.claim_until(runner, None).await
    }

    /// Claims the oldest queued job of the highest priority for a runner until this moment; `None` if there is none. A job whose claim has ended is
    /// queued again first, at its old place.
    ///
    /// # Errors
    /// As [`Store::claim_job`].
    pub async fn lease_job(&self, runner: &str, until_ms: i64) -> Result<Option<CheckJob>, StoreError> {
        let now_ms = self.now_ms();
        for found in self.listed(&Listing::CLAIMED_JOBS).await? {
            if found.value.state.is_waiting(now_ms) {
                // Refused means that it has just ended, was prolonged or was queued by somebody else.
                self.write_job(found, false, |item| item.state = JobState::Queued).await?;
            }
        }
        self.claim_until(runner, Some(until_ms)).await
    }

    /// Prolongs a claim until this moment.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if this runner no longer holds the job, or the job's run has ended, which closes it; [`StoreError::NotFound`]; [`StoreError::Unavailable`].
    pub async fn prolong_job(&self, job: &JobId, runner: &str, until_ms: i64) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let found = self.require::<JobItem>(&Key::job(job), what(job)).await?;
            if !matches!(&found.value.state, JobState::Claimed { runner: claimant, .. } if claimant == runner) {
                return Err(Self::lost(&found.value, runner));
            }
            if self.is_over(&found.value.job.run_id).await? {
                self.close_job(found).await?;
                return Err(without_a_run(job));
            }
            let state = JobState::Claimed { runner: runner.to_owned(), lease_until_ms: Some(until_ms) };
            if self.write_job(found, false, |item| item.state = state).await?.is_some() {
                return Ok(());
            }
        }
        Err(StoreError::Conflict(what(job)))
    }

    /// A job that this runner holds, or has ended.
    ///
    /// # Errors
    /// As [`Store::prolong_job`].
    pub async fn held_job(&self, job: &JobId, runner: &str) -> Result<CheckJob, StoreError> {
        let item = self.require::<JobItem>(&Key::job(job), what(job)).await?.value;
        match &item.state {
            JobState::Claimed { runner: holder, .. }
            | JobState::Done { runner: holder, .. }
            | JobState::Failed { runner: holder, .. }
                if holder == runner =>
            {
                Ok(item.job)
            }
            _ => Err(not_held(job, runner)),
        }
    }

    /// Gives back a job that this runner holds: it is queued again, at its old place. Once more changes nothing.
    ///
    /// # Errors
    /// As [`Store::prolong_job`].
    pub async fn give_back_job(&self, job: &JobId, runner: &str) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let found = self.require::<JobItem>(&Key::job(job), what(job)).await?;
            match &found.value.state {
                JobState::Claimed { runner: claimant, .. } if claimant == runner => {}
                JobState::Queued => return Ok(()),
                _ => return Err(Self::lost(&found.value, runner)),
            }
            if self.write_job(found, false, |item| item.state = JobState::Queued).await?.is_some() {
                return Ok(());
            }
        }
        Err(StoreError::Conflict(what(job)))
    }

    /// How a job stands now.
    ///
    /// # Errors
    /// As [`Store::claim_job`].
    pub async fn job_stands(&self, job: &JobId) -> Result<JobStands, StoreError> {
        let found = self.load::<JobItem>(&Key::job(job)).await?;
        Ok(match found.map(|found| found.value.state) {
            None => JobStands::Unknown,
            Some(JobState::Queued) => JobStands::Queued,
            Some(JobState::Claimed { .. }) => JobStands::Claimed,
            Some(JobState::Done { result, .. }) => JobStands::Done(result),
            Some(JobState::Failed { .. } | JobState::Closed { .. }) => JobStands::CameToNothing,
        })
    }

    /// Whether a job of this run is queued, or was claimed by a runner that has fallen silent.
    pub(crate) async fn has_waiting_job(&self, run: &RunId) -> Result<bool, StoreError> {
        let now_ms = self.now_ms();
        for listing in [&Listing::QUEUED_JOBS, &Listing::CLAIMED_JOBS] {
            for Stored { value: item, .. } in self.listed(listing).await? {
                if item.job.run_id == *run && item.state.is_waiting(now_ms) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Closes every job of this run that is still to be done: nobody waits for it any more. A job that was queued a moment ago
    /// may still be missing in the index on AWS; it is closed when a runner would claim it.
    ///
    /// # Errors
    /// As [`Store::claim_job`].
    pub async fn close_jobs(&self, run: &RunId) -> Result<(), StoreError> {
        for found in self.open_items(run).await? {
            self.close_job(found).await?;
        }
        Ok(())
    }

    /// The jobs of this run that are still to be done, claimed or not.
    ///
    /// # Errors
    /// As [`Store::claim_job`].
    pub async fn open_jobs(&self, run: &RunId) -> Result<Vec<JobId>, StoreError> {
        Ok(self.open_items(run).await?.into_iter().map(|found| found.value.job.job_id).collect())
    }

    async fn open_items(&self, run: &RunId) -> Result<Vec<Stored<JobItem>>, StoreError> {
        let mut open = self.listed(&Listing::QUEUED_JOBS).await?;
        open.extend(self.listed(&Listing::CLAIMED_JOBS).await?);
        open.retain(|found| found.value.job.run_id == *run && found.value.state.is_open());
        Ok(open)
    }

    /// Closes a job that is still as it was read; one that has just ended stays as it ended, and one that was claimed meanwhile
    /// is closed at its next heartbeat.
    async fn close_job(&self, found: Stored<JobItem>) -> Result<(), StoreError> {
        let ended_ms = self.now_ms();
        self.write_job(found, false, |item| item.state = JobState::Closed { ended_ms }).await.map(drop)
    }

    /// Whether a run has ended. One that is not known has not.
    async fn is_over(&self, run: &RunId) -> Result<bool, StoreError> {
        let found = self.load::<RunRecord>(&Key::run(run)).await?;
        Ok(found.is_some_and(|run| run.value.status.is_final()))
    }

    /// Why a runner cannot go on with a job.
    fn lost(item: &JobItem, runner: &str) -> StoreError {
        match item.state {
            JobState::Closed { .. } => without_a_run(&item.job.job_id),
            _ => not_held(&item.job.job_id, runner),
        }
    }

    async fn listed(&self, listing: &'static Listing) -> Result<Vec<Stored<JobItem>>, StoreError> {
        let rows = self.query(Range::of_index(listing), usize::MAX).await?;
        self.decode_listed(&rows).await
    }

    async fn claim_until(&self, runner: &str, lease_until_ms: Option<i64>) -> Result<Option<CheckJob>, StoreError> {
        for _ in 0..ATTEMPTS {
            let queued = self.query(Range::of_index(&Listing::QUEUED_JOBS), LOOKED_AT).await?;
            let looked_at_all = queued.len() < LOOKED_AT;
            // The index may lag behind: only the version in the table decides who was first.
            for found in self.decode_listed::<JobItem>(&queued).await? {
                if self.is_over(&found.value.job.run_id).await? {
                    self.close_job(found).await?;
                    continue;
                }
                let claimed = JobState::Claimed { runner: runner.to_owned(), lease_until_ms };
                let claim = |item: &mut JobItem| item.state = claimed;
                if let Some(item) = self.write_job(found, false, claim).await? {
                    return Ok(Some(item.job));
                }
            }
            if looked_at_all {
                break;
            }
        }
        Ok(None)
    }

    /// Queues again what any other runner has claimed. For one machine, where a claim by another runner is the claim of a
    /// process that is gone.
    ///
    /// # Errors
    /// As [`Store::claim_job`].
    pub async fn requeue_jobs_of_others(&self, runner: &str) -> Result<(), StoreError> {
        for found in self.listed(&Listing::CLAIMED_JOBS).await? {
            if matches!(&found.value.state, JobState::Claimed { runner: claimant, .. } if claimant != runner) {
                // Refused means that it has just ended or was queued by somebody else.
                self.write_job(found, false, |item| item.state = JobState::Queued).await?;
            }
        }
        Ok(())
    }

    /// Ends a job with a small result. Result and outbox item are written together.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if this runner no longer holds it; [`StoreError::NotFound`]; [`StoreError::Unavailable`].
    pub async fn complete_job(&self, job: &JobId, runner: &str, result: Value) -> Result<(), StoreError> {
        let (runner, ended_ms) = (runner.to_owned(), self.now_ms());
        self.end_job(job, JobState::Done { runner, result, ended_ms }).await
    }

    /// Ends a job with the name and message of an error, for the state that waits.
    ///
    /// # Errors
    /// As [`Store::complete_job`].
    pub async fn fail_job(&self, job: &JobId, runner: &str, name: &str, message: &str) -> Result<(), StoreError> {
        let (runner, name, message) = (runner.to_owned(), name.to_owned(), message.to_owned());
        self.end_job(job, JobState::Failed { runner, name, message, ended_ms: self.now_ms() }).await
    }

    async fn end_job(&self, job: &JobId, end: JobState) -> Result<(), StoreError> {
        let (JobState::Done { runner, .. } | JobState::Failed { runner, .. }) = &end else { return Ok(()) };
        for _ in 0..ATTEMPTS {
            let found = self.require::<JobItem>(&Key::job(job), what(job)).await?;
            match &found.value.state {
                JobState::Claimed { runner: claimant, .. } if claimant == runner => {}
                // The runner says it again because the first answer was lost.
                JobState::Done { runner: ender, .. } | JobState::Failed { runner: ender, .. } if ender == runner => {
                    return Ok(());
                }
                _ => return Err(Self::lost(&found.value, runner)),
            }
            if self.write_job(found, true, |item| item.state = end.clone()).await?.is_some() {
                return Ok(());
            }
        }
        Err(StoreError::Conflict(what(job)))
    }

    /// Writes a changed job if it still is as it was read, with an outbox item if its state is to be answered. `None` if
    /// another writer was first.
    async fn write_job(
        &self,
        found: Stored<JobItem>,
        answer: bool,
        change: impl FnOnce(&mut JobItem),
    ) -> Result<Option<JobItem>, StoreError> {
        let Stored { value: mut item, version } = found;
        change(&mut item);
        let key = Key::job(&item.job.job_id);
        let row = self.encode(&item.job.run_id.clone(), &key, &mut item, version + 1).await?;
        let outbox =
            answer.then(|| OutboxItem::row(OutboxKind::Job, item.job.job_id.as_str(), version + 1, self.now_ms()));
        Ok(self.put_and_answer(&key, row, version, outbox).await?.then_some(item))
    }

    pub(crate) async fn job_answer(&self, job: &JobId) -> Result<Answer, StoreError> {
        let item = self.require::<JobItem>(&Key::job(job), what(job)).await?.value;
        let result = match item.state {
            JobState::Done { result, .. } => Ok(result),
            JobState::Failed { name, message, .. } => Err((name, message)),
            JobState::Closed { .. } => {
                return Err(StoreError::NotFound(format!("answer of {}, whose run has ended", what(job))));
            }
            JobState::Queued | JobState::Claimed { .. } => {
                return Err(StoreError::Conflict(format!("{}, which has not ended yet", what(job))));
            }
        };
        Ok(Answer { token: self.seal().await?.open(&what(job), &item.sealed_token)?, result })
    }
}
