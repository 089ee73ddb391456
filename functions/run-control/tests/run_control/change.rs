//! The change as a whole.

use run_model::ErrorName;
use run_model::change_set::ChangeSet;
use run_model::evidence::Purpose;
use run_model::risk::RiskLevel;
use run_model::run::Stage;
use serde_json::json;

use crate::world::{World, config, evidence, overlay};

const CODE: (&str, Option<&str>) = ("src/lib.rs", Some("pub fn one() {}\npub fn two() {}\n"));

#[tokio::test]
async fn what_the_tasks_made_becomes_one_change_set_on_the_base() {
    let world = World::planned(&config(), &[("t1", &[]), ("t2", &["t1"])]).await;
    let mut made = overlay(&[("src/t1.rs", Some("1"))]);
    for task in ["t1", "t2"] {
        world.act("next-wave", json!({})).await.unwrap();
        made.extend(overlay(&[(&format!("src/{task}.rs"), Some("mine"))]));
        world.do_task(task, &made).await;
    }
    let merged = world.act("merge", json!({})).await.unwrap();
    assert_eq!(merged, json!({ "next": "verify", "overlay": world.keep(&made).await }));
    let run = world.run().await;
    assert_eq!(run.stage, Stage::Verify);
    let change: ChangeSet = world.store.get_json(&run.change_set.unwrap()).await.unwrap();
    assert_eq!(change, ChangeSet { base_commit: "c".repeat(40), overlay: made });
}

#[tokio::test]
async fn tasks_that_disagree_are_named_with_the_path() {
    let world = World::planned(&config(), &[("t1", &[]), ("t2", &[])]).await;
    world.act("next-wave", json!({})).await.unwrap();
    world.do_task("t1", &overlay(&[("src/x.rs", Some("1"))])).await;
    world.do_task("t2", &overlay(&[("src/x.rs", None)])).await;
    let error = world.act("merge", json!({})).await.unwrap_err();
    assert_eq!(error.name, ErrorName::MergeConflict);
    assert_eq!(error.message, "src/x.rs was changed differently by tasks that ran side by side (t1, t2)");
    assert_eq!(world.run().await.change_set, None);
}

#[tokio::test]
async fn a_crew_that_changed_nothing_says_so() {
    let world = World::with_change(&[]).await;
    assert_eq!(world.merge().await, "finish");
    assert_eq!(world.ending().await.0, "The crew changed nothing.");
    // Also if it wrote what stood there.
    let world = World::with_change(&[("src/lib.rs", Some("pub fn one() {}\n"))]).await;
    assert_eq!(world.assess(&evidence(0, &["+a"])).await, "finish");
    assert_eq!(world.ending().await.0, "The crew changed nothing.");
}

#[tokio::test]
async fn a_green_change_goes_on_with_its_risk() {
    let world = World::with_change(&[CODE]).await;
    assert_eq!(world.assess(&evidence(0, &["+a"])).await, "publish");
    let run = world.run().await;
    let risk = run.risk.unwrap();
    assert_eq!((risk.level, run.ending), (RiskLevel::Medium, None));
    let rules: Vec<&str> = risk.reasons.iter().map(|reason| reason.rule.as_str()).collect();
    assert_eq!(rules, ["code", "no regression proof"]);
    let purposes: Vec<Purpose> = run.evidence.iter().map(|(purpose, _)| *purpose).collect();
    assert_eq!(purposes, [Purpose::Baseline, Purpose::Final]);
    let [told] = &world.events("change.assessed").await[..] else { panic!("it was not told once") };
    assert_eq!(told.message, "the whole change is green; 0 findings of the scan; medium risk");
}

#[tokio::test]
async fn documentation_alone_is_low_risk_and_needs_no_gate() {
    let world = World::with_change(&[("README.md", Some("# Two\n"))]).await;
    let assessed = world.assessed(&evidence(0, &["+a"])).await;
    assert_eq!(world.run().await.risk.unwrap().level, RiskLevel::Low);
    let gate = json!({ "needed": false, "risk_level": "low", "timeout_seconds": 0, "question": null });
    assert_eq!(assessed, json!({ "next": "publish", "gate": gate }));
}

#[tokio::test]
async fn documentation_that_a_program_includes_needs_a_gate() {
    let world = World::with_change(&[("README.md", Some("# Two\n"))]).await;
    let source = ("src/lib.rs", "#![doc = include_str!(\"../README.md\")]\n");
    world.take_snapshot_of(&[source, ("README.md", "# One\n")]).await;
    assert_eq!(world.assess(&evidence(0, &["+a"])).await, "publish");
    let risk = world.run().await.risk.unwrap();
    assert_eq!(risk.level, RiskLevel::Medium);
    assert!(risk.reasons.iter().any(|reason| reason.rule == "documentation that runs"), "{risk:?}");
}

#[tokio::test]
async fn a_script_that_a_check_runs_is_high() {
    let world = World::with_change(&[("test", Some("#!/bin/sh\ntrue\n"))]).await;
    assert_eq!(world.assess(&evidence(0, &["+a"])).await, "publish");
    assert_eq!(world.run().await.risk.unwrap().level, RiskLevel::High);
}

#[tokio::test]
async fn a_protected_path_is_critical_and_needs_a_gate() {
    let world = World::with_change(&[CODE, (".github/workflows/ci.yml", Some("on: push\n"))]).await;
    let assessed = world.assessed(&evidence(0, &["+a"])).await;
    assert_eq!(world.run().await.risk.unwrap().level, RiskLevel::Critical);
    let gate = json!({ "needed": true, "risk_level": "critical", "timeout_seconds": 7200, "question": null });
    assert_eq!(assessed, json!({ "next": "publish", "gate": gate }));
}

#[tokio::test]
async fn a_red_change_ends_the_run() {
    let world = World::with_change(&[CODE]).await;
    assert_eq!(world.assess(&evidence(101, &["-a"])).await, "finish");
    let (reason, next_step) = world.ending().await;
    assert!(reason.starts_with("The whole change is red: "), "{reason}");
    assert_eq!(next_step, "`gatewright runs resume r-1 --from build` lets the crew deal with it.");
    assert!(world.run().await.risk.is_some(), "a red change has its risk too");
}

#[tokio::test]
async fn a_blocking_finding_ends_the_run_and_is_not_repeated() {
    let key = ["AK", "IA", "ABCDEFGHIJKLMNOP"].concat();
    let world = World::with_change(&[("src/lib.rs", Some(&format!("const KEY: &str = \"{key}\";\n")))]).await;
    assert_eq!(world.assess(&evidence(0, &["+a"])).await, "finish");
    let (reason, _) = world.ending().await;
    assert!(reason.starts_with("The scan blocks the change: src/lib.rs:1 looks like a secret"), "{reason}");
    assert!(!reason.contains(&key));
}

/// A change assessed with held-out tests: on the base they fail, on the change they show this.
async fn with_held_out(on_change: &[&str], code: i32) -> World {
    let world = World::new().await;
    let acceptance = world.store.put_held_out(&world.run_id, vec![1]).await.unwrap();
    let input = json!({ "repository": "/r", "requirements": "count", "config": config(), "acceptance": acceptance });
    assert_eq!(world.admit(input).await.unwrap()["held_out"], true);
    world.take_snapshot().await;
    let (base, with) = (world.keep(&evidence(0, &["+a"])).await, world.keep(&evidence(101, &["+a", "-held"])).await);
    world.act("baseline", json!({ "evidence": base, "acceptance": with })).await.unwrap();
    world.plan(&[("t1", &[])]).await;
    world.act("next-wave", json!({})).await.unwrap();
    world.do_task("t1", &overlay(&[CODE])).await;
    assert_eq!(world.merge().await, "verify");
    let acceptance = world.keep(&evidence(code, on_change)).await;
    world.act("assess", json!({ "evidence": base, "acceptance": acceptance })).await.unwrap();
    world
}

#[tokio::test]
async fn held_out_tests_decide_and_are_not_offered_to_the_crew() {
    let met = with_held_out(&["+a", "+held"], 0).await;
    assert_eq!(met.run().await.ending, None);
    let unmet = with_held_out(&["+a", "-held"], 101).await;
    let (reason, next_step) = unmet.ending().await;
    assert!(reason.starts_with("The change was not accepted: acceptance: the held-out tests are not met"), "{reason}");
    assert!(!next_step.contains("resume"), "{next_step}");
    unmet.act("finish", json!({ "error": null })).await.unwrap();
    unmet.resume("r-1-2", "build").await.unwrap();
    let task = unmet.task("t1").await;
    assert_eq!(task.feedback, Vec::<String>::new(), "no agent hears of them");
}

#[tokio::test]
async fn held_out_tests_cannot_be_left_out() {
    let world = with_held_out(&["+a", "+held"], 0).await;
    let evidence = world.keep(&evidence(0, &["+a"])).await;
    let error = world.act("assess", json!({ "evidence": evidence, "acceptance": null })).await.unwrap_err();
    assert_eq!(error.name, ErrorName::InvalidInput);
}
