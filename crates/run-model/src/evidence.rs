//! Evidence: what was measured when commands ran on a tree.

mod canonical;
mod cargo_test;
mod go_test;
mod jest;
mod junit;
mod parsed;
mod unittest;

pub use canonical::{TAIL_BYTES, canonical_tail};
pub use cargo_test::parse_cargo_test;
pub use go_test::parse_go_test;
pub use jest::parse_jest;
pub use junit::parse_junit;
pub use parsed::ParsedTests;
use serde::{Deserialize, Serialize};
pub use unittest::parse_unittest;

use crate::run::Priority;
use crate::snapshot::SnapshotRef;
use crate::{JobId, RunId, Sha256};

/// The version of [`Evidence`] that this code writes.
pub const EVIDENCE_SCHEMA: u32 = 1;

/// Why a tree is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The base commit, before the first model call.
    Baseline,
    /// A role asked for the checks in the middle of its session.
    Session,
    /// A task's change, after developer and tester.
    Task,
    /// Only the tester's new tests, laid over the base: they should fail there.
    RegressionProof,
    /// The merged change of all tasks.
    Final,
    /// The held-out acceptance tests on the base: they should fail there.
    AcceptanceBase,
    /// The held-out acceptance tests on the merged change: they must pass.
    AcceptanceFinal,
}

/// What a runner is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckJob {
    /// The job.
    pub job_id: JobId,
    /// The run it belongs to.
    pub run_id: RunId,
    /// Why.
    pub purpose: Purpose,
    /// How urgent its run is.
    #[serde(default)]
    pub priority: Priority,
    /// The base.
    pub snapshot: SnapshotRef,
    /// Object key of the [`crate::change_set::Overlay`] to lay over the base (JSON), if any.
    pub overlay_key: Option<String>,
    /// Object key of the [`crate::change_set::Overlay`] that setup lays over the base (JSON): edits to manifest and lock files
    /// that a person has let in, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup_key: Option<String>,
    /// Object key of the held-out acceptance archive (tar, gzip) to lay over all, if any.
    pub held_out_key: Option<String>,
    /// Object key of the run's pinned settings (JSON), which name setup and checks.
    pub config_key: String,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// The sandbox ended it for passing this limit (`wall`, `processes`, `memory`, `output`).
    Limit(String),
    /// It could not be started; why.
    NotStarted(String),
}

impl Exit {
    /// Whether the command exited with 0.
    pub fn is_success(&self) -> bool {
        *self == Self::Code(0)
    }
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestOutcome {
    /// It passed.
    Passed,
    /// It failed.
    Failed,
    /// It did not run.
    Ignored,
}

/// One test's result.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TestResult {
    /// The test, with the target it lives in: `tests/parse.rs::empty_input`.
    pub name: String,
    /// How it ended.
    pub outcome: TestOutcome,
}

/// What one command showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandEvidence {
    /// The check's name in the settings.
    pub name: String,
    /// The command line.
    pub command: String,
    /// How it ended.
    pub exit: Exit,
    /// The tests it named, sorted by name.
    pub tests: Vec<TestResult>,
    /// Why the parsed tests cannot be trusted (a summary that disagrees with its lines, a missing summary), if so.
    #[serde(default)]
    pub doubt: Option<String>,
    /// The end of its output in canonical form (no durations, no paths of the machine), at most 16 KiB.
    pub output_tail: String,
    /// Whether output was cut.
    pub truncated: bool,
    /// Wall time in milliseconds; never part of a prompt.
    pub duration_ms: u64,
}

/// What was measured on one tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// [`EVIDENCE_SCHEMA`] when written.
    pub schema: u32,
    /// Why.
    pub purpose: Purpose,
    /// Hash of the manifest of the tree that was checked: base, overlay and held-out files together.
    pub tree_sha256: Sha256,
    /// Hash of the overlay, if there was one.
    pub overlay_sha256: Option<Sha256>,
    /// The commands, in the order they ran.
    pub commands: Vec<CommandEvidence>,
    /// The layers of confinement that were active (`mount_namespace`, `network_namespace`, ...).
    pub layers: Vec<String>,
    /// What was measured with, as its programs call themselves (`rustc 1.95.0 ...`); empty where that is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub toolchain: String,
}
