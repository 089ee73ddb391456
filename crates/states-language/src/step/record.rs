//! What a step leaves behind: history, timers and actions.

use super::Run;
use crate::definition::{Kind, State};
use crate::execution::{Activity, BranchId, Call, Purpose, Timer};
use crate::history::Details;
use crate::{Action, HistoryEvent, HistoryEventType, MAX_HISTORY_EVENTS, TaskId, TimerId};

impl Run<'_> {
    /// Adds an event to the branch's chain; once history is full it only says so.
    pub(super) fn record(&mut self, id: BranchId, kind: HistoryEventType, details: Details) -> u64 {
        // The last place belongs to the end of the execution.
        if self.execution.last_event_id + 1 >= MAX_HISTORY_EVENTS {
            self.overflow = true;
            return self.execution.last_event_id;
        }
        let previous = self.branch(id).last_event;
        let event = self.append(previous, kind, details);
        self.branch_mut(id).last_event = event;
        event
    }

    pub(super) fn append(&mut self, previous_event_id: u64, kind: HistoryEventType, details: Details) -> u64 {
        self.execution.last_event_id += 1;
        let id = self.execution.last_event_id;
        self.out.history.push(HistoryEvent { id, previous_event_id, timestamp_ms: self.now, kind, details });
        id
    }

    /// Sets a timer for a branch, `after_ms` from now.
    pub(super) fn set_timer(&mut self, branch: BranchId, purpose: Purpose, after_ms: i64) -> TimerId {
        let timer = TimerId(self.execution.next_id());
        let due_ms = self.now.saturating_add(after_ms);
        self.execution.timers.insert(timer, Timer { due_ms, branch, purpose });
        self.out.actions.push(Action::SetTimer { timer, due_ms });
        timer
    }

    /// Forgets a timer, if it is still set.
    pub(super) fn clear_timer(&mut self, timer: TimerId) {
        if self.execution.timers.remove(&timer).is_none() {
            return;
        }
        let set = |action: &Action| matches!(action, Action::SetTimer { timer: set, .. } if *set == timer);
        if !self.take_back(set) {
            self.out.actions.push(Action::CancelTimer { timer });
        }
    }

    /// Drops an action of this same step: nobody has performed it yet.
    fn take_back(&mut self, which: impl Fn(&Action) -> bool) -> bool {
        let before = self.out.actions.len();
        self.out.actions.retain(|action| !which(action));
        self.out.actions.len() < before
    }

    /// Ends whatever a branch waits for: its timers, and its call if that still runs.
    pub(super) fn settle(&mut self, id: BranchId) {
        if let Activity::Task(attempt) = self.release(id) {
            self.call_off(attempt.task, &attempt.call);
        }
    }

    /// Forgets what a branch waited for, and its timers; what it called is over.
    pub(super) fn release(&mut self, id: BranchId) -> Activity {
        let activity = std::mem::replace(&mut self.branch_mut(id).activity, Activity::Ready);
        match &activity {
            Activity::Task(attempt) => {
                let timers = attempt.timeout.into_iter().chain(attempt.heartbeat.as_ref().map(|beat| beat.timer));
                timers.for_each(|timer| self.clear_timer(timer));
            }
            Activity::Wait { timer } | Activity::Backoff { timer } => self.clear_timer(*timer),
            Activity::Ready | Activity::Join(_) => {}
        }
        activity
    }

    fn call_off(&mut self, task: TaskId, call: &Call) {
        let started = |action: &Action| match action {
            Action::InvokeFunction { task: started, .. } | Action::StartExecution { task: started, .. } => {
                *started == task
            }
            _ => false,
        };
        if self.take_back(started) {
            return;
        }
        // A function that was invoked runs to its end, and its answer finds the task closed.
        if let Call::Execution { child, .. } = call {
            let parent = &self.execution.origin.identity.execution_arn;
            let cause = format!(
                "The Task state in AWS Step Functions execution [{parent}] which was managing this resource was aborted"
            );
            self.out.actions.push(Action::StopExecution { task, execution: child.clone(), cause });
        }
    }
}

/// The events of one type of state.
pub(super) struct Events {
    pub(super) entered: HistoryEventType,
    pub(super) exited: Option<HistoryEventType>,
    pub(super) aborted: Option<HistoryEventType>,
}

impl Events {
    pub(super) fn of(state: &State) -> Self {
        use HistoryEventType as E;
        let (entered, exited, aborted) = match &state.kind {
            Kind::Task(_) => (E::TaskStateEntered, Some(E::TaskStateExited), Some(E::TaskStateAborted)),
            Kind::Choice(_) => (E::ChoiceStateEntered, Some(E::ChoiceStateExited), None),
            Kind::Map(_) => (E::MapStateEntered, Some(E::MapStateExited), Some(E::MapStateAborted)),
            Kind::Parallel { .. } => {
                (E::ParallelStateEntered, Some(E::ParallelStateExited), Some(E::ParallelStateAborted))
            }
            Kind::Pass => (E::PassStateEntered, Some(E::PassStateExited), None),
            Kind::WaitSeconds(_) | Kind::WaitUntil(_) => {
                (E::WaitStateEntered, Some(E::WaitStateExited), Some(E::WaitStateAborted))
            }
            Kind::Succeed => (E::SucceedStateEntered, Some(E::SucceedStateExited), None),
            Kind::Fail { .. } => (E::FailStateEntered, None, None),
        };
        Self { entered, exited, aborted }
    }
}
