//! How a fake GitHub shows things: with every field that GitHub's own description demands.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::state::Pull;
use super::{NAME, OWNER, World, app};

const MOMENT: &str = "2026-01-01T00:00:00Z";
const PAGE: &str = "https://github.com/acme/app";
const OF_USERS: [&str; 10] = [
    "events_url",
    "followers_url",
    "following_url",
    "gists_url",
    "organizations_url",
    "received_events_url",
    "repos_url",
    "starred_url",
    "subscriptions_url",
    "avatar_url",
];
const OF_REPOSITORIES: [&str; 36] = [
    "archive_url",
    "assignees_url",
    "blobs_url",
    "branches_url",
    "collaborators_url",
    "comments_url",
    "commits_url",
    "compare_url",
    "contents_url",
    "contributors_url",
    "deployments_url",
    "downloads_url",
    "events_url",
    "forks_url",
    "git_commits_url",
    "git_refs_url",
    "git_tags_url",
    "hooks_url",
    "issue_comment_url",
    "issue_events_url",
    "issues_url",
    "keys_url",
    "labels_url",
    "languages_url",
    "merges_url",
    "milestones_url",
    "notifications_url",
    "pulls_url",
    "releases_url",
    "stargazers_url",
    "statuses_url",
    "subscribers_url",
    "subscription_url",
    "tags_url",
    "teams_url",
    "trees_url",
];

fn user(api: &str) -> Value {
    let mut user = json!({
        "login": OWNER, "id": 1, "node_id": "U_1", "gravatar_id": "", "html_url": format!("https://github.com/{OWNER}"),
        "type": "Organization", "site_admin": false, "url": format!("{api}/users/{OWNER}"),
    });
    for field in OF_USERS {
        user[field] = format!("{api}/users/{OWNER}/{field}").into();
    }
    user
}

/// A repository as others refer to it.
fn repository(world: &World) -> Value {
    let url = format!("{}/repos/{OWNER}/{NAME}", world.api);
    let mut view = json!({
        "id": 2, "node_id": "R_2", "name": NAME, "full_name": format!("{OWNER}/{NAME}"), "owner": user(&world.api),
        "private": true, "fork": false, "description": null, "html_url": PAGE, "url": url, "default_branch": "main",
        "clone_url": format!("{PAGE}.git"), "git_url": format!("git:{PAGE}"), "ssh_url": "git@github.com:acme/app.git", "svn_url": PAGE,
        "forks": 0, "forks_count": 0, "stargazers_count": 0, "watchers": 0, "watchers_count": 0, "open_issues": 0,
        "open_issues_count": 0, "size": 1, "has_issues": true, "has_projects": false, "has_wiki": false, "has_pages": false,
        "has_downloads": false, "has_discussions": false, "homepage": null, "language": null, "mirror_url": null, "license": null,
        "archived": world.state().archived, "disabled": false, "pushed_at": MOMENT, "created_at": MOMENT, "updated_at": MOMENT,
    });
    for field in OF_REPOSITORIES {
        view[field] = format!("{url}/{}", field.trim_end_matches("_url")).into();
    }
    view
}

pub(super) fn full_repository(world: &World) -> Value {
    let mut view = repository(world);
    let state = world.state();
    for (field, value) in [
        ("allow_merge_commit", state.allow_merge.into()),
        ("allow_squash_merge", state.allow_squash.into()),
        ("allow_rebase_merge", true.into()),
        ("network_count", 0.into()),
        ("subscribers_count", 0.into()),
        ("permissions", json!({ "admin": false, "push": true, "pull": true })),
    ] {
        view[field] = value;
    }
    view
}

pub(super) fn installation(api: &str) -> Value {
    json!({
        "id": app::ID, "app_id": app::ID, "app_slug": "gatewright", "account": user(api), "target_id": 1, "target_type": "Organization",
        "repository_selection": "selected", "access_tokens_url": format!("{api}/app/installations/{}/access_tokens", app::ID),
        "repositories_url": format!("{api}/installation/repositories"), "html_url": "https://github.com/settings/installations/1",
        "permissions": { "contents": "write", "pull_requests": "write", "metadata": "read" }, "events": [], "created_at": MOMENT,
        "updated_at": MOMENT, "single_file_name": null, "suspended_by": null, "suspended_at": null,
    })
}

fn of_repository(world: &World, rest: &str) -> String {
    format!("{}/repos/{OWNER}/{NAME}/{rest}", world.api)
}

pub(super) fn branch(world: &World, name: &str, commit: &str) -> Value {
    let shown = git_commit(world, commit);
    let inner = json!({
        "url": shown["url"], "author": shown["author"], "committer": shown["committer"], "message": shown["message"],
        "comment_count": 0, "tree": shown["tree"],
    });
    let url = of_repository(world, &format!("branches/{name}"));
    json!({
        "name": name, "_links": { "html": format!("{PAGE}/tree/{name}"), "self": url }, "protected": world.state().missing.is_some(),
        "protection": {}, "protection_url": format!("{url}/protection"),
        "commit": {
            "sha": commit, "node_id": "C_1", "url": of_repository(world, &format!("commits/{commit}")), "html_url": shown["html_url"],
            "comments_url": of_repository(world, &format!("commits/{commit}/comments")), "commit": inner,
            "author": user(&world.api), "committer": user(&world.api), "parents": shown["parents"],
        },
    })
}

pub(super) fn reference(world: &World, branch: &str, commit: &str) -> Value {
    json!({
        "ref": format!("refs/heads/{branch}"), "node_id": "REF_1", "url": of_repository(world, &format!("git/refs/heads/{branch}")),
        "object": { "type": "commit", "sha": commit, "url": of_repository(world, &format!("git/commits/{commit}")) },
    })
}

pub(super) fn git_commit(world: &World, commit: &str) -> Value {
    let shown = world.bare.git(&["show", "--no-patch", "--format=%T%x00%P%x00%an%x00%ae%x00%cn%x00%ce%x00%B", commit]);
    let parts: Vec<&str> = shown.splitn(7, '\0').collect();
    let of = |object: &str, kind: &str| json!({ "sha": object, "url": of_repository(world, &format!("git/{kind}/{object}")) });
    let parents: Vec<Value> = parts[1]
        .split_whitespace()
        .map(|parent| {
            let mut parent_view = of(parent, "commits");
            parent_view["html_url"] = format!("{PAGE}/commit/{parent}").into();
            parent_view
        })
        .collect();
    json!({
        "sha": commit, "node_id": "C_1", "url": of_repository(world, &format!("git/commits/{commit}")),
        "html_url": format!("{PAGE}/commit/{commit}"), "tree": of(parts[0], "trees"), "parents": parents, "message": parts[6],
        "author": { "name": parts[2], "email": parts[3], "date": MOMENT },
        "committer": { "name": parts[4], "email": parts[5], "date": MOMENT },
        "verification": { "verified": true, "reason": "valid", "signature": null, "payload": null, "verified_at": MOMENT },
    })
}

pub(super) fn tree(world: &World, tree: &str, recursive: bool) -> Value {
    let mut arguments = vec!["ls-tree", "-z", "-l"];
    arguments.extend(if recursive { &["-r", "-t"][..] } else { &[] });
    arguments.push(tree);
    let listed = world.bare.run(&arguments, &[], &[]).stdout;
    let lines = listed.split(|byte| *byte == 0).filter(|line| !line.is_empty());
    let entries = lines.map(|line| {
        let line = String::from_utf8_lossy(line);
        let (words, path) = line.split_once('\t').unwrap();
        let words: Vec<&str> = words.split_whitespace().collect();
        let mut entry = json!({
            "path": path, "mode": words[0], "type": words[1], "sha": words[2],
            "url": of_repository(world, &format!("git/{}s/{}", words[1], words[2])),
        });
        if let Ok(bytes) = words[3].parse::<u64>() {
            entry["size"] = bytes.into();
        }
        entry
    });
    json!({
        "sha": tree, "url": of_repository(world, &format!("git/trees/{tree}")), "tree": entries.collect::<Vec<_>>(),
        "truncated": world.state().truncated,
    })
}

pub(super) fn blob(world: &World, object: &str) -> Option<Value> {
    let read = world.bare.run(&["cat-file", "blob", object], &[], &[]);
    read.status.success().then(|| {
        json!({
            "sha": object, "node_id": "B_1", "url": of_repository(world, &format!("git/blobs/{object}")),
            "size": read.stdout.len(), "encoding": "base64", "content": BASE64_STANDARD.encode(&read.stdout) + "\n",
        })
    })
}

pub(super) fn pull_id(number: u64) -> String {
    format!("PR_{number}")
}

pub(super) fn pull(world: &World, pull: &Pull, whole: bool) -> Value {
    let number = pull.number;
    let url = of_repository(world, &format!("pulls/{number}"));
    let issue = of_repository(world, &format!("issues/{number}"));
    let end = |branch: &str, commit: Option<String>| {
        json!({
            "label": format!("{OWNER}:{branch}"), "ref": branch, "sha": commit, "repo": repository(world), "user": user(&world.api),
        })
    };
    let head = pull.last_head.clone().or_else(|| world.bare.commit_of(&pull.branch));
    let statuses = of_repository(world, &format!("statuses/{}", head.as_deref().unwrap_or_default()));
    let links = [
        ("self", url.clone()),
        ("html", format!("{PAGE}/pull/{number}")),
        ("issue", issue.clone()),
        ("comments", format!("{issue}/comments")),
        ("review_comments", format!("{url}/comments")),
        ("review_comment", format!("{url}/comments{{/number}}")),
        ("commits", format!("{url}/commits")),
        ("statuses", statuses.clone()),
    ];
    let links: serde_json::Map<String, Value> =
        links.into_iter().map(|(name, href)| (name.to_owned(), json!({ "href": href }))).collect();
    let mut view = json!({
        "id": number, "node_id": pull_id(number), "number": number, "url": url, "html_url": format!("{PAGE}/pull/{number}"),
        "diff_url": format!("{PAGE}/pull/{number}.diff"), "patch_url": format!("{PAGE}/pull/{number}.patch"), "issue_url": issue,
        "comments_url": format!("{issue}/comments"), "commits_url": format!("{url}/commits"), "statuses_url": statuses,
        "review_comments_url": format!("{url}/comments"), "review_comment_url": format!("{url}/comments{{/number}}"),
        "state": if pull.open { "open" } else { "closed" }, "locked": false, "title": pull.title, "body": pull.body,
        "user": user(&world.api), "labels": [], "milestone": null, "assignee": null, "author_association": "NONE", "auto_merge": null,
        "created_at": MOMENT, "updated_at": MOMENT, "closed_at": (!pull.open).then_some(MOMENT), "draft": pull.draft,
        "merged_at": pull.merged.as_ref().map(|_| MOMENT), "merge_commit_sha": pull.merged, "_links": links,
        "head": end(&pull.branch, head), "base": end(&pull.base, world.bare.commit_of(&pull.base)),
    });
    if whole {
        let state = if pull.draft { "draft" } else { "clean" };
        for (field, value) in [
            ("merged", pull.merged.is_some().into()),
            ("mergeable", Value::Null),
            ("mergeable_state", state.into()),
            ("merged_by", Value::Null),
            ("maintainer_can_modify", false.into()),
            ("comments", 0.into()),
            ("review_comments", 0.into()),
            ("commits", 1.into()),
            ("additions", 1.into()),
            ("deletions", 1.into()),
            ("changed_files", 1.into()),
        ] {
            view[field] = value;
        }
    }
    view
}
