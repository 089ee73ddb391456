//! A run that is taken up again.

use run_model::ErrorName;
use run_model::gate::{GateDecision, GateKind};
use run_model::risk::{Risk, RiskLevel};
use run_model::run::{RunStatus, TaskStatus};
use serde_json::json;

use crate::world::{World, config, evidence, overlay};

const CODE: (&str, Option<&str>) = ("src/lib.rs", Some("pub fn two() {}\n"));

#[tokio::test]
async fn only_a_stage_whose_inputs_are_there_is_taken_up() {
    let world = World::new().await;
    world.admit(json!({ "repository": "/r", "requirements": "count", "config": config() })).await.unwrap();
    for (from, said) in [
        ("biuld", "from: \"biuld\" is not a stage: use one of admit, snapshot, baseline"),
        ("baseline", "needs the run's snapshot"),
        ("plan", "needs the run's snapshot"),
        ("land", "needs the run's snapshot"),
    ] {
        let error = world.resume("r-1-2", from).await.unwrap_err();
        assert_eq!(error.name, ErrorName::InvalidInput);
        assert!(error.message.contains(said), "{error}");
    }
    assert_eq!(world.run().await.executions, 1);
    assert_eq!(world.resume("r-1-2", "snapshot").await.unwrap()["from"], "snapshot");

    let measured = World::on_base(&config(), 0, &["+a"]).await;
    assert!(measured.resume("r-1-2", "design").await.unwrap_err().message.contains("needs the run's plan"));
    let planned = World::planned(&config(), &[("t1", &[])]).await;
    assert!(planned.resume("r-1-2", "publish").await.unwrap_err().message.contains("needs the run's assessed change"));
    assert!(planned.resume("r-1-2", "gate").await.is_err());
}

#[tokio::test]
async fn each_new_execution_counts_once() {
    let world = World::planned(&config(), &[("t1", &[])]).await;
    let error = json!({ "Error": "ModelRefused", "Cause": "no key" });
    world.act("finish", json!({ "error": error })).await.unwrap();
    let entrance = world.resume("r-1-2", "build").await.unwrap();
    let expected = json!({ "run_id": "r-1", "from": "build", "gate": null, "held_out": false, "attempt": 1 });
    assert_eq!(entrance, expected);
    let run = world.run().await;
    assert_eq!((run.status, run.executions, run.execution_arn.as_str()), (RunStatus::Running, 2, "arn:r-1-2"));
    assert_eq!((run.outcome, run.ending), (None, None));
    world.resume("r-1-3", "build").await.unwrap();
    assert_eq!(world.run().await.executions, 3);
    assert_eq!(world.events("run.resumed").await.len(), 2);
}

#[tokio::test]
async fn a_run_that_has_landed_is_over() {
    let world = World::planned(&config(), &[("t1", &[])]).await;
    world.store.update_run(&world.run_id, |run| run.branch = Some("gatewright/r-1".into())).await.unwrap();
    world.act("finish", json!({ "error": null })).await.unwrap();
    let error = world.resume("r-1-2", "build").await.unwrap_err();
    assert!(error.message.contains("has landed already"), "{error}");
}

#[tokio::test]
async fn tasks_get_another_chance_and_keep_what_they_have() {
    let mut narrow = config();
    narrow.limits.iterations = 2;
    let world = World::planned(&narrow, &[("done", &[]), ("failed", &[]), ("limit", &[]), ("running", &[])]).await;
    world.act("next-wave", json!({})).await.unwrap();
    for task in ["failed", "limit", "running"] {
        world.act("begin-task", json!({ "task_id": task })).await.unwrap();
    }
    world.do_task("done", &overlay(&[CODE])).await;
    for iteration in [1, 2] {
        world.judge("limit", iteration, &overlay(&[CODE]), &evidence(101, &["-a"])).await;
    }
    let error = json!({ "Error": "ModelUnavailable", "Cause": "down" });
    world.act("task-failed", json!({ "task_id": "failed", "error": error })).await.unwrap();
    assert_eq!(world.merge().await, "finish");
    world.act("finish", json!({ "error": null })).await.unwrap();
    assert_eq!(world.run().await.status, RunStatus::Failed);

    world.resume("r-1-2", "build").await.unwrap();
    let mut stand = Vec::new();
    for id in ["done", "failed", "limit", "running"] {
        let task = world.task(id).await;
        stand.push((task.status, task.iteration, task.iteration_bound));
    }
    let waiting = TaskStatus::Waiting;
    assert_eq!(stand, [(TaskStatus::Done, 1, 2), (waiting, 1, 2), (waiting, 3, 4), (waiting, 1, 2)]);
    assert!(world.task("limit").await.overlay.is_some(), "the tree of its last round");
    assert!(world.task("limit").await.failure_fingerprints.is_empty());
}

#[tokio::test]
async fn an_agent_that_went_in_circles_gets_a_fresh_session() {
    let world = World::on_base(&config(), 0, &["+a"]).await;
    let error = json!({ "Error": "AgentStuck", "Cause": "in circles" });
    world.act("finish", json!({ "error": error })).await.unwrap();
    assert_eq!(world.resume("r-1-2", "plan").await.unwrap()["attempt"], 2);
    let refused = json!({ "Error": "PolicyRefused", "Cause": "the plan has no task" });
    world.act("finish", json!({ "error": refused })).await.unwrap();
    assert_eq!(world.resume("r-1-3", "plan").await.unwrap()["attempt"], 3, "the same session has the same plan");
    let unlucky = json!({ "Error": "ModelUnavailable", "Cause": "down" });
    world.act("finish", json!({ "error": unlucky })).await.unwrap();
    assert_eq!(world.resume("r-1-4", "plan").await.unwrap()["attempt"], 3);
}

#[tokio::test]
async fn a_change_that_was_not_good_goes_back_to_the_crew() {
    let world = World::planned(&config(), &[("t1", &[]), ("t2", &["t1"])]).await;
    let mut made = overlay(&[]);
    for (task, path) in [("t1", "src/t1.rs"), ("t2", "src/t2.rs")] {
        world.act("next-wave", json!({})).await.unwrap();
        made.extend(overlay(&[(path, Some("x\n"))]));
        world.do_task(task, &made).await;
    }
    assert_eq!(world.assess(&evidence(101, &["-a"])).await, "finish");
    world.act("finish", json!({ "error": null })).await.unwrap();
    world.resume("r-1-2", "build").await.unwrap();
    assert_eq!(world.run().await.change_set, None);
    assert_eq!(world.task("t1").await.status, TaskStatus::Done);
    let last = world.task("t2").await;
    assert_eq!((last.status, last.iteration, last.iteration_bound), (TaskStatus::Waiting, 2, 21));
    assert!(last.feedback[0].starts_with("The whole change is red"), "{:?}", last.feedback);
    made.extend(overlay(&[("src/t2.rs", Some("better\n"))]));
    world.do_task("t2", &made).await;
    assert_eq!(world.assess(&evidence(0, &["+a"])).await, "publish");
}

#[tokio::test]
async fn a_task_that_fails_after_a_resume_is_not_hidden_by_the_change_before_it() {
    let world = World::with_change(&[CODE]).await;
    assert_eq!(world.assess(&evidence(101, &["-a"])).await, "finish");
    world.act("finish", json!({ "error": null })).await.unwrap();
    world.resume("r-1-2", "build").await.unwrap();
    let error = json!({ "Error": "ModelUnavailable", "Cause": "down" });
    world.act("task-failed", json!({ "task_id": "t1", "error": error })).await.unwrap();
    assert_eq!(world.merge().await, "finish");
    let run = world.run().await;
    assert_eq!((run.change_set, run.risk, run.commit), (None, None, None));
}

#[tokio::test]
async fn the_report_alone_can_be_told_again_and_makes_no_success() {
    let world = World::planned(&config(), &[("t1", &[])]).await;
    let error = json!({ "Error": "ModelRefused", "Cause": "no key" });
    let told = world.act("finish", json!({ "error": error })).await.unwrap();
    world.resume("r-1-2", "report").await.unwrap();
    assert_eq!(world.act("finish", json!({ "error": null })).await.unwrap(), told);
    // An execution that died before its report.
    let world = World::planned(&config(), &[("t1", &[])]).await;
    world.resume("r-1-2", "report").await.unwrap();
    let told = world.act("finish", json!({ "error": null })).await.unwrap();
    assert_eq!((&told["status"], &told["reason"]), (&json!("failed"), &json!("It stopped before the change landed.")));
}

#[tokio::test]
async fn a_plan_that_waits_for_a_person_is_not_passed_by_and_asked_about_once() {
    let world = World::planned(&config(), &[("t1", &[])]).await;
    let risk = Risk { level: RiskLevel::High, reasons: Vec::new() };
    world.store.update_run(&world.run_id, |run| run.plan_risk = Some(risk.clone())).await.unwrap();
    world.decide_on(GateKind::Plan, "g-1", Some(GateDecision::Denied)).await;
    assert_eq!(world.act("gate-closed", json!({ "kind": "plan" })).await.unwrap()["next"], "finish");
    assert_eq!(world.act("finish", json!({ "error": null })).await.unwrap()["status"], "denied");
    let error = world.resume("r-1-2", "build").await.unwrap_err();
    assert!(error.message.contains("resume from \"plan_gate\""), "{error}");
    let asked = json!({ "needed": true, "risk_level": "high", "timeout_seconds": 3600, "question": null });
    assert_eq!(world.resume("r-1-2", "plan_gate").await.unwrap()["gate"], asked);
    world.decide_on(GateKind::Plan, "g-2", Some(GateDecision::Approved)).await;
    assert_eq!(world.act("gate-closed", json!({ "kind": "plan" })).await.unwrap()["next"], "go");
    world.resume("r-1-3", "build").await.unwrap();
    let asked = world.resume("r-1-4", "plan_gate").await.unwrap();
    assert_eq!(asked["gate"]["needed"], false, "the plan was approved");
}

#[tokio::test]
async fn whoever_comes_to_a_gate_without_the_step_that_measured_the_risk_is_told_what_it_told() {
    let world = World::with_change(&[CODE]).await;
    let measured = world.assessed(&evidence(0, &["+a"])).await["gate"].clone();
    assert_eq!(measured, json!({ "needed": true, "risk_level": "high", "timeout_seconds": 3600, "question": null }));
    assert_eq!(world.resume("r-1-2", "publish").await.unwrap()["gate"], measured);
    world.store.update_run(&world.run_id, |run| run.commit = Some("c".repeat(40))).await.unwrap();
    assert_eq!(world.resume("r-1-3", "gate").await.unwrap()["gate"], measured);
    let of_plan = json!({ "needed": false, "risk_level": "low", "timeout_seconds": 0, "question": null });
    assert_eq!(world.resume("r-1-4", "plan_gate").await.unwrap()["gate"], of_plan);
}

#[tokio::test]
async fn a_gate_that_a_dead_execution_left_is_void() {
    let world = World::planned(&config(), &[("t1", &[])]).await;
    world.decide_on(GateKind::Plan, "g-1", None).await;
    world.resume("r-1-2", "plan_gate").await.unwrap();
    assert!(world.store.pending_gates().await.unwrap().is_empty());
    assert_eq!(world.run().await.status, RunStatus::Running);
}
