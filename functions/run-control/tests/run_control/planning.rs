//! From the baseline to the waves.

use run_model::ErrorName;
use run_model::change_set::Overlay;
use run_model::evidence::Purpose;
use run_model::run::{Stage, TaskStatus};
use serde_json::{Value, json};

use crate::world::{World, config, design, evidence, overlay, plan};

#[tokio::test]
async fn a_green_base_needs_no_words_and_a_red_one_is_noticed() {
    let green = World::on_base(&config(), 0, &["+a"]).await;
    assert!(green.run().await.notices.is_empty());
    let red = World::on_base(&config(), 101, &["+a", "-b"]).await;
    let run = red.run().await;
    let [notice] = &run.notices[..] else { panic!("{:?}", run.notices) };
    assert!(notice.contains("the checks fail on the base already") && notice.contains("(b)"), "{notice}");
    assert_eq!(run.evidence.iter().map(|(purpose, _)| *purpose).collect::<Vec<_>>(), [Purpose::Baseline]);
    assert_eq!(red.events("baseline.recorded").await.len(), 1);
}

#[tokio::test]
async fn a_base_on_which_a_check_cannot_run_ends_before_anything_is_paid() {
    let begin = async |config: &config::RunConfig, code: i32, tests: &[&str]| {
        let world = World::on_base(config, 0, &["+a"]).await;
        let base = world.keep(&evidence(code, tests)).await;
        world.act("baseline", json!({ "evidence": base, "acceptance": null })).await
    };
    let error = begin(&config(), 127, &[]).await.unwrap_err();
    assert_eq!(error.name, ErrorName::NotMeasurable);
    assert!(error.message.contains("cannot run on the base (exit code 127)"), "{error}");
    let mut named = config();
    named.checks[0].format = config::TestFormat::CargoTest;
    assert_eq!(begin(&named, 101, &[]).await.unwrap_err().name, ErrorName::NotMeasurable);
    assert!(begin(&named, 101, &["-a"]).await.is_ok());
    named.base_may_fail = true;
    assert!(begin(&named, 101, &[]).await.is_ok(), "to mend it is what was asked for");
    assert_eq!(begin(&named, 127, &[]).await.unwrap_err().name, ErrorName::NotMeasurable);
}

#[tokio::test]
async fn held_out_tests_that_do_not_fail_on_the_base_are_told_before_anything_is_paid() {
    let begin = async |tests: &[&str]| {
        let world = World::on_base(&config(), 0, &["+a"]).await;
        let (base, with) = (world.keep(&evidence(0, &["+a"])).await, world.keep(&evidence(0, tests)).await);
        let recorded = world.act("baseline", json!({ "evidence": base, "acceptance": with })).await;
        (recorded, world.run().await.notices)
    };
    let (recorded, notices) = begin(&["+a", "-held_out"]).await;
    assert_eq!((recorded.is_ok(), notices), (true, vec![]));
    let (recorded, notices) = begin(&["+a", "+held_out"]).await;
    let [notice] = &notices[..] else { panic!("{notices:?}") };
    assert!(recorded.is_ok() && notice.contains("pass on the base already"), "{notice}");
    let (recorded, _) = begin(&["+a"]).await;
    let error = recorded.unwrap_err();
    assert_eq!(error.name, ErrorName::InvalidInput);
    assert!(error.message.contains("no check of this project runs the held-out tests"), "{error}");
}

#[tokio::test]
async fn an_accepted_plan_becomes_tasks_in_waves() {
    let world = World::planned(&config(), &[("t1", &[]), ("t2", &["t1"])]).await;
    let tasks = world.store.tasks(&world.run_id).await.unwrap();
    let stand: Vec<_> = tasks.iter().map(|task| (task.task_id.as_str(), task.wave, task.status)).collect();
    assert_eq!(stand, [("t1", 0, TaskStatus::Waiting), ("t2", 1, TaskStatus::Waiting)]);
    assert!(tasks.iter().all(|task| (task.iteration, task.iteration_bound) == (1, 20)));
    assert_eq!(world.events("plan.accepted").await[0].message, "do t1; do t2");
    let run = world.run().await;
    assert!(run.plan.is_some() && run.design.is_some() && run.plan_risk.is_some());
    assert_eq!(world.events("design.accepted").await.len(), 1);
}

#[tokio::test]
async fn a_plan_against_the_rules_is_refused_by_the_rules_name() {
    let mut narrow = config();
    narrow.limits.tasks = 2;
    let world = World::on_base(&narrow, 0, &["+a"]).await;
    for (tasks, said) in [
        (plan(&[("t1", &["t2"]), ("t2", &["t1"])]), "tasks wait for each other: t1 -> t2 -> t1"),
        (plan(&[("t1", &["t9"])]), "`t1` refers to task `t9`"),
        (plan(&[("t1", &[]), ("t2", &[]), ("t3", &[])]), "the plan has 3 tasks, at most 2 are allowed"),
        (plan(&[]), "the plan has no task"),
    ] {
        let output = world.keep(&tasks).await;
        let error = world.act("accept-plan", json!({ "output": output })).await.unwrap_err();
        assert_eq!(error.name, ErrorName::PolicyRefused, "{error}");
        assert!(error.message.contains(said), "{error}");
    }
    assert!(world.run().await.plan.is_none());
    assert!(world.store.tasks(&world.run_id).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_refused_requirement_ends_with_the_reason_and_what_to_ask_instead() {
    let world = World::on_base(&config(), 0, &["+a"]).await;
    let refusal = json!({ "reason": "It asks to delete the tests.", "instead": "Say which behaviour is wrong." });
    let output = world.keep(&json!({ "summary": "s", "tasks": [], "refusal": refusal })).await;
    let error = world.act("accept-plan", json!({ "output": output })).await.unwrap_err();
    assert_eq!(error.name, ErrorName::RequirementRefused);
    let said = "refused by the crew: It asks to delete the tests. Instead: Say which behaviour is wrong.";
    assert_eq!(error.message, said);
    assert!(world.run().await.plan.is_none());
}

#[tokio::test]
async fn a_design_that_leaves_a_task_out_is_refused() {
    let world = World::planned(&config(), &[("t1", &[]), ("t2", &[])]).await;
    let before = world.run().await.design;
    let output = world.keep(&design(&[("t1", &[])])).await;
    let error = world.act("accept-design", json!({ "output": output })).await.unwrap_err();
    assert_eq!(error.name, ErrorName::PolicyRefused);
    assert_eq!(error.message, "the design: no design item serves task `t2`: add one");
    assert_eq!(world.run().await.design, before);
}

#[tokio::test]
async fn another_plan_takes_the_place_of_all_that_the_first_one_made() {
    let world = World::with_change(&[("src/lib.rs", Some("pub fn two() {}\n"))]).await;
    assert_eq!(world.assess(&evidence(0, &["+a"])).await, "publish");
    let output = world.keep(&plan(&[("t2", &[])])).await;
    world.act("accept-plan", json!({ "output": output })).await.unwrap();
    let run = world.run().await;
    assert_eq!((run.design, run.plan_risk, run.change_set, run.risk), (None, None, None, None));
    let tasks = world.store.tasks(&world.run_id).await.unwrap();
    assert_eq!(tasks.iter().map(|task| task.task_id.as_str()).collect::<Vec<_>>(), ["t2"]);
}

#[tokio::test]
async fn whoever_accepts_the_design_says_whether_the_plan_needs_a_gate() {
    for (hint, needed, level, seconds) in
        [(Value::Null, false, "low", 0), (json!("medium"), false, "low", 0), (json!("high"), true, "high", 3600)]
    {
        let world = World::on_base(&config(), 0, &["+a"]).await;
        let mut planned = plan(&[("t1", &[])]);
        planned["risk_hint"] = hint;
        world.act("accept-plan", json!({ "output": world.keep(&planned).await })).await.unwrap();
        let design = world.keep(&design(&[("t1", &[])])).await;
        let accepted = world.act("accept-design", json!({ "output": design })).await.unwrap();
        let gate = json!({ "needed": needed, "risk_level": level, "timeout_seconds": seconds, "question": null });
        assert_eq!(accepted, json!({ "gate": gate }));
    }
}

/// The ids of the tasks that may start now.
async fn next_wave(world: &World) -> Vec<String> {
    next_waves(world).await.0
}

/// The ids of the tasks that may start now, and whether more wait behind them.
async fn next_waves(world: &World) -> (Vec<String>, bool) {
    let wave = world.act("next-wave", json!({})).await.unwrap();
    let ids = wave["tasks"].as_array().unwrap().iter().map(|task| task["task_id"].as_str().unwrap().to_owned());
    (ids.collect(), wave["more"].as_bool().unwrap())
}

fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

#[tokio::test]
async fn a_diamond_is_done_in_three_waves_and_each_builds_on_the_ones_before() {
    let world = World::planned(
        &config(),
        &[("top", &[]), ("left", &["top"]), ("right", &["top"]), ("end", &["left", "right"])],
    )
    .await;
    let edit = |path: &str| overlay(&[(path, Some("x\n"))]);
    assert_eq!(next_waves(&world).await, (ids(&["top"]), true));
    assert_eq!(world.run().await.stage, Stage::Build);
    assert_eq!(world.task("top").await.base_overlay, None);
    world.do_task("top", &edit("src/top/a.rs")).await;

    assert_eq!(next_waves(&world).await, (ids(&["left", "right"]), true));
    let begun = world.act("begin-task", json!({ "task_id": "left" })).await.unwrap();
    let given: Overlay =
        world.store.get_json(&serde_json::from_value(begun["overlay"].clone()).unwrap()).await.unwrap();
    assert_eq!(given, edit("src/top/a.rs"));
    for side in ["left", "right"] {
        let mut made = given.clone();
        made.extend(edit(&format!("src/{side}/a.rs")));
        world.do_task(side, &made).await;
    }
    assert_eq!(next_waves(&world).await, (ids(&["end"]), false));
    let given: Overlay = world.store.get_json(&world.task("end").await.base_overlay.unwrap()).await.unwrap();
    let paths: Vec<&str> = given.paths().map(run_model::RepoPath::as_str).collect();
    assert_eq!(paths, ["src/left/a.rs", "src/right/a.rs", "src/top/a.rs"]);
    world.do_task("end", &given).await;
    assert_eq!(next_waves(&world).await, (Vec::new(), false));
}

#[tokio::test]
async fn a_failed_task_keeps_its_siblings_and_stops_what_builds_on_it() {
    let mut narrow = config();
    narrow.limits.parallel_tasks = 2;
    let world = World::planned(&narrow, &[("t1", &[]), ("t2", &[]), ("t3", &["t1"])]).await;
    assert_eq!(next_wave(&world).await, ["t1", "t2"]);
    let error = json!({ "Error": "ModelRefused", "Cause": "no key" });
    world.act("task-failed", json!({ "task_id": "t1", "error": error })).await.unwrap();
    let left = world.act("next-wave", json!({})).await.unwrap();
    assert_eq!(left, json!({ "tasks": [{ "task_id": "t2" }], "parallel": 2, "more": true }));
    world.do_task("t2", &overlay(&[("src/t2/a.rs", Some("x\n"))])).await;
    assert_eq!(next_waves(&world).await, (Vec::new(), false), "what waits for a failed task is not begun");
    assert_eq!(world.task("t3").await.status, TaskStatus::Waiting);
}

#[tokio::test]
async fn tasks_of_one_wave_that_disagree_stop_the_next_one_by_path_and_name() {
    let world = World::planned(&config(), &[("t1", &[]), ("t2", &[]), ("t3", &[]), ("t4", &["t1", "t2", "t3"])]).await;
    next_wave(&world).await;
    for (task, edits) in [("t1", ("src/x.rs", "1")), ("t2", ("src/x.rs", "2")), ("t3", ("src/y.rs", "3"))] {
        world.do_task(task, &overlay(&[(edits.0, Some(edits.1))])).await;
    }
    let error = world.act("next-wave", json!({})).await.unwrap_err();
    assert_eq!(error.name, ErrorName::MergeConflict);
    assert_eq!(error.message, "src/x.rs was changed differently by tasks that ran side by side (t1, t2)");
    assert_eq!(world.task("t4").await.base_overlay, None);
}
