//! Going on after a restart.

use std::sync::Arc;

use states_language::Event;

use super::EngineError;
use super::driver::{Engine, Mail};
use super::nested::TASK_OVER;
use super::records::{self, Recorded};
use crate::Functions;

impl Engine {
    /// Takes up every execution that runs: invocations and children in flight are set off again with the same ids,
    /// tokens and names, timers are set again (one that is due fires at once), children whose task is over are stopped.
    ///
    /// Everything is read before anything is set off, so that an unreadable record starts nothing.
    pub(super) fn recover(self: &Arc<Self>, functions: Functions) -> Result<(), EngineError> {
        let running = self.log.read(records::running)?;
        let lives = running.iter().map(|recorded| self.revive(recorded)).collect::<Result<Vec<_>, _>>()?;
        let orphans = running.iter().map(|recorded| self.is_orphan(recorded)).collect::<Result<Vec<_>, _>>()?;
        if !self.run(functions) {
            return Ok(());
        }
        for (live, orphan) in lives.iter().zip(orphans) {
            if orphan {
                self.deliver(live.id, Mail::new(Event::Stop { error: None, cause: Some(TASK_OVER.into()) }));
            } else {
                let pending = live.execution.pending_actions();
                pending.into_iter().for_each(|action| self.set_off(live, action));
            }
        }
        let engine = self.clone();
        self.spawn(async move {
            let fire = |id, timer| engine.deliver(id, Mail::new(Event::TimerFired { timer }));
            engine.timers.run(engine.clock.clone(), fire).await;
        });
        Ok(())
    }

    /// Whether an execution was started for a task that no longer waits for it.
    fn is_orphan(&self, recorded: &Recorded) -> Result<bool, EngineError> {
        recorded.parent.map_or(Ok(false), |parent| self.awaits(parent).map(|awaited| !awaited))
    }
}
