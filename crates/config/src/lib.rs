#![doc = include_str!("../README.md")]

mod assemble;
mod credentials;
mod defaults;
mod detect;
mod error;
mod path_rules;
mod project_file;
mod provider;
mod render;
mod run;
mod section;
mod server;

pub use assemble::Overrides;
pub use detect::{Detected, detect, detect_in, note_on_plain, project_roots, read_by_detection};
pub use error::ConfigError;
pub use path_rules::{PathRules, globs_that_match};
pub use project_file::ProjectFile;
pub use provider::{Dialect, Provider, Server};
pub use render::render_toml;
pub use run::{
    CheckSpec, CommandSpec, Limits, ModelPrice, Project, RUN_CONFIG_SCHEMA, RoleModel, RunConfig, SandboxMode,
    TestFormat,
};
pub use server::{check_server, is_on_this_machine};
