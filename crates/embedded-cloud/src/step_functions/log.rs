//! The durable log: one SQLite file, one writer, group commit.
//!
//! Everything that waits while a commit is on its way to the disk goes into the next commit, so that under load one
//! `fsync` carries many transitions; a thread of the log's own makes these. A write that nobody else waits beside is
//! committed where it is asked for: handing it to the thread and back would cost more than the commit. A failed write
//! stops the log for good: what was acknowledged is on disk, what was not is not, and opening the file again goes on
//! from there.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use super::records;
use crate::durable::damaged;

/// The thread that commits what waits together.
const THREAD: &str = "step-functions-log";

/// Writes that one commit may carry.
const BATCH: usize = 512;

/// One side of one durable commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitPoint {
    /// The commit's number since the log was opened, from 1.
    pub number: u64,
    /// Which side of the commit.
    pub side: CommitSide,
}

/// Whether a commit is about to happen or has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitSide {
    /// Nothing of the commit is on disk yet.
    Before,
    /// The commit is on disk; nobody has been told.
    After,
}

/// Looks on at every commit; `Break` stops the log there, as a crash would.
pub type CommitHook = Arc<dyn Fn(CommitPoint) -> ControlFlow<()> + Send + Sync>;

/// Why the log does not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// The file cannot be opened as a log.
    #[error("cannot open {}", path.display())]
    Open {
        /// The log's file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// The file holds what nobody wrote there: put a copy back, or go without what it held.
    #[error("{} is damaged: put a copy of it back, or move it away and go without what it held", path.display())]
    Damaged {
        /// The log's file, left as it was.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// Another version of this program wrote the file.
    #[error("{} has format {found}, this program reads {known}: {}", path.display(), if found > known {
        "a newer gatewright wrote it, so update this one"
    } else {
        "let the gatewright that wrote it end its runs, then move the folder away"
    })]
    OtherFormat {
        /// The log's file, left as it was.
        path: PathBuf,
        /// The format found.
        found: i64,
        /// The format that this program knows.
        known: i64,
    },
    /// A read failed.
    #[error("cannot read the log")]
    Read(#[source] Arc<rusqlite::Error>),
    /// The log takes no more writes; restart from the file.
    #[error("the log has stopped: {0}")]
    Stopped(String),
}

fn is_damage(code: rusqlite::ErrorCode) -> bool {
    matches!(code, rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt)
}

impl From<rusqlite::Error> for LogError {
    fn from(error: rusqlite::Error) -> Self {
        LogError::Read(Arc::new(error))
    }
}

/// How much the log has done since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Commits, each one `fsync` (a checkpoint, every few thousand commits, costs two more).
    pub commits: u64,
    /// Writes carried by those commits: transitions, starts and machine updates.
    pub writes: u64,
}

type Acknowledge = Box<dyn FnOnce() + Send>;
type Job = Box<dyn FnOnce(&Connection) -> Result<Acknowledge, Broken> + Send>;

/// The log has stopped; the reason is in [`Shared::stopped`].
struct Broken;

/// What the writer and the handles share.
#[derive(Default)]
struct Shared {
    path: PathBuf,
    stopped: watch::Sender<Option<String>>,
    /// Writes given to the thread that it has not begun.
    waiting: AtomicUsize,
    /// Whether the last commit carried one write only.
    alone: AtomicBool,
    commits: AtomicU64,
    writes: AtomicU64,
}

impl Shared {
    /// Notes why the log stops. To be called before any waiting answer is dropped, so that who waits finds the reason.
    fn stop(&self, reason: String) -> Broken {
        tracing::error!(reason, "the Step Functions log stops");
        self.stopped.send_if_modified(|stopped| stopped.is_none() && stopped.replace(reason).is_none());
        Broken
    }

    /// The same for what SQLite says: of damage it names neither the file nor the cure.
    fn fail(&self, error: &rusqlite::Error) -> Broken {
        let is_damage = error.sqlite_error_code().is_some_and(is_damage);
        self.stop(if is_damage { damaged(&self.path, error) } else { error.to_string() })
    }
}

/// The log of one state folder.
pub(super) struct Log {
    reader: Mutex<Connection>,
    writer: Arc<Mutex<Writer>>,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    shared: Arc<Shared>,
}

impl Log {
    /// Opens or creates the log at `path` and starts its writer.
    pub(super) fn open(path: &Path, hook: Option<CommitHook>) -> Result<Self, LogError> {
        let fails = |source: rusqlite::Error| {
            let (path, is_damage) = (path.to_owned(), source.sqlite_error_code().is_some_and(is_damage));
            let source = Arc::new(source);
            if is_damage { LogError::Damaged { path, source } } else { LogError::Open { path, source } }
        };
        let connection = Connection::open(path).map_err(fails)?;
        let found = records::format(&connection).map_err(fails)?;
        if ![0, records::FORMAT].contains(&found) {
            return Err(LogError::OtherFormat { path: path.to_owned(), found, known: records::FORMAT });
        }
        tune(&connection).and_then(|()| records::create(&connection)).map_err(fails)?;
        let reader = Connection::open(path).map_err(fails)?;
        reader.pragma_update(None, "query_only", true).map_err(fails)?;
        let shared = Arc::new(Shared { path: path.to_owned(), ..Shared::default() });
        let (jobs, queue) = mpsc::channel();
        let writer = Arc::new(Mutex::new(Writer { connection, hook, shared: shared.clone() }));
        let (of_thread, shared_by_it) = (writer.clone(), shared.clone());
        let thread = std::thread::Builder::new().name(THREAD.into());
        let thread = thread.spawn(move || write_together(&queue, &of_thread, &shared_by_it));
        let thread = thread.map_err(|error| LogError::Stopped(format!("no thread for the writer: {error}")))?;
        let (reader, jobs, thread) = (Mutex::new(reader), Mutex::new(Some(jobs)), Mutex::new(Some(thread)));
        Ok(Log { reader, writer, jobs, thread, shared })
    }

    /// Applies a write, answering once it is on disk.
    ///
    /// Writes are applied one after another in the order given, so that one which looks before it writes races with
    /// no other.
    pub(super) async fn write<T, F>(&self, apply: F) -> Result<T, LogError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let shared = self.shared.clone();
        let job: Job = Box::new(move |connection| {
            let outcome = apply(connection).map_err(|error| shared.fail(&error))?;
            Ok(Box::new(move || drop(reply.send(outcome))))
        });
        self.hand_over(job)?;
        answer.await.map_err(|_| self.stopped())
    }

    /// Commits a job here and now if it is alone, or gives it to the thread.
    fn hand_over(&self, job: Job) -> Result<(), LogError> {
        let jobs = lock(&self.jobs);
        let Some(sender) = jobs.as_ref() else { return Err(self.stopped()) };
        if let Some(writer) = self.idle_writer() {
            drop(jobs);
            return writer.work(vec![job]).map_err(|Broken| self.stopped());
        }
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        sender.send(job).map_err(|_| self.stopped())
    }

    /// The writer, if nobody else wants it and this thread may wait for the disk.
    fn idle_writer(&self) -> Option<MutexGuard<'_, Writer>> {
        let alone = self.shared.alone.load(Ordering::Relaxed) && self.shared.waiting.load(Ordering::Relaxed) == 0;
        // The runtime's only thread would keep everybody waiting, and nobody could share the next commit.
        let others_go_on = || Handle::try_current().is_ok_and(|runtime| runtime.metrics().num_workers() > 1);
        if alone && others_go_on() { self.writer.try_lock().ok() } else { None }
    }

    /// Reads what is committed.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, LogError> {
        read(&lock(&self.reader)).map_err(|error| match error.sqlite_error_code().is_some_and(is_damage) {
            true => LogError::Damaged { path: self.shared.path.clone(), source: Arc::new(error) },
            false => error.into(),
        })
    }

    pub(super) fn stats(&self) -> LogStats {
        LogStats {
            commits: self.shared.commits.load(Ordering::Relaxed),
            writes: self.shared.writes.load(Ordering::Relaxed),
        }
    }

    /// Finishes what was given, then refuses more; the file may be opened again afterwards.
    pub(super) fn close(&self) {
        drop(lock(&self.jobs).take());
        if let Some(thread) = lock(&self.thread).take() {
            // A writer that panicked has already been reported by the panic hook.
            let _ = thread.join();
        }
        // What is committed elsewhere ends first.
        let writer = lock(&self.writer);
        // One file is then all there is. What fails here is done at the next start.
        let taken_in = writer.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = taken_in {
            tracing::warn!(%error, "the log of executions stays beside their file");
        }
    }

    fn stopped(&self) -> LogError {
        LogError::Stopped(self.shared.stopped.borrow().clone().unwrap_or_else(|| "it was closed".into()))
    }

    /// Ends when a write has failed, with the reason; never of a log that is merely closed.
    pub(super) async fn failed(&self) -> String {
        let mut stopped = self.shared.stopped.subscribe();
        match stopped.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // The sender lives as long as this log.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

/// The guard of a mutex whose data no panic can leave half-changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tune(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // A checkpoint costs two more fsyncs: at 16 MiB of log they vanish among thousands of commits.
    connection.pragma_update(None, "wal_autocheckpoint", 4096)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

struct Writer {
    connection: Connection,
    hook: Option<CommitHook>,
    shared: Arc<Shared>,
}

/// The writer's thread: commits what waits, together.
fn write_together(queue: &mpsc::Receiver<Job>, writer: &Mutex<Writer>, shared: &Shared) {
    while let Ok(first) = queue.recv() {
        let writer = lock(writer);
        let batch: Vec<Job> = std::iter::once(first).chain(queue.try_iter().take(BATCH - 1)).collect();
        shared.waiting.fetch_sub(batch.len(), Ordering::Relaxed);
        if writer.work(batch).is_err() {
            return;
        }
    }
}

impl Writer {
    /// Commits a batch and tells those who wait; nothing is committed after a write has failed.
    fn work(&self, batch: Vec<Job>) -> Result<(), Broken> {
        if self.shared.stopped.borrow().is_some() {
            return Err(Broken);
        }
        let writes = batch.len();
        let acknowledges = self.commit(batch)?;
        self.shared.alone.store(writes == 1, Ordering::Relaxed);
        self.shared.writes.fetch_add(writes as u64, Ordering::Relaxed);
        acknowledges.into_iter().for_each(|acknowledge| acknowledge());
        Ok(())
    }

    /// One commit of everything in `batch`; when it breaks, nothing of it is on disk or nobody was told.
    fn commit(&self, batch: Vec<Job>) -> Result<Vec<Acknowledge>, Broken> {
        let breaks = |error: rusqlite::Error| self.shared.fail(&error);
        let transaction = self.connection.unchecked_transaction().map_err(breaks)?;
        let acknowledges = batch.into_iter().map(|job| job(&transaction)).collect::<Result<Vec<_>, _>>()?;
        let number = self.shared.commits.load(Ordering::Relaxed) + 1;
        self.pass(CommitPoint { number, side: CommitSide::Before })?;
        transaction.commit().map_err(breaks)?;
        self.shared.commits.store(number, Ordering::Relaxed);
        self.pass(CommitPoint { number, side: CommitSide::After })?;
        Ok(acknowledges)
    }

    fn pass(&self, point: CommitPoint) -> Result<(), Broken> {
        match self.hook.as_ref().map(|hook| hook(point)) {
            Some(ControlFlow::Break(())) => Err(self.shared.stop(format!("the commit hook stopped it at {point:?}"))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::runtime::Builder;

    fn count(log: &Log) -> i64 {
        log.read(|connection| connection.query_row("SELECT count(*) FROM machines", [], |row| row.get(0))).unwrap()
    }

    async fn add(log: &Log, name: String) -> Result<i64, LogError> {
        log.write(move |connection| records::define(connection, &name, "{}", 0)).await
    }

    #[tokio::test]
    async fn what_waits_during_a_commit_shares_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(&folder.path().join("log"), None).unwrap();
        let writes = (0..100).map(|n| add(&log, format!("m{n}")));
        futures::future::try_join_all(writes).await.unwrap();
        let stats = log.stats();
        assert_eq!((stats.writes, count(&log)), (100, 100));
        assert!(stats.commits < 50, "{stats:?}");
    }

    /// A hook that tells before each commit whether the log's own thread makes it, and waits for leave to go on.
    fn watched() -> (CommitHook, mpsc::Receiver<bool>, mpsc::Sender<()>) {
        let ((tell, told), (leave, leaves)) = (mpsc::channel(), mpsc::channel::<()>());
        let world = Mutex::new((tell, leaves));
        let hook = move |point: CommitPoint| {
            let (tell, leaves) = &*lock(&world);
            if point.side == CommitSide::Before {
                tell.send(std::thread::current().name() == Some(THREAD)).unwrap();
                leaves.recv().unwrap();
            }
            ControlFlow::Continue(())
        };
        (Arc::new(hook), told, leave)
    }

    #[test]
    fn a_write_that_is_alone_is_committed_where_it_is_asked_for() {
        for (mut runtime, expected) in [
            (Builder::new_multi_thread(), [true, false, false]),
            // The only thread must not wait for the disk.
            (Builder::new_current_thread(), [true, true, true]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (hook, told, leave) = watched();
            let log = Log::open(&folder.path().join("log"), Some(hook)).unwrap();
            runtime.worker_threads(2).build().unwrap().block_on(async {
                for n in 0..3 {
                    leave.send(()).unwrap();
                    add(&log, format!("m{n}")).await.unwrap();
                    // Whoever committed it answers first and lets go of the writer then.
                    drop(lock(&log.writer));
                }
                log.close();
                assert!(add(&log, "late".into()).await.is_err());
            });
            assert_eq!(told.try_iter().collect::<Vec<_>>(), expected);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_waits_while_a_write_is_committed_where_it_was_asked_for_goes_to_the_thread() {
        let folder = tempfile::tempdir().unwrap();
        let (hook, told, leave) = watched();
        let log = Arc::new(Log::open(&folder.path().join("log"), Some(hook)).unwrap());
        leave.send(()).unwrap();
        add(&log, "first".into()).await.unwrap();
        drop(lock(&log.writer));
        let alone = tokio::spawn({
            let log = log.clone();
            async move { add(&log, "alone".into()).await }
        });
        assert_eq!((told.recv(), told.recv()), (Ok(true), Ok(false)));
        let mut rest = std::pin::pin!(futures::future::try_join_all((0..10).map(|n| add(&log, format!("m{n}")))));
        assert!(futures::poll!(&mut rest).is_pending());
        leave.send(()).unwrap();
        leave.send(()).unwrap();
        rest.await.unwrap();
        alone.await.unwrap().unwrap();
        assert_eq!(log.stats(), LogStats { commits: 3, writes: 12 });
    }

    #[test]
    fn a_break_before_a_commit_loses_it_and_a_break_after_keeps_it() {
        // The second commit is made by the log's thread on the first runtime, by the caller on the other.
        for mut runtime in [Builder::new_current_thread(), Builder::new_multi_thread()] {
            let runtime = runtime.worker_threads(2).build().unwrap();
            for (side, kept) in [(CommitSide::Before, 1), (CommitSide::After, 2)] {
                runtime.block_on(breaks(CommitPoint { number: 2, side }, kept));
            }
        }
    }

    async fn breaks(at: CommitPoint, kept: i64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let hook: CommitHook =
            Arc::new(move |p| if p == at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) });
        let log = Log::open(&path, Some(hook)).unwrap();
        add(&log, "one".into()).await.unwrap();
        let refused = add(&log, "two".into()).await.unwrap_err();
        assert!(refused.to_string().contains("number: 2"), "{refused}");
        assert!(add(&log, "three".into()).await.is_err());
        drop(log);
        assert_eq!(count(&Log::open(&path, None).unwrap()), kept, "{at:?}");
    }

    #[tokio::test]
    async fn a_failing_write_stops_the_log_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(&folder.path().join("log"), None).unwrap();
        let failed = log.write(|connection| connection.execute("INSERT INTO nowhere VALUES (1)", [])).await;
        assert!(failed.unwrap_err().to_string().contains("nowhere"));
        assert!(add(&log, "late".into()).await.unwrap_err().to_string().contains("nowhere"));
        assert!(log.failed().await.contains("nowhere"));
    }

    #[test]
    fn a_file_of_another_version_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        drop(Log::open(&path, None).unwrap());
        for other in [records::FORMAT - 1, records::FORMAT + 1] {
            Connection::open(&path).unwrap().pragma_update(None, "user_version", other).unwrap();
            let before = std::fs::read(&path).unwrap();
            let refused = Log::open(&path, None).err().unwrap();
            assert!(matches!(refused, LogError::OtherFormat { .. }), "{refused}");
            assert_eq!(std::fs::read(&path).unwrap(), before);
        }
    }
}
