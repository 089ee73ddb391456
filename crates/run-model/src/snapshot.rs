//! A snapshot: the files of one commit, as an archive and a manifest in object storage.

use serde::{Deserialize, Serialize};

use crate::Sha256;

/// What a manifest says of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A regular file with the executable bit.
    Executable,
    /// A symbolic link; its target is data and is never followed.
    Symlink,
    /// A submodule, passed through unchanged.
    Submodule,
}

/// One path of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The path as the commit spells it (may hold what a [`crate::RepoPath`] refuses; then agents do not see it).
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of content.
    pub bytes: u64,
    /// Hash of the content.
    pub sha256: Sha256,
}

/// Every path of a snapshot, sorted by path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The entries, sorted by path.
    pub entries: Vec<Entry>,
}

/// Where a snapshot lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRef {
    /// The commit, 40 or 64 hexadecimal digits.
    pub commit: String,
    /// Object key of the archive (tar, gzip; paths relative to the repository's root).
    pub archive_key: String,
    /// Hash of the archive's bytes.
    pub archive_sha256: Sha256,
    /// Object key of the manifest (JSON of [`Manifest`]).
    pub manifest_key: String,
}
