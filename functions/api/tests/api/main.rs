//! Every route over a real table, a real machine and real objects.

#![allow(clippy::unwrap_used, reason = "what a test builds on has to work")]

mod looking;
mod runners;
mod starting;
mod world;
