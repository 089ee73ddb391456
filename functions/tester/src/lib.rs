#![doc = include_str!("../README.md")]

mod serve;

use agent::{Role, ToolKind, Writes};
use role_host::{Definition, Material, Section};
use run_model::FunctionError;
use run_model::change_set::Overlay;
use run_model::verdict::TesterReport;
use serde_json::Value;

pub use crate::serve::serve;
pub use role_host::Context;

/// The role: writes test paths with every tool, and hands in a [`TesterReport`].
pub const DEFINITION: Definition = Definition {
    role: Role {
        name: "tester",
        prompt: include_str!("../role.md"),
        tools: ToolKind::ALL,
        writes: Writes::Tests,
        output_schema: agent::schema_of::<TesterReport>,
    },
    sections: &[
        Section::Requirement,
        Section::Project,
        Section::Files,
        Section::BaseEvidence,
        Section::Task,
        Section::Design,
        Section::Diff,
        Section::Feedback,
    ],
    accept,
};

/// Answers the machine: see [`role_host::handle`] for input, output and errors.
///
/// # Errors
/// As [`role_host::handle`].
pub async fn handle(context: &Context, input: Value, deadline_ms: i64) -> Result<Value, FunctionError> {
    role_host::handle(&DEFINITION, context, input, deadline_ms).await
}

fn accept(output: &Value, _: &Material, _: &Overlay) -> Result<(), String> {
    role_host::typed::<TesterReport>(output).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_names_every_field_of_the_result() {
        let schema = (DEFINITION.role.output_schema)();
        for field in schema["properties"].as_object().unwrap().keys() {
            assert!(DEFINITION.role.prompt.contains(&format!("`{field}`")), "role.md does not say what {field} is");
        }
    }
}
