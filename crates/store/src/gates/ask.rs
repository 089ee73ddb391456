//! Asking at a gate: it stops waiting, and a fresh one opens once the crew has answered.

use run_model::gate::{Approver, Binding, Exchange, Gate, GateState, MOST_QUESTIONS, Question};
use run_model::run::RunRecord;
use run_model::{GateId, Sha256};

use super::{may_decide, what};
use crate::events::NewEvent;
use crate::outbox::{OutboxItem, OutboxKind};
use crate::record::Stored;
use crate::table::{ATTEMPTS, Condition, Key, Write};
use crate::{Store, StoreError};

impl Store {
    /// Asks at a gate that waits, once. `binding_hash` is the hash of what the person was shown. The question, its outbox item
    /// and an event (`gate.asked`) are written together. It is no vote, and approvals that the gate has stay with it: the fresh
    /// gate has none.
    ///
    /// # Errors
    /// [`StoreError::EnoughQuestions`] if [`MOST_QUESTIONS`] were answered at such gates of the run; otherwise as
    /// [`Store::decide`].
    pub async fn ask(
        &self,
        gate: &GateId,
        binding_hash: &Sha256,
        asker: &Approver,
        question: &Question,
    ) -> Result<Gate, StoreError> {
        for _ in 0..ATTEMPTS {
            let Stored { value: mut item, version } = self.gate_item(gate).await?;
            let asked_ms = self.now_ms();
            may_decide(&item.gate, binding_hash, asked_ms)?;
            let run = item.gate.run_id.clone();
            // Every earlier question was answered before this gate opened, or what it was about is gone.
            if self.run(&run).await?.answered_at(item.gate.binding.kind) >= MOST_QUESTIONS {
                return Err(StoreError::EnoughQuestions(gate.clone()));
            }
            let (asker, question) = (asker.clone(), question.clone());
            let said = format!("{} asks ({}): {}", asker.name, asker.seen_as, question.as_str());
            item.gate.state = GateState::Asked { question, asker, asked_ms };
            let key = Key::gate(gate);
            let row = self.encode(&run, &key, &mut item, version + 1).await?;
            let event = self.next_event_item(&run, NewEvent::new("gate.asked", said)).await?;
            let outbox = OutboxItem::row(OutboxKind::Gate, gate.as_str(), version + 1, asked_ms);
            let writes = || {
                let new = [&outbox, &event].map(|row| Write::Put(row.clone(), Condition::absent()));
                new.into_iter().chain([Write::Put(row.clone(), Condition::version(version))]).collect()
            };
            if self.transact(&key, writes).await?.is_written() {
                return Ok(item.gate);
            }
            self.step_aside().await;
        }
        Err(StoreError::Conflict(what(gate)))
    }

    /// What was asked and answered over the very same, in order.
    ///
    /// # Errors
    /// As [`Store::get_json`].
    pub async fn exchanges(&self, run: &RunRecord, binding: &Binding) -> Result<Vec<Exchange>, StoreError> {
        let (hash, mut exchanges) = (binding.hash(), Vec::new());
        for answered in run.answered.iter().filter(|answered| answered.binding_hash == hash) {
            exchanges.push(self.get_json(&answered.exchange).await?);
        }
        Ok(exchanges)
    }
}
