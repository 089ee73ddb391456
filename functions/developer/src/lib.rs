#![doc = include_str!("../README.md")]

mod serve;

use agent::{Role, ToolKind, Writes};
use role_host::{Definition, Material, Section};
use run_model::FunctionError;
use run_model::change_set::Overlay;
use run_model::verdict::DeveloperReport;
use serde_json::Value;

pub use crate::serve::serve;
pub use role_host::Context;

/// The role: changes code with every tool, and hands in a [`DeveloperReport`].
pub const DEFINITION: Definition = Definition {
    role: Role {
        name: "developer",
        prompt: include_str!("../role.md"),
        tools: ToolKind::ALL,
        writes: Writes::Source,
        output_schema: agent::schema_of::<DeveloperReport>,
    },
    sections: &[
        Section::Requirement,
        Section::Project,
        Section::Files,
        Section::BaseEvidence,
        Section::Task,
        Section::Design,
        Section::Diff,
        Section::Evidence,
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

fn accept(output: &Value, material: &Material, edits: &Overlay) -> Result<(), String> {
    let _: DeveloperReport = role_host::typed(output)?;
    if material.unchanged_by(edits) {
        return Err("nothing is changed: make the change with edit_file or write_file first".into());
    }
    Ok(())
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
