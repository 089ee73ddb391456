//! What a job is measured by.

use config::{PathRules, RunConfig};
use run_model::change_set::Overlay;
use run_model::evidence::Purpose;
use run_model::snapshot::Manifest;
use run_model::{RepoPath, Sha256};
use serde::de::DeserializeOwned;

use crate::error::RunnerError;
use crate::jobs::{Input, Jobs};

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
    pub(crate) async fn of<J: Jobs>(jobs: &J, claim: &J::Claim) -> Result<Self, RunnerError> {
        let job = jobs.job(claim);
        let archive = jobs.read(claim, Input::Archive).await?;
        let archive_sha256 = Sha256::of(&archive);
        if archive_sha256 != job.snapshot.archive_sha256 {
            let problem =
                format!("its hash is {} and should be {}", archive_sha256.short(), job.snapshot.archive_sha256.short());
            return Err(RunnerError::unreadable(format!("object {}", job.snapshot.archive_key), &problem));
        }
        let held_out = match &job.held_out_key {
            Some(_) => Some(jobs.read(claim, Input::HeldOut).await?),
            None => None,
        };
        let overlay = match &job.overlay_key {
            Some(key) => Some(json(key, &jobs.read(claim, Input::Overlay).await?)?),
            None => None,
        };
        Ok(Self {
            purpose: job.purpose,
            config: json(&job.config_key, &jobs.read(claim, Input::Settings).await?)?,
            archive,
            archive_sha256,
            manifest: json(&job.snapshot.manifest_key, &jobs.read(claim, Input::Manifest).await?)?,
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

fn json<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, RunnerError> {
    serde_json::from_slice(bytes).map_err(|problem| RunnerError::unreadable(format!("object {key}"), &problem))
}
