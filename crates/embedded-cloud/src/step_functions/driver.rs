//! The driver: one actor for each execution that has something to do.
//!
//! An actor takes one event at a time, steps, commits, then performs. It lives while its inbox holds mail or its
//! invocations are under way; otherwise it goes, and the next event brings it back from the log.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};

use run_model::{Clock, Randomness};
use states_language::{Action, Event, Execution, HistoryEvent, Ignored, Machine, Status, TimerId};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinSet;

use super::chance::Chance;
use super::invocation::Invocation;
use super::log::{Log, lock};
use super::records::{self, Recorded, Transition};
use super::timers::Timers;
use super::{EngineError, Options, Place, StatusChange};
use crate::Functions;

/// Status changes a subscriber may lag behind.
const LAG: usize = 1024;

/// Room for most states and for the history of most transitions, so that writing them down seldom grows a buffer.
const TYPICAL_BYTES: usize = 4096;

/// Everything the executions share.
pub(super) struct Engine {
    pub(super) path: PathBuf,
    pub(super) place: Place,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) randomness: Arc<dyn Randomness>,
    pub(super) log: Log,
    pub(super) timers: Timers,
    pub(super) changes: broadcast::Sender<Arc<StatusChange>>,
    pub(super) last_id: AtomicI64,
    /// Parsed definitions by machine and version.
    pub(super) machines: Mutex<HashMap<(String, i64), Arc<Machine>>>,
    /// Who waits for the end of an execution.
    pub(super) waiters: Mutex<HashMap<i64, Vec<records::Parent>>>,
    running: Mutex<Option<Running>>,
    inboxes: Mutex<HashMap<i64, mpsc::UnboundedSender<Mail>>>,
    /// Executions that run and were not taken up yet, with who started them. What reaches them is recorded; nothing is
    /// set off.
    pub(super) asleep: Mutex<HashMap<i64, Option<records::Parent>>>,
}

/// What an engine has between start and close.
struct Running {
    functions: Functions,
    tasks: JoinSet<()>,
}

/// One event on its way to an execution.
pub(super) struct Mail {
    /// None if an invocation ended without an answer, or to take the execution up.
    event: Option<Event>,
    /// Whether it takes up an execution that sleeps.
    wakes: bool,
    reply: Option<oneshot::Sender<Result<Option<Ignored>, EngineError>>>,
    /// Whether it answers an invocation.
    returns: bool,
}

impl Mail {
    pub(super) fn new(event: Event) -> Self {
        Mail { event: Some(event), wakes: false, reply: None, returns: false }
    }

    /// To go on with what was under way.
    pub(super) fn waking() -> Self {
        Mail { event: None, wakes: true, reply: None, returns: false }
    }

    /// The end of an invocation that the actor counts.
    pub(super) fn returning(event: Option<Event>) -> Self {
        Mail { event, wakes: false, reply: None, returns: true }
    }
}

/// An execution in memory.
pub(super) struct Live {
    pub(super) id: i64,
    pub(super) machine: Arc<Machine>,
    pub(super) execution: Execution,
    /// When it ended, in milliseconds since the Unix epoch.
    pub(super) stopped_ms: Option<i64>,
    /// Invocations under way; while there are any, the execution stays in memory.
    pub(super) invocations: usize,
}

impl Engine {
    pub(super) fn open(options: Options) -> Result<Self, EngineError> {
        let log = Log::open(&options.path, options.commit_hook)?;
        let last_id = AtomicI64::new(log.read(records::last_id)?);
        Ok(Engine {
            path: options.path,
            place: options.place,
            clock: options.clock,
            randomness: options.randomness,
            log,
            timers: Timers::default(),
            changes: broadcast::channel(LAG).0,
            last_id,
            machines: Mutex::default(),
            waiters: Mutex::default(),
            running: Mutex::default(),
            inboxes: Mutex::default(),
            asleep: Mutex::default(),
        })
    }

    /// Begins to drive; false if it was driving already.
    pub(super) fn run(&self, functions: Functions) -> bool {
        let mut running = lock(&self.running);
        let idle = running.is_none();
        if idle {
            *running = Some(Running { functions, tasks: JoinSet::new() });
        }
        idle
    }

    pub(super) fn functions(&self) -> Result<Functions, EngineError> {
        lock(&self.running).as_ref().map(|running| running.functions.clone()).ok_or(EngineError::NotRunning)
    }

    /// Runs a task that ends with the engine; drops it if the engine has ended.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(running) = lock(&self.running).as_mut() {
            while let Some(ended) = running.tasks.try_join_next() {
                if let Err(error) = ended {
                    tracing::error!(%error, "a task of the Step Functions engine failed");
                }
            }
            running.tasks.spawn(task);
        }
    }

    /// Stops everything and closes the log; answers the tasks that are being stopped.
    pub(super) fn shut(&self) -> Option<JoinSet<()>> {
        let mut stopped = lock(&self.running).take();
        if let Some(running) = &mut stopped {
            running.tasks.abort_all();
        }
        self.log.close();
        stopped.map(|running| running.tasks)
    }

    /// Hands an event to an execution, bringing it into memory if it is not.
    pub(super) fn deliver(self: &Arc<Self>, id: i64, mail: Mail) {
        let mut inboxes = lock(&self.inboxes);
        let undelivered = match inboxes.get(&id) {
            Some(inbox) => inbox.send(mail).err().map(|refused| refused.0),
            None => Some(mail),
        };
        if let Some(mail) = undelivered {
            let (inbox, mails) = mpsc::unbounded_channel();
            // Cannot fail: the receiver is in our hands.
            let _ = inbox.send(mail);
            inboxes.insert(id, inbox);
            self.spawn(self.clone().attend(id, None, mails));
        }
    }

    /// Hands an event to an execution and waits until what follows from it is durable; answers why it was ignored, if so.
    pub(super) async fn ask(self: &Arc<Self>, id: i64, event: Event) -> Result<Option<Ignored>, EngineError> {
        let (reply, answer) = oneshot::channel();
        self.deliver(id, Mail { reply: Some(reply), ..Mail::new(event) });
        answer.await.map_err(|_| EngineError::NotRunning)?
    }

    /// Opens the inbox of an execution that is about to be recorded.
    pub(super) fn reserve(&self, id: i64) -> mpsc::UnboundedReceiver<Mail> {
        let (inbox, mails) = mpsc::unbounded_channel();
        lock(&self.inboxes).insert(id, inbox);
        mails
    }

    /// Closes an inbox whose execution came to nothing.
    pub(super) fn release(&self, id: i64) {
        lock(&self.inboxes).remove(&id);
    }

    /// The actor of one execution.
    pub(super) async fn attend(self: Arc<Self>, id: i64, live: Option<Live>, mut mails: mpsc::UnboundedReceiver<Mail>) {
        let mut live = match live {
            Some(live) => Ok(Some(live)),
            None => self.load(id),
        };
        while let Some(mail) = self.next(id, &live, &mut mails).await {
            if let Ok(Some(live)) = &mut live {
                live.invocations = live.invocations.saturating_sub(usize::from(mail.returns));
                if mail.wakes && lock(&self.asleep).remove(&id).is_some() {
                    let pending = live.execution.pending_actions();
                    self.perform(live, pending);
                }
            }
            let Some(event) = mail.event else { continue };
            let outcome = match &mut live {
                Ok(Some(live)) => self.advance(live, event).await,
                Ok(None) => Ok(Some(Ignored::Ended)),
                Err(error) => Err(error.clone()),
            };
            match mail.reply {
                Some(reply) => drop(reply.send(outcome)),
                None => {
                    if let Err(error) = outcome {
                        tracing::error!(execution = id, %error, "an event of an execution is lost until the next start");
                    }
                }
            }
        }
    }

    /// The next event; none when the execution may leave memory.
    async fn next(
        &self,
        id: i64,
        live: &Result<Option<Live>, EngineError>,
        mails: &mut mpsc::UnboundedReceiver<Mail>,
    ) -> Option<Mail> {
        if let Ok(mail) = mails.try_recv() {
            return Some(mail);
        }
        if live.as_ref().is_ok_and(|live| live.as_ref().is_some_and(|live| live.invocations > 0)) {
            return mails.recv().await;
        }
        let mut inboxes = lock(&self.inboxes);
        // Under the lock nobody can send: what is not here now will find no inbox and call a new actor.
        let last = mails.try_recv().ok();
        if last.is_none() {
            inboxes.remove(&id);
        }
        last
    }

    /// Reads an execution that runs from the log; none if it has ended or never was.
    pub(super) fn load(&self, id: i64) -> Result<Option<Live>, EngineError> {
        let recorded = self.log.read(|connection| records::execution(connection, id))?;
        recorded.filter(Recorded::runs).map(|recorded| self.revive(&recorded)).transpose()
    }

    /// The execution of a row, ready to be stepped.
    pub(super) fn revive(&self, recorded: &Recorded) -> Result<Live, EngineError> {
        let execution = self.state(recorded)?;
        let machine = self.machine(recorded)?;
        Ok(Live { id: recorded.id, machine, execution, stopped_ms: None, invocations: 0 })
    }

    /// The state of a row.
    pub(super) fn state(&self, recorded: &Recorded) -> Result<Execution, EngineError> {
        let unreadable = |error: serde_json::Error| self.unreadable(recorded, error.to_string());
        let state: Execution = serde_json::from_slice(&recorded.state).map_err(unreadable)?;
        Ok(state.with_origin(serde_json::from_slice(&recorded.origin).map_err(unreadable)?))
    }

    pub(super) fn unreadable(&self, recorded: &Recorded, reason: String) -> EngineError {
        let execution = self.place.execution_arn(&recorded.machine, &recorded.name);
        EngineError::Unreadable { execution, reason, path: self.path.clone() }
    }

    /// One transition: step, commit, perform.
    async fn advance(self: &Arc<Self>, live: &mut Live, event: Event) -> Result<Option<Ignored>, EngineError> {
        let (actions, transition) = match self.step(live, event)? {
            Ok(moved) => moved,
            Err(ignored) => return Ok(Some(ignored)),
        };
        self.log.write(move |connection| records::advance(connection, &transition)).await?;
        self.perform(live, actions);
        Ok(None)
    }

    /// Steps an execution; answers what to record and then to do, or why the event meant nothing.
    pub(super) fn step(
        &self,
        live: &mut Live,
        event: Event,
    ) -> Result<Result<(Vec<Action>, Transition), Ignored>, EngineError> {
        let mut chance = Chance { randomness: &*self.randomness, id: live.id, now_ms: self.clock.now_ms() };
        let step = states_language::step(&live.machine, &mut live.execution, event, &mut chance);
        if let Some(ignored) = step.ignored {
            return Ok(Err(ignored));
        }
        let end = match live.execution.status() {
            Status::Running => None,
            ended => Some((ended, chance.now_ms)),
        };
        live.stopped_ms = end.map(|(_, stopped_ms)| stopped_ms);
        let state = self.encode(live, &live.execution)?;
        let events = match step.history.first() {
            Some(HistoryEvent { id, .. }) => Some((*id, self.encode(live, &step.history)?)),
            None => None,
        };
        Ok(Ok((step.actions, Transition { execution: live.id, state, end, events })))
    }

    pub(super) fn encode(&self, live: &Live, value: &impl serde::Serialize) -> Result<Vec<u8>, EngineError> {
        let mut text = Vec::with_capacity(TYPICAL_BYTES);
        serde_json::to_writer(&mut text, value).map_err(|error| EngineError::Unreadable {
            execution: live.execution.identity().execution_arn.clone(),
            reason: format!("its state cannot be written down: {error}"),
            path: self.path.clone(),
        })?;
        Ok(text)
    }

    /// Sets off what a committed transition asked for. Nothing here waits.
    pub(super) fn perform(self: &Arc<Self>, live: &mut Live, mut actions: Vec<Action>) {
        if lock(&self.asleep).contains_key(&live.id) {
            // The state that was recorded says them again to whoever takes the execution up.
            actions.retain(|action| !begins_something(action));
        }
        live.invocations += actions.iter().filter(|action| matches!(action, Action::InvokeFunction { .. })).count();
        self.set_off(live, actions);
    }

    /// Sets off what was recorded.
    pub(super) fn set_off(self: &Arc<Self>, live: &Live, actions: Vec<Action>) {
        // A call that is waited for here times out by the time that it takes, whatever the clock says: see `invoke`.
        let bounds: Vec<TimerId> = actions.iter().filter_map(|action| call_of(live, action)).collect();
        let timers = actions.iter().filter_map(timer_of).filter(|(timer, _)| !bounds.contains(timer));
        self.timers.set(live.id, timers);
        actions.into_iter().for_each(|action| self.set_off_one(live, action));
    }

    fn set_off_one(self: &Arc<Self>, live: &Live, action: Action) {
        let (engine, id) = (self.clone(), live.id);
        match action {
            Action::InvokeFunction { task, mut function, qualifier, payload, token } => {
                let is_waited_for = token.is_none();
                if let Some(qualifier) = qualifier {
                    function = format!("{function}:{qualifier}");
                }
                let timeout = live.execution.task_timeout(task);
                self.spawn(engine.invoke(Invocation {
                    execution: id,
                    task,
                    function,
                    payload,
                    timeout,
                    is_waited_for,
                }));
            }
            Action::StartExecution { task, machine, name, input } => {
                self.spawn(engine.start_child(records::Parent { execution: id, task }, machine, name, input));
            }
            Action::StopExecution { execution: Some(child), cause, .. } => {
                self.spawn(engine.stop_child(child, cause));
            }
            // A child that has not been reported yet is stopped when its report finds the task closed.
            Action::StopExecution { execution: None, .. } => {}
            Action::SetTimer { .. } | Action::CancelTimer { .. } => {}
            Action::Finish(_) => self.finished(live),
        }
    }

    fn finished(self: &Arc<Self>, live: &Live) {
        self.timers.cancel_all(live.id);
        if let Some(stopped_ms) = live.stopped_ms {
            self.child_ended(live.id, &live.execution, stopped_ms);
        }
        self.publish(&live.execution, live.stopped_ms);
    }

    /// Tells subscribers that an execution began or, at `stop_ms`, ended.
    pub(super) fn publish(&self, execution: &Execution, stop_ms: Option<i64>) {
        if self.changes.receiver_count() > 0 {
            // A send fails only when the last subscriber has just gone.
            let _ = self.changes.send(Arc::new(StatusChange::of(execution, stop_ms)));
        }
    }
}

/// The timer of a call whose answer is the task's.
fn call_of(live: &Live, action: &Action) -> Option<TimerId> {
    let Action::InvokeFunction { task, token: None, .. } = action else { return None };
    live.execution.task_timeout(*task).map(|(timer, _)| timer)
}

/// The timer that an action is about, and its moment unless it is cancelled.
fn timer_of(action: &Action) -> Option<(TimerId, Option<i64>)> {
    match action {
        Action::SetTimer { timer, due_ms } => Some((*timer, Some(*due_ms))),
        Action::CancelTimer { timer } => Some((*timer, None)),
        _ => None,
    }
}

fn begins_something(action: &Action) -> bool {
    matches!(action, Action::InvokeFunction { .. } | Action::StartExecution { .. } | Action::SetTimer { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FunctionRegistry;
    use crate::step_functions::StepFunctions;
    use run_model::time::{SeededRandomness, VirtualClock};
    use serde_json::json;

    #[tokio::test]
    async fn executions_that_wait_leave_memory_and_come_back() {
        let wait = json!({ "Type": "Wait", "Seconds": 60, "End": true });
        let machine = json!({ "QueryLanguage": "JSONata", "StartAt": "Wait", "States": { "Wait": wait } });
        let folder = tempfile::tempdir().unwrap();
        let clock = VirtualClock::at(0);
        let chance = Arc::new(SeededRandomness::new(1));
        let mut options = Options::new(folder.path().join("log"), Arc::new(clock.clone()), chance);
        options.machines = vec![("m".into(), machine.to_string())];
        let engine = StepFunctions::open(options).await.unwrap();
        engine.start(FunctionRegistry::new()).unwrap();
        let mut changes = engine.subscribe();
        let arn = engine.place().machine_arn("m");
        for _ in 0..20 {
            engine.handle("StartExecution", json!({ "stateMachineArn": arn })).await.unwrap();
            assert_eq!(changes.recv().await.unwrap().status, "RUNNING");
        }
        while !lock(&engine.0.0.inboxes).is_empty() {
            tokio::task::yield_now().await;
        }
        clock.advance(60_000);
        for _ in 0..20 {
            assert_eq!(changes.recv().await.unwrap().status, "SUCCEEDED");
        }
    }
}
