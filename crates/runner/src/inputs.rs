//! What a job is measured by, fetched from the store.

use config::{PathRules, RunConfig};
use run_model::change_set::Overlay;
use run_model::evidence::{CheckJob, Purpose};
use run_model::snapshot::Manifest;
use run_model::{RepoPath, Sha256};
use serde::de::DeserializeOwned;
use store::Store;

use crate::error::RunnerError;

/// A base, what is laid over it, and how it is checked.
pub(crate) struct Inputs {
    pub(crate) purpose: Purpose,
    pub(crate) config: RunConfig,
    /// The base's archive (tar, gzip), whole.
    pub(crate) archive: Vec<u8>,
    pub(crate) archive_sha256: Sha256,
    pub(crate) manifest: Manifest,
    pub(crate) overlay: Option<Overlay>,
    /// The held-out archive (tar, gzip).
    pub(crate) held_out: Option<Vec<u8>>,
}

impl Inputs {
    pub(crate) async fn of(store: &Store, job: &CheckJob) -> Result<Self, RunnerError> {
        let archive = store.get_object(&job.snapshot.archive_key).await?;
        let archive_sha256 = Sha256::of(&archive);
        if archive_sha256 != job.snapshot.archive_sha256 {
            let problem =
                format!("its hash is {} and should be {}", archive_sha256.short(), job.snapshot.archive_sha256.short());
            return Err(RunnerError::unreadable(format!("object {}", job.snapshot.archive_key), &problem));
        }
        let held_out = match &job.held_out_key {
            Some(key) => Some(store.get_object(key).await?),
            None => None,
        };
        let overlay = match &job.overlay_key {
            Some(key) => Some(json(store, key).await?),
            None => None,
        };
        Ok(Self {
            purpose: job.purpose,
            config: json(store, &job.config_key).await?,
            archive,
            archive_sha256,
            manifest: json(store, &job.snapshot.manifest_key).await?,
            overlay,
            held_out,
        })
    }

    /// What decides which dependencies are fetched: the manifest and lock files of the base, by path and content.
    pub(crate) fn dependency_files(&self) -> Result<Vec<(&str, &Sha256)>, RunnerError> {
        let rules = PathRules::new(&self.config).map_err(|problem| RunnerError::Refused(problem.to_string()))?;
        let entries = self.manifest.entries.iter().filter(|entry| rules.is_manifest(&entry.path));
        Ok(entries.map(|entry| (entry.path.as_str(), &entry.sha256)).collect())
    }

    /// The files that setup makes, as paths in the tree.
    pub(crate) fn setup_files(&self) -> Result<Vec<RepoPath>, RunnerError> {
        let root = match self.config.project.root.as_str() {
            "." | "" => String::new(),
            root => format!("{}/", root.trim_end_matches('/')),
        };
        let path = |file: &String| RepoPath::new(format!("{root}{file}"));
        let paths: Result<_, _> = self.config.setup_files.iter().map(path).collect();
        paths.map_err(|problem| RunnerError::Refused(format!("setup_files: {problem}")))
    }
}

async fn json<T: DeserializeOwned>(store: &Store, key: &str) -> Result<T, RunnerError> {
    let bytes = store.get_object(key).await?;
    serde_json::from_slice(&bytes).map_err(|problem| RunnerError::unreadable(format!("object {key}"), &problem))
}
