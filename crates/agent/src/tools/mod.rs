//! The tools: what a model may do to the tree. Every refusal names its cure.

mod edit;
mod read;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ports::ToolSpec;
use crate::role::{Role, ToolKind};
use crate::schema::schema_of;
use crate::workspace::{ToolFailure, Workspace};

/// The tool that ends a session.
pub(crate) const SUBMIT: &str = "submit";

/// No input at all.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl ToolKind {
    /// The name the model calls it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::ListFiles => "list_files",
            Self::ReadFile => "read_file",
            Self::Search => "search",
            Self::WriteFile => "write_file",
            Self::EditFile => "edit_file",
            Self::DeleteFile => "delete_file",
            Self::RunChecks => "run_checks",
        }
    }

    /// Whether it ends the turn and waits for an answer from outside.
    pub(crate) fn suspends(self) -> bool {
        self == Self::RunChecks
    }

    fn description(self) -> &'static str {
        match self {
            Self::ListFiles => "Lists the repository's files, sorted. Narrow it with a glob.",
            Self::ReadFile => {
                "Reads a text file. Each line is shown as its number, a bar and the line itself: `12|let x = 1;`. Long files \
                 come in pieces of at most 800 lines or 32 KiB: ask for the next lines with from_line."
            }
            Self::Search => {
                "Searches the files line by line and shows each match as `12:line` with its surroundings as `11-line`. The \
                 pattern is plain text unless regex is true."
            }
            Self::WriteFile => "Writes a whole file, new or instead of the old one. For a small change use edit_file.",
            Self::EditFile => {
                "Replaces one exact piece of a file. `old` must be copied from the file character for character, indentation \
                 included, without the line numbers and bars of read_file, and must occur exactly once unless replace_all is \
                 true: take as many lines as make it unique."
            }
            Self::DeleteFile => "Deletes a file.",
            Self::RunChecks => {
                "Runs the project's own checks (build, tests) on the tree with all edits so far and gives their results. It \
                 takes a while: make your edits first, call it once per turn."
            }
        }
    }

    fn input_schema(self) -> Value {
        match self {
            Self::ListFiles => schema_of::<read::ListFiles>(),
            Self::ReadFile => schema_of::<read::ReadFile>(),
            Self::Search => schema_of::<read::Search>(),
            Self::WriteFile => schema_of::<edit::WriteFile>(),
            Self::EditFile => schema_of::<edit::EditFile>(),
            Self::DeleteFile => schema_of::<edit::DeleteFile>(),
            Self::RunChecks => schema_of::<Nothing>(),
        }
    }
}

/// The tools of a role as the model sees them, `submit` last.
pub(crate) fn specs(role: &Role) -> Vec<ToolSpec> {
    let spec = |kind: &ToolKind| ToolSpec {
        name: kind.name().into(),
        description: kind.description().into(),
        input_schema: kind.input_schema(),
    };
    let submit = ToolSpec {
        name: SUBMIT.into(),
        description: "Hands in your result and ends your work. Call it alone, when everything is done.".into(),
        input_schema: (role.output_schema)(),
    };
    role.tools.iter().map(spec).chain([submit]).collect()
}

/// Runs a tool that answers at once.
pub(crate) fn run(kind: ToolKind, input: &Value, workspace: &mut Workspace<'_>) -> Result<String, ToolFailure> {
    match kind {
        ToolKind::ListFiles => read::list_files(&parse(input)?, workspace),
        ToolKind::ReadFile => read::read_file(parse(input)?, workspace),
        ToolKind::Search => read::search(&parse(input)?, workspace),
        ToolKind::WriteFile => edit::write_file(parse(input)?, workspace),
        ToolKind::EditFile => edit::edit_file(&parse(input)?, workspace),
        ToolKind::DeleteFile => edit::delete_file(parse(input)?, workspace),
        ToolKind::RunChecks => parse::<Nothing>(input).map(|Nothing {}| String::new()),
    }
}

fn parse<T: DeserializeOwned>(input: &Value) -> Result<T, ToolFailure> {
    T::deserialize(input).map_err(|problem| ToolFailure::Refused(format!("bad input: {problem}")))
}

/// A call in a few words for people and stubs: `read_file src/lib.rs`.
pub(crate) fn describe(name: &str, input: &Value) -> String {
    let text = |field: &str| input.get(field).and_then(Value::as_str);
    let subject = text("path").or_else(|| text("pattern")).or_else(|| text("glob"));
    match subject.map(|subject| subject.chars().take(80).collect::<String>()) {
        Some(subject) if text("path").is_some() => format!("{name} {subject}"),
        Some(subject) => format!("{name} {subject:?}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
