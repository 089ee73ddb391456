//! Why GitHub refused or failed, by what the reader does next.

use run_model::ErrorName;

/// The cause of a failure on the way to GitHub.
pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why GitHub refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum GitHubError {
    /// The secret opens nothing: set it.
    #[error("the secret for the forge {0}; set it with `gatewright aws secrets set forge`")]
    Secret(String),
    /// The repository is not there, or hidden from whoever asks: name another, or give access.
    #[error("{0} is not there, or the GitHub App or token has no access to it; check the name, or give it access")]
    NoSuchRepository(String),
    /// The repository is on another host than the secret is for: name another.
    #[error("{repository} is on {host}, but the secret for the forge is for {known}")]
    OtherHost {
        /// The repository.
        repository: String,
        /// Where it is.
        host: String,
        /// Where the secret's address leads.
        known: String,
    },
    /// The repository takes no changes: unarchive it.
    #[error("{0} is archived and takes no changes; unarchive it, or name another repository")]
    Archived(String),
    /// The base is no branch: name one.
    #[error("{base:?} is not a branch of {repository}; name a branch, a change is merged into one")]
    NotABranch {
        /// What was named.
        base: String,
        /// The repository.
        repository: String,
    },
    /// There are more files than GitHub lists at once.
    #[error("{0} has more files than GitHub lists at once (100,000)")]
    TooManyFiles(String),
    /// Too many files are not in the archive as they are in the commit.
    #[error(
        "GitHub's archive leaves out or alters {files} files (export-ignore, export-subst or working-tree-encoding in \
         .gitattributes, or Git LFS in archives), more than can be fetched singly: {shown}"
    )]
    TooManyLooseFiles {
        /// How many.
        files: usize,
        /// The first of them.
        shown: String,
    },
    /// The files that are not in the archive as they are in the commit are too large together.
    #[error(
        "GitHub's archive leaves out or alters files of {bytes} bytes together (export-ignore, export-subst or \
         working-tree-encoding in .gitattributes, or Git LFS in archives), more than the {limit} that can be fetched singly: \
         take the attribute from the large ones ({shown}), or give the stage more memory"
    )]
    LooseFilesTooLarge {
        /// How large they are.
        bytes: u64,
        /// How large they may be.
        limit: u64,
        /// The first of them.
        shown: String,
    },
    /// The answer is longer than there is room for: ask for less, or make room.
    #[error("what GitHub answers to {action} is longer than {limit} bytes")]
    TooLong {
        /// What was tried.
        action: &'static str,
        /// How long it may be.
        limit: usize,
    },
    /// The rate limit is spent: wait.
    #[error("GitHub asks for patience and did not {action}: {said} (again {again})")]
    Throttled {
        /// What was tried.
        action: &'static str,
        /// What GitHub said.
        said: String,
        /// When it allows it again.
        again: String,
    },
    /// GitHub could not be reached, or failed on its side: trying again may succeed.
    #[error("GitHub could not be asked to {action}, or failed at it")]
    Unavailable {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: Cause,
    },
    /// The App or token may not do this: give it the right.
    #[error("the GitHub App or token may not {action}: {said}; give it the rights that code-host's README lists")]
    Rights {
        /// What was tried.
        action: &'static str,
        /// What GitHub said.
        said: String,
    },
    /// GitHub answered what is not expected: look at what it said.
    #[error("GitHub refused to {action} ({status}): {said}")]
    Answered {
        /// What was tried.
        action: &'static str,
        /// The status.
        status: u16,
        /// What GitHub said.
        said: String,
    },
    /// Somebody else wrote at the same moment: look again.
    #[error("GitHub could not {action}, since somebody else was first: {said}")]
    Raced {
        /// What was tried.
        action: &'static str,
        /// What GitHub said.
        said: String,
    },
    /// The tree that GitHub made is not the change: nothing was published.
    #[error("the tree that GitHub made differs from the change at {0}; nothing was published")]
    WrongTree(String),
    /// What was approved is not what would be merged: the approval is void.
    #[error("{what} has moved from {from} to {to}, so the approval no longer counts; start again on what is there now")]
    Moved {
        /// What moved.
        what: String,
        /// Where it was.
        from: String,
        /// Where it is.
        to: String,
    },
    /// Somebody closed the pull request.
    #[error("pull request {url} was closed by somebody; reopen it and go on, or leave it at that")]
    Closed {
        /// Its page.
        url: String,
    },
    /// The rules of the branch ask for more: give it, and land again.
    #[error("{branch} does not take {url} yet: {said}. Nothing was merged; the pull request is ready for review")]
    Protected {
        /// The branch.
        branch: String,
        /// The pull request.
        url: String,
        /// What GitHub said is missing.
        said: String,
    },
}

impl GitHubError {
    /// The name that machines match.
    pub(crate) fn name(&self) -> ErrorName {
        match self {
            Self::NoSuchRepository(_)
            | Self::OtherHost { .. }
            | Self::Archived(_)
            | Self::NotABranch { .. }
            | Self::TooManyFiles(_)
            | Self::TooLong { .. }
            | Self::TooManyLooseFiles { .. }
            | Self::LooseFilesTooLarge { .. } => ErrorName::InvalidInput,
            Self::Throttled { .. } => ErrorName::ForgeThrottled,
            Self::Unavailable { .. } => ErrorName::ForgeUnavailable,
            Self::Raced { .. } => ErrorName::Conflict,
            Self::Moved { .. } | Self::Closed { .. } => ErrorName::PolicyRefused,
            Self::Protected { .. } => ErrorName::MergeRefused,
            Self::Secret(_) | Self::Rights { .. } | Self::Answered { .. } | Self::WrongTree(_) => {
                ErrorName::ForgeFailed
            }
        }
    }
}
