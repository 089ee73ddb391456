//! Going on after a restart.

use std::collections::HashMap;
use std::sync::Arc;

use states_language::Event;

use super::EngineError;
use super::driver::{Engine, Mail};
use super::log::lock;
use super::nested::TASK_OVER;
use super::records::{self, Parent, Recorded};
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
                self.deliver(live.id, Mail::new(task_over()));
            } else {
                self.set_off(live, live.execution.pending_actions());
            }
        }
        self.run_timers();
        Ok(())
    }

    /// Begins to drive and leaves every execution that runs asleep until [`Engine::take_up`].
    pub(super) fn begin_asleep(self: &Arc<Self>, functions: Functions) -> Result<(), EngineError> {
        let running = self.log.read(records::running)?;
        *lock(&self.asleep) = running.iter().map(|recorded| (recorded.id, recorded.parent)).collect();
        if self.run(functions) {
            self.run_timers();
        }
        Ok(())
    }

    /// Goes on with an execution that sleeps, and with what it has started. One that is awake stays as it is.
    pub(super) fn take_up(self: &Arc<Self>, id: i64) -> Result<(), EngineError> {
        let family = family(&lock(&self.asleep), id);
        for (id, parent) in family {
            let orphan = parent.map_or(Ok(false), |parent| self.awaits(parent).map(|awaited| !awaited))?;
            self.deliver(id, if orphan { Mail::new(task_over()) } else { Mail::waking() });
        }
        Ok(())
    }

    fn run_timers(self: &Arc<Self>) {
        let engine = self.clone();
        self.spawn(async move {
            let fire = |id, timer| engine.deliver(id, Mail::new(Event::TimerFired { timer }));
            engine.timers.run(engine.clock.clone(), fire).await;
        });
    }

    /// Whether an execution was started for a task that no longer waits for it.
    fn is_orphan(&self, recorded: &Recorded) -> Result<bool, EngineError> {
        recorded.parent.map_or(Ok(false), |parent| self.awaits(parent).map(|awaited| !awaited))
    }
}

/// How a child ends that nobody waits for.
fn task_over() -> Event {
    Event::Stop { error: None, cause: Some(TASK_OVER.into()) }
}

/// An execution and all that it, or one that it has started, has started.
fn family(asleep: &HashMap<i64, Option<Parent>>, root: i64) -> Vec<(i64, Option<Parent>)> {
    let starter = |id: &i64| asleep.get(id).copied().flatten().map(|parent| parent.execution);
    let belongs = |id: i64| std::iter::successors(Some(id), starter).any(|ancestor| ancestor == root);
    asleep.iter().filter(|(id, _)| belongs(**id)).map(|(id, parent)| (*id, *parent)).collect()
}
