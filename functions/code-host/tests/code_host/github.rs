//! The function on a GitHub with a state: what is looked at is what the repository is like afterwards.

use forge::testing::{FakeGitHub, Fault};
use run_model::ErrorName;
use run_model::change_set::ChangeSet;
use run_model::evidence::{Purpose, TestOutcome};
use run_model::gate::GateDecision;
use run_model::risk::RiskLevel;
use serde_json::{Value, json};

use crate::world::{World, overlay};

/// The most calls of GitHub that a run may make.
const MOST_CALLS: usize = 40;
const BRANCH: &str = "gatewright/r-1";

/// A run on GitHub whose change was measured as good.
async fn assessed() -> World {
    let world = World::on_github().await;
    world.call("snapshot").await.unwrap();
    world.assess(RiskLevel::Medium).await;
    world
}

/// The same, published and approved.
async fn approved() -> World {
    let world = assessed().await;
    world.call("publish").await.unwrap();
    world.decide(GateDecision::Approved).await;
    world
}

/// One branch, one merged pull request, one merge, and nothing that git finds wrong.
fn is_landed_once(github: &FakeGitHub) {
    let pulls = github.pulls();
    assert_eq!(pulls.len(), 1, "{pulls:?}");
    let merged = pulls[0].merged.clone().expect("it is merged");
    assert_eq!(github.git(&["rev-parse", "main"]), merged);
    assert_eq!(github.git(&["show", "main:src/lib.rs"]), "pub fn two() {}");
    assert_eq!(github.git(&["rev-list", "--count", "main"]), "3", "base, change and merge");
    assert_eq!(github.git(&["for-each-ref", "--format=%(refname)"]), "refs/heads/gatewright/r-1\nrefs/heads/main");
    is_sound(github);
}

fn is_sound(github: &FakeGitHub) {
    let found = github.git(&["fsck", "--strict", "--full", "--no-dangling"]);
    assert_eq!(found, "");
}

fn nothing_is_merged(world: &World) {
    let github = world.github();
    assert!(github.pulls().iter().all(|pull| pull.merged.is_none()));
    assert_eq!(github.git(&["rev-list", "--merges", "--count", "main"]), "0");
}

#[tokio::test]
async fn a_change_becomes_one_draft_pull_request_which_is_merged_once() {
    let world = assessed().await;
    let published = world.call("publish").await.unwrap();
    let github = world.github();
    let commit = github.git(&["rev-parse", BRANCH]);
    assert_eq!(published, json!({ "commit": commit, "ref": "refs/heads/gatewright/r-1" }));
    assert_eq!(github.git(&["rev-parse", &format!("{BRANCH}^")]), github.git(&["rev-parse", "main"]));
    assert!(github.git(&["log", "-1", "--format=%B", BRANCH]).contains("\nGatewright-Run: r-1\n"));
    let pull = github.pulls().pop().unwrap();
    assert!(pull.draft && pull.open);
    assert_eq!((pull.title.as_str(), pull.base.as_str()), ("Count to two", "main"));
    let hash = world.change().await.hash();
    let body = pull.body.replace(&commit_of_base(&world).await, "(base)").replace(hash.as_str(), "(hash)");
    insta::assert_snapshot!("pull_request", body);
    world.decide(GateDecision::Approved).await;
    assert_eq!(world.call("land").await.unwrap(), json!({ "branch": "main" }));
    is_landed_once(github);
    let run = world.run().await;
    assert_eq!((run.commit, run.branch.as_deref()), (Some(commit), Some("main")));
    assert_eq!(run.pull_request.unwrap().url, "https://github.com/acme/app/pull/1");
    let calls = github.asked();
    assert!(calls.len() + forge::github::LOOSE_CALLS <= MOST_CALLS, "{} calls", calls.len());
    for action in ["publish", "land"] {
        world.call(action).await.unwrap();
    }
    is_landed_once(github);
    let told = world.events().await;
    for kind in ["snapshot.taken", "change.published", "change.landed"] {
        assert_eq!(told.iter().filter(|found| *found == kind).count(), 1, "{told:?}");
    }
}

async fn commit_of_base(world: &World) -> String {
    world.run().await.snapshot.unwrap().commit
}

/// Breaks an action at its first call, then at its second, and so on, until an attempt gets through; gives how many it took.
async fn break_everywhere(world: &World, action: &str, fault: fn() -> Fault) -> usize {
    for calls in 0..MOST_CALLS {
        world.github().fail_after(Some((calls, fault())));
        let ended = world.call(action).await;
        world.github().fail_after(None);
        match ended {
            Ok(_) => return calls,
            Err(error) => assert_eq!(error.name, ErrorName::ForgeUnavailable, "{action}, call {calls}: {error}"),
        }
    }
    panic!("{action} does not end");
}

#[tokio::test]
async fn whatever_call_is_lost_or_fails_the_next_attempt_ends_the_same() {
    for fault in [|| Fault::Refuse(503, "Service Unavailable", &[]), || Fault::Lost] {
        let world = World::on_github().await;
        let mut broken = break_everywhere(&world, "snapshot", fault).await;
        world.assess(RiskLevel::Medium).await;
        broken += break_everywhere(&world, "publish", fault).await;
        world.decide(GateDecision::Approved).await;
        broken += break_everywhere(&world, "land", fault).await;
        assert!(broken > 20, "{broken} calls were broken");
        is_landed_once(world.github());
    }
}

#[tokio::test]
async fn a_rate_limit_is_a_name_that_the_machine_waits_for() {
    let world = assessed().await;
    let faults: [Fault; 4] = [
        Fault::Refuse(403, "You have exceeded a secondary rate limit", &[("retry-after", "60")]),
        Fault::Refuse(429, "Too Many Requests", &[]),
        Fault::Refuse(
            403,
            "API rate limit exceeded",
            &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1800000000")],
        ),
        Fault::Refuse(403, "You have exceeded a secondary rate limit. Please wait", &[]),
    ];
    for fault in faults {
        world.github().fail("POST", "/git/refs", fault);
        let error = world.call("publish").await.unwrap_err();
        assert_eq!(error.name, ErrorName::ForgeThrottled, "{error}");
        assert_eq!(world.github().git(&["for-each-ref", "refs/heads/gatewright"]), "");
    }
    world.call("publish").await.unwrap();
}

#[tokio::test]
async fn a_github_that_is_silent_is_not_waited_for_in_the_function() {
    let world = assessed().await.impatient();
    // The first call of all, since on a busy machine others may be late as well.
    world.github().fail("GET", "/installation", Fault::Silence);
    let error = world.call("publish").await.unwrap_err();
    assert_eq!(error.name, ErrorName::ForgeUnavailable);
    assert!(
        error.message.contains("find where the App is installed") && error.message.contains("no answer"),
        "{error}"
    );
}

#[tokio::test]
async fn a_refusal_that_does_not_pass_is_told_with_what_github_said() {
    for (status, name) in [
        (401, ErrorName::ForgeFailed),
        (403, ErrorName::ForgeFailed),
        (404, ErrorName::ForgeFailed),
        (409, ErrorName::Conflict),
        (422, ErrorName::ForgeFailed),
    ] {
        let world = assessed().await;
        world.github().fail("POST", "/git/trees", Fault::Refuse(status, "so it is said", &[]));
        let error = world.call("publish").await.unwrap_err();
        assert_eq!(error.name, name, "{status} {error}");
        assert!(error.message.contains("write the tree") && error.message.contains("so it is said"), "{error}");
        assert_eq!(world.github().git(&["for-each-ref", "refs/heads/gatewright"]), "");
    }
}

#[tokio::test]
async fn an_approval_is_void_once_the_base_has_moved() {
    let world = approved().await;
    world.github().commit("main", &[("other", "x")]);
    let error = world.call("land").await.unwrap_err();
    assert_eq!(error.name, ErrorName::PolicyRefused);
    assert!(error.message.starts_with("main has moved from") && error.message.contains("no longer counts"), "{error}");
    nothing_is_merged(&world);
    assert!(world.github().pulls()[0].draft, "nothing half made");
}

#[tokio::test]
async fn an_approval_is_void_once_the_head_has_moved() {
    let world = approved().await;
    world.github().commit(BRANCH, &[("sneaked", "in")]);
    let error = world.call("land").await.unwrap_err();
    assert_eq!(error.name, ErrorName::PolicyRefused);
    assert!(error.message.starts_with("the pull request's branch has moved"), "{error}");
    nothing_is_merged(&world);
}

/// Somebody commits on a branch.
fn commit_on(git_dir: &std::path::Path, branch: &str) {
    let script =
        format!("git update-ref refs/heads/{branch} $(git commit-tree {branch}^{{tree}} -p {branch} -m sneaky)");
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg(script).current_dir(git_dir);
    for who in ["AUTHOR", "COMMITTER"] {
        shell.env(format!("GIT_{who}_NAME"), "Eve").env(format!("GIT_{who}_EMAIL"), "eve@example.com");
    }
    assert!(shell.status().unwrap().success());
}

#[tokio::test]
async fn a_head_that_moves_at_the_last_moment_is_not_merged() {
    let world = approved().await;
    let git = world.github().git_dir().to_owned();
    let push = move || commit_on(&git, BRANCH);
    world.github().fail("PUT", "/merge", Fault::After(Box::new(push)));
    assert_eq!(world.call("land").await.unwrap_err().name, ErrorName::Conflict);
    let error = world.call("land").await.unwrap_err();
    assert_eq!(error.name, ErrorName::PolicyRefused, "{error}");
    nothing_is_merged(&world);
}

#[tokio::test]
async fn a_base_that_moves_at_the_last_moment_is_told() {
    for told_by_github in [true, false] {
        let world = approved().await;
        if told_by_github {
            let said = "Base branch was modified. Review and try the merge again.";
            world.github().fail("PUT", "/merge", Fault::Refuse(405, said, &[]));
            assert_eq!(world.call("land").await.unwrap_err().name, ErrorName::Conflict);
            nothing_is_merged(&world);
            continue;
        }
        let git = world.github().git_dir().to_owned();
        world.github().fail("PUT", "/merge", Fault::After(Box::new(move || commit_on(&git, "main"))));
        world.call("land").await.unwrap();
        let notices = world.run().await.notices;
        assert!(notices.len() == 1 && notices[0].contains("was not measured as a whole"), "{notices:?}");
        is_sound(world.github());
    }
}

#[tokio::test]
async fn a_repository_with_another_name_is_told() {
    let world = World::on_github().await;
    world.github().fail("GET", "/installation", Fault::Refuse(301, "Moved Permanently", &[]));
    let error = world.call("snapshot").await.unwrap_err();
    assert!(error.message.contains("has another name now"), "{error}");
}

#[tokio::test]
async fn protection_names_what_is_missing_and_the_run_goes_on_when_it_is_there() {
    let world = approved().await;
    world.github().protect(Some("At least 1 approving review is required by reviewers with write access."));
    let error = world.call("land").await.unwrap_err();
    assert_eq!(error.name, ErrorName::MergeRefused);
    assert_eq!(
        error.message,
        "main does not take https://github.com/acme/app/pull/1 yet: At least 1 approving review is required by reviewers \
         with write access. Nothing was merged; the pull request is ready for review"
    );
    nothing_is_merged(&world);
    assert!(!world.github().pulls()[0].draft, "people can review it");
    world.github().protect(None);
    world.call("land").await.unwrap();
    is_landed_once(world.github());
}

#[tokio::test]
async fn without_merge_commits_it_is_squashed_or_rebased() {
    for (squash, subject) in [(true, "Count to two (#1)"), (false, "")] {
        let world = approved().await;
        world.github().allow(false, squash);
        world.call("land").await.unwrap();
        let github = world.github();
        assert_eq!(github.git(&["show", "main:src/lib.rs"]), "pub fn two() {}");
        assert_eq!(github.git(&["rev-list", "--merges", "--count", "main"]), "0");
        let message = github.git(&["log", "-1", "--format=%B", "main"]);
        assert!(message.starts_with(subject), "{message}");
        assert_eq!(message.contains("Gatewright-Run: r-1"), squash, "{message}");
        assert_eq!(world.run().await.notices, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_closed_pull_request_is_a_no() {
    let world = approved().await;
    world.github().close(1);
    for action in ["land", "publish"] {
        let error = world.call(action).await.unwrap_err();
        assert_eq!(error.name, ErrorName::PolicyRefused);
        assert!(error.message.contains("was closed by somebody"), "{error}");
    }
    nothing_is_merged(&world);
    assert_eq!(world.github().pulls().len(), 1);
}

#[tokio::test]
async fn without_drafts_it_is_an_ordinary_pull_request() {
    let world = assessed().await;
    world.github().without_drafts();
    world.call("publish").await.unwrap();
    assert!(!world.github().pulls()[0].draft);
    world.decide(GateDecision::Approved).await;
    world.call("land").await.unwrap();
    is_landed_once(world.github());
}

#[tokio::test]
async fn another_change_of_the_run_moves_its_branch_and_its_pull_request() {
    let world = approved().await;
    let base_commit = commit_of_base(&world).await;
    world.set_change(&ChangeSet { base_commit, overlay: overlay("pub fn three() {}\n") }).await;
    let measured = world.measured(Purpose::Final, 0, TestOutcome::Passed).await;
    world.record(Purpose::Final, &measured).await;
    let before = world.github().pulls().pop().unwrap();
    world.call("publish").await.unwrap();
    let pulls = world.github().pulls();
    assert_eq!(pulls.len(), 1);
    assert_ne!(pulls[0].body, before.body, "it names the change set");
    assert_eq!(world.github().git(&["show", &format!("{BRANCH}:src/lib.rs")]), "pub fn three() {}");
    assert_eq!(world.github().git(&["rev-list", "--count", BRANCH]), "2");
    let error = world.call("land").await.unwrap_err();
    assert!(error.message.contains("stands before something else"), "{error}");
    nothing_is_merged(&world);
}

#[tokio::test]
async fn a_branch_with_somebody_elses_commit_is_left_alone() {
    let world = assessed().await;
    world.github().commit(BRANCH, &[("mine", "x")]);
    let theirs = world.github().git(&["rev-parse", BRANCH]);
    let error = world.call("publish").await.unwrap_err();
    assert_eq!(error.name, ErrorName::PolicyRefused);
    assert!(error.message.contains("rename or delete it"), "{error}");
    assert_eq!(world.github().git(&["rev-parse", BRANCH]), theirs);
    assert!(world.github().pulls().is_empty());
}

#[tokio::test]
async fn a_base_that_moved_before_the_publication_is_told() {
    let world = assessed().await;
    world.github().commit("main", &[("other", "x")]);
    world.call("publish").await.unwrap();
    let notices = world.run().await.notices;
    assert!(notices.len() == 1 && notices[0].starts_with("main has moved to"), "{notices:?}");
}

#[tokio::test]
async fn an_app_asks_for_no_more_rights_than_it_needs_and_its_key_goes_nowhere_else() {
    let world = approved().await;
    let asked = world.github().asked();
    let tokens = asked.iter().filter(|asked| asked.path.ends_with("/access_tokens"));
    let asked_for: Vec<&Value> = tokens.map(|asked| &asked.body).collect();
    let read = json!({ "repositories": ["app"], "permissions": { "contents": "read" } });
    let write = json!({ "repositories": ["app"], "permissions": { "contents": "write", "pull_requests": "write" } });
    assert_eq!(asked_for, [&read, &write]);
    let downloads: Vec<_> = asked.iter().filter(|asked| asked.path.starts_with("/codeload/")).collect();
    assert!(downloads.len() == 1 && !downloads[0].with_key, "{downloads:?}");
}

#[tokio::test]
async fn an_app_without_the_rights_is_told_before_anything_is_written() {
    let world = assessed().await;
    world.github().grant(&["contents:write"]);
    let error = world.call("publish").await.unwrap_err();
    assert_eq!(error.name, ErrorName::ForgeFailed);
    assert!(error.message.contains("rights that code-host's README lists"), "{error}");
    assert_eq!(world.github().git(&["for-each-ref", "refs/heads/gatewright"]), "");
}

#[tokio::test]
async fn a_token_does_as_well_as_an_app() {
    let github = FakeGitHub::start().await;
    let secret = github.token_secret();
    let world = World::on(github, Some(secret)).await;
    world.call("snapshot").await.unwrap();
    world.assess(RiskLevel::Medium).await;
    world.call("publish").await.unwrap();
    world.decide(GateDecision::Approved).await;
    world.call("land").await.unwrap();
    is_landed_once(world.github());
}

#[tokio::test]
async fn what_opens_nothing_is_named_with_the_cure() {
    for (secret, said) in [
        (None, "is not there; set it with `gatewright aws secrets set forge`"),
        (Some(json!({})), "has neither github_token nor"),
    ] {
        let world = World::on(FakeGitHub::start().await, secret).await;
        let error = world.call("snapshot").await.unwrap_err();
        assert_eq!(error.name, ErrorName::ForgeFailed);
        assert!(error.message.contains(said), "{error}");
    }
    let github = FakeGitHub::start().await;
    let mut secret = github.token_secret();
    secret["github_token"] = "wrong".into();
    let world = World::on(github, Some(secret)).await;
    let error = world.call("snapshot").await.unwrap_err();
    assert!(error.message.contains("Bad credentials") && !error.message.contains("wrong"), "{error}");
}

#[tokio::test]
async fn a_repository_that_takes_no_change_is_refused_before_the_work() {
    let world = World::on_github().await;
    let github = world.github();
    for (repository, base, said) in [
        ("acme/other", "HEAD", "acme/other is not there, or the GitHub App or token has no access to it"),
        (
            "https://elsewhere.example/acme/app",
            "HEAD",
            "is on elsewhere.example, but the secret for the forge is for 127.0.0.1",
        ),
        ("acme/app", "0123abc", "\"0123abc\" is not a branch of acme/app"),
    ] {
        let set = |run: &mut run_model::run::RunRecord| {
            (run.repository, run.base_ref) = (repository.into(), base.into());
        };
        world.store.update_run(&world.run_id, set).await.unwrap();
        let error = world.call("snapshot").await.unwrap_err();
        assert_eq!(error.name, ErrorName::InvalidInput, "{error}");
        assert!(error.message.contains(said), "{error}");
    }
    let set = |run: &mut run_model::run::RunRecord| {
        (run.repository, run.base_ref) = ("acme/app".into(), "main".into());
    };
    world.store.update_run(&world.run_id, set).await.unwrap();
    github.archive();
    assert!(world.call("snapshot").await.unwrap_err().message.contains("archived"));
}

#[tokio::test]
async fn a_base_that_only_a_fork_has_is_refused_before_anything_is_fetched() {
    let world = World::on_github().await;
    let theirs = world.github().commit("theirs", &[("src/lib.rs", "stolen\n")]);
    world.github().git(&["update-ref", "-d", "refs/heads/theirs"]);
    world.store.update_run(&world.run_id, |run| run.base_ref = theirs.clone()).await.unwrap();
    let error = world.call("snapshot").await.unwrap_err();
    assert_eq!(error.name, ErrorName::InvalidInput);
    assert!(error.message.contains("is not a branch of acme/app; name a branch"), "{error}");
    assert!(world.github().asked().iter().all(|asked| !asked.path.contains("tarball")));
}
