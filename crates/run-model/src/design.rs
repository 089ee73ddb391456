//! The design: what the architect hands to the developers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::TaskId;

/// One decision that tasks have to serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DesignItem {
    /// Short name, unique in the design: lower-case letters, digits, dashes, at most 20.
    pub id: TaskId,
    /// One line.
    pub title: String,
    /// What is to be changed where, what must stay as it is, and why.
    pub detail: String,
    /// The tasks of the plan that serve this item, at least one.
    pub tasks: Vec<TaskId>,
}

/// The architect's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Design {
    /// The cause or the idea, in a few sentences.
    pub summary: String,
    /// The decisions; together they cover every task of the plan.
    pub items: Vec<DesignItem>,
    /// How the change should be tested.
    pub test_strategy: String,
    /// Statements of the plan that the code shows to be wrong or impossible, each with what holds instead.
    #[serde(default)]
    pub corrections: Vec<String>,
}
