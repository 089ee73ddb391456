//! A question at a gate, and what the crew answers: neither decides anything.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Approver, GateKind, Refusal, check_role};
use crate::person::Person;
use crate::risk::RiskLevel;
use crate::run::ArtefactRef;
use crate::{GateId, Sha256};

/// So many questions are answered at the gates of one kind in one run: then it is time to decide.
pub const MOST_QUESTIONS: usize = 3;
/// The longest question, in bytes.
pub const LONGEST_QUESTION: usize = 4_000;
/// The longest answer, in bytes.
pub const LONGEST_ANSWER: usize = 8_000;
/// The most places that an answer points to.
pub const MOST_PLACES: usize = 20;

/// Why a text is no question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadQuestion {
    /// It says nothing.
    #[error("the question is empty: say what you want to know")]
    Empty,
    /// It is too long.
    #[error("the question is {0} bytes long: shorten it to {LONGEST_QUESTION}")]
    TooLong(usize),
}

/// What a person asks, in 1 to [`LONGEST_QUESTION`] bytes that are not all blank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Question(String);

impl Question {
    /// Takes a text, without blanks around it.
    ///
    /// # Errors
    /// [`BadQuestion`].
    pub fn new(text: &str) -> Result<Self, BadQuestion> {
        match text.trim() {
            "" => Err(BadQuestion::Empty),
            text if text.len() > LONGEST_QUESTION => Err(BadQuestion::TooLong(text.len())),
            text => Ok(Self(text.to_owned())),
        }
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Question {
    type Error = BadQuestion;

    fn try_from(text: String) -> Result<Self, BadQuestion> {
        Self::new(&text)
    }
}

impl From<Question> for String {
    fn from(question: Question) -> Self {
        question.0
    }
}

/// What the crew answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The answer, in plain words.
    pub text: String,
    /// Where one can see that it is so: `path:line`, in the changed files.
    #[serde(default)]
    pub places: Vec<String>,
}

/// A question with its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// What was asked.
    pub question: Question,
    /// Who asked.
    pub asker: Approver,
    /// When, in milliseconds since the epoch.
    pub asked_ms: i64,
    /// What was answered.
    pub answer: Answer,
    /// When, in milliseconds since the epoch.
    pub answered_ms: i64,
}

/// What the crew is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inquiry {
    /// The gate at which it is asked.
    pub kind: GateKind,
    /// The question.
    pub question: Question,
    /// How whoever asks was seen.
    pub seen_as: String,
    /// What was asked and answered before, over the very same.
    pub earlier: Vec<Exchange>,
}

/// That a question was answered, as its run remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The gate at which it was asked.
    pub gate_id: GateId,
    /// What that gate stood before.
    pub kind: GateKind,
    /// The hash of its binding.
    pub binding_hash: Sha256,
    /// Question and answer (JSON of [`Exchange`]).
    pub exchange: ArtefactRef,
}

/// Whether a person may ask at a gate of this level: whoever may decide by role, the requester too, who may not approve.
///
/// # Errors
/// [`Refusal::Role`].
pub fn may_ask(level: RiskLevel, person: &Person) -> Result<(), Refusal> {
    check_role(level, person)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_says_something_and_is_not_endless() {
        assert_eq!(Question::new("  why?\n").unwrap().as_str(), "why?");
        assert!(Question::new(&"x".repeat(LONGEST_QUESTION)).is_ok());
        assert_eq!(Question::new(" \n\t"), Err(BadQuestion::Empty));
        assert_eq!(Question::new(&"ä".repeat(2_001)), Err(BadQuestion::TooLong(4_002)));
        assert!(serde_json::from_str::<Question>("\"\"").is_err());
    }
}
