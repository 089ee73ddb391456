//! The definition of a state machine: what the text says, checked and ready to run.

use thiserror::Error;

/// Something in a definition that keeps it from running here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{path}: {message}")]
pub struct Problem {
    /// Where, such as `States.Plan.Retry[0]`; `definition` for the whole.
    pub path: String,
    /// Names the field, the value and the cure.
    pub message: String,
}

/// A checked state machine with its expressions parsed. Immutable, `Send` and `Sync`: parse it once and share it.
#[derive(Debug)]
pub struct Machine {}

impl Machine {
    /// Reads a definition.
    ///
    /// # Errors
    /// Every problem found, in the order of the text. What Step Functions accepts and this crate does not run (JSONPath,
    /// Distributed Map, other service integrations) is a problem too, refused by name.
    pub fn parse(definition: &str) -> Result<Self, Vec<Problem>> {
        unimplemented!("{definition}")
    }
}
