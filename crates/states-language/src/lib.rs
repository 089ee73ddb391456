#![doc = include_str!("../README.md")]

mod child;
mod context;
mod data;
mod definition;
mod error;
mod event;
mod execution;
mod history;
mod present;
mod query;
mod retry;
mod step;
mod time;

pub use child::ChildExecution;
pub use data::MAX_PAYLOAD_BYTES;
pub use definition::{Machine, Problem};
pub use event::{Action, Env, Event, Ignored, Outcome, Step, TaskId, TimerId};
pub use execution::{Execution, Identity, Origin, Status};
pub use history::{HistoryEvent, HistoryEventType, MAX_HISTORY_EVENTS};
pub use step::step;
