//! How a function fails: one name that Step Functions matches in `Retry` and `Catch`, one message for people.

use serde::{Deserialize, Serialize};

/// The names that `ErrorEquals` may use. One list: functions, hosts and machines share it, and a test compares it with the machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ErrorName {
    /// The caller gave something unusable; the message names the field, the value and the cure.
    InvalidInput,
    /// The crew will not do what is asked; the message says why, and what to ask for instead.
    RequirementRefused,
    /// Something that was asked for does not exist.
    NotFound,
    /// Another writer was first; trying again may succeed.
    Conflict,
    /// Policy forbids it (protected path, unknown role, plan out of bounds).
    PolicyRefused,
    /// The run's budget cannot carry the next call.
    BudgetExceeded,
    /// The model has no known price, so it is not called.
    UnknownPrice,
    /// The provider asks for patience (429, 529).
    ModelThrottled,
    /// The provider cannot be reached or failed on its side (5xx, connection, time-out).
    ModelUnavailable,
    /// The provider refuses the key or the request; trying again will not help.
    ModelRefused,
    /// No recorded answer fits the request.
    CassetteMiss,
    /// The model never gave an answer of the demanded shape, or went round in circles.
    AgentStuck,
    /// The store or the object store failed; trying again may succeed.
    StoreUnavailable,
    /// Git or the forge failed.
    ForgeFailed,
    /// The forge asks for patience: its rate limit is spent.
    ForgeThrottled,
    /// The forge cannot be reached or failed on its side; trying again may succeed.
    ForgeUnavailable,
    /// The forge's rules for the branch do not let the change in yet; the message says what is missing.
    MergeRefused,
    /// Nobody reported on checks within their time, and the table has nothing of them.
    NoEvidence,
    /// Two tasks changed the same place differently.
    MergeConflict,
    /// Setup failed, or a check cannot run on the base: nothing would be measured.
    NotMeasurable,
    /// A defect in Gatewright.
    Internal,
}

impl ErrorName {
    /// Every name, in the order of declaration.
    pub const ALL: [Self; 21] = [
        Self::InvalidInput,
        Self::RequirementRefused,
        Self::NotFound,
        Self::Conflict,
        Self::PolicyRefused,
        Self::BudgetExceeded,
        Self::UnknownPrice,
        Self::ModelThrottled,
        Self::ModelUnavailable,
        Self::ModelRefused,
        Self::CassetteMiss,
        Self::AgentStuck,
        Self::StoreUnavailable,
        Self::ForgeFailed,
        Self::ForgeThrottled,
        Self::ForgeUnavailable,
        Self::MergeRefused,
        Self::NoEvidence,
        Self::MergeConflict,
        Self::NotMeasurable,
        Self::Internal,
    ];

    /// The name as `ErrorEquals` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "InvalidInput",
            Self::RequirementRefused => "RequirementRefused",
            Self::NotFound => "NotFound",
            Self::Conflict => "Conflict",
            Self::PolicyRefused => "PolicyRefused",
            Self::BudgetExceeded => "BudgetExceeded",
            Self::UnknownPrice => "UnknownPrice",
            Self::ModelThrottled => "ModelThrottled",
            Self::ModelUnavailable => "ModelUnavailable",
            Self::ModelRefused => "ModelRefused",
            Self::CassetteMiss => "CassetteMiss",
            Self::AgentStuck => "AgentStuck",
            Self::StoreUnavailable => "StoreUnavailable",
            Self::ForgeFailed => "ForgeFailed",
            Self::ForgeThrottled => "ForgeThrottled",
            Self::ForgeUnavailable => "ForgeUnavailable",
            Self::MergeRefused => "MergeRefused",
            Self::NoEvidence => "NoEvidence",
            Self::MergeConflict => "MergeConflict",
            Self::NotMeasurable => "NotMeasurable",
            Self::Internal => "Internal",
        }
    }
}

/// What a function answers instead of a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct FunctionError {
    /// The name that machines match.
    pub name: ErrorName,
    /// What happened, why, and what to do about it.
    pub message: String,
}

impl FunctionError {
    /// An error of this name with this message.
    pub fn new(name: ErrorName, message: impl Into<String>) -> Self {
        Self { name, message: message.into() }
    }

    /// Bad input: the field, what stood in it, and the cure.
    pub fn invalid(field: &str, problem: impl std::fmt::Display) -> Self {
        Self::new(ErrorName::InvalidInput, format!("{field}: {problem}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_spelt_in_one_way() {
        for name in ErrorName::ALL {
            assert_eq!(serde_json::to_value(name).unwrap(), name.as_str());
        }
    }
}
