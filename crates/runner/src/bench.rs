//! Where trees are measured: lays a tree out, gives it the base's build, runs every check.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use run_model::evidence::{EVIDENCE_SCHEMA, Evidence};
use run_model::{Clock, RepoPath, Sha256};
use sandbox::Sandbox;
use tokio::sync::Mutex;

use crate::cache::Cache;
use crate::environment::{Environment, Phase};
use crate::error::{At, RunnerError};
use crate::folders;
use crate::inputs::Inputs;
use crate::preparation::Prepared;
use crate::reading::{self, Written};
use crate::workspace::Workspace;

/// This machine, as far as measuring is concerned.
pub(crate) struct Bench {
    sandbox: Sandbox,
    state: PathBuf,
    cache: Mutex<Cache>,
}

impl Bench {
    pub(crate) fn new(sandbox: Sandbox, state: PathBuf, clock: Arc<dyn Clock>) -> Self {
        let cache = Mutex::new(Cache::new(state.join("cache"), clock));
        Self { sandbox, state, cache }
    }

    /// Removes what a process left that was killed in the middle of its jobs.
    pub(crate) fn clear_all(&self) {
        if let Err(error) = folders::remove(&self.work()) {
            tracing::warn!(error = error.with_causes(), "old workspaces could not be removed");
        }
    }

    /// Removes what a job left that was given up in its middle.
    pub(crate) async fn clear(&self, name: &str) {
        let work = self.work().join(name);
        if let Err(error) = blocking(move || folders::remove(&work)).await {
            tracing::warn!(job = name, error = error.with_causes(), "a workspace could not be removed");
        }
    }

    /// Measures a tree in a private folder of its own, which is gone afterwards.
    pub(crate) async fn measure(&self, name: &str, inputs: Inputs) -> Result<Evidence, RunnerError> {
        let work = self.work().join(name);
        folders::create_private(&work)?;
        let evidence = self.measure_in(&work, Arc::new(inputs)).await;
        blocking(move || folders::remove(&work)).await?;
        evidence
    }

    fn work(&self) -> PathBuf {
        self.state.join("work")
    }

    async fn measure_in(&self, work: &Path, inputs: Arc<Inputs>) -> Result<Evidence, RunnerError> {
        let base = Workspace::create(&work.join("check"), &inputs).await?;
        let environment = Environment::find(&self.sandbox, &inputs.config, &base).await?;
        let mut tree = self.lay_tree(&environment, work, &inputs, base).await?;
        let (mut commands, mut layers) = (Vec::new(), Vec::new());
        for (position, check) in inputs.config.checks.iter().enumerate() {
            if position > 0 {
                // What one check wrote, sources and build included, the next does not see.
                let base = Workspace::create(tree.workspace.root(), &inputs).await?;
                tree = self.lay_tree(&environment, work, &inputs, base).await?;
            }
            let Tree { workspace, prepared, .. } = &tree;
            let phase = Phase::Check { dependencies: prepared.dependencies() };
            let outcome = environment.run(workspace, &check.command, phase).await?;
            layers = outcome.layers.iter().map(ToString::to_string).collect();
            let replacements = environment.replacements(workspace, prepared.dependencies()).await?;
            let folder = environment.folder(workspace).await?;
            let written = Written { outcome, report: workspace.report(), folder };
            commands.push(reading::evidence(check, written, &replacements));
        }
        Ok(Evidence {
            schema: EVIDENCE_SCHEMA,
            purpose: inputs.purpose,
            tree_sha256: tree.sha256,
            overlay_sha256: inputs.overlay.as_ref().map(Sha256::of_json),
            commands,
            layers,
            toolchain: environment.identity().to_owned(),
        })
    }

    /// Gives a workspace that holds the base what is checked, and its own copy of the base's build.
    async fn lay_tree(
        &self,
        environment: &Environment,
        work: &Path,
        inputs: &Arc<Inputs>,
        workspace: Workspace,
    ) -> Result<Tree, RunnerError> {
        let prepared = {
            // One at a time: the second job finds what the first prepared, and nothing is evicted while it is copied.
            let mut cache = self.cache.lock().await;
            let prepared = Prepared::get(&mut cache, environment, inputs, work).await?;
            prepared.copy_build(&workspace).await?;
            prepared
        };
        let (laid, given, closed) = (workspace.clone(), inputs.clone(), prepared.folders(inputs)?);
        let sha256 = blocking(move || lay_out(&laid, &given, &closed)).await?;
        prepared.add_files(&workspace, inputs).await?;
        Ok(Tree { workspace, prepared, sha256 })
    }
}

/// A tree that is ready to be checked.
struct Tree {
    workspace: Workspace,
    prepared: Prepared,
    sha256: Sha256,
}

/// Lays overlay and held-out files over the base, outside of the closed folders; the hash of what is there then.
fn lay_out(workspace: &Workspace, inputs: &Inputs, closed: &[RepoPath]) -> Result<Sha256, RunnerError> {
    if let Some(overlay) = &inputs.overlay {
        workspace.lay(overlay, closed)?;
    }
    if let Some(archive) = &inputs.held_out {
        workspace.lay_archive(archive, closed)?;
    }
    workspace.hash()
}

/// Runs work that waits for the disk, off the threads that wait for everything else.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RunnerError> + Send + 'static,
) -> Result<T, RunnerError> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.map_err(std::io::Error::other).at(Path::new("a workspace"))?
}
