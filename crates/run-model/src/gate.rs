//! A gate: a contract bound to the hash of exactly what will happen.

mod approval;
mod question;

use approval::check_role;
pub use approval::{Approval, Refusal, Weight, approver_roles, approvers_needed, weigh};
pub use question::{
    Answer, Answered, BadQuestion, Exchange, Inquiry, LONGEST_ANSWER, LONGEST_QUESTION, MOST_PLACES, MOST_QUESTIONS,
    Question, may_ask,
};
use serde::{Deserialize, Serialize};

use crate::risk::{Risk, RiskLevel};
use crate::{GateId, RunId, Sha256};

/// What a gate stands before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateKind {
    /// The plan, before any task starts.
    Plan,
    /// Other dependencies, before they are set up.
    Setup,
    /// The change, before it lands.
    Change,
}

impl GateKind {
    /// The kind in one word: `plan`, `setup` or `change`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Setup => "setup",
            Self::Change => "change",
        }
    }
}

/// What was shown and will happen; its hash is what an approval approves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// What the gate stands before.
    pub kind: GateKind,
    /// The commit the work is based on.
    pub base_commit: String,
    /// Hash of the plan (plan gate), of the edits to manifest and lock files (setup gate) or of the change set (change gate).
    pub content_sha256: Sha256,
    /// Where it goes: the branch that will be made, or the forge's target ref.
    pub target: String,
}

impl Binding {
    /// The hash that a decision has to repeat.
    pub fn hash(&self) -> Sha256 {
        Sha256::of_json(self)
    }
}

/// Who decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approver {
    /// The person's name as the system saw it.
    pub name: String,
    /// How the person was seen: `bearer`, `iam`, `self, local`, or `flag, nobody looked`.
    pub seen_as: String,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateDecision {
    /// Go on.
    Approved,
    /// Stop.
    Denied,
}

/// Where a gate stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum GateState {
    /// Waiting for a person.
    Pending,
    /// A person decided.
    Decided {
        /// What.
        decision: GateDecision,
        /// Who.
        approver: Approver,
        /// Why, if said.
        comment: Option<String>,
        /// When, in milliseconds since the epoch.
        decided_ms: i64,
    },
    /// A person asked something. Once the crew has answered, a fresh gate opens before the very same.
    Asked {
        /// What.
        question: Question,
        /// Who.
        asker: Approver,
        /// When, in milliseconds since the epoch.
        asked_ms: i64,
    },
    /// The deadline passed; silence means no.
    Expired,
    /// The run ended by another way, so there is nothing left to decide.
    Void,
}

impl GateState {
    /// The state in one word: `pending`, `approved`, `denied`, `asked`, `expired` or `void`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Decided { decision: GateDecision::Approved, .. } => "approved",
            Self::Decided { decision: GateDecision::Denied, .. } => "denied",
            Self::Asked { .. } => "asked",
            Self::Expired => "expired",
            Self::Void => "void",
        }
    }
}

/// A gate as the table keeps it (the task token lies beside it, encrypted, and is not part of this).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// The gate.
    pub gate_id: GateId,
    /// Its run.
    pub run_id: RunId,
    /// What an approval means.
    pub binding: Binding,
    /// The risk and its reasons.
    pub risk: Risk,
    /// One paragraph for the person who decides.
    pub summary: String,
    /// When it was opened, in milliseconds since the epoch.
    pub opened_ms: i64,
    /// Until when a decision counts, in milliseconds since the epoch.
    pub deadline_ms: i64,
    /// Where it stands.
    pub state: GateState,
    /// Who approved so far, where the rules count people; empty on one machine.
    #[serde(default)]
    pub approvals: Vec<Approval>,
    /// What was asked before this gate opened, over the very same, and what the crew answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exchanges: Vec<Exchange>,
}

impl Gate {
    /// Who decided, for people: everybody whose approval counted; `None` if nobody did.
    pub fn decided_by(&self) -> Option<String> {
        let GateState::Decided { decision, approver, .. } = &self.state else { return None };
        if *decision == GateDecision::Denied || self.approvals.is_empty() {
            return Some(approver.name.clone());
        }
        let names: Vec<&str> = self.approvals.iter().map(|approval| approval.approver.name.as_str()).collect();
        Some(names.join(" and "))
    }
}

/// How long a gate of this level waits, in seconds; `None` if it does not open at all.
pub fn wait_seconds(level: RiskLevel) -> Option<u32> {
    match level {
        RiskLevel::Low => None,
        RiskLevel::Medium => Some(30 * 60),
        RiskLevel::High => Some(60 * 60),
        RiskLevel::Critical => Some(120 * 60),
    }
}
