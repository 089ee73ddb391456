#![doc = include_str!("../README.md")]

mod environment;
mod https;
pub mod logs;
mod outside;
mod program;
mod serve;
#[cfg(feature = "testing")]
pub mod testing;

pub use environment::{Environment, HostError, names_from_environment, sdk_config_from_environment};
pub use outside::{OsRandomness, SystemClock};
pub use program::{Serve, serve_handler};
pub use serve::serve;
