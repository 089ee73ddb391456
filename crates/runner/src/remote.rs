//! Jobs of a deployed stage, claimed and reported over its HTTP API by a runner's bearer.
//!
//! A claim is a lease: it counts for two minutes without a heartbeat. How long is measured by this machine's clock, from
//! before the request was sent, so that a runner gives up before another one can take over.

mod address;
mod calls;
mod pauses;
mod serving;

use std::sync::Arc;

use run_model::claim::{Claim, InputUrls, Measured, Unmeasured};
use run_model::evidence::{CheckJob, Evidence};
use run_model::{Clock, ErrorName, FunctionError, Randomness};
use serde_json::json;

pub use address::ApiAddress;
pub use calls::ApiError;
use calls::Calls;
use pauses::Pauses;
pub use serving::{Stop, Told};

use crate::error::RunnerError;
use crate::jobs::{Input, Jobs};

/// A heartbeat is sent after this part of the lease, so that two may be lost.
const BEATS_PER_LEASE: i64 = 3;
/// How often an input is asked for before the job ends without evidence.
const FETCHES: u32 = 6;

/// Who asks, and where.
pub struct Access {
    /// The stage's API.
    pub address: ApiAddress,
    /// The runner's bearer.
    pub bearer: String,
    /// Which process this is: new for every one, 1 to 64 letters, digits, dashes and dots.
    pub instance: String,
}

/// The jobs of a stage. Cheap to clone.
#[derive(Clone)]
pub struct ApiJobs(Arc<Inner>);

struct Inner {
    calls: Calls,
    instance: String,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
}

/// A job that is leased.
pub struct Lease {
    claim: Claim,
    /// Until when the claim counts, by this machine's clock.
    until_ms: i64,
}

impl ApiJobs {
    /// The jobs that this API hands out. Nothing is asked yet.
    ///
    /// # Errors
    /// [`ApiError::Bearer`] if the bearer cannot travel in a header; [`ApiError::Unreachable`] if this machine has no TLS.
    pub fn new(access: Access, clock: Arc<dyn Clock>, randomness: Arc<dyn Randomness>) -> Result<Self, ApiError> {
        let calls = Calls::new(access.address, &access.bearer)?;
        Ok(Self(Arc::new(Inner { calls, instance: access.instance, clock, randomness })))
    }

    pub(crate) fn pauses(&self, first_ms: i64, longest_ms: i64) -> Pauses {
        Pauses::new(self.0.clock.clone(), self.0.randomness.clone(), first_ms, longest_ms)
    }

    /// For what goes wrong and may come right.
    pub(crate) fn pauses_in_trouble(&self) -> Pauses {
        self.pauses(1_000, 60_000)
    }

    pub(crate) async fn lease(&self) -> Result<Option<Lease>, ApiError> {
        let asked_ms = self.0.clock.now_ms();
        let answer = match self.0.calls.post("jobs/claim", &json!({ "instance": self.0.instance })).await {
            // Nothing was claimed yet that could be lost: it is the address that is not known there.
            Err(ApiError::Lost) => return Err(self.0.calls.not_the_api("it knows no such address".into())),
            answer => answer?,
        };
        let Some(answer) = answer else { return Ok(None) };
        let claim: Claim = self.0.calls.read(answer)?;
        let until_ms = asked_ms + i64::from(claim.lease_seconds) * 1000;
        Ok(Some(Lease { claim, until_ms }))
    }

    /// Lets another runner have the job at once. If that cannot be told, it has it when the lease ends.
    pub(crate) async fn give_back(&self, lease: &Lease) {
        let path = format!("jobs/{}/give-back", lease.claim.job.job_id);
        if let Err(error) = self.0.calls.post(&path, &json!({ "instance": self.0.instance })).await {
            tracing::warn!(job = %lease.claim.job.job_id, %error, "a job could not be given back");
        }
    }

    /// The new end of the lease; `None` if it is lost.
    async fn beat(&self, lease: &Lease) -> Result<Option<i64>, ApiError> {
        let (asked_ms, path) = (self.0.clock.now_ms(), format!("jobs/{}/heartbeat", lease.claim.job.job_id));
        let answer = self.0.calls.post(&path, &json!({ "instance": self.0.instance })).await?;
        let seconds = answer.and_then(|answer| answer["lease_seconds"].as_i64());
        Ok(seconds.map(|seconds| asked_ms + seconds * 1000))
    }

    /// Says it until it was heard; whoever holds the claim meanwhile ends this when it is lost.
    async fn insist(&self, path: &str, body: &(impl serde::Serialize + Sync)) -> Result<(), ApiError> {
        let mut pauses = self.pauses_in_trouble();
        loop {
            match self.0.calls.post(path, body).await {
                Err(error) if error.may_pass() => {
                    tracing::info!(path, %error, "a report is sent again");
                    pauses.pause().await;
                }
                other => return other.map(drop),
            }
        }
    }

    async fn fail(&self, job: &CheckJob, name: ErrorName, message: String) -> Result<(), ApiError> {
        let told = Unmeasured { instance: self.0.instance.clone(), name, message };
        self.insist(&format!("jobs/{}/failure", job.job_id), &told).await
    }
}

impl Jobs for ApiJobs {
    type Claim = Lease;

    fn job<'a>(&self, lease: &'a Lease) -> &'a CheckJob {
        &lease.claim.job
    }

    async fn claim(&self) -> Result<Option<Lease>, RunnerError> {
        Ok(self.lease().await?)
    }

    /// Addresses hold for an hour. One that holds no more ends the job as an outage of the store does, which its machine
    /// answers with a new job and new addresses.
    async fn read(&self, lease: &Lease, input: Input) -> Result<Vec<u8>, RunnerError> {
        let InputUrls { archive, manifest, config, overlay, setup, held_out } = &lease.claim.inputs;
        let url = match input {
            Input::Archive => Some(archive),
            Input::Manifest => Some(manifest),
            Input::Settings => Some(config),
            Input::Overlay => overlay.as_ref(),
            Input::Setup => setup.as_ref(),
            Input::HeldOut => held_out.as_ref(),
        };
        let url =
            url.ok_or_else(|| RunnerError::unreadable(format!("{input:?}"), &"the stage gave no address of it"))?;
        let mut pauses = self.pauses_in_trouble();
        for _ in 1..FETCHES {
            match self.0.calls.fetch(url).await {
                Err(error) if error.may_pass() => pauses.pause().await,
                other => return Ok(other?),
            }
        }
        Ok(self.0.calls.fetch(url).await?)
    }

    async fn hold(&self, lease: &Lease) {
        let (clock, mut until_ms) = (&self.0.clock, lease.until_ms);
        let mut pauses = self.pauses_in_trouble();
        loop {
            let left_ms = until_ms - clock.now_ms();
            clock.sleep_for(left_ms - left_ms * (BEATS_PER_LEASE - 1) / BEATS_PER_LEASE).await;
            loop {
                match self.beat(lease).await {
                    Ok(Some(until)) => {
                        until_ms = until;
                        pauses.reset();
                        break;
                    }
                    Err(error) if error.may_pass() && clock.now_ms() < until_ms => pauses.pause().await,
                    _ => return,
                }
            }
        }
    }

    /// Evidence that the stage does not take ends the job with its reason: silence would cost the run hours.
    async fn report(&self, lease: &Lease, end: Result<Evidence, FunctionError>) -> Result<(), RunnerError> {
        let job = &lease.claim.job;
        match end {
            Err(FunctionError { name, message }) => self.fail(job, name, message).await?,
            Ok(evidence) => {
                let told = Measured { instance: self.0.instance.clone(), evidence };
                match self.insist(&format!("jobs/{}/evidence", job.job_id), &told).await {
                    Err(ApiError::Rejected(reason)) => {
                        let message = format!("the stage did not take the evidence: {reason}");
                        self.fail(job, ErrorName::InvalidInput, message).await?;
                    }
                    other => other?,
                }
            }
        }
        Ok(())
    }
}
