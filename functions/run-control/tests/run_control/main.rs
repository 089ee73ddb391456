//! Every action on a real table and a real object store, taken twice.

#![allow(clippy::unwrap_used, reason = "what a test builds on has to work")]

mod admission;
mod change;
mod ending;
mod planning;
mod resumption;
mod rounds;
mod settings;
mod setup;
mod world;
