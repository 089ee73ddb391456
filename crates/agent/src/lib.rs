#![doc = include_str!("../README.md")]

pub mod ports;
mod role;

pub use role::{PathGuard, Role, ToolKind, Writes};
