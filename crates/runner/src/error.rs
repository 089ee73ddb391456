//! Why a job could not be measured, by what the reader does next.

use std::io;
use std::path::{Path, PathBuf};

use archive::ArchiveError;
use run_model::{ErrorName, FunctionError};
use sandbox::SandboxError;
use sandbox::toolchain::ToolchainError;
use store::StoreError;

use crate::remote::ApiError;

/// Why a job could not be measured. The run is told; the runner goes on with the next job.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The API of the stage failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The sandbox refused.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The project's toolchain is not there.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// The disk failed: free space, or mend the folder's owner and mode.
    #[error("could not use {path}")]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An overlay, an archive or a setting wants to write where it may not.
    #[error("{0}")]
    Refused(String),
    /// A setup command failed: mend it, or what it fetches from.
    #[error("setup command `{command}` {ended}{tail}")]
    Setup {
        /// The command line.
        command: String,
        /// How it ended, and the cure.
        ended: String,
        /// The beginning and the end of its output, each line on one of its own.
        tail: String,
    },
    /// An archive is damaged, or grows beyond all bounds: whoever put it there was no part of Gatewright.
    #[error("{what} is not unpacked: {problem}")]
    Archive {
        /// Which archive.
        what: String,
        /// Why.
        problem: ArchiveError,
    },
    /// What was stored cannot be read.
    #[error("{what} cannot be read: {problem}")]
    Unreadable {
        /// Which object.
        what: String,
        /// Why.
        problem: String,
    },
}

impl RunnerError {
    /// Whether the job is another runner's by now.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, Self::Api(ApiError::Lost) | Self::Store(StoreError::Conflict(_)))
    }

    pub(crate) fn unreadable(what: impl Into<String>, problem: &impl ToString) -> Self {
        Self::Unreadable { what: what.into(), problem: problem.to_string() }
    }

    /// Whether the same request may be answered otherwise in a while. (An API is asked again where it is asked.)
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Store(StoreError::Unavailable { .. }))
    }

    /// The message with the messages of all causes, outermost first.
    pub fn with_causes(&self) -> String {
        let causes = std::iter::successors(std::error::Error::source(self), |cause| cause.source());
        causes.fold(self.to_string(), |text, cause| format!("{text}: {cause}"))
    }
}

impl From<RunnerError> for FunctionError {
    fn from(error: RunnerError) -> Self {
        let name = match &error {
            RunnerError::Store(_) | RunnerError::Api(_) | RunnerError::Disk { .. } => ErrorName::StoreUnavailable,
            RunnerError::Setup { .. } | RunnerError::Toolchain(_) => ErrorName::NotMeasurable,
            RunnerError::Sandbox(_) | RunnerError::Refused(_) => ErrorName::PolicyRefused,
            RunnerError::Archive { problem: ArchiveError::Damaged(_), .. } | RunnerError::Unreadable { .. } => {
                ErrorName::Internal
            }
            RunnerError::Archive { .. } => ErrorName::PolicyRefused,
        };
        Self::new(name, error.with_causes())
    }
}

impl From<ArchiveError> for RunnerError {
    fn from(problem: ArchiveError) -> Self {
        Self::Archive { what: "the archive".into(), problem }
    }
}

/// Names the file or folder in a disk's error.
pub(crate) trait At<T> {
    fn at(self, path: &Path) -> Result<T, RunnerError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, RunnerError> {
        self.map_err(|source| RunnerError::Disk { path: path.to_owned(), source })
    }
}
