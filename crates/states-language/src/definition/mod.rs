//! The definition of a state machine: what the text says, checked and ready to run.

mod check;
mod fields;
mod parse;
mod refused;
mod states;

use std::collections::BTreeSet;

use serde_json::Value;
use thiserror::Error;

use crate::query::Template;

/// Something in a definition that keeps it from running here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{path}: {message}")]
pub struct Problem {
    /// Where, such as `States.Plan.Retry[0]`; `definition` for the whole.
    pub path: String,
    /// Names the field, the value and the cure.
    pub message: String,
}

/// A checked state machine with its expressions parsed. Immutable, `Send` and `Sync`: parse it once and share it.
#[derive(Debug)]
pub struct Machine {
    pub(crate) timeout_seconds: Option<i64>,
    pub(crate) start: usize,
    /// All states of the machine and of its branches and processors.
    pub(crate) states: Vec<State>,
}

impl Machine {
    /// Reads a definition.
    ///
    /// # Errors
    /// Every problem found, in the order of the text. What Step Functions accepts and this crate does not run (JSONPath,
    /// Distributed Map, other service integrations) is a problem too, refused by name.
    pub fn parse(definition: &str) -> Result<Self, Vec<Problem>> {
        parse::machine(definition)
    }

    /// The error names that its `Retry` and `Catch` look for, those of the language (`States.`) left out.
    pub fn error_names(&self) -> BTreeSet<&str> {
        let retried = self.states.iter().flat_map(|state| &state.retry).flat_map(|retrier| &retrier.errors);
        let caught = self.states.iter().flat_map(|state| &state.catch).flat_map(|catcher| &catcher.errors);
        retried.chain(caught).map(String::as_str).filter(|name| !name.starts_with("States.")).collect()
    }

    /// The functions and state machines that its tasks name literally, as written.
    pub fn callees(&self) -> BTreeSet<&str> {
        self.states.iter().filter_map(|state| state.callee()).collect()
    }
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) after: After,
    pub(crate) retry: Vec<Retrier>,
    pub(crate) catch: Vec<Catcher>,
}

/// What happens when a state, a choice rule or a catcher is done.
#[derive(Debug)]
pub(crate) struct After {
    pub(crate) assign: Option<Template>,
    pub(crate) output: Option<Template>,
    /// The next state; `None` ends the branch.
    pub(crate) next: Option<usize>,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Task(Task),
    Choice(Choice),
    Map(MapState),
    Parallel { arguments: Option<Template>, starts: Vec<usize> },
    Pass,
    WaitSeconds(Template),
    WaitUntil(Template),
    Succeed,
    Fail { error: Option<Template>, cause: Option<Template> },
}

#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) resource: Resource,
    pub(crate) arguments: Template,
    pub(crate) timeout_seconds: Option<Template>,
    pub(crate) heartbeat_seconds: Option<Template>,
}

/// The service integrations that run here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    Function,
    FunctionCallback,
    Execution,
}

#[derive(Debug)]
pub(crate) struct Choice {
    /// Conditions, and what follows the first that holds.
    pub(crate) rules: Vec<(Template, After)>,
    /// Whether [`State::after`] is a `Default`.
    pub(crate) default: bool,
}

#[derive(Debug)]
pub(crate) struct MapState {
    pub(crate) items: Option<Template>,
    pub(crate) selector: Option<Template>,
    pub(crate) concurrency: Option<Template>,
    pub(crate) start: usize,
    /// Whether any iteration reads `$states.context.Map.Item.Value`, so that the items have to be kept.
    pub(crate) keeps_item: bool,
}

#[derive(Debug)]
pub(crate) struct Retrier {
    pub(crate) errors: Vec<String>,
    pub(crate) interval_seconds: f64,
    pub(crate) backoff_rate: f64,
    pub(crate) max_attempts: u32,
    pub(crate) max_delay_seconds: Option<f64>,
    pub(crate) full_jitter: bool,
}

#[derive(Debug)]
pub(crate) struct Catcher {
    pub(crate) errors: Vec<String>,
    pub(crate) after: After,
}

impl Resource {
    /// The ARN as written in `Resource`.
    pub(crate) const ALL: [(&'static str, Self); 3] = [
        ("arn:aws:states:::lambda:invoke", Self::Function),
        ("arn:aws:states:::lambda:invoke.waitForTaskToken", Self::FunctionCallback),
        ("arn:aws:states:::states:startExecution.sync:2", Self::Execution),
    ];

    /// `resourceType` and `resource` as history shows them.
    pub(crate) fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Function => ("lambda", "invoke"),
            Self::FunctionCallback => ("lambda", "invoke.waitForTaskToken"),
            Self::Execution => ("states", "startExecution.sync:2"),
        }
    }

    /// The members of `Arguments`: which one must be there, and all that may.
    pub(crate) fn arguments(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Function | Self::FunctionCallback => ("FunctionName", &["FunctionName", "Payload", "Qualifier"]),
            Self::Execution => ("StateMachineArn", &["StateMachineArn", "Input", "Name"]),
        }
    }
}

impl State {
    fn callee(&self) -> Option<&str> {
        let Kind::Task(task) = &self.kind else { return None };
        let (member, _) = task.resource.arguments();
        let argument = match &task.arguments {
            Template::Object(members) => members.iter().find(|(name, _)| name == member).map(|(_, value)| value)?,
            Template::Literal(value) => return value.get(member)?.as_str(),
            _ => return None,
        };
        match argument {
            Template::Literal(Value::String(name)) => Some(name),
            _ => None,
        }
    }

    /// Every template of the state, those of rules and catchers included.
    pub(crate) fn templates(&self) -> Vec<&Template> {
        let mut all = Vec::new();
        match &self.kind {
            Kind::Task(task) => {
                all.push(&task.arguments);
                all.extend(task.timeout_seconds.iter().chain(&task.heartbeat_seconds));
            }
            Kind::Choice(choice) => {
                for (condition, after) in &choice.rules {
                    all.push(condition);
                    all.extend(after.templates());
                }
            }
            Kind::Map(map) => all.extend(map.items.iter().chain(&map.selector).chain(&map.concurrency)),
            Kind::Parallel { arguments, .. } => all.extend(arguments),
            Kind::WaitSeconds(template) | Kind::WaitUntil(template) => all.push(template),
            Kind::Fail { error, cause } => all.extend(error.iter().chain(cause)),
            Kind::Pass | Kind::Succeed => {}
        }
        all.extend(self.after.templates());
        all.extend(self.catch.iter().flat_map(|catcher| catcher.after.templates()));
        all
    }

    /// The states of its own graph that can follow it.
    pub(crate) fn successors(&self) -> Vec<usize> {
        let mut all: Vec<usize> = self.after.next.into_iter().collect();
        if let Kind::Choice(choice) = &self.kind {
            all.extend(choice.rules.iter().filter_map(|(_, after)| after.next));
        }
        all.extend(self.catch.iter().filter_map(|catcher| catcher.after.next));
        all
    }

    /// Every `Assign` of the state.
    pub(crate) fn assigned(&self) -> impl Iterator<Item = &str> {
        let rules: &[(Template, After)] = match &self.kind {
            Kind::Choice(choice) => &choice.rules,
            _ => &[],
        };
        let rules = rules.iter().map(|(_, after)| after);
        let catchers = self.catch.iter().map(|catcher| &catcher.after);
        let templates =
            std::iter::once(&self.after).chain(rules).chain(catchers).filter_map(|after| after.assign.as_ref());
        templates.filter_map(Template::members).flatten()
    }
}

impl After {
    /// The end of a branch, with nothing to evaluate.
    pub(crate) const END: Self = Self { assign: None, output: None, next: None };

    fn templates(&self) -> impl Iterator<Item = &Template> {
        self.assign.iter().chain(&self.output)
    }
}
