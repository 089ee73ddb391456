//! The function on a real table, a real object store and a real repository.

#![allow(clippy::unwrap_used, reason = "what a test builds on has to work")]

#[cfg(feature = "github")]
mod github;
mod world;

use run_model::ErrorName;
use run_model::change_set::{ChangeSet, Edit};
use run_model::evidence::{Purpose, TestOutcome};
use run_model::gate::GateDecision;
use run_model::risk::{Risk, RiskLevel};
use run_model::run::{Ending, Outcome, RunStatus};
use serde_json::json;
use world::{World, edit, evidence, overlay};

#[tokio::test]
async fn a_snapshot_is_taken_once_and_the_base_never_moves() {
    let world = World::new().await;
    world.write("uncommitted.txt", "x");
    let first = world.call("snapshot").await.unwrap();
    world.write("src/lib.rs", "later\n");
    world.git(&["commit", "--quiet", "--all", "--message=later"]);
    assert_eq!(world.call("snapshot").await.unwrap(), first);
    let run = world.run().await;
    let taken = run.snapshot.unwrap();
    assert_eq!(json!({ "commit": taken.commit }), first);
    assert_eq!(run.notices, ["uncommitted changes are not part of this run: uncommitted.txt"]);
    let kept = world.store.base_contents(&taken, &overlay("x").paths().cloned().collect()).await.unwrap();
    assert_eq!(kept.into_values().collect::<Vec<_>>(), ["fn one() {}\n"]);
    let kinds = world.events().await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "snapshot.taken").count(), 1, "{kinds:?}");
}

#[tokio::test]
async fn a_repository_that_cannot_be_worked_on_is_refused_with_the_cure() {
    let world = World::new().await;
    for (repository, cure) in [("owner", "give an absolute path"), ("/", "run `git init` and commit")] {
        world.store.update_run(&world.run_id, |run| run.repository = repository.into()).await.unwrap();
        let error = world.call("snapshot").await.unwrap_err();
        assert_eq!(error.name, ErrorName::InvalidInput);
        assert!(error.message.contains(cure), "{error}");
    }
}

#[tokio::test]
async fn a_good_change_is_published_and_landed_once() {
    let world = World::assessed(RiskLevel::Medium).await;
    let published = world.call("publish").await.unwrap();
    assert_eq!(world.call("publish").await.unwrap(), published);
    let commit = world.git(&["rev-parse", "refs/gatewright/r-1"]);
    assert_eq!(published, json!({ "commit": commit, "ref": "refs/gatewright/r-1" }));
    assert!(world.git(&["log", "-1", "--format=%B", &commit]).contains("Gatewright-Run: r-1"));
    world.decide(GateDecision::Approved).await;
    assert_eq!(world.call("land").await.unwrap(), json!({ "branch": "gatewright/r-1" }));
    assert_eq!(world.call("land").await.unwrap(), json!({ "branch": "gatewright/r-1" }));
    assert_eq!(world.git(&["rev-parse", "gatewright/r-1"]), commit);
    let run = world.run().await;
    assert_eq!((run.commit.as_deref(), run.branch.as_deref()), (Some(commit.as_str()), Some("gatewright/r-1")));
    let kinds = world.events().await;
    for kind in ["change.published", "change.landed"] {
        assert_eq!(kinds.iter().filter(|told| *told == kind).count(), 1, "{kinds:?}");
    }
}

#[tokio::test]
async fn low_risk_lands_without_a_gate() {
    let world = World::recorded(RiskLevel::Low, edit("README.md", Edit::Write("# One\n".into()))).await;
    world.call("publish").await.unwrap();
    world.call("land").await.unwrap();
}

#[tokio::test]
async fn a_record_that_says_less_than_the_change_is_not_believed() {
    let deleted = edit("src/lib.rs", Edit::Delete);
    let script = edit("README.md", Edit::Write("```rust\nassert!(true);\n```\n".into()));
    for (recorded, overlay, said) in [
        (RiskLevel::Low, overlay("pub fn two() {}\n"), "calls the change low, the rules call it medium (code: "),
        (RiskLevel::Low, script, "calls the change low, the rules call it medium ("),
        (RiskLevel::Medium, deleted, "calls the change medium, the rules call it high (file deleted: src/lib.rs)"),
    ] {
        let world = World::recorded(recorded, overlay).await;
        is_not_published(&world, said).await;
        // Nor if it was published before somebody wrote the row, or an approval is there.
        world.decide(GateDecision::Approved).await;
        is_not_landed(&world, said).await;
        is_not_landed(&world, "`gatewright runs resume r-1 --from verify` measures it again").await;
    }
}

#[tokio::test]
async fn a_record_may_ask_for_more_than_the_rules() {
    let world = World::assessed(RiskLevel::Critical).await;
    world.call("publish").await.unwrap();
    world.decide(GateDecision::Approved).await;
    world.call("land").await.unwrap();
}

#[tokio::test]
async fn an_approval_at_a_gate_that_showed_less_risk_does_not_count() {
    let world = World::assessed(RiskLevel::Medium).await;
    world.call("publish").await.unwrap();
    world.decide(GateDecision::Approved).await;
    let raised = Risk { level: RiskLevel::High, reasons: Vec::new() };
    world.store.update_run(&world.run_id, |run| run.risk = Some(raised.clone())).await.unwrap();
    is_not_landed(&world, "was opened for medium risk, the change has high").await;
}

/// Publishing is refused for this reason, and no ref is written.
async fn is_not_published(world: &World, reason: &str) {
    let error = world.call("publish").await.unwrap_err();
    assert_eq!(error.name, ErrorName::PolicyRefused, "{error}");
    assert!(error.message.contains(reason), "{error}");
    assert_eq!(world.git(&["for-each-ref", "refs/gatewright"]), "");
}

#[tokio::test]
async fn what_was_not_assessed_or_has_ended_is_not_published() {
    let world = World::assessed(RiskLevel::Medium).await;
    let outcome = Outcome { reason: "r".into(), next_step: "n".into() };
    let ending = Ending { status: RunStatus::Failed, outcome };
    world.store.update_run(&world.run_id, |run| run.ending = Some(ending.clone())).await.unwrap();
    is_not_published(&world, "not assessed as good").await;
    world.store.update_run(&world.run_id, |run| (run.ending, run.risk) = (None, None)).await.unwrap();
    is_not_published(&world, "not assessed as good").await;
}

#[tokio::test]
async fn a_red_change_is_not_published_even_if_the_record_calls_it_good() {
    let world = World::assessed(RiskLevel::Medium).await;
    let red = world.measured(Purpose::Final, 101, TestOutcome::Failed).await;
    world.record(Purpose::Final, &red).await;
    is_not_published(&world, "red: ").await;
}

#[tokio::test]
async fn a_tree_that_was_not_measured_is_not_published() {
    let world = World::assessed(RiskLevel::Medium).await;
    let base_commit = world.run().await.snapshot.unwrap().commit;
    world.set_change(&ChangeSet { base_commit, overlay: overlay("pub fn other() {}\n") }).await;
    is_not_published(&world, "the evidence is about tree").await;
    let base_commit = "0".repeat(40);
    world.set_change(&ChangeSet { base_commit, overlay: overlay("pub fn two() {}\n") }).await;
    is_not_published(&world, "the run is based on").await;
}

#[tokio::test]
async fn unmet_held_out_tests_keep_a_change_from_being_published() {
    let world = World::assessed(RiskLevel::Medium).await;
    let held_out = world.store.put_artefact(&world.run_id, vec![1]).await.unwrap();
    world.store.update_run(&world.run_id, |run| run.acceptance = Some(held_out.clone())).await.unwrap();
    is_not_published(&world, "no AcceptanceFinal evidence").await;
    let mut with = world.measured(Purpose::AcceptanceBase, 101, TestOutcome::Passed).await;
    with.commands[0].tests.push(evidence::test("held", TestOutcome::Failed));
    for purpose in [Purpose::AcceptanceBase, Purpose::AcceptanceFinal] {
        with.purpose = purpose;
        world.record(purpose, &with).await;
    }
    is_not_published(&world, "the held-out tests are not met").await;
    with.overlay_sha256 = None;
    world.record(Purpose::AcceptanceFinal, &with).await;
    is_not_published(&world, "run on another change").await;
}

#[tokio::test]
async fn a_secret_in_the_change_keeps_it_from_being_published() {
    let world = World::assessed(RiskLevel::Medium).await;
    let secret = format!("const KEY: &str = \"AK{}{}\";\n", "IA", "ABCDEFGHIJKLMNOP");
    let base_commit = world.run().await.snapshot.unwrap().commit;
    world.set_change(&ChangeSet { base_commit, overlay: overlay(&secret) }).await;
    let measured = world.measured(Purpose::Final, 0, TestOutcome::Passed).await;
    world.record(Purpose::Final, &measured).await;
    is_not_published(&world, "src/lib.rs:1 looks like a secret").await;
}

/// Landing is refused for this reason, and no branch is made.
async fn is_not_landed(world: &World, reason: &str) {
    let error = world.call("land").await.unwrap_err();
    assert_eq!(error.name, ErrorName::PolicyRefused, "{error}");
    assert!(error.message.contains(reason), "{error}");
    assert_eq!(world.git(&["branch", "--list", "gatewright/*"]), "");
}

#[tokio::test]
async fn without_an_approval_nothing_lands() {
    let world = World::assessed(RiskLevel::Medium).await;
    world.call("publish").await.unwrap();
    is_not_landed(&world, "needs an approval, and r-1 has no gate").await;
    world.decide(GateDecision::Denied).await;
    is_not_landed(&world, "was not approved").await;
}

#[tokio::test]
async fn an_approval_of_another_change_is_void() {
    let world = World::assessed(RiskLevel::Medium).await;
    world.call("publish").await.unwrap();
    world.decide(GateDecision::Approved).await;
    let base_commit = world.run().await.snapshot.unwrap().commit;
    world.set_change(&ChangeSet { base_commit, overlay: overlay("pub fn sneaky() {}\n") }).await;
    let measured = world.measured(Purpose::Final, 0, TestOutcome::Passed).await;
    world.record(Purpose::Final, &measured).await;
    is_not_landed(&world, "stands before something else").await;
}

#[tokio::test]
async fn what_is_not_understood_is_refused() {
    let world = World::new().await;
    let input = json!({ "action": "merge", "run_id": "r-1" });
    assert_eq!(code_host::handle(&world.context, input).await.unwrap_err().name, ErrorName::InvalidInput);
    let input = json!({ "action": "land", "run_id": "r-unknown" });
    assert_eq!(code_host::handle(&world.context, input).await.unwrap_err().name, ErrorName::NotFound);
}
