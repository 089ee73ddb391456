//! Reading single files out of a snapshot's archive.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use flate2::read::GzDecoder;
use run_model::snapshot::SnapshotRef;
use run_model::{RepoPath, Sha256};

use crate::{Store, StoreError};

impl Store {
    /// The contents that the base has at these paths: text files only, what is missing or binary is left out.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Corrupt`] if the archive is not the one that was put;
    /// [`StoreError::Unavailable`].
    pub async fn base_contents(
        &self,
        snapshot: &SnapshotRef,
        paths: &BTreeSet<RepoPath>,
    ) -> Result<BTreeMap<RepoPath, String>, StoreError> {
        self.base_texts(snapshot, |path| paths.contains(path)).await
    }

    /// The contents of all the base's text files whose path is `wanted`.
    ///
    /// # Errors
    /// As [`Store::base_contents`].
    pub async fn base_texts(
        &self,
        snapshot: &SnapshotRef,
        wanted: impl Fn(&RepoPath) -> bool + Send,
    ) -> Result<BTreeMap<RepoPath, String>, StoreError> {
        let bytes = self.get_object(&snapshot.archive_key).await?;
        let damaged = |problem: &dyn ToString| {
            StoreError::corrupt(format!("object {}", snapshot.archive_key), problem.to_string())
        };
        if Sha256::of(&bytes) != snapshot.archive_sha256 {
            return Err(damaged(&"its hash is not the snapshot's"));
        }
        let mut contents = BTreeMap::new();
        let mut archive = tar::Archive::new(GzDecoder::new(bytes.as_slice()));
        for entry in archive.entries().map_err(|error| damaged(&error))? {
            let mut entry = entry.map_err(|error| damaged(&error))?;
            let path =
                String::from_utf8(entry.path_bytes().into_owned()).ok().and_then(|path| RepoPath::new(path).ok());
            let Some(path) = path.filter(|path| entry.header().entry_type().is_file() && wanted(path)) else {
                continue;
            };
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(|error| damaged(&error))?;
            contents.extend(String::from_utf8(content).ok().map(|text| (path, text)));
        }
        Ok(contents)
    }
}
