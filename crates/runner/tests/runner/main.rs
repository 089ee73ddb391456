//! Jobs in a real table, measured by real commands in a real sandbox.
#![allow(clippy::unwrap_used, reason = "what a test helper cannot do fails the test")]

mod measuring;
mod preparing;
mod refusing;
mod reporting;
mod telling;
mod world;
