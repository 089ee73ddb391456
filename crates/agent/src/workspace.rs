//! The tree as a session sees it: what it was given with its own edits laid over.

use std::collections::BTreeSet;
use std::io;

use run_model::RepoPath;
use run_model::change_set::{Edit, Overlay};

use crate::ports::Tree;
use crate::role::{PathKind, Writes};

/// The largest file that is read or written as text, in bytes.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// Why a tool did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolFailure {
    /// The model can do better: the text says how.
    #[error("{0}")]
    Refused(String),
    /// The scratch space cannot be read.
    #[error("the snapshot cannot be read")]
    Broken(#[from] io::Error),
}

impl From<String> for ToolFailure {
    fn from(refusal: String) -> Self {
        Self::Refused(refusal)
    }
}

/// A tree, the session's edits, and the rule of what may be written.
pub(crate) struct Workspace<'a> {
    pub(crate) tree: &'a dyn Tree,
    pub(crate) edits: &'a mut Overlay,
    pub(crate) writes: Writes,
    pub(crate) kind_of: &'a dyn Fn(&RepoPath) -> PathKind,
}

impl Workspace<'_> {
    /// Every path there is now, sorted.
    pub(crate) fn paths(&self) -> Vec<RepoPath> {
        let mut paths: BTreeSet<RepoPath> = self.tree.paths().into_iter().collect();
        for (path, edit) in &self.edits.0 {
            match edit {
                Edit::Write(_) => paths.insert(path.clone()),
                Edit::Delete => paths.remove(path),
            };
        }
        paths.into_iter().collect()
    }

    /// A file's bytes as they are now.
    pub(crate) fn bytes(&self, path: &RepoPath) -> io::Result<Option<Vec<u8>>> {
        match self.edits.0.get(path) {
            Some(Edit::Write(content)) => Ok(Some(content.clone().into_bytes())),
            Some(Edit::Delete) => Ok(None),
            None => self.tree.read(path),
        }
    }

    /// A file as text.
    pub(crate) fn text(&self, path: &RepoPath) -> Result<String, ToolFailure> {
        let Some(bytes) = self.bytes(path)? else {
            return Err(self.missing(path).into());
        };
        if bytes.len() > MAX_FILE_BYTES {
            let size = bytes.len();
            return Err(format!("{path} has {size} bytes, too many to handle here: leave it alone").into());
        }
        match String::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => Ok(text),
            _ => Err(format!("{path} is not UTF-8 text: it cannot be read or changed here, leave it alone").into()),
        }
    }

    /// Gives a file new content.
    pub(crate) fn write(&mut self, path: &RepoPath, content: String) -> Result<(), ToolFailure> {
        self.check_writable(path)?;
        if content.len() > MAX_FILE_BYTES {
            return Err(format!("{path} would have {} bytes: write less than {MAX_FILE_BYTES}", content.len()).into());
        }
        if content.contains('\0') {
            return Err(format!("{path} would hold a NUL character: write text only").into());
        }
        self.edits.0.insert(path.clone(), Edit::Write(content));
        Ok(())
    }

    /// Takes a file away.
    pub(crate) fn delete(&mut self, path: &RepoPath) -> Result<(), ToolFailure> {
        self.check_writable(path)?;
        if self.bytes(path)?.is_none() {
            return Err(self.missing(path).into());
        }
        self.edits.0.insert(path.clone(), Edit::Delete);
        Ok(())
    }

    fn check_writable(&self, path: &RepoPath) -> Result<(), String> {
        self.writes.check(path, (self.kind_of)(path))?;
        if let Some(obstacle) = self.tree.obstacle(path) {
            return Err(format!("{path} cannot be written: {obstacle}; choose another path"));
        }
        let below = |outer: &str, inner: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
        for other in self.paths() {
            if below(other.as_str(), path.as_str()) {
                return Err(format!("{path} cannot be written: {other} is a file, not a folder; choose another path"));
            }
            if below(path.as_str(), other.as_str()) {
                return Err(format!("{path} is a folder (it holds {other}): give the path of a file"));
            }
        }
        Ok(())
    }

    /// That there is no such file, and which one may have been meant.
    fn missing(&self, path: &RepoPath) -> String {
        let name = path.as_str().rsplit('/').next().unwrap_or_default();
        let same_name = |other: &RepoPath| other.as_str().rsplit('/').next() == Some(name);
        let alike: Vec<String> = self.paths().into_iter().filter(same_name).take(3).map(String::from).collect();
        if alike.is_empty() {
            format!("there is no file {path}: call list_files to see the paths there are")
        } else {
            format!("there is no file {path}: did you mean {}?", alike.join(" or "))
        }
    }
}
