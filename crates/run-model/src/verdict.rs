//! What developer, tester and reviewer say at the end of their turn. None of it is proof: proof is evidence.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::RepoPath;
use crate::risk::RiskLevel;

/// The developer's output; the change itself is the session's overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeveloperReport {
    /// What was changed and why, in a few sentences.
    pub summary: String,
    /// The design items the change serves.
    #[serde(default)]
    pub serves: Vec<String>,
}

/// The tester's output; the tests themselves are the session's overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TesterReport {
    /// What the new tests prove, in a few sentences.
    pub summary: String,
    /// Behaviour the developer's change gets wrong, if the tests found any.
    #[serde(default)]
    pub defects: Vec<String>,
}

/// What the reviewer decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerdictDecision {
    /// Good as it is.
    Approve,
    /// The findings have to be dealt with first.
    RequestChanges,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Wrong behaviour.
    Correctness,
    /// A weakness that an attacker could use.
    Security,
    /// A test that is missing, weak or weakened.
    Testing,
    /// Hard to read or out of keeping with its surroundings.
    Style,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It could be better.
    Low,
    /// It should be mended.
    Medium,
    /// It is wrong or unsafe in a case that will occur.
    High,
    /// It loses data or opens a door.
    Critical,
}

impl Severity {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// One thing the reviewer found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// The file.
    pub path: RepoPath,
    /// The line in the changed file, counted from 1.
    #[serde(default)]
    pub line: Option<u32>,
    /// What it is about.
    pub kind: FindingKind,
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong and what would be right.
    pub message: String,
}

/// The reviewer's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// The decision.
    pub decision: VerdictDecision,
    /// Why, in a few sentences.
    pub summary: String,
    /// The findings; `request_changes` needs at least one.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// The risk the reviewer sees; it can raise the level that the rules find, never lower it.
    #[serde(default)]
    pub risk_hint: Option<RiskLevel>,
}
