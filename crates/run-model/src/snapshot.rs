//! A snapshot: the files of one commit, as an archive and a manifest in object storage.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Sha256;
use crate::change_set::{Edit, Overlay};

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

impl Manifest {
    /// What the manifest is once an overlay is laid over the tree: a written file keeps its kind, a new one is a plain file.
    pub fn with_overlay(&self, overlay: &Overlay) -> Self {
        let mut entries: BTreeMap<String, Entry> =
            self.entries.iter().map(|entry| (entry.path.clone(), entry.clone())).collect();
        for (path, edit) in &overlay.0 {
            let path = path.as_str().to_owned();
            let Edit::Write(content) = edit else {
                entries.remove(&path);
                continue;
            };
            let kind = entries.get(&path).map_or(EntryKind::File, |entry| entry.kind);
            let (bytes, sha256) = (content.len() as u64, Sha256::of(content.as_bytes()));
            entries.insert(path.clone(), Entry { path, kind, bytes, sha256 });
        }
        Self { entries: entries.into_values().collect() }
    }

    /// How many bytes its files have together.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.bytes).fold(0, u64::saturating_add)
    }

    /// The hash of every path, kind and content: the hash that evidence gives of the tree it was measured on.
    /// Submodules do not count, since a checked tree has nothing in their place.
    pub fn tree_hash(&self) -> Sha256 {
        let mut entries: Vec<&Entry> = self.entries.iter().filter(|entry| entry.kind != EntryKind::Submodule).collect();
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        Sha256::of_json(&entries)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RepoPath;

    #[test]
    fn an_overlay_keeps_kinds_and_moves_the_hash() {
        let entry = |path: &str, kind| Entry { path: path.into(), kind, bytes: 1, sha256: Sha256::of(b"x") };
        let base = Manifest { entries: vec![entry("gone", EntryKind::File), entry("run.sh", EntryKind::Executable)] };
        let edits = [("run.sh", Edit::Write("y".into())), ("new", Edit::Write("z".into())), ("gone", Edit::Delete)];
        let overlay = Overlay(edits.into_iter().map(|(path, edit)| (RepoPath::new(path).unwrap(), edit)).collect());
        let laid = base.with_overlay(&overlay);
        let kinds: Vec<_> = laid.entries.iter().map(|entry| (entry.path.as_str(), entry.kind)).collect();
        assert_eq!(kinds, [("new", EntryKind::File), ("run.sh", EntryKind::Executable)]);
        assert_ne!(laid.tree_hash(), base.tree_hash());
        assert_eq!(base.with_overlay(&Overlay::default()).tree_hash(), base.tree_hash());
    }

    #[test]
    fn submodules_do_not_move_the_hash() {
        let module = Entry { path: "m".into(), kind: EntryKind::Submodule, bytes: 0, sha256: Sha256::of(b"") };
        assert_eq!(Manifest { entries: vec![module] }.tree_hash(), Manifest::default().tree_hash());
    }
}
