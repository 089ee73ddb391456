//! A run's log: numbered from 1, without gap or repeat, however many write at once.

use run_model::run::{ArtefactRef, RunEvent};
use run_model::{RunId, TaskId};

use crate::record::Record;
use crate::table::{ATTEMPTS, Attributes, Condition, Key, Range};
use crate::{Store, StoreError};

/// An event that has no number yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// What kind: `run.admitted`, `stage.entered`, `turn.ended`, `gate.opened`, ...
    pub kind: String,
    /// The task, if it is about one.
    pub task: Option<TaskId>,
    /// The role, if it is about one.
    pub role: Option<String>,
    /// One line for people.
    pub message: String,
    /// As [`RunEvent::artefact`].
    pub artefact: Option<ArtefactRef>,
}

impl NewEvent {
    /// An event about the run as a whole.
    pub fn new(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), task: None, role: None, message: message.into(), artefact: None }
    }
}

impl Record for RunEvent {}

impl Store {
    /// Appends an event and returns its number.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if others were first again and again; [`StoreError::Unavailable`].
    pub async fn append_event(&self, run: &RunId, event: NewEvent) -> Result<u64, StoreError> {
        for _ in 0..ATTEMPTS {
            // Read anew each time: counting on from a number that was lost would trail behind those who are faster.
            let sequence = self.last_event(run).await? + 1;
            let item = self.event_item(run, sequence, event.clone()).await?;
            if self.put(item, Condition::absent()).await?.is_written() {
                return Ok(sequence);
            }
            self.step_aside().await;
        }
        Err(StoreError::Conflict(format!("the events of run {run}")))
    }

    /// The events with numbers above `after`, in order; 0 for all.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`]; [`StoreError::NewerSchema`]; [`StoreError::Unavailable`].
    pub async fn events(&self, run: &RunId, after: u64) -> Result<Vec<RunEvent>, StoreError> {
        let range = Range { low: Key::event(run, after.saturating_add(1)).sk, ..events_of(run) };
        self.decode_all(&self.query(range, usize::MAX).await?).await
    }

    /// The number of the newest event, 0 if there is none.
    async fn last_event(&self, run: &RunId) -> Result<u64, StoreError> {
        let newest = self.query(events_of(run).newest_first(), 1).await?;
        Ok(self.decode_all::<RunEvent>(&newest).await?.first().map_or(0, |event| event.sequence))
    }

    /// The row of an event under the number that is next.
    pub(crate) async fn next_event_item(&self, run: &RunId, event: NewEvent) -> Result<Attributes, StoreError> {
        self.event_item(run, self.last_event(run).await? + 1, event).await
    }

    /// The row of an event under this number.
    pub(crate) async fn event_item(
        &self,
        run: &RunId,
        sequence: u64,
        event: NewEvent,
    ) -> Result<Attributes, StoreError> {
        let NewEvent { kind, task, role, message, artefact } = event;
        let mut event = RunEvent { sequence, at_ms: self.now_ms(), kind, task, role, message, artefact };
        self.encode(run, &Key::event(run, sequence), &mut event, 1).await
    }
}

fn events_of(run: &RunId) -> Range {
    Range { low: Key::event(run, 0).sk, high: Key::event(run, u64::MAX).sk, ..Range::beginning(Key::event(run, 0)) }
}
