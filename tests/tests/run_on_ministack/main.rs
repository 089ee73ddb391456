//! Whole runs through the deployed programs: asked for, decided and looked at over HTTP, checked by `gatewright runner`.
#![cfg(feature = "world")]
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

mod comparing;
mod deciding;
mod demo;
mod disturbing;
mod many;
mod memory;
mod stage;
