//! A world for one execution: a clock, functions that answer when told to, timers that fire when time passes.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use states_language::{
    Action, ChildExecution, Env, Event, Execution, HistoryEvent, Identity, Ignored, Machine, Outcome, Status, Step,
    TaskId, TimerId, step,
};

/// 2026-01-01T00:00:00Z.
pub(crate) const EPOCH_MS: i64 = 1_767_225_600_000;

/// A clock that stands still and chance that repeats.
#[derive(Debug, Clone)]
pub(crate) struct Fixed {
    pub(crate) now_ms: i64,
    drawn: u64,
}

impl Fixed {
    pub(crate) fn new() -> Self {
        Self { now_ms: EPOCH_MS, drawn: 0 }
    }

    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn
    }
}

impl Env for Fixed {
    fn now_ms(&self) -> i64 {
        self.now_ms
    }

    fn random(&mut self) -> f64 {
        (self.draw() % 8) as f64 / 8.0
    }

    fn token(&mut self) -> String {
        format!("token-{}", self.draw())
    }

    fn uuid(&mut self) -> String {
        format!("00000000-0000-4000-8000-{:012}", self.draw())
    }
}

pub(crate) fn identity() -> Identity {
    Identity {
        execution_arn: "arn:aws:states:eu-west-1:000000000000:execution:pipeline:run-1".to_owned(),
        execution_name: "run-1".to_owned(),
        machine_arn: "arn:aws:states:eu-west-1:000000000000:stateMachine:pipeline".to_owned(),
        machine_name: "pipeline".to_owned(),
        role_arn: "arn:aws:iam::000000000000:role/pipeline".to_owned(),
    }
}

/// One execution and what its driver would hold. It is written out and read back before every step.
pub(crate) struct World {
    machine: Machine,
    pub(crate) execution: Execution,
    pub(crate) env: Fixed,
    pub(crate) timers: BTreeMap<TimerId, i64>,
    /// Every action, in order.
    pub(crate) actions: Vec<Action>,
    /// Calls without an answer.
    pub(crate) calls: Vec<Action>,
    /// Child executions that were called off.
    pub(crate) stopped: Vec<Action>,
    pub(crate) history: Vec<HistoryEvent>,
    pub(crate) outcome: Option<Outcome>,
}

/// A machine of these states, beginning with `start`.
pub(crate) fn machine(start: &str, states: Value) -> String {
    json!({ "QueryLanguage": "JSONata", "StartAt": start, "States": states }).to_string()
}

/// A Task that invokes a function with the state's input.
pub(crate) fn invoke(function: &str, more: Value) -> Value {
    let mut state = json!({
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Arguments": { "FunctionName": function, "Payload": "{% $states.input %}" },
    });
    merge(&mut state, more);
    state
}

/// A Task that hands its token to a function and waits.
pub(crate) fn callback(function: &str, more: Value) -> Value {
    let mut state = json!({
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
        "Arguments": { "FunctionName": function, "Payload": { "token": "{% $states.context.Task.Token %}" } },
        "TimeoutSeconds": 600,
    });
    merge(&mut state, more);
    state
}

fn merge(state: &mut Value, more: Value) {
    let (Value::Object(state), Value::Object(more)) = (state, more) else { panic!("objects only") };
    state.extend(more);
}

impl World {
    pub(crate) fn start(definition: &str, input: Value) -> Self {
        let machine = Machine::parse(definition).unwrap_or_else(|problems| panic!("{problems:#?}"));
        let mut world = Self {
            machine,
            execution: Execution::new(identity(), input),
            env: Fixed::new(),
            timers: BTreeMap::new(),
            actions: Vec::new(),
            calls: Vec::new(),
            stopped: Vec::new(),
            history: Vec::new(),
            outcome: None,
        };
        world.send(Event::Start);
        world
    }

    /// Runs to the end without any outside help.
    pub(crate) fn run(definition: &str, input: Value) -> Outcome {
        Self::start(definition, input).outcome.expect("the execution is over")
    }

    pub(crate) fn send(&mut self, event: Event) -> Step {
        let text = serde_json::to_string(&self.execution).expect("an execution can be written");
        let read: Execution = serde_json::from_str(&text).expect("what was written can be read");
        self.execution = read.with_origin(self.execution.origin().clone());
        let step = step(&self.machine, &mut self.execution, event, &mut self.env);
        self.history.extend(step.history.iter().cloned());
        for action in step.actions.clone() {
            self.perform(action);
        }
        step
    }

    fn perform(&mut self, action: Action) {
        self.actions.push(action.clone());
        match action {
            Action::InvokeFunction { .. } | Action::StartExecution { .. } => self.calls.push(action),
            Action::StopExecution { .. } => self.stopped.push(action),
            Action::SetTimer { timer, due_ms } => {
                self.timers.insert(timer, due_ms);
            }
            Action::CancelTimer { timer } => {
                self.timers.remove(&timer).expect("only a set timer is cancelled");
            }
            Action::Finish(outcome) => {
                assert!(self.outcome.replace(outcome).is_none(), "an execution ends once");
            }
        }
    }

    /// The functions invoked and not answered, in order.
    pub(crate) fn waiting(&self) -> Vec<String> {
        self.calls.iter().map(name_of).collect()
    }

    /// Takes the oldest call of a function or machine off the list.
    pub(crate) fn take(&mut self, name: &str) -> Action {
        let position = self.calls.iter().position(|call| name_of(call) == name);
        let position = position.unwrap_or_else(|| panic!("{name} was not called: {:?}", self.waiting()));
        self.calls.remove(position)
    }

    pub(crate) fn payload(&self, function: &str) -> Value {
        let call = self.calls.iter().find(|call| name_of(call) == function).expect("the function was called");
        match call {
            Action::InvokeFunction { payload, .. } => payload.clone(),
            Action::StartExecution { input, .. } => input.clone(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn token(&self, function: &str) -> String {
        match self.calls.iter().find(|call| name_of(call) == function) {
            Some(Action::InvokeFunction { token: Some(token), .. }) => token.clone(),
            other => panic!("{other:?} carries no token"),
        }
    }

    /// The function returns.
    pub(crate) fn returns(&mut self, function: &str, output: Value) -> Step {
        let task = task_of(&self.take(function));
        self.send(Event::TaskSucceeded { task, output })
    }

    /// The function fails.
    pub(crate) fn fails(&mut self, function: &str, error: &str) -> Step {
        let task = task_of(&self.take(function));
        self.send(Event::TaskFailed { task, error: error.to_owned(), cause: format!("{function} said so") })
    }

    /// The child execution ends.
    pub(crate) fn child_ends(&mut self, machine: &str, outcome: Outcome) -> Step {
        let Action::StartExecution { task, machine, name, input } = self.take(machine) else { panic!("no child") };
        let child = ChildExecution {
            execution_arn: format!("{machine}/{name}"),
            name,
            machine_arn: machine,
            started_ms: self.env.now_ms,
            stopped_ms: self.env.now_ms + 1,
            input,
            outcome,
        };
        self.send(child.ended(task))
    }

    /// Lets the next timer fire; says how many seconds passed.
    pub(crate) fn next_timer(&mut self) -> f64 {
        let (&timer, &due) = self.timers.iter().min_by_key(|(timer, due)| (**due, **timer)).expect("a timer is set");
        let passed = due - self.env.now_ms;
        self.env.now_ms = due;
        self.timers.remove(&timer);
        self.send(Event::TimerFired { timer });
        passed as f64 / 1_000.0
    }

    /// Time passes; no timer may come due.
    pub(crate) fn pass(&mut self, seconds: i64) {
        self.env.now_ms += seconds * 1_000;
        assert!(self.timers.values().all(|due| *due > self.env.now_ms), "a timer came due");
    }

    pub(crate) fn ignores(&mut self, event: Event) -> Ignored {
        let before = self.execution.clone();
        let step = self.send(event);
        assert_eq!(self.execution, before, "an ignored event changes nothing");
        assert!(step.actions.is_empty() && step.history.is_empty());
        step.ignored.expect("the event means nothing")
    }

    pub(crate) fn output(&self) -> Value {
        let outcome = self.outcome.as_ref().expect("the execution is over");
        assert_eq!(outcome.status, Status::Succeeded, "{outcome:?}");
        outcome.output.clone().expect("a success has an output")
    }

    pub(crate) fn error(&self) -> &str {
        let outcome = self.outcome.as_ref().expect("the execution is over");
        assert_eq!(outcome.status, Status::Failed, "{outcome:?}");
        outcome.error.as_deref().unwrap_or_default()
    }

    pub(crate) fn cause(&self) -> &str {
        self.outcome.as_ref().and_then(|outcome| outcome.cause.as_deref()).unwrap_or_default()
    }

    pub(crate) fn events(&self) -> Vec<&'static str> {
        self.history.iter().map(|event| event.kind.as_str()).collect()
    }

    /// The details of the first event of this type.
    pub(crate) fn details(&self, kind: &str) -> Value {
        let event = self.history.iter().find(|event| event.kind.as_str() == kind).expect("it happened");
        event.details(true).into()
    }
}

pub(crate) fn succeeded(output: Value) -> Outcome {
    Outcome { status: Status::Succeeded, output: Some(output), error: None, cause: None }
}

pub(crate) fn failed(error: &str, cause: &str) -> Outcome {
    Outcome { status: Status::Failed, output: None, error: Some(error.to_owned()), cause: Some(cause.to_owned()) }
}

pub(crate) fn task_of(action: &Action) -> TaskId {
    match action {
        Action::InvokeFunction { task, .. } | Action::StartExecution { task, .. } => *task,
        other => panic!("{other:?} is no call"),
    }
}

fn name_of(action: &Action) -> String {
    match action {
        Action::InvokeFunction { function, .. } => function.clone(),
        Action::StartExecution { machine, .. } => machine.clone(),
        other => panic!("{other:?} is no call"),
    }
}
