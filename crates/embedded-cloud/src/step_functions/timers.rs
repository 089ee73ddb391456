//! The timers of all executions: one sleeping task, whatever their number.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use run_model::Clock;
use states_language::TimerId;
use tokio::sync::Notify;

use super::log::lock;

/// A timer and whose it is.
type Key = (i64, TimerId);

/// Which timers are set.
#[derive(Default)]
pub(super) struct Timers {
    set: Mutex<Set>,
    changed: Notify,
}

#[derive(Default)]
struct Set {
    by_due: BTreeSet<(i64, Key)>,
    due: BTreeMap<Key, i64>,
}

impl Set {
    fn remove(&mut self, key: Key) {
        if let Some(due_ms) = self.due.remove(&key) {
            self.by_due.remove(&(due_ms, key));
        }
    }

    fn first_due(&self) -> Option<i64> {
        self.by_due.first().map(|(due_ms, _)| *due_ms)
    }
}

impl Timers {
    /// Sets an execution's timers or moves them to another moment; those without one are cancelled.
    ///
    /// All at once: the sleeper is not woken by a timer that goes before the next one comes.
    pub(super) fn set(&self, execution: i64, timers: impl IntoIterator<Item = (TimerId, Option<i64>)>) {
        self.change(|set| {
            for (timer, due_ms) in timers {
                let key = (execution, timer);
                set.remove(key);
                if let Some(due_ms) = due_ms {
                    set.by_due.insert((due_ms, key));
                    set.due.insert(key, due_ms);
                }
            }
        });
    }

    /// Forgets every timer of an execution that is over.
    pub(super) fn cancel_all(&self, execution: i64) {
        self.change(|set| {
            let of_execution = (execution, TimerId(0))..=(execution, TimerId(u64::MAX));
            let keys: Vec<Key> = set.due.range(of_execution).map(|(key, _)| *key).collect();
            keys.into_iter().for_each(|key| set.remove(key));
        });
    }

    /// Changes what is set; the sleeper looks again if it would now wake at the wrong moment.
    fn change(&self, change: impl FnOnce(&mut Set)) {
        let mut set = lock(&self.set);
        let before = set.first_due();
        change(&mut set);
        if set.first_due() != before {
            self.changed.notify_one();
        }
    }

    /// Calls `fire` for every timer as it comes due, for ever.
    pub(super) async fn run(&self, clock: Arc<dyn Clock>, fire: impl Fn(i64, TimerId)) {
        loop {
            let due = self.take_due(clock.now_ms());
            due.into_iter().for_each(|(execution, timer)| fire(execution, timer));
            let next = lock(&self.set).first_due();
            let changed = self.changed.notified();
            match next {
                None => changed.await,
                Some(due_ms) => {
                    tokio::select! {
                        () = changed => {}
                        () = clock.sleep_until(due_ms) => {}
                    }
                }
            }
        }
    }

    fn take_due(&self, now_ms: i64) -> Vec<Key> {
        let mut set = lock(&self.set);
        let mut due = Vec::new();
        while set.first_due().is_some_and(|first| first <= now_ms) {
            if let Some((_, key)) = set.by_due.pop_first() {
                set.due.remove(&key);
                due.push(key);
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use run_model::time::VirtualClock;

    #[tokio::test]
    async fn timers_fire_in_order_and_only_when_due() {
        let (timers, clock) = (Timers::default(), VirtualClock::at(0));
        timers.set(1, [(TimerId(1), Some(7_200_000))]);
        timers.set(2, [(TimerId(1), Some(10))]);
        timers.set(2, [(TimerId(2), Some(20))]);
        timers.set(3, [(TimerId(9), Some(5))]);
        timers.set(3, [(TimerId(9), None)]);
        timers.set(2, [(TimerId(2), Some(30))]);
        let fired = Mutex::new(Vec::new());
        let run = timers.run(Arc::new(clock.clone()), |execution, timer| lock(&fired).push((execution, timer.0)));
        tokio::pin!(run);
        for (advance, expected) in [(9, vec![]), (11, vec![(2, 1)]), (10, vec![(2, 1), (2, 2)])] {
            clock.advance(advance);
            for _ in 0..3 {
                assert!(futures::poll!(&mut run).is_pending());
            }
            assert_eq!(*lock(&fired), expected);
        }
        timers.cancel_all(1);
        clock.advance(8_000_000);
        assert!(futures::poll!(&mut run).is_pending());
        assert_eq!(lock(&fired).len(), 2);
    }

    #[tokio::test]
    async fn the_sleeper_waits_for_the_earliest_timer_only() {
        let (timers, clock) = (Timers::default(), VirtualClock::at(0));
        let fired = Mutex::new(0);
        let run = timers.run(Arc::new(clock.clone()), |_, _| *lock(&fired) += 1);
        tokio::pin!(run);
        assert!(futures::poll!(&mut run).is_pending());
        timers.set(1, [(TimerId(1), Some(1_000))]);
        assert!(futures::poll!(&mut run).is_pending());
        timers.set(1, [(TimerId(2), Some(10))]);
        assert!(futures::poll!(&mut run).is_pending());
        assert_eq!(clock.next_due_ms(), Some(10));
        timers.set(1, [(TimerId(2), Some(20))]);
        assert!(futures::poll!(&mut run).is_pending());
        assert_eq!(clock.next_due_ms(), Some(20));
        clock.advance(20);
        assert!(futures::poll!(&mut run).is_pending());
        assert_eq!(*lock(&fired), 1);
    }
}
