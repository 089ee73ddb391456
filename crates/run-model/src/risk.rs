//! Risk by rules, from the change itself.

mod change;
mod lines;
mod operation;
mod paths;
mod plan;
mod prose;

pub use change::{ChangeFacts, PathClass, PathFacts, RiskHint, assess_change};
pub use operation::{Environment, Operation, assess_operation};
pub use paths::{configures_checks, is_prose};
pub use plan::assess_plan;
pub use prose::is_included;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much can go wrong. The order is the order of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RiskLevel {
    /// Passes alone.
    Low,
    /// A developer decides.
    Medium,
    /// A tech lead decides.
    High,
    /// Two pairs of eyes, or operations, decide.
    Critical,
}

impl RiskLevel {
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

/// A level and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Risk {
    /// The highest level any reason gives.
    pub level: RiskLevel,
    /// Every rule that spoke, the gravest first.
    pub reasons: Vec<RiskReason>,
}

/// One rule that spoke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RiskReason {
    /// The level this rule asks for.
    pub level: RiskLevel,
    /// The rule's name, stable.
    pub rule: String,
    /// What it saw.
    pub detail: String,
}

impl RiskReason {
    /// A reason by a rule, with what the rule saw.
    pub fn new(level: RiskLevel, rule: &str, detail: impl Into<String>) -> Self {
        Self { level, rule: rule.to_owned(), detail: detail.into() }
    }
}

impl Risk {
    /// The risk that these reasons make; without any it is low.
    pub fn of(mut reasons: Vec<RiskReason>) -> Self {
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.level));
        Self { level: reasons.first().map_or(RiskLevel::Low, |gravest| gravest.level), reasons }
    }
}
