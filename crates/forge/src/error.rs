//! Why the repository refused or failed, by what the reader does next.

use std::path::PathBuf;

use run_model::{ErrorName, FunctionError, RepoPath};

use crate::OLDEST_GIT;

/// Why the repository refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum ForgeError {
    /// The words for the repository lead nowhere: name a folder or a repository.
    #[error(
        "{0:?} is no repository; give an absolute path, or a GitHub repository as owner/name or by its https address"
    )]
    BadRepository(String),
    /// There is no repository: make one, or name another folder.
    #[error("{path} is not a git repository; run `git init` and commit, or name another folder ({said})")]
    NotARepository {
        /// What was named.
        path: PathBuf,
        /// What git said.
        said: String,
    },
    /// The folder lies inside a repository: name its root.
    #[error("{path} lies inside the repository {root}; name that folder")]
    InsideRepository {
        /// What was named.
        path: PathBuf,
        /// The repository's root.
        root: PathBuf,
    },
    /// The repository is empty: commit something first.
    #[error("{0} has no commits; commit something first, the work is based on a commit")]
    NoCommits(PathBuf),
    /// Git has no place for the refs of runs beside a ref of this name: rename it.
    #[error(
        "the {kind} {name} stands in the way of gatewright/RUN; rename or delete it (`git branch -m gatewright OTHER`, or \
         `git update-ref -d {name}`)"
    )]
    NameInTheWay {
        /// What people call it.
        kind: &'static str,
        /// Its full name.
        name: &'static str,
    },
    /// A name stands for no commit: name another.
    #[error("{0:?} names no commit of this repository; name a branch, a tag or a commit")]
    UnknownRef(String),
    /// A file was asked for, and a folder or a submodule has its name.
    #[error("{0} is no file; rename what has that name, or make it a file")]
    NoFile(String),
    /// A file that has to be read is no text: save it as UTF-8.
    #[error("{path} is no UTF-8 text (byte {offset}); save it as UTF-8")]
    NoText {
        /// The file.
        path: String,
        /// Where the first byte lies that does not fit, counted from 0.
        offset: usize,
    },
    /// The repository is too large for a snapshot.
    #[error("the files of {commit} have {bytes} bytes, more than the {limit} that a snapshot may have")]
    TooLarge {
        /// Of which commit.
        commit: String,
        /// How large they are.
        bytes: u64,
        /// How large they may be.
        limit: u64,
    },
    /// The snapshot's archive is longer than the functions that read it can hold: give them more memory.
    #[error(
        "the archive of {commit} has more than {} MiB, which is all that functions of {memory_mb} MB can hold; give the stage \
         more (`gatewright aws deploy --stage STAGE --memory {}`), or take large files out of the repository",
        limit >> 20, memory_mb.saturating_mul(2)
    )]
    ArchiveTooLarge {
        /// Of which commit.
        commit: String,
        /// How long it may be, in bytes.
        limit: u64,
        /// The memory of the functions, in megabytes.
        memory_mb: u32,
    },
    /// Objects are missing, as in a partial clone: fetch them.
    #[error("object {0} is missing; fetch the rest of the repository (`git fetch --refetch --no-filter`)")]
    MissingObject(String),
    /// An edit would go through something that is not a file.
    #[error("{path} cannot be changed: {problem}")]
    Path {
        /// The edited path.
        path: RepoPath,
        /// What stands in its way.
        problem: String,
    },
    /// The edits leave the tree as it is: there is nothing to publish.
    #[error("the change leaves every file as it is; there is nothing to publish")]
    NothingChanged,
    /// Somebody else's branch has the name: rename or delete it.
    #[error(
        "branch {branch} exists and points to {commit}; rename or delete it, then run `gatewright runs resume {run}`"
    )]
    BranchTaken {
        /// The run.
        run: String,
        /// The branch.
        branch: String,
        /// Where it points.
        commit: String,
    },
    /// What should land was never published for this run.
    #[error("commit {commit} is not what run {run} published; `gatewright runs resume {run}` publishes it again")]
    NotPublished {
        /// The run.
        run: String,
        /// The commit.
        commit: String,
    },
    /// Git could not be started: install it.
    #[error("the git program cannot be started; install git {}.{} or later", OLDEST_GIT.0, OLDEST_GIT.1)]
    NoGit(#[source] std::io::Error),
    /// Git failed.
    #[error("git {command} failed: {said}")]
    Git {
        /// Its subcommand.
        command: String,
        /// What it said.
        said: String,
    },
    /// A temporary file failed.
    #[error("could not {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// GitHub refused or failed.
    #[cfg(feature = "github")]
    #[error(transparent)]
    GitHub(#[from] crate::github::GitHubError),
}

impl From<ForgeError> for FunctionError {
    fn from(error: ForgeError) -> Self {
        use ForgeError as E;
        let name = match &error {
            E::BadRepository(_)
            | E::NotARepository { .. }
            | E::InsideRepository { .. }
            | E::NoCommits(_)
            | E::NameInTheWay { .. }
            | E::UnknownRef(_)
            | E::NoFile(_)
            | E::NoText { .. }
            | E::TooLarge { .. }
            | E::ArchiveTooLarge { .. } => ErrorName::InvalidInput,
            E::Path { .. } | E::NothingChanged | E::BranchTaken { .. } | E::NotPublished { .. } => {
                ErrorName::PolicyRefused
            }
            E::MissingObject(_) | E::NoGit(_) | E::Git { .. } | E::Io { .. } => ErrorName::ForgeFailed,
            #[cfg(feature = "github")]
            E::GitHub(error) => error.name(),
        };
        let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
        Self::new(name, causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}")))
    }
}
