//! Answers from a script, whatever is asked.

use std::path::Path;

use agent::ports::{Model, ModelError, ModelRequest, ModelResponse};
use async_trait::async_trait;

use super::cassette::{Cassette, CassetteError};

/// Answers by session and turn and ignores what the request says, so that an edit of a prompt changes nothing. A recorded
/// cassette is a script too.
#[derive(Debug)]
pub struct Scripted(Cassette);

impl Scripted {
    /// Reads the script.
    ///
    /// # Errors
    /// As [`Cassette::read`].
    pub fn open(path: &Path) -> Result<Self, CassetteError> {
        Cassette::read(path).map(Self)
    }
}

#[async_trait]
impl Model for Scripted {
    async fn complete(&self, request: &ModelRequest) -> Result<ModelResponse, ModelError> {
        let (session, turn) = (&request.session, request.turn);
        let miss = || {
            let turns: Vec<_> =
                self.0.entries().iter().filter(|e| e.session == *session).map(|e| e.turn.to_string()).collect();
            let has = if turns.is_empty() {
                "none of that session".into()
            } else {
                format!("its turns {}", turns.join(", "))
            };
            ModelError::CassetteMiss(format!("the script has no answer for {session} turn {turn}; it has {has}"))
        };
        let entry = self.0.by_turn(session, turn).ok_or_else(miss)?;
        Ok(ModelResponse { estimated: true, ..entry.response.clone() })
    }
}
