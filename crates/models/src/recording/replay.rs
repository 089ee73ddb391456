//! Answers from a cassette, by what is asked.

use std::path::Path;

use agent::ports::{Model, ModelError, ModelRequest, ModelResponse};
use async_trait::async_trait;

use super::Fingerprint;
use super::cassette::{Cassette, CassetteError};

/// Answers a request with what was recorded for exactly this request, and nothing else.
#[derive(Debug)]
pub struct Replay(Cassette);

impl Replay {
    /// Reads the cassette.
    ///
    /// # Errors
    /// As [`Cassette::read`].
    pub fn open(path: &Path) -> Result<Self, CassetteError> {
        Cassette::read(path).map(Self)
    }
}

#[async_trait]
impl Model for Replay {
    async fn complete(&self, request: &ModelRequest) -> Result<ModelResponse, ModelError> {
        let asked = Fingerprint::of(request);
        let entry = self.0.by_key(&asked.key).ok_or_else(|| ModelError::CassetteMiss(self.0.miss(request, &asked)))?;
        Ok(ModelResponse { estimated: true, ..entry.response.clone() })
    }
}
