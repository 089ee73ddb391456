//! What a repository is given, and what comes of it.

use run_model::RunId;
use run_model::change_set::Overlay;
use run_model::run::PullRequest;

/// A change on its way into a repository.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// The run.
    pub run: &'a RunId,
    /// The ref that the run is based on, as it was asked for.
    pub base_ref: &'a str,
    /// The commit that the change was made for.
    pub base_commit: &'a str,
    /// The change.
    pub overlay: &'a Overlay,
    /// The commit's message.
    pub message: &'a str,
    /// The commit's time in milliseconds since the epoch, where the commit depends on nothing else.
    pub when_ms: i64,
    /// The pull request's title.
    pub title: &'a str,
    /// The pull request's text, in Markdown.
    pub body: &'a str,
}

/// A change in a repository that nobody's branch has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its commit.
    pub commit: String,
    /// The full name of the ref that points to it.
    pub at: String,
    /// The pull request that shows it, on a forge.
    pub pull_request: Option<PullRequest>,
    /// What a person should know.
    pub notices: Vec<String>,
}

/// A published change on its way to where it belongs.
#[derive(Clone, Copy, Debug)]
pub struct Landing<'a> {
    /// The run.
    pub run: &'a RunId,
    /// The commit that the change was made for.
    pub base_commit: &'a str,
    /// The published commit.
    pub commit: &'a str,
    /// The pull request that shows it, on a forge.
    pub pull_request: Option<&'a PullRequest>,
    /// The message of a commit that the merge makes.
    pub message: &'a str,
}

/// Where a change has landed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landed {
    /// The branch.
    pub branch: String,
    /// The commit by which it is there.
    pub commit: String,
    /// What a person should know.
    pub notices: Vec<String>,
}
