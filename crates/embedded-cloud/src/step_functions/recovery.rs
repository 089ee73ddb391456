//! Going on after a restart.

use std::sync::Arc;

use states_language::{Action, Event};

use super::EngineError;
use super::driver::{Engine, Mail};
use super::nested::TASK_OVER;
use super::records::{self, Recorded};
use crate::FunctionRegistry;

impl Engine {
    /// Takes up every execution that runs: invocations and children in flight are set off again with the same ids,
    /// tokens and names, timers are set again (one that is due fires at once), children whose task is over are stopped.
    ///
    /// Everything is read before anything is set off, so that an unreadable record starts nothing.
    pub(super) fn recover(self: &Arc<Self>, registry: FunctionRegistry) -> Result<(), EngineError> {
        let running = self.log.read(records::running)?;
        let pending = running.iter().map(|recorded| self.pending(recorded)).collect::<Result<Vec<_>, _>>()?;
        let orphans = running.iter().map(|recorded| self.is_orphan(recorded)).collect::<Result<Vec<_>, _>>()?;
        if !self.run(registry) {
            return Ok(());
        }
        for ((recorded, actions), orphan) in running.iter().zip(pending).zip(orphans) {
            if orphan {
                self.deliver(recorded.id, Mail::new(Event::Stop { error: None, cause: Some(TASK_OVER.into()) }));
            } else {
                actions.into_iter().for_each(|action| self.set_off(recorded.id, action));
            }
        }
        let engine = self.clone();
        self.spawn(async move {
            let fire = |id, timer| engine.deliver(id, Mail::new(Event::TimerFired { timer }));
            engine.timers.run(engine.clock.clone(), fire).await;
        });
        Ok(())
    }

    /// What an execution has in flight.
    fn pending(&self, recorded: &Recorded) -> Result<Vec<Action>, EngineError> {
        Ok(self.revive(recorded)?.execution.pending_actions())
    }

    /// Whether an execution was started for a task that no longer waits for it.
    fn is_orphan(&self, recorded: &Recorded) -> Result<bool, EngineError> {
        recorded.parent.map_or(Ok(false), |parent| self.awaits(parent).map(|awaited| !awaited))
    }
}
