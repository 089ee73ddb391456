//! What a session does and what it costs: events of its run, and lines of the log.

use agent::ports::{CallEstimate, Ledger, Observer, PortError, Reservation};
use async_trait::async_trait;
use run_model::budget::TokenUsage;
use run_model::{RunId, SessionId, TaskId};
use store::{NewEvent, Store};

/// Tells one session.
pub(crate) struct Telling<'a> {
    pub(crate) store: &'a Store,
    pub(crate) role: &'static str,
    pub(crate) task: Option<TaskId>,
}

impl Telling<'_> {
    fn task(&self) -> Option<&str> {
        self.task.as_ref().map(TaskId::as_str)
    }
}

#[async_trait]
impl Observer for Telling<'_> {
    async fn note(&self, run: &RunId, session: &SessionId, kind: &str, message: String) {
        tracing::info!(%run, task = self.task(), role = self.role, %session, kind, message);
        let event =
            NewEvent { task: self.task.clone(), role: Some(self.role.to_owned()), ..NewEvent::new(kind, message) };
        // The turn itself is kept: a line that is lost is no reason to end.
        if let Err(error) = self.store.append_event(run, event).await {
            tracing::warn!(%run, %session, kind, error = error.with_causes(), "an event was lost");
        }
    }
}

/// The run's ledger, with a line for each call that was paid.
#[async_trait]
impl Ledger for Telling<'_> {
    async fn reserve(&self, run: &RunId, estimate: CallEstimate) -> Result<Reservation, PortError> {
        self.store.reserve(run, estimate).await
    }

    async fn settle(
        &self,
        run: &RunId,
        reservation: &Reservation,
        usage: TokenUsage,
        cost_microusd: u64,
        estimated: bool,
    ) -> Result<(), PortError> {
        let TokenUsage { input_tokens, output_tokens, cache_read_tokens, cache_write_tokens } = usage;
        tracing::info!(
            %run,
            task = self.task(),
            role = self.role,
            call = reservation.call_id,
            cost_microusd,
            estimated,
            input_tokens,
            output_tokens,
            cache_read_tokens,
            cache_write_tokens,
            "a call was paid"
        );
        self.store.settle(run, reservation, usage, cost_microusd, estimated).await
    }

    async fn release(&self, run: &RunId, reservation: &Reservation) -> Result<(), PortError> {
        self.store.release(run, reservation).await
    }

    async fn abandon(&self, run: &RunId, session: &SessionId) -> Result<(), PortError> {
        self.store.abandon(run, session).await
    }
}
