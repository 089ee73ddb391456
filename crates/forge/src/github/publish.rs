//! A change becomes a commit, a branch and a draft pull request. What is there already is looked at first, so that doing it
//! again, after an answer that was lost, makes nothing twice.

use std::collections::BTreeMap;

use http::Method;
use run_model::RunId;
use run_model::change_set::{Edit, Overlay};
use run_model::run::{PullRequest, branch_name};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::part;
use super::tree::blob_name;
use super::{GitHub, GitHubError, Object, ShownCommit};
use crate::tree::{Content, Tree, lay, mode};
use crate::{ForgeError, Publication, Published};

#[derive(Deserialize)]
struct ShownRef {
    object: Object,
}

/// A pull request as GitHub shows it.
#[derive(Deserialize)]
pub(super) struct ShownPull {
    pub(super) number: u64,
    pub(super) html_url: String,
    pub(super) node_id: String,
    pub(super) state: String,
    pub(super) title: String,
    #[serde(default)]
    pub(super) body: Option<String>,
    #[serde(default)]
    pub(super) draft: bool,
    #[serde(default)]
    pub(super) merged_at: Option<String>,
    #[serde(default)]
    pub(super) merge_commit_sha: Option<String>,
    pub(super) head: End,
    pub(super) base: End,
}

#[derive(Deserialize)]
pub(super) struct End {
    #[serde(rename = "ref")]
    pub(super) name: String,
    pub(super) sha: String,
}

impl GitHub {
    /// Makes a commit of an overlay over the base, points branch `gatewright/<run>` to it and opens one draft pull request; gives
    /// all three. A branch of the run's own earlier change is moved on, one that somebody else's commit is on is not.
    ///
    /// # Errors
    /// [`ForgeError::Path`], [`ForgeError::NothingChanged`], [`ForgeError::BranchTaken`], [`GitHubError::Closed`],
    /// [`GitHubError::WrongTree`], and as every call has them.
    pub async fn publish(&self, change: &Publication<'_>) -> Result<Published, ForgeError> {
        let base = self.branch(change.base_ref).await?;
        let base_tree = self.commit(change.base_commit).await?.tree.sha;
        let tree = self.write_tree(&base_tree, change.overlay).await?;
        let branch = branch_name(change.run);
        let commit = self.point_branch(&branch, &tree, change).await?;
        let (pull_request, merged) = self.open_pull(&branch, &base.name, change).await?;
        let mut notices = Vec::new();
        if base.commit != change.base_commit && !merged {
            notices.push(format!(
                "{} has moved to {} since the work began: the change can be looked at, but it does not land by itself",
                base.name, base.commit
            ));
        }
        let at = format!("refs/heads/{branch}");
        Ok(Published { commit, at, pull_request: Some(pull_request), notices })
    }

    /// Writes the base's tree with the overlay laid over it, and looks whether it became that.
    async fn write_tree(&self, base_tree: &str, overlay: &Overlay) -> Result<String, ForgeError> {
        let before = self.tree(base_tree).await?;
        let (wanted, entries) = laid(&before, overlay)?;
        if entries.is_empty() {
            return Err(ForgeError::NothingChanged);
        }
        let body = json!({ "base_tree": base_tree, "tree": entries });
        let made: Object =
            self.api.send("write the tree", Method::POST, &self.route("/git/trees"), &body).await?.read()?;
        let listed = self.tree(&made.sha).await?;
        let is: BTreeMap<_, _> =
            listed.into_iter().map(|(path, entry)| (path, (mode(entry.kind), entry.object))).collect();
        if is == wanted {
            return Ok(made.sha);
        }
        let differs = wanted.iter().find(|(path, entry)| is.get(*path) != Some(entry)).map(|(path, _)| path);
        let differs = differs.or_else(|| is.keys().find(|path| !wanted.contains_key(*path)));
        let path = differs.map_or_else(String::new, |path| String::from_utf8_lossy(path).into_owned());
        Err(GitHubError::WrongTree(path).into())
    }

    /// Points the branch to a commit of the tree; gives the commit.
    async fn point_branch(&self, branch: &str, tree: &str, change: &Publication<'_>) -> Result<String, ForgeError> {
        let route = self.route(&format!("/git/ref/{}", part(&format!("heads/{branch}"))));
        let there: Option<ShownRef> = self.api.get("look at the run's branch", &route).await?.found()?;
        let (method, route, mut body) = match there {
            None => (Method::POST, self.route("/git/refs"), json!({ "ref": format!("refs/heads/{branch}") })),
            Some(there) => {
                let commit = self.commit(&there.object.sha).await?;
                if !is_of(&commit, change.run) {
                    let (run, branch) = (change.run.to_string(), branch.to_owned());
                    return Err(ForgeError::BranchTaken { run, branch, commit: commit.sha });
                }
                let is_base = |parents: &[Object]| matches!(parents, [one] if one.sha == change.base_commit);
                if commit.tree.sha == tree && is_base(&commit.parents) && commit.message.trim() == change.message.trim()
                {
                    return Ok(commit.sha);
                }
                let route = self.route(&format!("/git/refs/{}", part(&format!("heads/{branch}"))));
                (Method::PATCH, route, json!({ "force": true }))
            }
        };
        // Nobody is named as its author, so that GitHub signs it in the App's name.
        let commit = json!({ "message": change.message, "tree": tree, "parents": [change.base_commit] });
        let commit: Object =
            self.api.send("write the commit", Method::POST, &self.route("/git/commits"), &commit).await?.read()?;
        body["sha"] = commit.sha.as_str().into();
        let answer = self.api.send("write the run's branch", method, &route, &body).await?;
        if answer.status() == 422 {
            return Err(GitHubError::Raced { action: "write the run's branch", said: answer.said() }.into());
        }
        answer.read::<ShownRef>()?;
        Ok(commit.sha)
    }

    /// The run's one pull request, opened as a draft if there is none; and whether it is merged.
    async fn open_pull(
        &self,
        branch: &str,
        base: &str,
        change: &Publication<'_>,
    ) -> Result<(PullRequest, bool), GitHubError> {
        let of = |shown: &ShownPull| PullRequest {
            number: shown.number,
            url: shown.html_url.clone(),
            base: shown.base.name.clone(),
        };
        let text = json!({ "title": change.title, "body": change.body });
        let Some(shown) = self.pull_of(branch).await? else {
            return Ok((of(&self.new_pull(branch, base, &text).await?), false));
        };
        if shown.state != "open" && shown.merged_at.is_none() {
            return Err(GitHubError::Closed { url: shown.html_url });
        }
        if shown.title != change.title || shown.body.as_deref() != Some(change.body) {
            let route = self.route(&format!("/pulls/{}", shown.number));
            self.api.send("write the pull request's text", Method::PATCH, &route, &text).await?.read::<Value>()?;
        }
        Ok((of(&shown), shown.merged_at.is_some()))
    }

    /// The pull request of a branch: the open one, else the newest.
    async fn pull_of(&self, branch: &str) -> Result<Option<ShownPull>, GitHubError> {
        let head = part(&format!("{}:{branch}", self.name.owner));
        let route = self.route(&format!("/pulls?state=all&head={head}&per_page=30"));
        let mut shown: Vec<ShownPull> = self.api.get("look for the pull request", &route).await?.read()?;
        // Stable, and GitHub lists the newest first.
        shown.sort_by_key(|pull| pull.state != "open");
        Ok(shown.into_iter().find(|pull| pull.head.name == branch))
    }

    async fn new_pull(&self, branch: &str, base: &str, text: &Value) -> Result<ShownPull, GitHubError> {
        let action = "open the pull request";
        let mut body = json!({ "head": branch, "base": base, "draft": true });
        for field in ["title", "body"] {
            body[field] = text[field].clone();
        }
        let mut answer = self.api.send(action, Method::POST, &self.route("/pulls"), &body).await?;
        // Private repositories of some plans have no drafts.
        if answer.status() == 422 && answer.said().to_ascii_lowercase().contains("draft") {
            body["draft"] = false.into();
            answer = self.api.send(action, Method::POST, &self.route("/pulls"), &body).await?;
        }
        if answer.status() == 422 && answer.said().contains("already exists") {
            return Err(GitHubError::Raced { action, said: answer.said() });
        }
        answer.read()
    }
}

/// Every path of a tree with its mode and object.
type Named = BTreeMap<Vec<u8>, (&'static str, String)>;

/// The tree that an overlay makes, and the entries by which GitHub makes it of the base.
fn laid(before: &Tree, overlay: &Overlay) -> Result<(Named, Vec<Value>), ForgeError> {
    let mut entries = Vec::new();
    for (path, edit) in &overlay.0 {
        if let (Edit::Delete, Some(entry)) = (edit, before.get(path.as_str().as_bytes())) {
            entries.push(json!({ "path": path, "mode": mode(entry.kind), "type": "blob", "sha": null }));
        }
    }
    let mut wanted = Named::new();
    for (path, content) in lay(before.clone(), overlay)? {
        let named = match content {
            Content::Kept(entry) => (mode(entry.kind), entry.object),
            Content::Written(kind, text) => {
                let named = (mode(kind), blob_name(text.as_bytes()));
                let was = before.get(&path);
                if was.is_none_or(|was| was.kind != kind || was.object != named.1) {
                    let path = String::from_utf8_lossy(&path);
                    entries.push(json!({ "path": path, "mode": named.0, "type": "blob", "content": text }));
                }
                named
            }
        };
        wanted.insert(path, named);
    }
    Ok((wanted, entries))
}

/// Whether a commit is one that the run published.
fn is_of(commit: &ShownCommit, run: &RunId) -> bool {
    commit.message.lines().any(|line| line == format!("Gatewright-Run: {run}"))
}
