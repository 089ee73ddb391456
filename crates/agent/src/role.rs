//! What makes a role: a prompt, an output type, tools, and what it may write.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use run_model::RepoPath;
use serde_json::Value;

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
    /// JSON Schema of its output, usually [`crate::schema::schema_of`] of a type of the run model.
    pub output_schema: fn() -> Value,
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

/// Decides which paths a session may write.
#[derive(Clone, Debug)]
pub struct PathGuard {
    writes: Writes,
    protected: GlobSet,
    tests: GlobSet,
    test_globs: Vec<String>,
}

impl PathGuard {
    /// A guard from the run's globs; `*` stays within a folder, `**` crosses folders.
    ///
    /// # Errors
    /// If a glob cannot be read; the error names it.
    pub fn new(writes: Writes, protected: &[String], test_paths: &[String]) -> Result<Self, globset::Error> {
        let (protected, tests) = (glob_set(protected)?, glob_set(test_paths)?);
        Ok(Self { writes, protected, tests, test_globs: test_paths.to_vec() })
    }

    /// Whether this path may be written.
    ///
    /// # Errors
    /// The refusal, in words for the model: why, and what to do instead.
    pub fn check(&self, path: &RepoPath) -> Result<(), String> {
        if self.writes == Writes::Nothing {
            return Err("this role changes nothing: say in `submit` what should be changed".into());
        }
        if self.protected.is_match(path.as_str()) {
            return Err(format!("{path} is protected: leave it as it is and do the work without it"));
        }
        if self.writes == Writes::Tests && !self.tests.is_match(path.as_str()) {
            let globs = self.test_globs.join(", ");
            return Err(format!(
                "{path} is not a test path, and this role writes tests only: use a path that matches one of {globs}"
            ));
        }
        Ok(())
    }
}

/// A set of globs in which `*` stays within a folder and `**` crosses folders.
pub(crate) fn glob_set(globs: &[String]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(GlobBuilder::new(glob).literal_separator(true).build()?);
    }
    set.build()
}
