#![doc = include_str!("../README.md")]

mod defaults;
mod error;
mod path_rules;
mod run;

pub use error::ConfigError;
pub use path_rules::PathRules;
pub use run::{
    CheckSpec, CommandSpec, Limits, ModelPrice, Project, Provider, RUN_CONFIG_SCHEMA, RoleModel, RunConfig,
    SandboxMode, TestFormat,
};
