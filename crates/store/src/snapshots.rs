//! Reading single files out of a snapshot's archive.

use std::collections::{BTreeMap, BTreeSet};

use archive::{ArchiveError, Bounds, Kind};
use run_model::RepoPath;
use run_model::snapshot::SnapshotRef;

use crate::{Store, StoreError};

impl Store {
    /// The contents that the base has at these paths: text files only, what is missing or binary is left out.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Corrupt`] if the archive is not the one that was put, or too large for any;
    /// [`StoreError::TooLarge`] for the memory that this process has; [`StoreError::Unavailable`].
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
        let archive = self.get_archive(snapshot).await?;
        let (mut contents, mut bytes) = (BTreeMap::new(), 0);
        archive::unpack(archive.as_slice(), Bounds::SNAPSHOT, |entry| {
            let path = String::from_utf8(entry.path).ok().and_then(|path| RepoPath::new(path).ok());
            let Some(path) = path.filter(|path| matches!(entry.kind, Kind::File { .. }) && wanted(path)) else {
                return Ok(());
            };
            self.check_room(&snapshot.archive_key, bytes + entry.bytes, 2)?;
            let mut content = Vec::new();
            entry.content.read_to_end(&mut content).map_err(ArchiveError::from)?;
            if let Ok(text) = String::from_utf8(content) {
                bytes += text.len() as u64;
                contents.insert(path, text);
            }
            Ok(())
        })
        .map_err(|problem: Unread| problem.about(snapshot))?;
        Ok(contents)
    }
}

/// Why an archive was not read to its end.
enum Unread {
    Archive(ArchiveError),
    Store(StoreError),
}

impl Unread {
    fn about(self, snapshot: &SnapshotRef) -> StoreError {
        match self {
            Self::Archive(problem) => damaged(snapshot, &problem),
            Self::Store(error) => error,
        }
    }
}

impl From<ArchiveError> for Unread {
    fn from(problem: ArchiveError) -> Self {
        Self::Archive(problem)
    }
}

impl From<StoreError> for Unread {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn damaged(snapshot: &SnapshotRef, problem: &dyn ToString) -> StoreError {
    StoreError::corrupt(format!("object {}", snapshot.archive_key), problem.to_string())
}
