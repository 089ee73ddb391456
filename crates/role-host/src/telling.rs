//! A session's lines become events of its run.

use agent::ports::Observer;
use async_trait::async_trait;
use run_model::{RunId, SessionId, TaskId};
use store::{NewEvent, Store};

/// Tells one session.
pub(crate) struct Telling<'a> {
    pub(crate) store: &'a Store,
    pub(crate) role: &'static str,
    pub(crate) task: Option<TaskId>,
}

#[async_trait]
impl Observer for Telling<'_> {
    async fn note(&self, run: &RunId, session: &SessionId, kind: &str, message: String) {
        tracing::info!(%run, %session, kind, message);
        let event =
            NewEvent { kind: kind.to_owned(), task: self.task.clone(), role: Some(self.role.to_owned()), message };
        // The turn itself is kept: a line that is lost is no reason to end.
        if let Err(error) = self.store.append_event(run, event).await {
            tracing::warn!(%run, %session, kind, error = error.with_causes(), "an event was lost");
        }
    }
}
