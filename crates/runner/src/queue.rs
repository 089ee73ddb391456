//! Jobs in the store of this machine: a claim is good until the process ends.

use run_model::FunctionError;
use run_model::evidence::{CheckJob, Evidence};
use serde_json::json;
use store::Store;

use crate::error::RunnerError;
use crate::jobs::{Input, Jobs};

/// The jobs in a store, claimed under a name that is new for every process.
#[derive(Clone)]
pub struct StoreJobs {
    store: Store,
    name: String,
}

impl StoreJobs {
    pub(crate) fn new(store: Store, name: &str) -> Self {
        Self { store, name: name.to_owned() }
    }

    /// Queues again what earlier processes had claimed.
    pub(crate) async fn take_back(&self) -> Result<(), RunnerError> {
        Ok(self.store.requeue_jobs_of_others(&self.name).await?)
    }
}

impl Jobs for StoreJobs {
    type Claim = CheckJob;

    fn job<'a>(&self, claim: &'a CheckJob) -> &'a CheckJob {
        claim
    }

    async fn claim(&self) -> Result<Option<CheckJob>, RunnerError> {
        Ok(self.store.claim_job(&self.name).await?)
    }

    async fn read(&self, job: &CheckJob, input: Input) -> Result<Vec<u8>, RunnerError> {
        let key = match input {
            Input::Archive => Some(&job.snapshot.archive_key),
            Input::Manifest => Some(&job.snapshot.manifest_key),
            Input::Settings => Some(&job.config_key),
            Input::Overlay => job.overlay_key.as_ref(),
            Input::Setup => job.setup_key.as_ref(),
            Input::HeldOut => job.held_out_key.as_ref(),
        };
        let key = key.ok_or_else(|| RunnerError::unreadable(format!("{input:?}"), &"the job has none"))?;
        Ok(self.store.get_object(key).await?)
    }

    async fn hold(&self, _job: &CheckJob) {
        std::future::pending().await
    }

    async fn report(&self, job: &CheckJob, end: Result<Evidence, FunctionError>) -> Result<(), RunnerError> {
        match end {
            Ok(evidence) => {
                let artefact = self.store.put_json(&job.run_id, &evidence).await?;
                self.store.complete_job(&job.job_id, &self.name, json!({ "evidence": artefact })).await?;
            }
            Err(FunctionError { name, message }) => {
                self.store.fail_job(&job.job_id, &self.name, name.as_str(), &message).await?;
            }
        }
        Ok(())
    }
}
