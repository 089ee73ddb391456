#![doc = include_str!("../README.md")]
#![allow(clippy::unwrap_used, missing_docs, reason = "a harness fails loudly, and its names say what they do")]

pub mod account;
pub mod alone;
pub mod asking;
#[cfg(feature = "world")]
pub mod contract;
pub mod demo;
#[cfg(feature = "world")]
pub mod deployed;
#[cfg(feature = "world")]
pub mod emulators;
pub mod gateway;
pub mod injection;
pub mod machines;
#[cfg(feature = "world")]
pub mod ministack;
#[cfg(feature = "world")]
pub mod parts;
pub mod programs;
pub mod provider;
mod recording;
pub mod running;
pub mod script;
pub mod served;
pub mod stage;
pub mod state;
pub mod team;
pub mod template;
pub mod world;

pub use provider::{Hitch, Provider};
pub use running::Running;
pub use script::Script;
pub use stage::Stage;
pub use world::{Ended, World};
