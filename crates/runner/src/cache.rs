//! What is kept between jobs: fetched dependencies and built bases, by the hash of what they were made from.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use run_model::{Clock, Sha256};

use crate::error::{At, RunnerError};
use crate::folders;

/// A file in an entry that is complete; it holds the moment of its last use, in milliseconds since the Unix epoch.
const USED: &str = "used";

/// A kind of entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What setup fetched and made.
    Dependencies,
    /// What warm-up built.
    Build,
}

impl Kind {
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Dependencies => "dependencies",
            Self::Build => "builds",
        }
    }

    /// How many entries are kept; builds are large. More than run at once, so that none is evicted in use.
    fn kept(self) -> usize {
        match self {
            Self::Dependencies => 64,
            Self::Build => 8,
        }
    }
}

/// The entries in a folder.
pub(crate) struct Cache {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
}

impl Cache {
    pub(crate) fn new(folder: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { folder, clock }
    }

    /// The place of an entry.
    pub(crate) fn place(&self, kind: Kind, key: &Sha256) -> PathBuf {
        self.folder.join(kind.folder()).join(key.as_str())
    }

    /// Whether the entry is complete; if so, it is used now.
    pub(crate) fn has(&mut self, place: &Path) -> Result<bool, RunnerError> {
        let complete = place.join(USED).is_file();
        if complete {
            self.use_now(place)?;
        }
        Ok(complete)
    }

    /// Makes room for an entry and an empty folder in its place.
    pub(crate) fn begin(&mut self, kind: Kind, place: &Path) -> Result<(), RunnerError> {
        let folder = self.folder.join(kind.folder());
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut by_use: Vec<(i64, PathBuf)> = entries.map(|entry| (last_use(&entry), entry)).collect();
        by_use.sort();
        let excess = (by_use.len() + 1).saturating_sub(kind.kept());
        for (_, entry) in by_use.into_iter().take(excess) {
            folders::remove(&entry)?;
        }
        folders::create_private(place)
    }

    /// Says that the entry is complete.
    pub(crate) fn complete(&mut self, place: &Path) -> Result<(), RunnerError> {
        self.use_now(place)
    }

    fn use_now(&self, place: &Path) -> Result<(), RunnerError> {
        let file = place.join(USED);
        fs::write(&file, self.clock.now_ms().to_string()).at(&file)
    }
}

/// An entry that was never completed counts as the oldest.
pub(crate) fn last_use(entry: &Path) -> i64 {
    fs::read_to_string(entry.join(USED)).ok().and_then(|text| text.parse().ok()).unwrap_or(i64::MIN)
}

#[cfg(test)]
mod tests {
    use run_model::time::VirtualClock;

    use super::*;

    #[test]
    fn an_entry_counts_once_it_is_complete_and_the_least_used_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let clock = VirtualClock::at(1);
        let mut cache = Cache::new(folder.path().into(), Arc::new(clock.clone()));
        let places: Vec<_> = (0_u8..9).map(|number| cache.place(Kind::Build, &Sha256::of(&[number]))).collect();
        for place in &places[..8] {
            clock.advance(1);
            cache.begin(Kind::Build, place).unwrap();
            assert!(!cache.has(place).unwrap());
            cache.complete(place).unwrap();
        }
        clock.advance(1);
        assert!(cache.has(&places[0]).unwrap());
        cache.begin(Kind::Build, &places[8]).unwrap();
        assert!(places[0].exists() && !places[1].exists() && places[2].exists());
    }
}
