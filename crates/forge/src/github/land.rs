//! A published change is merged, if nothing has moved since it was approved and the branch's rules let it in.

use http::Method;
use run_model::run::branch_name;
use serde::Deserialize;
use serde_json::json;

use super::publish::ShownPull;
use super::{GitHub, GitHubError};
use crate::{ForgeError, Landed, Landing};

const MARK_READY: &str = "mutation($id: ID!) { markPullRequestReadyForReview(input: {pullRequestId: $id}) \
                          { pullRequest { isDraft } } }";

#[derive(Deserialize)]
struct Merged {
    sha: String,
}

impl GitHub {
    /// Merges the run's pull request into its branch. One that is merged already is left as it is.
    ///
    /// Before the merge it is looked whether branch and pull request are where they were when the change was approved, and the merge
    /// names the commit that it merges. A branch that moves in the moment between is told of, since GitHub offers no merge that names it.
    ///
    /// # Errors
    /// [`ForgeError::NotPublished`], [`GitHubError::Moved`], [`GitHubError::Closed`], [`GitHubError::Protected`] if the branch's rules refuse,
    /// and as every call has them.
    pub async fn land(&self, landing: &Landing<'_>) -> Result<Landed, ForgeError> {
        let not_published =
            || ForgeError::NotPublished { run: landing.run.to_string(), commit: landing.commit.to_owned() };
        let recorded = landing.pull_request.ok_or_else(not_published)?;
        let route = self.route(&format!("/pulls/{}", recorded.number));
        let shown: Option<ShownPull> = self.api.get("look at the pull request", &route).await?.found()?;
        let shown = shown.ok_or_else(not_published)?;
        has_stayed("the pull request's branch", landing.commit, &shown.head.sha)?;
        has_stayed("the pull request's target", &recorded.base, &shown.base.name)?;
        if let (Some(_), Some(commit)) = (&shown.merged_at, &shown.merge_commit_sha) {
            return Ok(self.landed(landing, &shown, commit.clone()).await?);
        }
        if shown.state != "open" || shown.head.name != branch_name(landing.run) {
            return Err(GitHubError::Closed { url: shown.html_url }.into());
        }
        let base = self.branch_called(&shown.base.name).await?;
        let base = base.map_or_else(|| "nowhere".to_owned(), |base| base.commit);
        has_stayed(&shown.base.name, landing.base_commit, &base)?;
        if shown.draft {
            self.api.graphql("mark the pull request ready", MARK_READY, json!({ "id": shown.node_id })).await?;
        }
        let commit = self.merge(landing, &shown, &route).await?;
        Ok(self.landed(landing, &shown, commit).await?)
    }

    async fn merge(&self, landing: &Landing<'_>, shown: &ShownPull, route: &str) -> Result<String, GitHubError> {
        let repository = self.repository().await?;
        let (subject, rest) = landing.message.split_once('\n').unwrap_or((landing.message, ""));
        let mut body = json!({ "sha": landing.commit });
        // A merge keeps the very commit that was approved; where it is switched off, the next best thing keeps its message.
        if repository.allow_merge_commit || repository.allow_squash_merge {
            let method = if repository.allow_merge_commit { "merge" } else { "squash" };
            body["merge_method"] = method.into();
            body["commit_title"] = format!("{subject} (#{})", shown.number).into();
            body["commit_message"] = rest.trim().into();
        } else {
            body["merge_method"] = "rebase".into();
        }
        let action = "merge the pull request";
        let answer = self.api.send(action, Method::PUT, &format!("{route}/merge"), &body).await?;
        match answer.status() {
            // So GitHub words it when a branch moved under its hands.
            405 if answer.said().contains("try the merge again") => {
                Err(GitHubError::Raced { action, said: answer.said() })
            }
            403 | 405 | 422 => Err(GitHubError::Protected {
                branch: shown.base.name.clone(),
                url: shown.html_url.clone(),
                said: answer.said().replace("\n\n", ": ").replace('\n', " "),
            }),
            _ => Ok(answer.read::<Merged>()?.sha),
        }
    }

    /// What came of it, and whether the branch was still where the approval saw it.
    async fn landed(&self, landing: &Landing<'_>, shown: &ShownPull, commit: String) -> Result<Landed, GitHubError> {
        let onto = self.commit(&commit).await?.parents.into_iter().next().map(|parent| parent.sha);
        let branch = shown.base.name.clone();
        let moved = onto.as_deref().filter(|onto| *onto != landing.base_commit && *onto != landing.commit);
        let notices = moved.map(|onto| {
            format!(
                "{branch} had moved to {onto} at the moment of the merge: what is there now was not measured as a whole"
            )
        });
        Ok(Landed { branch, commit, notices: notices.into_iter().collect() })
    }
}

fn has_stayed(what: &str, from: &str, to: &str) -> Result<(), GitHubError> {
    if from == to {
        return Ok(());
    }
    Err(GitHubError::Moved { what: what.to_owned(), from: from.to_owned(), to: to.to_owned() })
}
