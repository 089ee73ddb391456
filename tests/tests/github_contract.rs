//! What `code-host` asks of GitHub, and what our stand-in answers, beside GitHub's own description of its API.
#![cfg(feature = "world")]
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

use std::collections::{BTreeMap, BTreeSet};

use forge::github::{GitHub, GitHubError, Need, Settings};
use forge::testing::{FakeGitHub, Fault};
use forge::{ForgeError, Landed, Landing, Location, Publication, Published, RemoteName};
use run_model::change_set::{Edit, Overlay};
use run_model::run::{PullRequest, RunStatus};
use run_model::{RepoPath, RunId};
use serde_json::{Value, json};
use store::Names;
use tests::alone::Alone;
use tests::contract::Contract;
use tests::{Provider, Script, World, programs};

const WRITE: Need = Need::Write { workflows: true };

/// What says that an hour's calls are used up.
const USED_UP: [(&str, &str); 2] = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1800000000")];

/// Every call that `code-host` knows, but for the archive, which is no text.
const CALLS: [&str; 18] = [
    "GET /repos/acme/app",
    "GET /repos/acme/app/branches/_",
    "GET /repos/acme/app/git/blobs/_",
    "GET /repos/acme/app/git/commits/_",
    "GET /repos/acme/app/git/ref/_",
    "GET /repos/acme/app/git/trees/_",
    "GET /repos/acme/app/installation",
    "GET /repos/acme/app/pulls",
    "GET /repos/acme/app/pulls/_",
    "PATCH /repos/acme/app/git/refs/_",
    "PATCH /repos/acme/app/pulls/_",
    "POST /app/installations/_/access_tokens",
    "POST /graphql",
    "POST /repos/acme/app/git/commits",
    "POST /repos/acme/app/git/refs",
    "POST /repos/acme/app/git/trees",
    "POST /repos/acme/app/pulls",
    "PUT /repos/acme/app/pulls/_/merge",
];

/// A GitHub behind its description.
struct Place {
    fake: FakeGitHub,
    contract: Contract,
}

impl Place {
    /// With a repository that has what archives leave out: a text, and a file that is none.
    async fn open() -> Self {
        let world = World::with(&[
            (".gitattributes", "hidden/* export-ignore\n"),
            ("hidden/text", "h\n"),
            ("a.txt", "a\n"),
            ("b/one", "1\n"),
            ("gone", "x\n"),
        ]);
        std::fs::write(world.repository().join("hidden/raw"), [0, 159]).unwrap();
        world.commit(&[("b/two", "2\n")]);
        let fake = FakeGitHub::start().await;
        world.git(&["push", "--quiet", fake.git_dir().to_str().unwrap(), "main"]);
        let contract = Contract::before(&fake).await;
        Self { fake, contract }
    }

    async fn connect(&self, repository: &str, need: Need) -> Result<GitHub, GitHubError> {
        let settings = self.settings(self.fake.app_secret());
        GitHub::connect(&settings, &name(repository), need).await
    }

    fn settings(&self, mut secret: Value) -> Settings {
        secret["github_api_url"] = self.contract.url().into();
        Settings::from_secret(secret.as_object().unwrap()).unwrap()
    }

    /// Fails unless nobody broke the contract.
    async fn expect_no_violation(&self) {
        let found = self.contract.violations().await;
        assert!(found.is_empty(), "{found:#?}");
    }
}

fn name(repository: &str) -> RemoteName {
    match Location::parse(repository).unwrap() {
        Location::GitHub(name) => name,
        Location::Folder(path) => panic!("{}", path.display()),
    }
}

fn overlay(edits: &[(&str, Option<&str>)]) -> Overlay {
    let edit = |content: &Option<&str>| content.map_or(Edit::Delete, |text| Edit::Write(text.into()));
    Overlay(edits.iter().map(|(path, content)| (RepoPath::new(*path).unwrap(), edit(content))).collect())
}

/// A change of one run: what it is based on, what it edits, what its pull request says.
struct Change {
    run: RunId,
    base: String,
    message: String,
}

impl Change {
    /// A change by the run of this number of what `main` is now.
    async fn new(github: &GitHub, number: usize) -> Self {
        let message = format!("Change it\n\nWhy.\n\nGatewright-Run: r-{number}");
        let base = github.branch("HEAD").await.unwrap().commit;
        Self { run: RunId::new(format!("r-{number}")).unwrap(), base, message }
    }

    async fn publish(&self, github: &GitHub, content: &str, body: &str) -> Result<Published, ForgeError> {
        let new = format!("new/ö-{}.txt", self.run);
        let overlay = overlay(&[("a.txt", Some(content)), ("gone", None), ("b/one", None), (&new, Some("n\n"))]);
        let publication = Publication {
            run: &self.run,
            base_ref: "main",
            base_commit: &self.base,
            overlay: &overlay,
            message: &self.message,
            when_ms: 0,
            title: "Change it",
            body,
        };
        github.publish(&publication).await
    }

    async fn land(
        &self,
        github: &GitHub,
        commit: &str,
        pull_request: Option<&PullRequest>,
    ) -> Result<Landed, ForgeError> {
        let (run, base_commit, message) = (&self.run, &self.base, self.message.as_str());
        github.land(&Landing { run, base_commit, commit, pull_request, message }).await
    }
}

/// A call without what differs from one to the next.
fn route(method: &str, path: &str) -> String {
    let path = path.split('?').next().unwrap();
    let mut parts: Vec<&str> = path.split('/').collect();
    if let Some(place) = parts.iter().position(|part| matches!(*part, "branches" | "pulls" | "installations")) {
        parts.get_mut(place + 1).into_iter().for_each(|part| *part = "_");
    } else if let ["", "repos", _, _, "git", _, name] = &mut parts[..] {
        *name = "_";
    }
    format!("{method} {}", parts.join("/"))
}

/// Publishes, moves on and lands by every way of merging, with drafts and without.
async fn publish_and_land(fake: &FakeGitHub, github: &GitHub) {
    let ways = [(true, true, "merge"), (false, true, "squash"), (false, false, "rebase"), (false, true, "squash")];
    for (number, (merge, squash, method)) in ways.into_iter().enumerate() {
        fake.allow(merge, squash);
        if number == 3 {
            fake.without_drafts();
        }
        if number > 0 {
            fake.commit("main", &[("gone", "again\n"), ("b/one", "again\n")]);
        }
        let change = Change::new(github, number).await;
        let mut published = None;
        // The second time branch and pull request are there, and both are moved on; the third time nothing is left to do.
        for (content, body) in [("b\n", "first"), ("c\n", "second"), ("c\n", "second")] {
            published = Some(change.publish(github, &format!("{number}{content}"), body).await.unwrap());
        }
        let published = published.unwrap();
        let pull = published.pull_request.as_ref();
        fake.protect(Some("At least 1 approving review is required by reviewers with write access."));
        let refused = change.land(github, &published.commit, pull).await.unwrap_err();
        assert!(matches!(refused, ForgeError::GitHub(GitHubError::Protected { .. })), "{refused}");
        fake.protect(None);
        change.land(github, &published.commit, pull).await.unwrap();
        change.land(github, &published.commit, pull).await.unwrap();
        assert_eq!(fake.git(&["show", "main:a.txt"]), format!("{number}c"));
        let merge = fake.asked().into_iter().rfind(|asked| asked.method == "PUT");
        assert_eq!(merge.unwrap().body["merge_method"], method);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_as_github_describes_it() {
    let place = Place::open().await;
    let fake = &place.fake;
    let reader = place.connect("acme/app", Need::Read).await.unwrap();
    let base = reader.branch("HEAD").await.unwrap().commit;
    reader.snapshot(&base).await.unwrap();
    for need in [Need::Write { workflows: false }, WRITE] {
        place.connect("acme/app", need).await.unwrap();
    }
    publish_and_land(fake, &place.connect("acme/app", WRITE).await.unwrap()).await;
    let asked = fake.asked().into_iter().map(|asked| route(&asked.method, &asked.path));
    let asked: BTreeSet<String> =
        asked.filter(|route| !route.contains("tarball") && !route.contains("codeload")).collect();
    let asked: Vec<&str> = asked.iter().map(String::as_str).filter(|route| !route.ends_with("/zen")).collect();
    assert_eq!(asked, CALLS);
    place.expect_no_violation().await;
    // It does look: an answer that GitHub's description does not have is seen.
    fake.fail("GET", "/git/commits/", Fault::Refuse(418, "I'm a teapot", &[]));
    reader.snapshot(&base).await.unwrap_err();
    assert_eq!(place.contract.violations().await.len(), 1);
}

/// 404: a repository, the App's installation, a branch, a commit, a pull request, a base that is gone.
async fn not_there(place: &Place, github: &GitHub, change: &Change, published: &Published) {
    let settings = place.settings(place.fake.token_secret());
    let elsewhere = GitHub::connect(&settings, &name("acme/other"), WRITE).await.unwrap();
    assert!(elsewhere.branch("HEAD").await.is_err());
    assert!(place.connect("acme/other", WRITE).await.is_err());
    assert!(github.branch("no such branch").await.is_err());
    assert!(github.snapshot(&"0".repeat(40)).await.is_err());
    let unknown = PullRequest { number: 99, ..published.pull_request.clone().unwrap() };
    assert!(change.land(github, &published.commit, Some(&unknown)).await.is_err());
    place.fake.fail("POST", "/git/trees", Fault::Refuse(404, "Not Found", &[]));
    assert!(change.publish(github, "c\n", "first").await.is_err());
}

/// 422, 405 and 409: what somebody else was first with, a tree that cannot be, a right that the App has not got.
async fn in_the_way(place: &Place, github: &GitHub, change: &Change, published: &Published) {
    let is_raced = |refused: &ForgeError| matches!(refused, ForgeError::GitHub(GitHubError::Raced { .. }));
    let fake = &place.fake;
    fake.fail("POST", "/git/trees", Fault::Refuse(422, "GitRPC::BadObjectState", &[]));
    assert!(change.publish(github, "c\n", "first").await.is_err());
    let second = Change::new(github, 2).await;
    let (there, base) = (fake.git_dir().to_owned(), second.base.clone());
    let race = move || {
        let mut git = std::process::Command::new("git");
        assert!(git.arg("-C").arg(there).args(["branch", "gatewright/r-2", &base]).status().unwrap().success());
    };
    fake.fail("POST", "/git/refs", Fault::After(Box::new(race)));
    let raced = second.publish(github, "b\n", "first").await.unwrap_err();
    assert!(is_raced(&raced), "{raced}");
    let there = "A pull request already exists for acme:gatewright/r-3.";
    fake.fail("POST", "/pulls", Fault::Refuse(422, there, &[]));
    let raced = Change::new(github, 3).await.publish(github, "b\n", "first").await.unwrap_err();
    assert!(is_raced(&raced), "{raced}");
    fake.fail("PUT", "/merge", Fault::Refuse(405, "Base branch was modified. Review and try the merge again.", &[]));
    fake.fail("PUT", "/merge", Fault::Refuse(409, "Head branch was modified. Review and try the merge again.", &[]));
    for _ in 0..2 {
        let raced = change.land(github, &published.commit, published.pull_request.as_ref()).await.unwrap_err();
        assert!(is_raced(&raced), "{raced}");
    }
    fake.grant(&["contents:read"]);
    assert!(matches!(place.connect("acme/app", WRITE).await, Err(GitHubError::Rights { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_as_github_describes_it() {
    let place = Place::open().await;
    let fake = &place.fake;
    let github = place.connect("acme/app", WRITE).await.unwrap();
    let change = Change::new(&github, 1).await;
    let published = change.publish(&github, "b\n", "first").await.unwrap();
    not_there(&place, &github, &change, &published).await;
    in_the_way(&place, &github, &change, &published).await;
    let is_throttled = |refused: &ForgeError| matches!(refused, ForgeError::GitHub(GitHubError::Throttled { .. }));
    for limit in [
        Fault::Refuse(403, "API rate limit exceeded for installation.", &USED_UP),
        Fault::Refuse(403, "You have exceeded a secondary rate limit.", &[("retry-after", "60")]),
    ] {
        fake.fail("PATCH", "/pulls/", limit);
        let throttled = change.publish(&github, "b\n", "another text").await.unwrap_err();
        assert!(is_throttled(&throttled), "{throttled}");
    }
    fake.truncate();
    let too_many = github.snapshot(&change.base).await.unwrap_err();
    assert!(matches!(too_many, ForgeError::GitHub(GitHubError::TooManyFiles(_))), "{too_many}");
    place.expect_no_violation().await;
    // GitHub's documents speak of a 429, its description does not: that is theirs.
    fake.fail("GET", "/git/commits/", Fault::Refuse(429, "You have exceeded a secondary rate limit.", &[]));
    let throttled = github.snapshot(&change.base).await.unwrap_err();
    assert!(is_throttled(&throttled), "{throttled}");
    let found: Vec<_> = place.contract.violations().await.into_values().flatten().collect();
    assert!(found.len() == 1 && found[0].contains("returned status code"), "{found:#?}");
}

/// A whole run of the deployed programs, asked for and approved.
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_run_keeps_to_what_github_describes() {
    let fake = FakeGitHub::start().await;
    let (right, test) = ("echo $(($1 + $2))\n", "test \"$(sh sum.sh 1 2)\" = 3\n");
    let crew = Script::default().planned().develops(1, "sum.sh", right).tests(1, "tests/two.sh", test).approves(1);
    let provider = Provider::playing(&crew);
    let world = World::quick_with(&provider.settings());
    world.git(&["push", "--quiet", fake.git_dir().to_str().unwrap(), "main"]);
    let contract = Contract::before(&fake).await;
    let (names, mut forge) = (Names::for_stage(programs::STAGE), fake.app_secret());
    forge["github_api_url"] = contract.url().into();
    let models = json!({ "ANTHROPIC_API_KEY": "a-key-for-the-loopback" });
    let secrets = BTreeMap::from([(names.forge_secret, forge), (names.models_secret, models)]);
    let mut alone = Alone::over(&world, secrets).await;
    let run = alone.run(&json!({ "repository": "acme/app", "requirements": "sum.sh subtracts" })).await;
    assert_eq!(run.status, RunStatus::Succeeded, "{:?}", run.outcome);
    assert!(fake.pulls().iter().all(|pull| pull.merged.is_some()), "{:?}", fake.pulls());
    assert_eq!(fake.git(&["show", "main:sum.sh"]), right.trim());
    let found = contract.violations().await;
    assert!(found.is_empty(), "{found:#?}");
}
