//! Every durable commit of a state folder in one count, so that a test can end the process at any one of them.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::step_functions::{CommitHook, CommitPoint, CommitSide};

/// Is called on both sides of every durable commit: of the engine's log, of the tables, of every file.
///
/// Numbers count from 1 when the folder is opened, whatever is committed; commits of different stores may overlap.
pub type CommitObserver = Arc<dyn Fn(CommitPoint) + Send + Sync>;

/// An observer that ends the whole process at one commit, without unwinding and without flushing anything.
pub fn abort_at(point: CommitPoint) -> CommitObserver {
    Arc::new(move |reached| {
        if reached == point {
            std::process::abort();
        }
    })
}

/// The count of one state folder; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Commits {
    observer: Option<CommitObserver>,
    count: Arc<AtomicU64>,
}

impl Commits {
    pub(crate) fn observed_by(observer: Option<CommitObserver>) -> Self {
        Commits { observer, count: Arc::default() }
    }

    /// Carries one commit out between its two sides.
    pub(crate) fn around<T>(&self, commit: impl FnOnce() -> T) -> T {
        let Some(observer) = &self.observer else { return commit() };
        let number = self.next();
        observer(CommitPoint { number, side: CommitSide::Before });
        let done = commit();
        observer(CommitPoint { number, side: CommitSide::After });
        done
    }

    /// Counts the engine's commits in: its log has one writer, so their two sides take turns.
    pub(crate) fn hook_of_log(&self) -> Option<CommitHook> {
        let observer = self.observer.clone()?;
        let (commits, current) = (self.clone(), AtomicU64::new(0));
        Some(Arc::new(move |CommitPoint { side, .. }| {
            if side == CommitSide::Before {
                current.store(commits.next(), Ordering::Relaxed);
            }
            observer(CommitPoint { number: current.load(Ordering::Relaxed), side });
            ControlFlow::Continue(())
        }))
    }

    fn next(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl fmt::Debug for Commits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commits").field("count", &self.count).finish_non_exhaustive()
    }
}
