//! The engine as its users see it: machines run, processes die, clocks jump.
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

mod api;
mod concurrency;
mod every_state;
mod nested;
mod restart;
mod timers;
mod world;
