#![doc = include_str!("../README.md")]

mod serve;

use agent::{Role, ToolKind, Writes};
use role_host::{Definition, Material, Section};
use run_model::FunctionError;
use run_model::change_set::Overlay;
use run_model::design::Design;
use serde_json::Value;

pub use crate::serve::serve;
pub use role_host::Context;

/// The role: reads, and hands in a [`Design`].
pub const DEFINITION: Definition = Definition {
    role: Role {
        name: "architect",
        prompt: include_str!("../role.md"),
        tools: ToolKind::READING,
        writes: Writes::Nothing,
        output_schema: agent::schema_of::<Design>,
    },
    sections: &[Section::Requirement, Section::Project, Section::Files, Section::BaseEvidence, Section::Plan],
    accept,
};

/// Answers the machine: see [`role_host::handle`] for input, output and errors.
///
/// # Errors
/// As [`role_host::handle`].
pub async fn handle(context: &Context, input: Value, deadline_ms: i64) -> Result<Value, FunctionError> {
    role_host::handle(&DEFINITION, context, input, deadline_ms).await
}

fn accept(output: &Value, material: &Material, _: &Overlay) -> Result<(), String> {
    let design: Design = role_host::typed(output)?;
    let plan = material.plan.as_ref().ok_or("there is no plan to design for")?;
    design.accept(plan).map_err(|problem| problem.to_string())
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
