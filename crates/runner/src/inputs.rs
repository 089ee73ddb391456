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
    /// What setup lays over the base: manifest and lock files alone.
    pub(crate) setup: Overlay,
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
            Some(key) => {
                let held_out = jobs.read(claim, Input::HeldOut).await?;
                check(key, &held_out)?;
                Some(held_out)
            }
            None => None,
        };
        let overlay = match &job.overlay_key {
            Some(key) => Some(json(key, &jobs.read(claim, Input::Overlay).await?)?),
            None => None,
        };
        let config = json(&job.config_key, &jobs.read(claim, Input::Settings).await?)?;
        let setup = match &job.setup_key {
            Some(key) => manifests_alone(&config, json(key, &jobs.read(claim, Input::Setup).await?)?)?,
            None => Overlay::default(),
        };
        Ok(Self {
            purpose: job.purpose,
            config,
            archive,
            archive_sha256,
            manifest: json(&job.snapshot.manifest_key, &jobs.read(claim, Input::Manifest).await?)?,
            overlay,
            setup,
            held_out,
        })
    }

    /// What decides which dependencies are fetched: the manifest and lock files that setup sees, by path and content.
    pub(crate) fn dependency_files(&self) -> Result<Vec<(String, Sha256)>, RunnerError> {
        let rules = rules(&self.config)?;
        let seen = self.manifest.with_overlay(&self.setup).entries.into_iter();
        Ok(seen.filter(|entry| rules.is_manifest(&entry.path)).map(|entry| (entry.path, entry.sha256)).collect())
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

fn rules(config: &RunConfig) -> Result<PathRules, RunnerError> {
    PathRules::new(config).map_err(|problem| RunnerError::Refused(problem.to_string()))
}

/// Setup has the network, and sees nothing of a change but its manifest and lock files.
fn manifests_alone(config: &RunConfig, setup: Overlay) -> Result<Overlay, RunnerError> {
    let rules = rules(config)?;
    if let Some(path) = setup.paths().find(|path| !rules.is_manifest(path.as_str())) {
        return Err(RunnerError::Refused(format!("{path} is no manifest or lock file: setup does not see it")));
    }
    Ok(setup)
}

/// What was kept under a key. One that is named by its hash is compared with it: an address was signed for whatever lies there.
fn json<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, RunnerError> {
    check(key, bytes)?;
    serde_json::from_slice(bytes).map_err(|problem| RunnerError::unreadable(format!("object {key}"), &problem))
}

fn check(key: &str, bytes: &[u8]) -> Result<(), RunnerError> {
    match Sha256::named_by(key) {
        Some(named) if Sha256::of(bytes) != named => {
            Err(RunnerError::unreadable(format!("object {key}"), &"its content is not the one that its name says"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_under_anothers_name_is_refused_with_its_key() {
        let key = format!("runs/r-1/artefacts/{}.json", Sha256::of(b"{}"));
        assert!(json::<serde_json::Value>(&key, b"{}").is_ok());
        let refused = json::<serde_json::Value>(&key, b"[]").unwrap_err().to_string();
        assert_eq!(refused, format!("object {key} cannot be read: its content is not the one that its name says"));
    }
}
