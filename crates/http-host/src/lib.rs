#![doc = include_str!("../README.md")]

mod answer;
mod caller;
mod request;

pub use answer::Answer;
pub use caller::{person, runner};
pub use request::{Group, LONGEST_BODY, Request};
