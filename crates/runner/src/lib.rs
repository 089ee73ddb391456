#![doc = include_str!("../README.md")]

mod bench;
mod cache;
mod environment;
mod error;
mod folders;
mod inputs;
mod jobs;
mod preparation;
mod queue;
mod reading;
pub mod remote;
mod runner;
mod workspace;

pub use error::RunnerError;
pub use jobs::{Input, Jobs};
pub use queue::StoreJobs;
pub use runner::{Confinement, End, Runner};
