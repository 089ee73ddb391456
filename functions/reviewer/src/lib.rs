#![doc = include_str!("../README.md")]

mod answering;
mod serve;

use agent::{Role, ToolKind, Writes};
use role_host::{Definition, Material, Section};
use run_model::FunctionError;
use run_model::change_set::Overlay;

use run_model::verdict::{Severity, Verdict, VerdictDecision};
use serde_json::Value;

pub use crate::answering::QUESTION;
pub use crate::serve::serve;
pub use role_host::Context;

/// The role: reads, and hands in a [`Verdict`].
pub const DEFINITION: Definition = Definition {
    role: Role {
        name: "reviewer",
        prompt: include_str!("../role.md"),
        tools: ToolKind::READING,
        writes: Writes::Nothing,
        output_schema: agent::schema_of::<Verdict>,
    },
    sections: &[
        Section::Requirement,
        Section::Project,
        Section::Task,
        Section::Design,
        Section::BaseEvidence,
        Section::Evidence,
        Section::Diff,
        Section::Reports,
        Section::Feedback,
    ],
    accept,
};

/// Answers the machine: see [`role_host::handle`] for input, output and errors. With a `question` it answers a person at a gate,
/// otherwise it gives its verdict on a task.
///
/// # Errors
/// As [`role_host::handle`].
pub async fn handle(context: &Context, input: Value, deadline_ms: i64) -> Result<Value, FunctionError> {
    let definition = if input["question"].is_null() { &DEFINITION } else { &QUESTION };
    role_host::handle(definition, context, input, deadline_ms).await
}

fn accept(output: &Value, _: &Material, _: &Overlay) -> Result<(), String> {
    consistent(&role_host::typed(output)?)
}

/// Whether findings and decision go together.
fn consistent(verdict: &Verdict) -> Result<(), String> {
    let grave = verdict.findings.iter().any(|finding| finding.severity >= Severity::High);
    let problem = match verdict.decision {
        VerdictDecision::RequestChanges if verdict.findings.is_empty() => {
            "findings: request_changes needs at least one; say where and what, or approve"
        }
        VerdictDecision::Approve if grave => {
            "findings: an approval may not carry one of severity high or critical; request changes, or say what it really weighs"
        }
        _ => return Ok(()),
    };
    Err(problem.into())
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

    #[test]
    fn findings_and_decision_go_together() {
        let verdict = |decision: &str, severities: &[&str]| -> Verdict {
            let finding = |severity: &&str| serde_json::json!({"path": "a.rs", "kind": "security", "severity": severity, "message": "m"});
            let findings: Vec<Value> = severities.iter().map(finding).collect();
            serde_json::from_value(serde_json::json!({"decision": decision, "summary": "s", "findings": findings}))
                .unwrap()
        };
        assert!(consistent(&verdict("approve", &[])).is_ok());
        assert!(consistent(&verdict("approve", &["low", "medium"])).is_ok());
        assert!(consistent(&verdict("approve", &["low", "high"])).unwrap_err().contains("may not carry"));
        assert!(consistent(&verdict("request_changes", &["high"])).is_ok());
        assert!(consistent(&verdict("request_changes", &[])).unwrap_err().contains("at least one"));
    }
}
