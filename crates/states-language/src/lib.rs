#![doc = include_str!("../README.md")]

mod child;
mod definition;
mod error;
mod event;
mod execution;
mod history;
mod present;

pub use child::ChildExecution;
pub use definition::{Machine, Problem};
pub use event::{Action, Env, Event, Ignored, Outcome, Step, TaskId, TimerId};
pub use execution::{Execution, Identity, Status};
pub use history::{HistoryEvent, HistoryEventType, MAX_HISTORY_EVENTS};

/// Takes one event and goes on until nothing can move without another.
///
/// A pure function of its arguments: the same machine, execution, event and answers of `env` give the same result. The
/// driver makes `execution` and the history durable, then performs the actions.
pub fn step(machine: &Machine, execution: &mut Execution, event: Event, env: &mut dyn Env) -> Step {
    unimplemented!("{machine:?} {execution:?} {event:?} {}", env.now_ms())
}
