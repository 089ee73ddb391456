#![doc = include_str!("../README.md")]

#[cfg(not(target_os = "linux"))]
compile_error!("the sandbox confines with Linux namespaces, Landlock and seccomp: build on Linux, or in a Linux VM");

mod capabilities;
mod capture;
mod cgroup;
mod child;
mod command;
mod run;
mod spec;
mod system;
pub mod toolchain;
mod view;

pub use capabilities::{Capabilities, Mode};
pub use child::run_if_child;
pub use command::{Command, Exit, Layer, Limit, Limits, Outcome, SandboxError};
pub use run::Sandbox;
pub use view::WORKSPACE;
