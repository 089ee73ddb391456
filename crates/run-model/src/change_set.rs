//! Edits as data: an overlay over a commit, hashed, never a branch until code-host makes a commit of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{RepoPath, Sha256};

/// What an overlay does to one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edit {
    /// The file's whole new content. Mode and executable bit stay as they are; a new file is a plain one.
    Write(String),
    /// The file is gone.
    Delete,
}

/// New contents and deletions, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Overlay(pub BTreeMap<RepoPath, Edit>);

impl Overlay {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The paths it touches, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &RepoPath> {
        self.0.keys()
    }

    /// Lays `later` over this overlay; where both touch a path, `later` wins.
    pub fn extend(&mut self, later: Self) {
        self.0.extend(later.0);
    }

    /// Puts overlays of one wave together.
    ///
    /// # Errors
    /// The first path that two of them change differently.
    pub fn merge(overlays: impl IntoIterator<Item = Self>) -> Result<Self, RepoPath> {
        let mut merged = Self::default();
        for (path, edit) in overlays.into_iter().flat_map(|overlay| overlay.0) {
            match merged.0.get(&path) {
                Some(other) if *other != edit => return Err(path),
                _ => merged.0.insert(path, edit),
            };
        }
        Ok(merged)
    }
}

/// A base commit and what is laid over it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSet {
    /// The commit the overlay was made for, 40 or 64 hexadecimal digits.
    pub base_commit: String,
    /// The edits.
    pub overlay: Overlay,
}

impl ChangeSet {
    /// The hash a gate binds and a commit message names.
    pub fn hash(&self) -> Sha256 {
        Sha256::of_json(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(edits: &[(&str, &str)]) -> Overlay {
        Overlay(edits.iter().map(|(p, c)| (RepoPath::new(*p).unwrap(), Edit::Write((*c).into()))).collect())
    }

    #[test]
    fn merging_keeps_all_edits_and_names_the_first_conflict() {
        let merged = Overlay::merge([overlay(&[("a", "1")]), overlay(&[("b", "2"), ("a", "1")])]).unwrap();
        assert_eq!(merged, overlay(&[("a", "1"), ("b", "2")]));
        assert_eq!(Overlay::merge([overlay(&[("a", "1")]), overlay(&[("a", "2")])]).unwrap_err().as_str(), "a");
    }

    #[test]
    fn the_hash_moves_with_base_and_content() {
        let set = |base: &str, content| ChangeSet { base_commit: base.into(), overlay: overlay(&[("a", content)]) };
        assert_eq!(set("0", "x").hash(), set("0", "x").hash());
        assert_ne!(set("0", "x").hash(), set("1", "x").hash());
        assert_ne!(set("0", "x").hash(), set("0", "y").hash());
    }
}
