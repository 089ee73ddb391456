//! Every durable commit of a state folder in one count, so that a test can end the process at any one of them.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dynoxide::DynoxideError;
use rusqlite::ErrorCode;
use tokio::sync::watch;

use crate::step_functions::{CommitHook, CommitPoint, CommitSide};

/// Is called on both sides of every durable commit: of the engine's log, of the tables, of every file. Its error is the disk's: the
/// commit fails with it.
///
/// Numbers count from 1 when the folder is opened, whatever is committed; commits of different stores may overlap. The text says
/// of what kind the commit is: the same for all that the same code writes.
pub type CommitObserver = Arc<dyn Fn(CommitPoint, &str) -> io::Result<()> + Send + Sync>;

/// An observer that ends the whole process at one commit, without unwinding and without flushing anything.
pub fn abort_at(point: CommitPoint) -> CommitObserver {
    Arc::new(move |reached, _| {
        if reached == point {
            std::process::abort();
        }
        Ok(())
    })
}

/// An observer for whom the disk is full from the commit with this number on.
pub fn full_from(number: u64) -> CommitObserver {
    Arc::new(move |reached, _| match reached.side {
        CommitSide::Before if reached.number >= number => Err(io::Error::from(io::ErrorKind::StorageFull)),
        _ => Ok(()),
    })
}

/// An observer that writes down of what kind each commit is: `<number> <kind>`, a line each, in no order.
pub fn noted_in(file: PathBuf) -> CommitObserver {
    Arc::new(move |reached, kind| match reached.side {
        CommitSide::Before => Ok(()),
        CommitSide::After => {
            let mut file = OpenOptions::new().create(true).append(true).open(&file)?;
            file.write_all(format!("{} {kind}\n", reached.number).as_bytes())
        }
    })
}

/// The count of one state folder, and whether its disk takes more; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Commits {
    folder: PathBuf,
    observer: Option<CommitObserver>,
    count: Arc<AtomicU64>,
    refused: watch::Sender<Option<String>>,
}

impl Commits {
    pub(crate) fn of(folder: &Path, observer: Option<CommitObserver>) -> Self {
        Commits { folder: folder.to_owned(), observer, ..Self::default() }
    }

    /// Carries one commit of a kind out between its two sides.
    pub(crate) fn around<T, E: DiskError>(
        &self,
        kind: impl FnOnce() -> String,
        commit: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let Some(observer) = &self.observer else { return self.watched(commit()) };
        let (number, kind) = (self.next(), kind());
        let see =
            |side| observer(CommitPoint { number, side }, &kind).map_err(|error| self.refuses(&error.to_string()));
        see(CommitSide::Before).map_err(E::saying)?;
        let done = self.watched(commit());
        see(CommitSide::After).map_err(E::saying)?;
        done
    }

    /// The outcome of a write; if the disk takes no more, whoever drives is told, and the error says what to do.
    pub(crate) fn watched<T, E: DiskError>(&self, outcome: Result<T, E>) -> Result<T, E> {
        outcome.map_err(|error| match error.of_disk() {
            Some(reason) => E::saying(self.refuses(&reason)),
            None => error,
        })
    }

    /// Ends when the disk has refused a write, with what to say about it.
    pub(crate) async fn failed(&self) -> String {
        let mut refused = self.refused.subscribe();
        match refused.wait_for(Option::is_some).await {
            Ok(said) => said.clone().unwrap_or_default(),
            // The sender lives as long as this count.
            Err(_) => std::future::pending().await,
        }
    }

    /// What to say about the disk, if it has refused a write.
    pub(crate) fn refused(&self) -> Option<String> {
        self.refused.borrow().clone()
    }

    /// What to say about a disk that refuses a write.
    pub(crate) fn sentence(&self, reason: &str) -> String {
        let folder = self.folder.display();
        format!("the state folder {folder} takes no more writes ({reason}): make room or mend the disk")
    }

    fn refuses(&self, reason: &str) -> String {
        let said = self.sentence(reason);
        self.refused.send_if_modified(|refused| refused.is_none() && refused.replace(said.clone()).is_none());
        said
    }

    /// Counts the engine's commits in: its log has one writer, so their two sides take turns.
    pub(crate) fn hook_of_log(&self) -> Option<CommitHook> {
        let observer = self.observer.clone()?;
        let (commits, current) = (self.clone(), AtomicU64::new(0));
        Some(Arc::new(move |CommitPoint { side, .. }| {
            if side == CommitSide::Before {
                current.store(commits.next(), Ordering::Relaxed);
            }
            match observer(CommitPoint { number: current.load(Ordering::Relaxed), side }, "executions") {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    commits.refuses(&error.to_string());
                    ControlFlow::Break(())
                }
            }
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

/// An error that may be the disk's own.
pub(crate) trait DiskError {
    /// What the disk says, if it takes no more writes.
    fn of_disk(&self) -> Option<String>;

    /// The same kind of error, in these words.
    fn saying(words: String) -> Self;
}

impl DiskError for io::Error {
    fn of_disk(&self) -> Option<String> {
        use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let broken = self.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
        (broken || matches!(self.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem)).then(|| self.to_string())
    }

    fn saying(words: String) -> Self {
        io::Error::new(io::ErrorKind::StorageFull, words)
    }
}

impl DiskError for rusqlite::Error {
    fn of_disk(&self) -> Option<String> {
        use ErrorCode::{DiskFull, ReadOnly, SystemIoFailure};
        let code = self.sqlite_error_code();
        code.is_some_and(|code| matches!(code, DiskFull | ReadOnly | SystemIoFailure)).then(|| self.to_string())
    }

    fn saying(words: String) -> Self {
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), Some(words))
    }
}

/// The tables pass on what SQLite says as a text.
impl DiskError for DynoxideError {
    fn of_disk(&self) -> Option<String> {
        const REFUSALS: [&str; 3] =
            ["database or disk is full", "attempt to write a readonly database", "disk I/O error"];
        let said = self.to_string();
        let is_ours = matches!(self, DynoxideError::InternalServerError(_) | DynoxideError::SqliteError(_));
        (is_ours && REFUSALS.iter().any(|refusal| said.contains(refusal))).then_some(said)
    }

    fn saying(words: String) -> Self {
        DynoxideError::InternalServerError(words)
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[tokio::test]
    async fn a_disk_that_takes_no_more_is_told_once_and_other_errors_are_left_alone() {
        let commits = Commits::of(Path::new("/somewhere/state"), None);
        let kind = || "a file".to_owned();
        let other = commits.around(kind, || Err::<(), _>(io::Error::from(io::ErrorKind::NotFound))).unwrap_err();
        assert_eq!((other.kind(), commits.refused.borrow().is_none()), (io::ErrorKind::NotFound, true));
        for (number, error) in
            [28, 30, 5, 122].into_iter().zip(1..).map(|(raw, number)| (number, io::Error::from_raw_os_error(raw)))
        {
            let reason = error.to_string();
            let told = commits.watched(Err::<(), _>(error)).unwrap_err().to_string();
            assert!(
                told.contains("/somewhere/state") && told.contains(&reason) && told.contains("make room"),
                "{number}: {told}"
            );
        }
        assert!(commits.failed().await.contains("No space left"), "the first one counts");
    }

    /// What SQLite says itself: the texts that [`DynoxideError`] is known by.
    #[test]
    fn a_full_database_and_one_that_cannot_be_written_are_known() {
        let database = Connection::open_in_memory().unwrap();
        database.execute_batch("CREATE TABLE t (x); PRAGMA max_page_count = 3").unwrap();
        let full = database.execute("INSERT INTO t VALUES (zeroblob(100000))", []).unwrap_err();
        database.pragma_update(None, "query_only", true).unwrap();
        let read_only = database.execute("INSERT INTO t VALUES (1)", []).unwrap_err();
        for error in [full, read_only] {
            assert!(error.of_disk().is_some(), "{error}");
            let passed_on = DynoxideError::InternalServerError(format!("backend: {error}"));
            assert!(passed_on.of_disk().is_some(), "{passed_on}");
        }
        assert_eq!(DynoxideError::ValidationException("database or disk is full".into()).of_disk(), None);
        let commits = Commits::of(Path::new("/s"), Some(full_from(1)));
        let refused = commits.around(|| "a table".to_owned(), || Ok::<(), DynoxideError>(())).unwrap_err();
        assert!(refused.to_string().starts_with("the state folder /s takes no more writes"), "{refused}");
    }
}
