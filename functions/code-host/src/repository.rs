//! What this function asks of a repository, wherever it lies.

use async_trait::async_trait;
use forge::{ForgeError, Landed, Landing, LocalGit, Location, Publication, Published, Snapshot};
use run_model::FunctionError;
use run_model::run::RunRecord;

use crate::Context;

/// How many changed paths a notice names.
const SHOWN: usize = 5;

/// A repository as this function sees it. Every write finds what an earlier call made, and says the same.
#[async_trait]
pub(crate) trait Repository: Send + Sync {
    /// The commit that the base stands for now.
    async fn resolve(&self, base_ref: &str) -> Result<String, ForgeError>;

    /// A commit's files, with what a person should know of them.
    async fn snapshot(&self, commit: &str) -> Result<Snapshot, ForgeError>;

    /// Makes a commit of the change where nobody's branch has it. Fails without having written a ref.
    async fn publish(&self, change: &Publication<'_>) -> Result<Published, ForgeError>;

    /// Brings the published commit to where the approval lets it. Fails without having brought it there.
    async fn land(&self, landing: &Landing<'_>) -> Result<Landed, ForgeError>;
}

/// What is about to be done to a repository: the rights follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Read,
    /// Write; `workflows` if files under `.github/workflows` are among it.
    Write {
        workflows: bool,
    },
}

impl Purpose {
    /// Writing these paths.
    pub(crate) fn writing<'a>(paths: impl IntoIterator<Item = &'a run_model::RepoPath>) -> Self {
        let workflows = paths.into_iter().any(|path| path.as_str().starts_with(".github/workflows/"));
        Self::Write { workflows }
    }
}

/// The repository that a run works on.
pub(crate) async fn open(
    context: &Context,
    run: &RunRecord,
    purpose: Purpose,
) -> Result<Box<dyn Repository>, FunctionError> {
    match Location::parse(&run.repository)? {
        Location::Folder(path) => Ok(Box::new(LocalGit::open(&path).await?)),
        Location::GitHub(name) => on_github(context, &name, purpose).await,
    }
}

#[cfg(feature = "github")]
async fn on_github(
    context: &Context,
    name: &forge::RemoteName,
    purpose: Purpose,
) -> Result<Box<dyn Repository>, FunctionError> {
    use forge::github::{GitHub, GitHubError, Need, Settings};

    let secret = match context.store.secret(&context.store.names().forge_secret).await {
        Err(store::StoreError::NotFound(_)) => {
            return Err(ForgeError::from(GitHubError::Secret("is not there".into())).into());
        }
        found => found?,
    };
    let settings = Settings::from_secret(&secret).map_err(ForgeError::from)?;
    let settings = context.patience.map_or(settings.clone(), |patience| settings.with_patience(patience));
    let need = match purpose {
        Purpose::Read => Need::Read,
        Purpose::Write { workflows } => Need::Write { workflows },
    };
    let github = GitHub::connect(&settings, name, need).await.map_err(ForgeError::from)?;
    Ok(Box::new(match context.store.names().memory_mb {
        Some(memory_mb) => github.within(room(memory_mb)),
        None => github,
    }))
}

/// The room for a snapshot on a stage. This function holds two archives and has twice the memory of those that hold the one
/// (`Memory` in `infra/template.yaml`): a snapshot has to fit into theirs.
#[cfg(feature = "github")]
fn room(own_mb: u32) -> forge::Room {
    let memory_mb = own_mb / 2;
    forge::Room { archive_bytes: store::Names::largest_object(memory_mb), memory_mb }
}

#[cfg(not(feature = "github"))]
async fn on_github(_: &Context, name: &forge::RemoteName, _: Purpose) -> Result<Box<dyn Repository>, FunctionError> {
    let problem = format!("{name} is on GitHub, and this program was built without it: give an absolute path");
    Err(FunctionError::invalid("repository", problem))
}

#[async_trait]
impl Repository for LocalGit {
    async fn resolve(&self, base_ref: &str) -> Result<String, ForgeError> {
        Self::resolve(self, base_ref).await
    }

    async fn snapshot(&self, commit: &str) -> Result<Snapshot, ForgeError> {
        let mut snapshot = Self::snapshot(self, commit).await?;
        snapshot.notices.extend(self.foreign_owner().map(foreign_notice));
        snapshot.notices.extend(dirty_notice(&self.dirty().await?));
        Ok(snapshot)
    }

    async fn publish(&self, change: &Publication<'_>) -> Result<Published, ForgeError> {
        let Publication { run, base_commit, overlay, message, when_ms, .. } = *change;
        let commit = Self::publish(self, run, base_commit, overlay, message, when_ms).await?;
        Ok(Published { commit, at: format!("refs/gatewright/{run}"), pull_request: None, notices: Vec::new() })
    }

    async fn land(&self, landing: &Landing<'_>) -> Result<Landed, ForgeError> {
        let branch = Self::land(self, landing.run, landing.commit).await?;
        Ok(Landed { branch, commit: landing.commit.to_owned(), notices: Vec::new() })
    }
}

#[cfg(feature = "github")]
#[async_trait]
impl Repository for forge::github::GitHub {
    async fn resolve(&self, base_ref: &str) -> Result<String, ForgeError> {
        Ok(self.branch(base_ref).await?.commit)
    }

    async fn snapshot(&self, commit: &str) -> Result<Snapshot, ForgeError> {
        Self::snapshot(self, commit).await
    }

    async fn publish(&self, change: &Publication<'_>) -> Result<Published, ForgeError> {
        Self::publish(self, change).await
    }

    async fn land(&self, landing: &Landing<'_>) -> Result<Landed, ForgeError> {
        Self::land(self, landing).await
    }
}

fn foreign_notice(owner: u32) -> String {
    format!(
        "the repository belongs to another user ({owner}); it is worked on all the same, since nothing in it is run by git"
    )
}

fn dirty_notice(dirty: &[String]) -> Option<String> {
    let more = dirty.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let shown = dirty.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    (!dirty.is_empty()).then(|| format!("uncommitted changes are not part of this run: {shown}{more}"))
}
