#![doc = include_str!("../README.md")]

mod bench;
mod cache;
mod environment;
mod error;
mod folders;
mod inputs;
mod jobs;
mod languages;
mod leftovers;
mod preparation;
mod queue;
mod reading;
mod registries;
pub mod remote;
mod runner;
mod workspace;

pub use environment::find_toolchain;
pub use error::RunnerError;
pub use jobs::{Input, Jobs};
pub use leftovers::{Leftover, leftovers};
pub use queue::StoreJobs;
pub use runner::{Confinement, End, Runner};
