#![doc = include_str!("../README.md")]

mod assemble;
mod credentials;
mod defaults;
mod detect;
mod error;
mod path_rules;
mod project_file;
mod render;
mod run;
mod section;
mod server;

pub use assemble::Overrides;
pub use detect::{Detected, READ_BY_DETECTION, detect};
pub use error::ConfigError;
pub use path_rules::PathRules;
pub use project_file::ProjectFile;
pub use render::render_toml;
pub use run::{
    CheckSpec, CommandSpec, Limits, ModelPrice, Project, Provider, RUN_CONFIG_SCHEMA, RoleModel, RunConfig,
    SandboxMode, TestFormat,
};
pub use server::{check_server, is_on_this_machine, is_the_providers_own};
