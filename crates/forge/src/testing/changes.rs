//! What a fake GitHub writes: git's own objects and refs, and pull requests.

use serde_json::{Value, json};

use super::handlers::Answer;
use super::state::Pull;
use super::{World, views};

/// Does what is asked; `None` if it is nothing that is done here.
pub(super) fn change(world: &World, method: &str, rest: &[&str], body: &Value) -> Option<Answer> {
    match (method, rest) {
        ("POST", ["git", "trees"]) => Some(write_tree(world, body)),
        ("POST", ["git", "commits"]) => Some(write_commit(world, body)),
        ("POST", ["git", "refs"]) => Some(make_ref(world, body)),
        ("PATCH", ["git", "refs", name]) => Some(move_ref(world, name.strip_prefix("heads/")?, body)),
        ("POST", ["pulls"]) => Some(open_pull(world, body)),
        ("PATCH", ["pulls", number]) => edit_pull(world, number.parse().ok()?, body),
        ("PUT", ["pulls", number, "merge"]) => merge(world, number.parse().ok()?, body),
        _ => None,
    }
}

fn text<'a>(body: &'a Value, field: &str) -> &'a str {
    body[field].as_str().unwrap_or_default()
}

fn write_tree(world: &World, body: &Value) -> Answer {
    let base = body["base_tree"].as_str();
    if base.is_some_and(|base| {
        world.bare.found(&["rev-parse", "--verify", "--quiet", &format!("{base}^{{tree}}")]).is_none()
    }) {
        return Answer::refused(404, "Not Found");
    }
    let (mut gone, mut there) = (Vec::new(), Vec::new());
    for entry in body["tree"].as_array().into_iter().flatten() {
        let (path, mode) = (text(entry, "path"), text(entry, "mode"));
        let object = match (entry.get("sha"), entry["content"].as_str()) {
            (Some(Value::Null), None) => {
                let known = base.and_then(|base| {
                    world.bare.found(&["rev-parse", "--verify", "--quiet", &format!("{base}:{path}")])
                });
                if known.is_none() {
                    return Answer::refused(422, "GitRPC::BadObjectState");
                }
                gone.push(format!("0 {}\t{path}\0", "0".repeat(40)));
                continue;
            }
            (Some(object), None) => object.as_str().unwrap_or_default().to_owned(),
            (None, Some(content)) => world.bare.write_blob(content.as_bytes()),
            _ => return Answer::refused(422, "Must supply either tree.sha or tree.content"),
        };
        there.push(format!("{mode} {object}\t{path}\0"));
    }
    gone.extend(there);
    match world.bare.tree_with(base, &gone) {
        Some(tree) => Answer::json(201, views::tree(world, &tree, false)),
        None => Answer::refused(422, "tree.path contains a malformed path component"),
    }
}

fn write_commit(world: &World, body: &Value) -> Answer {
    let tree = text(body, "tree");
    if world.bare.found(&["rev-parse", "--verify", "--quiet", &format!("{tree}^{{tree}}")]).is_none() {
        return Answer::refused(422, "Tree SHA does not exist");
    }
    let parents = body["parents"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    let seconds = world.state().tick();
    let commit = world.bare.commit_tree(tree, &parents.collect::<Vec<_>>(), text(body, "message"), seconds);
    Answer::json(201, views::git_commit(world, &commit))
}

fn make_ref(world: &World, body: &Value) -> Answer {
    let (name, commit) = (text(body, "ref"), text(body, "sha"));
    let Some(branch) = name.strip_prefix("refs/heads/") else {
        return Answer::refused(422, "Reference name must start with 'refs/'");
    };
    if world.bare.commit_of(branch).is_some() {
        return Answer::refused(422, "Reference already exists");
    }
    if world.bare.found(&["update-ref", name, commit, ""]).is_none() {
        return Answer::refused(422, "Object does not exist");
    }
    Answer::json(201, views::reference(world, branch, commit))
}

fn move_ref(world: &World, branch: &str, body: &Value) -> Answer {
    let Some(from) = world.bare.commit_of(branch) else {
        return Answer::refused(422, "Reference does not exist");
    };
    let to = text(body, "sha");
    let forward = world.bare.found(&["merge-base", "--is-ancestor", &from, to]).is_some();
    if !forward && body["force"] != json!(true) {
        return Answer::refused(422, "Update is not a fast forward");
    }
    world.bare.git(&["update-ref", &format!("refs/heads/{branch}"), to, &from]);
    Answer::json(200, views::reference(world, branch, to))
}

fn open_pull(world: &World, body: &Value) -> Answer {
    let (branch, base) = (text(body, "head").to_owned(), text(body, "base").to_owned());
    let heads = world.bare.commit_of(&branch).zip(world.bare.commit_of(&base));
    let Some((head, onto)) = heads else { return Answer::invalid("PullRequest", "head or base is invalid") };
    if world.bare.found(&["merge-base", "--is-ancestor", &head, &onto]).is_some() {
        return Answer::invalid("PullRequest", &format!("No commits between {base} and {branch}"));
    }
    let draft = body["draft"] == json!(true);
    let mut state = world.state();
    if draft && !state.drafts {
        return Answer::refused(422, "Draft pull requests are not supported in this repository.");
    }
    if state.pulls.iter().any(|pull| pull.open && pull.branch == branch && pull.base == base) {
        return Answer::invalid("PullRequest", &format!("A pull request already exists for acme:{branch}."));
    }
    let pull = Pull {
        number: state.pulls.len() as u64 + 1,
        title: text(body, "title").into(),
        body: text(body, "body").into(),
        branch,
        base,
        open: true,
        draft,
        merged: None,
        last_head: None,
    };
    state.pulls.push(pull.clone());
    drop(state);
    Answer::json(201, views::pull(world, &pull, true))
}

fn edit_pull(world: &World, number: u64, body: &Value) -> Option<Answer> {
    let mut state = world.state();
    let pull = state.pull_mut(number)?;
    for (field, place) in [("title", &mut pull.title), ("body", &mut pull.body)] {
        if let Some(text) = body[field].as_str() {
            *place = text.to_owned();
        }
    }
    let pull = pull.clone();
    drop(state);
    Some(Answer::json(200, views::pull(world, &pull, true)))
}

fn merge(world: &World, number: u64, body: &Value) -> Option<Answer> {
    let mut state = world.state();
    let pull = state.pull(number)?.clone();
    let (head, onto) = (world.bare.commit_of(&pull.branch)?, world.bare.commit_of(&pull.base)?);
    let method = body["merge_method"].as_str().unwrap_or("merge");
    let refusal = match method {
        _ if !pull.open => Some("Pull Request is not mergeable"),
        _ if pull.draft => Some("Pull Request is still a draft"),
        "merge" if !state.allow_merge => Some("Merge commits are not allowed on this repository."),
        "squash" if !state.allow_squash => Some("Squash merges are not allowed on this repository."),
        _ => state.missing.as_deref(),
    };
    if let Some(refusal) = refusal {
        return Some(Answer::refused(405, refusal));
    }
    if body["sha"].as_str().is_some_and(|sha| sha != head) {
        return Some(Answer::refused(409, "Head branch was modified. Review and try the merge again."));
    }
    let Some(tree) = world.bare.found(&["merge-tree", "--write-tree", &onto, &head]) else {
        return Some(Answer::refused(405, "Pull Request is not mergeable"));
    };
    let parents = if method == "merge" { vec![onto.clone(), head.clone()] } else { vec![onto.clone()] };
    let message = format!("{}\n\n{}\n", text(body, "commit_title"), text(body, "commit_message"));
    let merged = world.bare.commit_tree(&tree, &parents, &message, state.tick());
    world.bare.git(&["update-ref", &format!("refs/heads/{}", pull.base), &merged, &onto]);
    let pull = state.pull_mut(number)?;
    (pull.open, pull.merged, pull.last_head) = (false, Some(merged.clone()), Some(head));
    Some(Answer::json(200, json!({ "sha": merged, "merged": true, "message": "Pull Request successfully merged" })))
}
