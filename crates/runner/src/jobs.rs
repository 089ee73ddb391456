//! Where jobs come from and where evidence goes to: the store of this machine, or the API of a stage.

use std::future::Future;

use run_model::FunctionError;
use run_model::evidence::{CheckJob, Evidence};

use crate::error::RunnerError;

/// What a job is measured by, besides what it says itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The base's archive (tar, gzip).
    Archive,
    /// The base's manifest (JSON).
    Manifest,
    /// The run's settings (JSON).
    Settings,
    /// What is laid over the base (JSON), if the job has it.
    Overlay,
    /// What setup lays over the base (JSON), if the job has it.
    Setup,
    /// The held-out archive (tar, gzip), if the job has it.
    HeldOut,
}

/// A queue of check jobs. A job that was claimed is this runner's until it is reported, or until the claim is lost.
pub trait Jobs: Clone + Send + Sync + 'static {
    /// A job that this runner holds, and what it takes to hold it.
    type Claim: Send + Sync + 'static;

    /// The job that was claimed.
    fn job<'a>(&self, claim: &'a Self::Claim) -> &'a CheckJob;

    /// Claims the most urgent job; `None` if none waits.
    ///
    /// # Errors
    /// If the queue cannot be asked; then nothing was claimed, or the claim ends by itself.
    fn claim(&self) -> impl Future<Output = Result<Option<Self::Claim>, RunnerError>> + Send;

    /// An input's bytes, as they were stored.
    ///
    /// # Errors
    /// If they cannot be had, also if the job has no such input: the job then ends without evidence.
    fn read(&self, claim: &Self::Claim, input: Input) -> impl Future<Output = Result<Vec<u8>, RunnerError>> + Send;

    /// Holds the claim while it is waited for; ends when the claim is lost, for whoever works on it to stop.
    fn hold(&self, claim: &Self::Claim) -> impl Future<Output = ()> + Send;

    /// Ends the job, with evidence or with the reason why there is none.
    ///
    /// # Errors
    /// If nobody could be told, which may pass if the store failed: it is said again, and at last whoever takes the job over
    /// measures it again.
    fn report(
        &self,
        claim: &Self::Claim,
        end: Result<Evidence, FunctionError>,
    ) -> impl Future<Output = Result<(), RunnerError>> + Send;
}
