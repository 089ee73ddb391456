//! Starts: who asked for an execution, written by the entrance before it is started.

use run_model::run::Requester;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::record::{check_schema, text_of};
use crate::table::{Condition, EXPIRES_AT, Key, number, text};
use crate::{Store, StoreError};

const START_SCHEMA: u32 = 1;
/// Step Functions remembers the name of an execution for 90 days.
const KEPT_SECONDS: i64 = 90 * 24 * 3600;

/// What an entrance knows of an execution that it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Who asked.
    pub requester: Requester,
    /// The input that the execution is started with: an execution of this name with another input is somebody else's.
    pub input: Value,
}

/// What became of a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    /// It is new.
    New,
    /// The same was asked for before, under this name.
    Repeated,
    /// Something else was asked for under this name.
    Different,
}

impl Store {
    /// Writes down who asks for the execution of this name, once.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`]; [`StoreError::NewerSchema`]; [`StoreError::Unavailable`].
    pub async fn put_start(&self, execution: &str, start: &Start) -> Result<Started, StoreError> {
        let key = Key::start(execution);
        let body = serde_json::to_string(start).map_err(|error| StoreError::corrupt(&key, error))?;
        let mut item = key.attributes();
        item.extend([
            ("schema".into(), number(START_SCHEMA)),
            ("body".into(), text(body)),
            (EXPIRES_AT.into(), number(self.now_ms() / 1000 + KEPT_SECONDS)),
        ]);
        if self.put(item, Condition::absent()).await?.is_written() {
            return Ok(Started::New);
        }
        let same = self.start(execution).await?.is_some_and(|before| before == *start);
        Ok(if same { Started::Repeated } else { Started::Different })
    }

    /// What was written down of the execution of this name, if anything.
    ///
    /// # Errors
    /// As [`Store::put_start`].
    pub async fn start(&self, execution: &str) -> Result<Option<Start>, StoreError> {
        let key = Key::start(execution);
        let Some(item) = self.get(&key).await? else { return Ok(None) };
        check_schema(&item, START_SCHEMA)?;
        let body = text_of(&item, "body").ok_or_else(|| StoreError::corrupt(&key, "it has no body"))?;
        serde_json::from_str(body).map(Some).map_err(|error| StoreError::corrupt(&key, error))
    }
}
