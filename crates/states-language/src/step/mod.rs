//! One step: an event comes in, and the execution goes on until nothing can move without another.

mod enter;
mod join;
mod leave;
mod record;
mod task;

use std::collections::{BTreeMap, VecDeque};

use crate::data::Data;
use crate::definition::{Machine, State};
use crate::error::{self, Failure};
use crate::execution::{Activity, Branch, BranchId, Call, Parent, Purpose, ROOT};
use crate::history::Details;
use crate::{Action, Env, Event, Execution, HistoryEventType, Ignored, Outcome, Status, Step, TaskId, TimerId};

/// Takes one event and goes on until nothing can move without another.
///
/// A pure function of its arguments: the same machine, execution, event and answers of `env` give the same result. The
/// driver makes `execution` and the history durable, then performs the actions.
pub fn step(machine: &Machine, execution: &mut Execution, event: Event, env: &mut dyn Env) -> Step {
    let now = env.now_ms();
    let mut run = Run { machine, execution, env, now, out: Step::default(), ready: VecDeque::new(), overflow: false };
    match run.take(event) {
        Ok(()) => run.go_on(),
        Err(ignored) => run.out.ignored = Some(ignored),
    }
    run.out
}

/// A step under way.
struct Run<'a> {
    machine: &'a Machine,
    execution: &'a mut Execution,
    env: &'a mut dyn Env,
    now: i64,
    out: Step,
    /// Branches that are about to enter their state.
    ready: VecDeque<BranchId>,
    /// The history is full.
    overflow: bool,
}

impl Run<'_> {
    fn take(&mut self, event: Event) -> Result<(), Ignored> {
        match (&event, self.execution.started_ms) {
            (Event::Start, None) => {
                self.start();
                return Ok(());
            }
            (_, None) => return Err(Ignored::NotStarted),
            _ if self.execution.outcome.is_some() => return Err(Ignored::Ended),
            (Event::Start, Some(_)) => return Err(Ignored::AlreadyStarted),
            _ => {}
        }
        match event {
            Event::Start => {}
            Event::TaskSubmitted { task, output } => self.submitted(self.branch_of_task(task)?, output)?,
            Event::TaskSucceeded { task, output } => self.returned(self.branch_of_task(task)?, output)?,
            Event::TaskFailed { task, error, cause } => {
                let branch = self.branch_of_task(task)?;
                if self.handed_over(branch) {
                    return Err(Ignored::TaskClosed);
                }
                self.task_failed(branch, Failure::told(error, Some(cause)));
            }
            Event::TokenSucceeded { token, output } => self.task_succeeded(self.branch_of_token(&token)?, output),
            Event::TokenFailed { token, error, cause } => {
                self.task_failed(self.branch_of_token(&token)?, Failure::told(error, Some(cause)));
            }
            Event::TokenHeartbeat { token } => self.heartbeat(self.branch_of_token(&token)?),
            Event::TimerFired { timer } => self.fired(timer)?,
            Event::Stop { error, cause } => self.stop(error, cause),
        }
        Ok(())
    }

    fn go_on(&mut self) {
        while let Some(branch) = self.ready.pop_front() {
            if self.overflow {
                break;
            }
            // It may have been cancelled by a sibling since.
            if self.execution.branches.contains_key(&branch) {
                self.enter(branch);
            }
        }
        if self.overflow && self.execution.outcome.is_none() {
            let cause =
                format!("The execution reached the maximum number of history events ({}).", crate::MAX_HISTORY_EVENTS);
            self.fail_execution(&Failure::told(error::RUNTIME.to_owned(), Some(cause)));
        }
    }

    fn start(&mut self) {
        self.execution.started_ms = Some(self.now);
        let input = Data::new(self.execution.origin.input.clone());
        let role_arn = Some(self.execution.origin.identity.role_arn.clone());
        let started = Details { input: Some(input.text()), role_arn, ..Details::default() };
        let branch = self.new_branch(self.machine.start, input, None);
        debug_assert!(branch == ROOT);
        self.record(ROOT, HistoryEventType::ExecutionStarted, started);
        // AWS chains the first state's entry to nothing, not to the start.
        self.branch_mut(ROOT).last_event = 0;
        if let Some(seconds) = self.machine.timeout_seconds {
            self.set_timer(ROOT, Purpose::Execution, seconds.saturating_mul(1_000));
        }
    }

    fn fired(&mut self, timer: TimerId) -> Result<(), Ignored> {
        let due_ms = self.execution.timers.get(&timer).ok_or(Ignored::TimerClosed)?.due_ms;
        if due_ms > self.now {
            // A heartbeat moved it while the old time was on its way.
            self.out.actions.push(Action::SetTimer { timer, due_ms });
            return Ok(());
        }
        let Some(timer) = self.execution.timers.remove(&timer) else { return Err(Ignored::TimerClosed) };
        match timer.purpose {
            Purpose::Execution => self.time_out(),
            Purpose::Wait => self.complete(timer.branch, None),
            Purpose::Retry => self.begin(timer.branch),
            Purpose::Timeout => self.task_timed_out(timer.branch, false),
            Purpose::Heartbeat => self.task_timed_out(timer.branch, true),
        }
        Ok(())
    }

    fn stop(&mut self, error: Option<String>, cause: Option<String>) {
        let details = Details { error: error.clone(), cause: cause.clone(), ..Details::default() };
        let outcome = Outcome { status: Status::Aborted, output: None, error, cause };
        self.finish(outcome, HistoryEventType::ExecutionAborted, details);
    }

    fn time_out(&mut self) {
        let details = Details { error: Some(error::TIMEOUT.to_owned()), ..Details::default() };
        // As on AWS, only history names the error.
        let outcome = Outcome { status: Status::TimedOut, output: None, error: None, cause: None };
        self.finish(outcome, HistoryEventType::ExecutionTimedOut, details);
    }

    fn fail_execution(&mut self, failure: &Failure) {
        let details = Details::default().failed(failure);
        let error = Some(failure.error.clone()).filter(|error| !error.is_empty());
        let outcome = Outcome { status: Status::Failed, output: None, error, cause: failure.cause.clone() };
        self.finish(outcome, HistoryEventType::ExecutionFailed, details);
    }

    /// Ends the execution: whatever still runs is called off, silently as on AWS.
    fn finish(&mut self, outcome: Outcome, kind: HistoryEventType, details: Details) {
        let branches: Vec<BranchId> = self.execution.branches.keys().copied().collect();
        for branch in branches {
            self.settle(branch);
        }
        // As on AWS, a timeout follows from no event.
        let chained = kind != HistoryEventType::ExecutionTimedOut;
        let previous = self.execution.branches.get(&ROOT).filter(|_| chained).map_or(0, |root| root.last_event);
        self.append(previous, kind, details);
        let timers: Vec<TimerId> = self.execution.timers.keys().copied().collect();
        timers.into_iter().for_each(|timer| self.clear_timer(timer));
        self.execution.branches.clear();
        self.execution.outcome = Some(outcome.clone());
        self.out.actions.push(Action::Finish(outcome));
    }

    /// A branch at the beginning of its first state.
    fn new_branch(&mut self, state: usize, input: Data, parent: Option<Parent>) -> BranchId {
        let id = if parent.is_some() { BranchId(self.execution.next_id()) } else { ROOT };
        let branch = Branch {
            parent,
            variables: BTreeMap::new(),
            state,
            entered_ms: self.now,
            input,
            attempts: Vec::new(),
            entered_event: 0,
            last_event: 0,
            activity: Activity::Ready,
        };
        self.execution.branches.insert(id, branch);
        self.ready.push_back(id);
        id
    }

    fn branch(&self, id: BranchId) -> &Branch {
        &self.execution.branches[&id]
    }

    fn branch_mut(&mut self, id: BranchId) -> &mut Branch {
        self.execution.branches.get_mut(&id).expect("a branch is looked up before it is changed")
    }

    fn branch_of_task(&self, task: TaskId) -> Result<BranchId, Ignored> {
        let of_task = |activity: &Activity| matches!(activity, Activity::Task(attempt) if attempt.task == task);
        self.branch_where(of_task).ok_or(Ignored::TaskClosed)
    }

    fn branch_of_token(&self, wanted: &str) -> Result<BranchId, Ignored> {
        let of_token = |activity: &Activity| match activity {
            Activity::Task(attempt) => {
                matches!(&attempt.call, Call::Function { token: Some(token), .. } if token == wanted)
            }
            _ => false,
        };
        self.branch_where(of_token).ok_or(Ignored::TokenClosed)
    }

    fn branch_where(&self, wanted: impl Fn(&Activity) -> bool) -> Option<BranchId> {
        self.execution.branches.iter().find(|(_, branch)| wanted(&branch.activity)).map(|(id, _)| *id)
    }
}

impl<'a> Run<'a> {
    /// The state that a branch is in.
    fn state(&self, id: BranchId) -> &'a State {
        &self.machine.states[self.branch(id).state]
    }
}
