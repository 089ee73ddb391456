//! What makes a role: a prompt, an output type, tools, and what it may write.

use run_model::RepoPath;
use serde_json::Value;

use crate::ports::ToolSpec;

/// A role as its function defines it.
#[derive(Clone, Copy, Debug)]
pub struct Role {
    /// Its name: folder, function, ledger and session bear the same.
    pub name: &'static str,
    /// The system prompt, `role.md`.
    pub prompt: &'static str,
    /// The tools on offer; `submit` is always there as well.
    pub tools: &'static [ToolKind],
    /// What it may write.
    pub writes: Writes,
    /// JSON Schema of its output, usually [`crate::schema_of`] of a type of the run model.
    pub output_schema: fn() -> Value,
}

impl Role {
    /// The tools as the model sees them, `submit` last.
    pub fn tool_specs(&self) -> Vec<ToolSpec> {
        crate::tools::specs(self)
    }
}

/// The tools a role can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolKind {
    /// Lists paths by glob.
    ListFiles,
    /// Reads a range of lines, numbered.
    ReadFile,
    /// Searches contents, with lines of context.
    Search,
    /// Writes a whole file.
    WriteFile,
    /// Replaces an exact piece of a file.
    EditFile,
    /// Deletes a file.
    DeleteFile,
    /// Runs the project's checks: suspends the session.
    RunChecks,
}

impl ToolKind {
    /// The tools that look and change nothing.
    pub const READING: &'static [Self] = &[Self::ListFiles, Self::ReadFile, Self::Search];

    /// Every tool.
    pub const ALL: &'static [Self] = &[
        Self::ListFiles,
        Self::ReadFile,
        Self::Search,
        Self::WriteFile,
        Self::EditFile,
        Self::DeleteFile,
        Self::RunChecks,
    ];
}

/// What a role may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// Nothing.
    Nothing,
    /// Test paths only.
    Tests,
    /// All but protected paths.
    Source,
}

/// What the run's settings say about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// It decides what runs with rights or what the rules say: no agent writes it.
    Protected,
    /// It holds tests.
    Test,
    /// Anything else.
    Source,
}

impl Writes {
    /// Whether a path of this kind may be written.
    ///
    /// # Errors
    /// The refusal, in words for the model: why, and what to do instead.
    pub fn check(self, path: &RepoPath, kind: PathKind) -> Result<(), String> {
        match (self, kind) {
            (Self::Nothing, _) => Err("this role changes nothing: say in `submit` what should be changed".into()),
            (_, PathKind::Protected) => {
                Err(format!("{path} is protected: leave it as it is and do the work without changing it"))
            }
            (Self::Tests, PathKind::Source) => Err(format!(
                "{path} is not a test path and this role writes tests only: put the test into a file under a test folder \
                 such as tests/, and report what is wrong with the code as a defect in `submit`"
            )),
            _ => Ok(()),
        }
    }
}
