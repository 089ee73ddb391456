//! A repository on GitHub, by its API alone: no git program and no clone, since a Lambda has neither.

mod api;
mod error;
mod land;
mod publish;
mod settings;
mod snapshot;
mod tree;

use http::Method;
use octocrab::Octocrab;
use serde::Deserialize;
use serde_json::json;

use self::api::{Api, part};
use self::error::Cause;
pub use self::error::GitHubError;
use self::settings::Credentials;
pub use self::settings::Settings;
pub use self::tree::LOOSE_CALLS;
use crate::{RemoteName, Room};

/// What an App's token is asked for; a token of a person has what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Reading files and branches.
    Read,
    /// Writing a branch and a pull request, and merging it.
    Write {
        /// Also files under `.github/workflows`, for which GitHub asks for a right of its own.
        workflows: bool,
    },
}

/// A repository on GitHub.
pub struct GitHub {
    api: Api,
    name: RemoteName,
    room: Option<Room>,
}

/// A branch and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Its name, without `refs/heads/`.
    pub name: String,
    /// The commit it points to.
    pub commit: String,
}

#[derive(Deserialize)]
struct Repository {
    default_branch: String,
    archived: bool,
    // Shown to those who may write; who may not will be told when it matters.
    #[serde(default = "yes")]
    allow_merge_commit: bool,
    #[serde(default = "yes")]
    allow_squash_merge: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct Object {
    sha: String,
}

#[derive(Deserialize)]
struct ShownBranch {
    name: String,
    commit: Object,
}

#[derive(Deserialize)]
struct ShownCommit {
    sha: String,
    tree: Object,
    parents: Vec<Object>,
    message: String,
}

impl GitHub {
    /// Reaches a repository. An App's key is exchanged for a token that opens this repository alone, for what is needed.
    ///
    /// # Errors
    /// [`GitHubError::OtherHost`], [`GitHubError::NoSuchRepository`], [`GitHubError::Rights`] if the App has not got what is needed,
    /// [`GitHubError::Throttled`], [`GitHubError::Unavailable`].
    pub async fn connect(settings: &Settings, name: &RemoteName, need: Need) -> Result<Self, GitHubError> {
        let address = &settings.address;
        if let Some(host) = name.host.as_ref().filter(|host| !host.eq_ignore_ascii_case(address.web_host())) {
            let known = address.web_host().to_owned();
            return Err(GitHubError::OtherHost { repository: name.to_string(), host: host.clone(), known });
        }
        let over = |octocrab| Api { octocrab, address: address.clone(), patience: settings.patience };
        let unreachable = |source| GitHubError::Unavailable { action: "set up a client", source };
        let token = match &settings.credentials {
            Credentials::Token(token) => token.clone(),
            Credentials::App { id, key } => {
                let app = || -> Result<Octocrab, Cause> {
                    Ok(Octocrab::builder().base_uri(address.origin.as_str())?.app_from_rsa_pem(*id, key)?.build()?)
                };
                installation_token(&over(app().map_err(unreachable)?), name, need).await?
            }
        };
        let client = || -> Result<Octocrab, Cause> {
            Ok(Octocrab::builder().base_uri(address.origin.as_str())?.personal_token(token).build()?)
        };
        Ok(Self { api: over(client().map_err(unreachable)?), name: name.clone(), room: None })
    }

    /// The same, for snapshots that have to fit into so much room.
    #[must_use]
    pub fn within(self, room: Room) -> Self {
        Self { room: Some(room), ..self }
    }

    /// The branch that a run is based on: `HEAD` is the default branch.
    ///
    /// # Errors
    /// [`GitHubError::NoSuchRepository`], [`GitHubError::Archived`], [`GitHubError::NotABranch`], and as every call has them.
    pub async fn branch(&self, base: &str) -> Result<Branch, GitHubError> {
        let repository = self.repository().await?;
        if repository.archived {
            return Err(GitHubError::Archived(self.name.to_string()));
        }
        let wanted = if base == "HEAD" { &repository.default_branch } else { base };
        let wanted = wanted.strip_prefix("refs/heads/").unwrap_or(wanted);
        self.branch_called(wanted)
            .await?
            .ok_or_else(|| GitHubError::NotABranch { base: base.to_owned(), repository: self.name.to_string() })
    }

    async fn repository(&self) -> Result<Repository, GitHubError> {
        let found = self.api.get("look at the repository", &self.route("")).await?.found()?;
        found.ok_or_else(|| GitHubError::NoSuchRepository(self.name.to_string()))
    }

    async fn branch_called(&self, name: &str) -> Result<Option<Branch>, GitHubError> {
        let route = self.route(&format!("/branches/{}", part(name)));
        let shown: Option<ShownBranch> = self.api.get("look at the base branch", &route).await?.found()?;
        Ok(shown.map(|shown| Branch { name: shown.name, commit: shown.commit.sha }))
    }

    async fn commit(&self, sha: &str) -> Result<ShownCommit, GitHubError> {
        self.api.get("look at a commit", &self.route(&format!("/git/commits/{}", part(sha)))).await?.read()
    }

    /// A route below the repository's.
    fn route(&self, rest: &str) -> String {
        format!("/repos/{}/{}{rest}", part(&self.name.owner), part(&self.name.name))
    }
}

/// A token of an App for one repository, with no more rights than are needed. It lasts an hour.
async fn installation_token(app: &Api, name: &RemoteName, need: Need) -> Result<String, GitHubError> {
    #[derive(Deserialize)]
    struct Installation {
        id: u64,
    }
    #[derive(Deserialize)]
    struct Token {
        token: String,
    }
    let route = format!("/repos/{}/{}/installation", part(&name.owner), part(&name.name));
    let found: Option<Installation> = app.get("find where the App is installed", &route).await?.found()?;
    let installation = found.ok_or_else(|| GitHubError::NoSuchRepository(name.to_string()))?;
    let permissions = match need {
        Need::Read => json!({ "contents": "read" }),
        Need::Write { workflows: false } => json!({ "contents": "write", "pull_requests": "write" }),
        Need::Write { workflows: true } => {
            json!({ "contents": "write", "pull_requests": "write", "workflows": "write" })
        }
    };
    let body = json!({ "repositories": [name.name], "permissions": permissions });
    let action = "get a token of the App for what is needed";
    let route = format!("/app/installations/{}/access_tokens", installation.id);
    let answer = app.send(action, Method::POST, &route, &body).await?;
    if answer.status() == 422 {
        // The installation has not been given the rights.
        return Err(GitHubError::Rights { action, said: answer.said() });
    }
    Ok(answer.read::<Token>()?.token)
}
