//! Setup: what is fetched once per state of the lock files and built once per base, before any byte an agent wrote is
//! present, but for manifest and lock files that a person has let in.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use run_model::{RepoPath, Sha256};
use sandbox::{Exit, Limit, Outcome};

use crate::cache::{Cache, Kind};
use crate::environment::{Environment, Phase};
use crate::error::{At, RunnerError};
use crate::folders;
use crate::inputs::Inputs;
use crate::reading;
use crate::workspace::Workspace;

/// How many lines of a failed command's output are told: its last ones, and where those are not all, its first ones too. Some tools
/// say what is wrong first, and then how they are used.
const FIRST_LINES: usize = 6;
const LAST_LINES: usize = 20;

/// What installers say when a package is not there for whoever asks: of npm and pnpm, pip and uv, Poetry, cargo, Go, git.
const REFUSALS: [&str; 14] = [
    "E401",
    "E403",
    "E404",
    "ENEEDAUTH",
    "ERR_PNPM_FETCH_40",
    "No matching distribution found",
    "was not found in the package registry",
    "Authorization error",
    "401 Unauthorized",
    "403 Forbidden",
    "no token found",
    "HTTP 401",
    "could not read Username",
    "terminal prompts disabled",
];
/// What its reader may not know, and the way there is.
const PRIVATE: &str = "; if that is a package of a private registry: setup has an empty HOME and is told of no address that holds a \
                       password, so name a mirror that asks for none (PIP_INDEX_URL, npm_config_registry), or show it a folder with \
                       your settings by --read-only DIR, for checks too, and name their file in [[setup]] (`PIP_CONFIG_FILE=DIR/...`, \
                       `npm --userconfig DIR/...`)";

/// Whether the end of an installer's output may mean that it lacks credentials.
fn asks_for_credentials(tail: &str) -> bool {
    REFUSALS.iter().any(|refusal| tail.contains(refusal))
}

/// What setup left: fetched dependencies (read-only from now on), files and folders that every tree is given a copy of, and
/// the base's build.
pub(crate) struct Prepared {
    dependencies: PathBuf,
    files: PathBuf,
    build: PathBuf,
}

impl Prepared {
    /// Finds what an earlier job prepared, or prepares it in a folder of this job.
    pub(crate) async fn get(
        cache: &mut Cache,
        environment: &Environment,
        inputs: &Arc<Inputs>,
        work: &Path,
    ) -> Result<Self, RunnerError> {
        let config = &inputs.config;
        let fetched_from = (inputs.dependency_files()?, &config.project, &config.setup, &config.setup_files);
        let key = Sha256::of_json(&(fetched_from, environment.identity()));
        let fetched = cache.place(Kind::Dependencies, &key);
        let built = cache.place(Kind::Build, &Sha256::of_json(&(&key, &inputs.archive_sha256, &config.warm_up)));
        let prepared =
            Self { dependencies: fetched.join("home"), files: fetched.join("files"), build: built.join("target") };
        let preparation = Preparation { environment, inputs, work, prepared: &prepared };
        if !cache.has(&fetched)? {
            cache.begin(Kind::Dependencies, &fetched)?;
            preparation.fetch().await?;
            cache.complete(&fetched)?;
        }
        if !cache.has(&built)? {
            cache.begin(Kind::Build, &built)?;
            preparation.warm_up().await?;
            cache.complete(&built)?;
        }
        Ok(prepared)
    }

    /// What setup fetched.
    pub(crate) fn dependencies(&self) -> &Path {
        &self.dependencies
    }

    /// The folders of the tree that setup made.
    pub(crate) fn folders(&self, inputs: &Inputs) -> Result<Vec<RepoPath>, RunnerError> {
        let made = inputs.setup_files()?;
        Ok(made.into_iter().filter(|path| self.files.join(path.as_str()).is_dir()).collect())
    }

    /// Gives a workspace its own copy of what setup made in the tree.
    pub(crate) async fn add_files(&self, workspace: &Workspace, inputs: &Inputs) -> Result<(), RunnerError> {
        for path in inputs.setup_files()? {
            workspace.add(&path, &self.files.join(path.as_str())).await?;
        }
        Ok(())
    }

    /// Gives a workspace its own writable copy of the base's build.
    pub(crate) async fn copy_build(&self, workspace: &Workspace) -> Result<(), RunnerError> {
        if self.build.is_dir() { folders::copy(&self.build, &workspace.target()).await } else { Ok(()) }
    }
}

struct Preparation<'a> {
    environment: &'a Environment,
    inputs: &'a Arc<Inputs>,
    work: &'a Path,
    prepared: &'a Prepared,
}

impl Preparation<'_> {
    /// Runs the setup commands, with the network on. They fetch into the workspace; what they fetched moves out of it.
    async fn fetch(&self) -> Result<(), RunnerError> {
        let workspace = Workspace::create(&self.work.join("setup"), self.inputs).await?;
        workspace.lay(&self.inputs.setup, &[])?;
        let fetched = workspace.dependencies();
        fs::create_dir(&fetched).at(&fetched)?;
        let registries = self.environment.registries().await;
        let phase = Phase::Setup { registries: &registries };
        self.environment.seed(&fetched, phase)?;
        for setup in &self.inputs.config.setup {
            let outcome = self.environment.run(&workspace, &setup.command, phase).await?;
            if outcome.exit != sandbox::Exit::Code(0) {
                return Err(self.failure(&workspace, &setup.command, outcome).await?);
            }
        }
        for file in self.inputs.setup_files()? {
            workspace.keep(&file, &self.prepared.files.join(file.as_str()))?;
        }
        self.environment.seed(&fetched, Phase::Check { dependencies: &fetched })?;
        fs::rename(&fetched, &self.prepared.dependencies).at(&fetched)?;
        folders::remove(workspace.root())
    }

    /// Builds the base's tests, confined and without network. A failure costs only time: the baseline check will show it.
    async fn warm_up(&self) -> Result<(), RunnerError> {
        let workspace = Workspace::create(&self.work.join("build"), self.inputs).await?;
        workspace.lay(&self.inputs.setup, &[])?;
        self.prepared.add_files(&workspace, self.inputs).await?;
        for command in &self.inputs.config.warm_up {
            let phase = Phase::WarmUp { dependencies: &self.prepared.dependencies };
            let outcome = self.environment.run(&workspace, &command.command, phase).await?;
            if outcome.exit != sandbox::Exit::Code(0) {
                tracing::info!(command = command.command, exit = ?outcome.exit, "the base's build failed");
            }
        }
        let target = workspace.target();
        if target.is_dir() {
            fs::rename(&target, &self.prepared.build).at(&target)?;
        }
        folders::remove(workspace.root())
    }

    async fn failure(
        &self,
        workspace: &Workspace,
        command: &str,
        outcome: Outcome,
    ) -> Result<RunnerError, RunnerError> {
        let replacements = self.environment.replacements(workspace, &self.prepared.dependencies).await?;
        let tail = reading::tail(&outcome, &replacements);
        let hint = if asks_for_credentials(&tail) { PRIVATE } else { "" };
        let ended = format!("{}{hint}", self.ended(&outcome.exit));
        Ok(RunnerError::Setup { command: command.to_owned(), ended, tail: told(&tail) })
    }

    /// How a setup command ended, and what its reader does next.
    fn ended(&self, exit: &Exit) -> String {
        match exit {
            Exit::Code(code @ (126 | 127)) => {
                format!("exited with {code}: install what it calls (`gatewright doctor` says what this machine lacks)")
            }
            Exit::Code(code) => format!("exited with {code}: mend it, or what it fetches from"),
            Exit::Signal(signal) => format!("was ended by signal {signal}: mend it"),
            Exit::Limit(Limit::Wall) => {
                let seconds = self.inputs.config.limits.setup_wall_seconds;
                format!(
                    "was ended after {seconds} s (limits.setup_wall_seconds): raise that if it is slow; setup has no input, so \
                     that a question is never answered"
                )
            }
            Exit::Limit(limit) => format!("was ended at its {limit} limit: raise it under [limits]"),
            Exit::NotStarted(why) => format!("could not be started: {why}"),
        }
    }
}

/// The beginning and the end of an output, each line on one of its own and a little to the right.
fn told(output: &str) -> String {
    let mut lines: Vec<&str> = output.lines().filter(|line| !line.trim().is_empty()).collect();
    let left_out = lines.len().saturating_sub(FIRST_LINES + LAST_LINES);
    let cut = format!("... {left_out} lines left out ...");
    if left_out > 0 {
        lines.splice(FIRST_LINES..FIRST_LINES + left_out, [cut.as_str()]);
    }
    lines.into_iter().map(|line| format!("\n  {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_output_is_told_by_its_beginning_and_its_end() {
        let output = |count: usize| (1..=count).map(|n| format!("{n}\n\n")).collect::<String>();
        assert_eq!(told(&output(26)).lines().filter(|line| !line.is_empty()).count(), 26);
        let told = told(&output(40));
        assert!(
            told.starts_with("\n  1\n  2\n  3\n  4\n  5\n  6\n  ... 14 lines left out") && told.ends_with("\n  40"),
            "{told}"
        );
        assert!(told.contains("\n  21\n") && !told.contains("\n  20\n"), "{told}");
    }
}
