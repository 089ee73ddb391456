//! A task's record.

use serde::{Deserialize, Serialize};

use super::ArtefactRef;
use crate::{Sha256, TaskId};

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// Not begun.
    Waiting,
    /// At work.
    Running,
    /// Green and approved.
    Done,
    /// The bound was met.
    LimitReached,
    /// It touches manifest or lock files in a way that nobody has let in.
    NeedsSetup,
    /// It failed.
    Failed,
}

/// The record of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// The task.
    pub task_id: TaskId,
    /// Its wave, counted from 0.
    pub wave: u32,
    /// Where it stands.
    pub status: TaskStatus,
    /// The round of developer, tester and reviewer it is in, counted from 1.
    pub iteration: u32,
    /// The last round it may have; a resumed run allows more.
    pub iteration_bound: u32,
    /// What its wave builds on: the merged overlays of earlier waves (JSON of [`crate::change_set::Overlay`]), if any.
    pub base_overlay: Option<ArtefactRef>,
    /// What developer and tester have made so far, base overlay included (JSON of [`crate::change_set::Overlay`]).
    pub overlay: Option<ArtefactRef>,
    /// Only the tester's part (JSON of [`crate::change_set::Overlay`]).
    pub test_overlay: Option<ArtefactRef>,
    /// The newest evidence on the task's tree.
    pub evidence: Option<ArtefactRef>,
    /// Whether the tester's new tests fail on the base and pass on the change; `None` while unmeasured.
    pub regression_proof: Option<bool>,
    /// What was measured with only the tests laid over the base, from which [`Self::regression_proof`] was judged.
    #[serde(default)]
    pub proof_evidence: Option<ArtefactRef>,
    /// What the developer said of the round (JSON of [`crate::verdict::DeveloperReport`]).
    #[serde(default)]
    pub developed: Option<ArtefactRef>,
    /// What the tester said of the round (JSON of [`crate::verdict::TesterReport`]).
    #[serde(default)]
    pub tested: Option<ArtefactRef>,
    /// The newest verdict.
    pub verdict: Option<ArtefactRef>,
    /// What the next round has to deal with, for the developer's prompt.
    pub feedback: Vec<String>,
    /// Fingerprints of the failures of earlier rounds, to see a loop that goes nowhere.
    pub failure_fingerprints: Vec<Sha256>,
}
