//! What runners leave in a state folder, for whoever makes room: only while nobody drives it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cache::{Kind, last_use};
use crate::error::RunnerError;
use crate::folders;

/// A folder that a runner made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Where it is.
    pub path: PathBuf,
    /// When it was last used, in milliseconds since the epoch; `None` of a job's workspace and of an entry that was never
    /// completed, which nobody uses again.
    pub used_ms: Option<i64>,
}

impl Leftover {
    /// Removes it, whatever a command did to its folders.
    ///
    /// # Errors
    /// [`RunnerError`] with the path if it cannot be removed.
    pub fn remove(&self) -> Result<(), RunnerError> {
        folders::remove(&self.path)
    }
}

/// Every workspace and every entry of the cache.
pub fn leftovers(state: &Path) -> Vec<Leftover> {
    let listed = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<Leftover> = listed(state.join("work")).map(|path| Leftover { path, used_ms: None }).collect();
    for kind in [Kind::Dependencies, Kind::Build] {
        found.extend(listed(state.join("cache").join(kind.folder())).map(|path| {
            let used_ms = Some(last_use(&path)).filter(|moment| *moment != i64::MIN);
            Leftover { path, used_ms }
        }));
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}
