#![doc = include_str!("../README.md")]

mod bench;
mod cache;
mod environment;
mod error;
mod folders;
mod inputs;
mod preparation;
mod reading;
mod runner;
mod workspace;

pub use error::RunnerError;
pub use runner::Runner;
