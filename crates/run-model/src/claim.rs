//! What a runner on another machine and the HTTP API tell each other of a job.

use serde::{Deserialize, Serialize};

use crate::ErrorName;
use crate::evidence::{CheckJob, Evidence};

/// Which process of a runner speaks: claims are its own, so that a process that was given up cannot end what another one
/// has taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claimant {
    /// New for every process, 1 to 64 letters, digits, dashes and dots.
    pub instance: String,
}

/// A claimed job with all that it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The job.
    pub job: CheckJob,
    /// Where its inputs are read.
    pub inputs: InputUrls,
    /// Until when the claim counts without a heartbeat, in milliseconds since the epoch.
    pub lease_until_ms: i64,
    /// How long that is from now, in seconds, for a machine whose clock is another.
    pub lease_seconds: u32,
}

/// Where the inputs of a job are read: addresses that need no credentials and hold for an hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputUrls {
    /// The base's archive (tar, gzip).
    pub archive: String,
    /// The base's manifest (JSON).
    pub manifest: String,
    /// The run's settings (JSON).
    pub config: String,
    /// The overlay (JSON), if the job has one.
    pub overlay: Option<String>,
    /// What setup lays over the base (JSON), if the job has it.
    #[serde(default)]
    pub setup: Option<String>,
    /// The held-out archive (tar, gzip), if the job has one.
    pub held_out: Option<String>,
}

/// A job's evidence, as its runner reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Which process of the runner.
    pub instance: String,
    /// What was measured.
    pub evidence: Evidence,
}

/// Why a job has no evidence, as its runner reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unmeasured {
    /// Which process of the runner.
    pub instance: String,
    /// The name that machines match.
    pub name: ErrorName,
    /// What happened, and what to do about it.
    pub message: String,
}

/// What a run says while its checks wait and nobody is alive who would run them; `api` is the address of the stage's API,
/// where it is known.
pub fn no_runner_is_alive(api: Option<&str>) -> String {
    match api {
        Some(api) => format!("no runner is alive: start one with `gatewright runner --api {api}`"),
        None => "no runner is alive: start one with `gatewright runner --api URL` (the stack's output ApiUrl)".into(),
    }
}
