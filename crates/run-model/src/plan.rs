//! The plan: what the orchestrator proposes and the rules accept.

mod accept;

pub use accept::{AcceptedPlan, MAX_DESCRIPTION_CHARS, MAX_TITLE_CHARS, PlanProblem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::TaskId;
use crate::risk::RiskLevel;

/// The roles a plan may give work to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskRole {
    /// Changes source code.
    Developer,
}

/// How soon a task should start among those that are ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// When nothing else waits.
    Low,
    /// The usual.
    #[default]
    Medium,
    /// Before the usual.
    High,
    /// First.
    Critical,
}

/// One piece of work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlannedTask {
    /// Short name, unique in the plan: lower-case letters, digits, dashes, at most 20.
    pub id: TaskId,
    /// One line for people.
    pub title: String,
    /// What has to be true when the task is done, without prescribing how.
    pub description: String,
    /// Who does it.
    pub role: TaskRole,
    /// Tasks whose result this one builds on.
    #[serde(default)]
    pub depends_on: Vec<TaskId>,
    /// How soon.
    #[serde(default)]
    pub priority: Priority,
    /// Paths or globs of the code that the task is expected to touch; tasks that overlap are done one after the other.
    #[serde(default)]
    pub paths: Vec<String>,
}

/// The orchestrator's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What the requirement asks for, in one or two sentences.
    pub summary: String,
    /// The tasks, at least one; none only beside a refusal.
    pub tasks: Vec<PlannedTask>,
    /// Statements that a test can decide, one behaviour each; where all of them hold, the requirement is met.
    #[serde(default)]
    pub acceptance_criteria: Vec<String>,
    /// The risk the orchestrator sees; it can raise the level that the rules find, never lower it.
    #[serde(default)]
    pub risk_hint: Option<RiskLevel>,
    /// Given instead of tasks if the requirement must not or cannot be met.
    #[serde(default)]
    pub refusal: Option<Refusal>,
}

/// Why a requirement is not worked on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// What stands against it, in a sentence or two.
    pub reason: String,
    /// What could be asked for instead, so that it can be done and checked.
    pub instead: String,
}
