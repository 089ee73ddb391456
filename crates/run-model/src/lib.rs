#![doc = include_str!("../README.md")]

pub mod budget;
pub mod change_set;
pub mod claim;
pub mod dependencies;
pub mod design;
pub mod diff;
pub mod evidence;
pub mod failure;
pub mod gate;
pub mod ids;
pub mod judge;
pub mod person;
pub mod plan;
pub mod repositories;
pub mod risk;
pub mod run;
pub mod scan;
pub mod snapshot;
pub mod time;
pub mod verdict;

pub use failure::{ErrorName, FunctionError};
pub use ids::{GateId, JobId, RepoPath, RunId, SessionId, Sha256, Sha256Sum, TaskId};
pub use time::{Clock, Randomness};
