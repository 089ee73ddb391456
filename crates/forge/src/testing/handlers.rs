//! What a fake GitHub answers: who may ask, and everything that only looks.

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::state::{Asked, Rights};
use super::{NAME, OWNER, World, app, changes, views};

/// Status, headers and body of an answer.
pub(super) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(status: u16, body: Value) -> Self {
        Self { status, headers: Vec::new(), body: body.to_string().into_bytes() }
            .with("content-type", "application/json; charset=utf-8")
    }

    /// A failure, as GitHub words it.
    pub(super) fn refused(status: u16, message: &str) -> Self {
        Self::json(status, json!({ "message": message, "documentation_url": "https://docs.github.com/rest" }))
    }

    /// A 422 with the message of one error.
    pub(super) fn invalid(resource: &str, message: &str) -> Self {
        let error = json!({ "resource": resource, "code": "custom", "message": message });
        let body = json!({
            "message": "Validation Failed", "errors": [error], "documentation_url": "https://docs.github.com/rest",
        });
        Self::json(422, body)
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        response.body(Full::new(self.body.into())).unwrap()
    }
}

/// Answers one call.
pub(super) fn answer(world: &World, asked: &Asked, key: Option<&str>) -> Answer {
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    let decoded = |part: &str| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned();
    let parts: Vec<String> = path.trim_start_matches('/').split('/').map(decoded).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    if let ["codeload", commit] = parts[..] {
        return archive(world, commit);
    }
    let Some(token) = key.and_then(|key| key.strip_prefix("Bearer ")) else {
        return Answer::refused(401, "Requires authentication");
    };
    match (asked.method.as_str(), &parts[..]) {
        ("GET", ["repos", owner, name, "installation"]) if world.app.signed(token) => {
            return if (*owner, *name) == (OWNER, NAME) {
                Answer::json(200, views::installation(&world.api))
            } else {
                Answer::refused(404, "Not Found")
            };
        }
        ("POST", ["app", "installations", id, "access_tokens"])
            if world.app.signed(token) && *id == app::ID.to_string() =>
        {
            return installation_token(world, &asked.body);
        }
        _ => {}
    }
    let Some(rights) = world.state().tokens.get(token).cloned() else {
        return Answer::refused(401, "Bad credentials");
    };
    match (asked.method.as_str(), &parts[..]) {
        ("POST", ["graphql"]) => graphql(world, &rights, &asked.body),
        (method, ["repos", OWNER, NAME, rest @ ..]) => {
            let needed = match (method, rest) {
                ("GET", []) => "metadata:read",
                ("GET", ["pulls", ..]) => "pull_requests:read",
                (_, ["pulls", _, "merge"]) => "contents:write",
                (_, ["pulls", ..]) => "pull_requests:write",
                ("GET", _) => "contents:read",
                _ => "contents:write",
            };
            if needed != "metadata:read" && !rights.has(needed) {
                return Answer::refused(403, "Resource not accessible by integration");
            }
            let found = look(world, method, rest, query).or_else(|| changes::change(world, method, rest, &asked.body));
            found.unwrap_or_else(|| Answer::refused(404, "Not Found"))
        }
        _ => Answer::refused(404, "Not Found"),
    }
}

fn installation_token(world: &World, body: &Value) -> Answer {
    let asked = body["permissions"].as_object().cloned().unwrap_or_default();
    let asked = asked.iter().map(|(what, level)| format!("{what}:{}", level.as_str().unwrap_or_default()));
    let rights: std::collections::BTreeSet<String> = asked.collect();
    let mut state = world.state();
    let granted = Rights::These(state.granted.clone());
    if body["repositories"] != json!([NAME]) || rights.iter().any(|right| !granted.has(right)) {
        return Answer::refused(422, "The permissions requested are not granted to this installation.");
    }
    let token = format!("ghs_test_{}", state.tokens.len());
    state.tokens.insert(token.clone(), Rights::These(rights));
    Answer::json(
        201,
        json!({ "token": token, "expires_at": "2026-01-01T01:00:00Z", "permissions": body["permissions"] }),
    )
}

/// Answers what only looks; `None` if it is something else, or not there.
fn look(world: &World, method: &str, rest: &[&str], query: &str) -> Option<Answer> {
    if method != "GET" {
        return None;
    }
    let bare = &world.bare;
    let answer = match rest {
        [] => views::full_repository(world),
        ["branches", branch] => views::branch(world, branch, &bare.commit_of(branch)?),
        ["git", "ref", name] => {
            let name = name.strip_prefix("heads/")?;
            views::reference(world, name, &bare.commit_of(name)?)
        }
        ["git", "commits", commit] => views::git_commit(
            world,
            &bare.found(&["rev-parse", "--verify", "--quiet", &format!("{commit}^{{commit}}")])?,
        ),
        ["git", "trees", tree] => {
            let tree = bare.found(&["rev-parse", "--verify", "--quiet", &format!("{tree}^{{tree}}")])?;
            views::tree(world, &tree, query.contains("recursive=1"))
        }
        ["git", "blobs", object] => views::blob(world, object)?,
        ["tarball", commit] => {
            bare.found(&["rev-parse", "--verify", "--quiet", &format!("{commit}^{{commit}}")])?;
            let place = format!("{}/codeload/{commit}", world.api);
            return Some(Answer { status: 302, headers: vec![("location".into(), place)], body: Vec::new() });
        }
        ["pulls"] => {
            let decoded = percent_encoding::percent_decode_str(query).decode_utf8_lossy().into_owned();
            let wanted = |name: &str| decoded.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            let (head, state) = (wanted("head"), wanted("state").unwrap_or("open"));
            let pulls = world.state().pulls.clone();
            let fits = pulls.iter().rev().filter(|pull| {
                head.is_none_or(|head| head == format!("{OWNER}:{}", pull.branch))
                    && (state == "all" || (state == "open") == pull.open)
            });
            Value::Array(fits.map(|pull| views::pull(world, pull, false)).collect())
        }
        ["pulls", number] => {
            let pull = world.state().pull(number.parse().ok()?)?.clone();
            views::pull(world, &pull, true)
        }
        _ => return None,
    };
    Some(Answer::json(200, answer))
}

/// A commit's files as GitHub packs them: by git archive, which heeds `.gitattributes`.
fn archive(world: &World, commit: &str) -> Answer {
    let prefix = format!("--prefix={OWNER}-{NAME}-{}/", commit.get(..7).unwrap_or(commit));
    let packed = world.bare.run(&["archive", "--format=tar.gz", &prefix, commit], &[], &[]);
    if packed.status.success() {
        let headers = vec![("content-type".into(), "application/x-gzip".into())];
        return Answer { status: 200, headers, body: packed.stdout };
    }
    Answer::refused(404, "Not Found")
}

fn graphql(world: &World, rights: &Rights, body: &Value) -> Answer {
    let query = body["query"].as_str().unwrap_or_default();
    let refused = |kind: &str, message: &str| {
        Answer::json(200, json!({ "data": null, "errors": [{ "type": kind, "message": message }] }))
    };
    if query.contains("markPullRequestReadyForReview") {
        if !rights.has("pull_requests:write") {
            return refused("FORBIDDEN", "Resource not accessible by integration");
        }
        let mut state = world.state();
        let id = body["variables"]["id"].as_str().unwrap_or_default();
        let Some(pull) = state.pulls.iter_mut().find(|pull| views::pull_id(pull.number) == id) else {
            return refused("NOT_FOUND", "Could not resolve to a node with the global id");
        };
        pull.draft = false;
        let data = json!({ "markPullRequestReadyForReview": { "pullRequest": { "isDraft": false } } });
        return Answer::json(200, json!({ "data": data }));
    }
    let mut blobs = serde_json::Map::new();
    for asked in query.split(" b").skip(1) {
        let Some((number, oid)) = asked.split_once(": object(oid: \"") else { continue };
        let oid = oid.split('"').next().unwrap_or_default();
        let content = world.bare.run(&["cat-file", "blob", oid], &[], &[]).stdout;
        // Text alone, as GitHub has it.
        let text = String::from_utf8(content).ok().filter(|text| !text.contains('\0'));
        blobs.insert(format!("b{number}"), json!({ "text": text }));
    }
    Answer::json(200, json!({ "data": { "repository": blobs } }))
}
