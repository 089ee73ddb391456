//! Setup: what is fetched and built once per base, before any byte an agent wrote is present.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use config::RunConfig;
use run_model::Sha256;
use sandbox::{Outcome, Sandbox};

use crate::environment::{Environment, Phase};
use crate::workspace::Workspace;
use crate::{RunnerError, at, checks};

/// What setup left: fetched dependencies (read-only from now on), the base's build, and files that every tree is given.
pub(crate) struct Prepared {
    folder: PathBuf,
}

impl Prepared {
    /// Where trees are checked, one at a time: always the same place, so that a copied build knows its sources again.
    pub(crate) fn work(&self) -> PathBuf {
        self.folder.join("work")
    }

    /// What setup fetched.
    pub(crate) fn dependencies(&self) -> PathBuf {
        self.folder.join("dependencies")
    }

    fn build(&self) -> PathBuf {
        self.folder.join("build")
    }

    fn files(&self) -> PathBuf {
        self.folder.join("files")
    }

    fn ready(&self) -> PathBuf {
        self.folder.join("ready")
    }

    /// Gives a workspace its own writable copy of the base's build, and the files that setup made where the tree has none.
    pub(crate) fn equip(&self, workspace: &Workspace, config: &RunConfig) -> Result<(), RunnerError> {
        if self.build().is_dir() {
            copy(&self.build(), &workspace.target())?;
        }
        for file in &config.setup_files {
            let (from, to) = (self.files().join(file), workspace.tree().join(&config.project.root).join(file));
            if from.is_file() && fs::symlink_metadata(&to).is_err() {
                at(&to, fs::copy(&from, &to))?;
            }
        }
        Ok(())
    }
}

/// Prepares for this base and these settings, or finds what an earlier job prepared.
pub(crate) async fn prepare(
    state: &Path,
    sandbox: &Sandbox,
    config: &RunConfig,
    archive: &[u8],
) -> Result<(Environment, Prepared), RunnerError> {
    let base = Sha256::of(archive);
    // The toolchain is asked for by the base's own files, so they are laid out first.
    let folder = state.join("cache").join("bases").join(base.short());
    let tree = Workspace::create(&folder.join("look"), archive)?;
    let environment = Environment::of_this_machine(config, &tree.tree()).await?;
    tree.remove()?;
    let key = Sha256::of_json(&(&base, &config.project, &config.setup, &config.setup_files, &config.warm_up, environment.identity()));
    let prepared = Prepared { folder: folder.join(key.short()) };
    if prepared.ready().is_file() {
        return Ok((environment, prepared));
    }
    let workspace = Workspace::create(&prepared.work(), archive)?;
    for folder in [prepared.dependencies(), prepared.build(), prepared.files()] {
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => at(&folder, other)?,
        }
    }
    fetch(sandbox, &environment, config, &prepared, &workspace).await?;
    warm_up(sandbox, &environment, config, &prepared, &workspace).await?;
    workspace.remove()?;
    at(&prepared.ready(), fs::write(prepared.ready(), key.as_str()))?;
    Ok((environment, prepared))
}

/// Runs the setup commands with the network on. They fetch into the workspace; what they fetched is moved out of it.
async fn fetch(
    sandbox: &Sandbox,
    environment: &Environment,
    config: &RunConfig,
    prepared: &Prepared,
    workspace: &Workspace,
) -> Result<(), RunnerError> {
    let fetched = workspace.root().join("dependencies");
    at(&fetched, fs::create_dir(&fetched))?;
    environment.seed(&fetched)?;
    for setup in &config.setup {
        let phase = Phase::Setup { dependencies: &fetched };
        let outcome = sandbox.run(&environment.command(config, workspace, &setup.command, phase)).await?;
        if outcome.exit != sandbox::Exit::Code(0) {
            let tail = said(&outcome);
            return Err(RunnerError::Setup { command: setup.command.clone(), exit: format!("{:?}", outcome.exit), tail });
        }
    }
    at(&fetched, fs::rename(&fetched, prepared.dependencies()))?;
    at(&prepared.files(), fs::create_dir_all(prepared.files()))?;
    for file in &config.setup_files {
        let made = workspace.tree().join(&config.project.root).join(file);
        let kept = prepared.files().join(file);
        if let Some(folder) = kept.parent() {
            at(folder, fs::create_dir_all(folder))?;
        }
        if made.is_file() {
            at(&kept, fs::copy(&made, &kept))?;
        }
    }
    Ok(())
}

/// Builds the base's tests, confined and without network. A failure costs only time: the baseline check will show it.
async fn warm_up(
    sandbox: &Sandbox,
    environment: &Environment,
    config: &RunConfig,
    prepared: &Prepared,
    workspace: &Workspace,
) -> Result<(), RunnerError> {
    for command in &config.warm_up {
        let phase = Phase::Check { dependencies: &prepared.dependencies() };
        let outcome = sandbox.run(&environment.command(config, workspace, &command.command, phase)).await?;
        if outcome.exit != sandbox::Exit::Code(0) {
            tracing::info!(command = command.command, exit = ?outcome.exit, "the base's build failed");
        }
    }
    if workspace.target().is_dir() {
        at(&prepared.build(), fs::rename(workspace.target(), prepared.build()))?;
    }
    Ok(())
}

fn said(outcome: &Outcome) -> String {
    let text = checks::text_of(&outcome.stderr);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

/// Copies a folder with its times, sharing blocks where the file system can: build tools compare times.
fn copy(from: &Path, to: &Path) -> Result<(), RunnerError> {
    let status = Process::new("cp").arg("--archive").arg("--reflink=auto").arg(from).arg(to).status();
    if at(from, status)?.success() {
        return Ok(());
    }
    at(to, Err(std::io::Error::other("cp failed")))
}
