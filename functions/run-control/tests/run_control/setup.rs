//! Other dependencies: asked about, let in or not, and then measured with.

use run_model::change_set::Overlay;
use run_model::gate::{Approver, GateDecision, GateKind, Inquiry, Question};
use run_model::risk::RiskLevel;
use run_model::run::{ArtefactRef, RunRecord, RunStatus, TaskStatus};
use run_model::{GateId, TaskId};
use serde_json::{Value, json};

use crate::world::{World, approval, config, evidence, overlay};

const CODE: (&str, Option<&str>) = ("src/lib.rs", Some("pub fn two() {}\n"));
const ONE: (&str, Option<&str>) = ("Cargo.toml", Some("[dependencies]\none = \"1\"\n"));
const TWO: (&str, Option<&str>) = ("Cargo.toml", Some("[dependencies]\ntwo = \"2\"\n"));

/// A run whose only task has made these edits, as far as its round led it.
async fn made(edits: &[(&str, Option<&str>)]) -> World {
    let world = World::planned(&config(), &[("t1", &[])]).await;
    world.act("next-wave", json!({})).await.unwrap();
    make(&world, edits).await;
    world
}

/// The only task's round; where it goes.
async fn make(world: &World, edits: &[(&str, Option<&str>)]) -> Value {
    let begun = world.act("begin-task", json!({ "task_id": "t1" })).await.unwrap();
    assert_eq!(begun["iteration"], 1, "it is no round of its own");
    world.judge("t1", 1, &overlay(edits), &evidence(0, &["+a"])).await
}

async fn merged(world: &World, setups: u32) -> Value {
    world.act("merge", json!({ "setups": setups })).await.unwrap()
}

async fn closed(world: &World) -> Value {
    world.act("gate-closed", json!({ "kind": "setup" })).await.unwrap()["next"].clone()
}

async fn approve(world: &World, id: &str) {
    world.decide_on(GateKind::Setup, id, Some(GateDecision::Approved)).await;
    assert_eq!(closed(world).await, "go");
}

#[tokio::test]
async fn a_person_is_asked_about_exactly_the_manifests_and_told_what_they_mean() {
    let world = made(&[CODE, ONE]).await;
    let gate = json!({ "needed": true, "risk_level": "critical", "timeout_seconds": 7200, "question": null });
    assert_eq!(merged(&world, 0).await, json!({ "next": "ask", "overlay": null, "gate": gate }));
    let proposed = world.run().await.proposed_setup.unwrap();
    assert_eq!(world.store.get_json::<Overlay>(&proposed.manifests).await.unwrap(), overlay(&[ONE]));
    assert_eq!(proposed.risk.level, RiskLevel::Critical);
    let told: Vec<String> =
        proposed.risk.reasons.into_iter().map(|reason| format!("{}: {}", reason.rule, reason.detail)).collect();
    assert_eq!((told[0].as_str(), told[2].as_str()), ("dependencies: Cargo.toml", "packages: Cargo.toml: adds one 1"));
    assert!(told[1].starts_with("setup: there is no setup command"), "{told:?}");
}

#[tokio::test]
async fn what_was_let_in_is_judged_in_the_same_round_and_goes_on_to_the_whole_change() {
    let world = made(&[CODE, ONE]).await;
    merged(&world, 0).await;
    approve(&world, "g-1").await;
    let run = world.run().await;
    assert_eq!((run.status, run.proposed_setup), (RunStatus::Running, None));
    assert_eq!(world.store.get_json::<Overlay>(&run.setup.unwrap()).await.unwrap(), overlay(&[ONE]));
    assert_eq!(world.task("t1").await.status, TaskStatus::Waiting);
    assert_eq!(make(&world, &[CODE, ONE]).await, "review");
    assert_eq!(world.conclude("t1", 1, approval()).await, "end");
    assert_eq!(merged(&world, 1).await["next"], "verify");
}

#[tokio::test]
async fn another_edit_is_not_what_was_approved_and_the_approved_one_stays_so() {
    let world = made(&[ONE]).await;
    merged(&world, 0).await;
    approve(&world, "g-1").await;
    assert_eq!(make(&world, &[TWO]).await, "end");
    assert_eq!(merged(&world, 1).await["next"], "ask", "the hash is another");
    approve(&world, "g-2").await;
    assert_eq!(make(&world, &[ONE]).await, "end");
    assert_eq!(merged(&world, 2).await, json!({ "next": "work", "overlay": null }), "nobody is asked twice");
    assert_eq!(make(&world, &[ONE]).await, "review");
}

#[tokio::test]
async fn an_approval_lets_in_nothing_that_was_proposed_after_it() {
    let world = made(&[ONE]).await;
    merged(&world, 0).await;
    world.decide_on(GateKind::Setup, "g-1", Some(GateDecision::Approved)).await;
    let other = world.keep(&overlay(&[TWO])).await;
    let swap = |run: &mut run_model::run::RunRecord| run.proposed_setup.as_mut().unwrap().manifests = other.clone();
    world.store.update_run(&world.run_id, swap).await.unwrap();
    assert_eq!(closed(&world).await, "go");
    assert_eq!(world.run().await.setup, None);
    assert_eq!(make(&world, &[TWO]).await, "end");
}

#[tokio::test]
async fn a_no_ends_the_run_and_silence_too_and_whoever_resumes_is_asked_anew() {
    for (decision, status) in [(Some(GateDecision::Denied), "denied"), (None, "timed_out")] {
        let world = made(&[ONE]).await;
        merged(&world, 0).await;
        world.decide_on(GateKind::Setup, "g-1", decision).await;
        assert_eq!(closed(&world).await, "finish");
        let told = world.act("finish", json!({ "error": null })).await.unwrap();
        assert_eq!(told["status"], status);
        assert!(told["reason"].as_str().unwrap().contains("gate g-1"), "{told}");
        let entrance = world.resume("r-1-2", "setup_gate").await.unwrap();
        assert_eq!((&entrance["from"], &entrance["gate"]), (&json!("setup_gate"), &Value::Null));
        assert_eq!(merged(&world, 0).await["next"], "ask");
        approve(&world, "g-2").await;
        assert_eq!(make(&world, &[ONE]).await, "review");
    }
}

#[tokio::test]
async fn edits_that_change_nothing_need_nobody() {
    let world = made(&[("Cargo.toml", Some("[package]\n"))]).await;
    world.take_snapshot_of(&[("Cargo.toml", "[package]\n")]).await;
    assert_eq!(merged(&world, 0).await["next"], "work");
    assert_eq!(make(&world, &[("Cargo.toml", Some("[package]\n"))]).await, "review");
}

#[tokio::test]
async fn dependencies_that_are_taken_back_are_the_bases_again_without_a_word() {
    let world = made(&[CODE, ONE]).await;
    merged(&world, 0).await;
    approve(&world, "g-1").await;
    assert_eq!(make(&world, &[CODE]).await, "review");
    world.conclude("t1", 1, approval()).await;
    assert_eq!(merged(&world, 1).await["next"], "verify");
    let setup = world.run().await.setup.unwrap();
    assert_eq!(world.store.get_json::<Overlay>(&setup).await.unwrap(), Overlay::default());
}

#[tokio::test]
async fn a_crew_that_asks_again_and_again_comes_to_an_end() {
    let world = made(&[ONE]).await;
    assert_eq!(merged(&world, 9).await["next"], "finish");
    let ending = world.run().await.ending.unwrap();
    assert_eq!(ending.status, RunStatus::NeedsSetup);
    assert!(ending.outcome.reason.starts_with("The dependencies were set up anew 9 times"), "{ending:?}");
}

#[tokio::test]
async fn siblings_share_what_was_let_in_and_a_new_plan_forgets_it() {
    let world = World::planned(&config(), &[("t1", &[]), ("t2", &[])]).await;
    world.act("next-wave", json!({})).await.unwrap();
    for (task, path) in [("t1", "a/Cargo.toml"), ("t2", "b/Cargo.toml")] {
        world.act("begin-task", json!({ "task_id": task })).await.unwrap();
        assert_eq!(world.judge(task, 1, &overlay(&[(path, Some("x"))]), &evidence(0, &["+a"])).await, "end");
    }
    merged(&world, 0).await;
    let both = overlay(&[("a/Cargo.toml", Some("x")), ("b/Cargo.toml", Some("x"))]);
    let proposed = world.run().await.proposed_setup.unwrap();
    assert_eq!(world.store.get_json::<Overlay>(&proposed.manifests).await.unwrap(), both);
    approve(&world, "g-1").await;
    world.do_task("t1", &overlay(&[("a/Cargo.toml", Some("x"))])).await;
    world.plan(&[("other", &[])]).await;
    let run = world.run().await;
    assert_eq!((run.setup, run.proposed_setup), (None, None));
}

#[tokio::test]
async fn new_tests_are_tried_on_the_base_with_what_was_let_in() {
    let world = made(&[CODE, ONE]).await;
    merged(&world, 0).await;
    approve(&world, "g-1").await;
    let test = ("tests/new.rs", Some("#[test] fn new() { one::one() }"));
    let made = world.keep(&overlay(&[CODE, ONE, test])).await;
    let picked = world.act("pick-tests", json!({ "task_id": "t1", "overlay": made })).await.unwrap();
    let picked = serde_json::from_value(picked["tests"].clone()).unwrap();
    assert_eq!(world.store.get_json::<Overlay>(&picked).await.unwrap(), overlay(&[ONE, test]));
}

/// Somebody asks at a gate that waits.
async fn ask(world: &World, id: &str, question: &str) {
    let gate = world.store.gate(&GateId::new(id).unwrap()).await.unwrap();
    let ann = Approver { name: "ann".into(), seen_as: "bearer".into() };
    world.store.ask(&gate.gate_id, &gate.binding.hash(), &ann, &Question::new(question).unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_question_about_dependencies_is_answered_with_all_that_the_tasks_made() {
    let world = made(&[CODE, ONE]).await;
    merged(&world, 0).await;
    world.decide_on(GateKind::Setup, "g-1", None).await;
    ask(&world, "g-1", "why another package?").await;
    let closed = world.act("gate-closed", json!({ "kind": "setup" })).await.unwrap();
    let question = &closed["question"];
    assert_eq!(
        (&closed["next"], &question["kind"], &question["number"]),
        (&json!("answer"), &json!("setup"), &json!(1))
    );
    let artefact = |field: &str| serde_json::from_value::<ArtefactRef>(question[field].clone()).unwrap();
    assert_eq!(world.store.get_json::<Overlay>(&artefact("overlay")).await.unwrap(), overlay(&[CODE, ONE]));
    let inquiry: Inquiry = world.store.get_json(&artefact("inquiry")).await.unwrap();
    assert_eq!((inquiry.question.as_str(), inquiry.seen_as.as_str()), ("why another package?", "bearer"));
    assert_eq!(
        (world.run().await.setup, world.task("t1").await.status),
        (None, TaskStatus::NeedsSetup),
        "nothing is let in"
    );

    let resumed = merged(&world, 0).await;
    assert_eq!((&resumed["next"], &resumed["gate"]["question"]["gate_id"]), (&json!("answer"), &json!("g-1")));
    let output = world.keep(&json!({ "text": "For its parser.", "places": ["src/lib.rs:1"] })).await;
    world.act("keep-answer", json!({ "gate_id": "g-1", "output": output, "error": null })).await.unwrap();
    assert_eq!(merged(&world, 0).await["next"], "ask");
    let told = world.events("gate.answered").await;
    assert_eq!(told[0].message, "answers: For its parser. (src/lib.rs:1)");
    assert_eq!(told[0].role.as_deref(), Some("reviewer"));

    world.decide_on(GateKind::Setup, "g-2", None).await;
    ask(&world, "g-2", "which version?").await;
    let closed = world.act("gate-closed", json!({ "kind": "setup" })).await.unwrap();
    let inquiry = serde_json::from_value(closed["question"]["inquiry"].clone()).unwrap();
    let inquiry: Inquiry = world.store.get_json(&inquiry).await.unwrap();
    assert_eq!((&closed["question"]["number"], inquiry.earlier.len()), (&json!(2), 1));
}

/// The question that comes before a fresh gate: the gate at which it was asked, and its number.
async fn left_over(world: &World) -> (Value, Value) {
    let question = merged(world, 0).await["gate"]["question"].clone();
    (question["gate_id"].clone(), question["number"].clone())
}

#[tokio::test]
async fn a_question_that_was_dropped_gives_its_session_to_no_other_and_is_answered_where_its_matter_comes_back() {
    let world = made(&[CODE, ONE]).await;
    let task_makes = async |edits: &[(&str, Option<&str>)]| {
        let made = world.keep(&overlay(edits)).await;
        let task = TaskId::new("t1").unwrap();
        world.store.update_task(&world.run_id, &task, |task| task.overlay = Some(made.clone())).await.unwrap();
    };
    merged(&world, 0).await;
    world.decide_on(GateKind::Setup, "g-1", None).await;
    ask(&world, "g-1", "why one?").await;
    assert_eq!(left_over(&world).await, (json!("g-1"), json!(1)));

    task_makes(&[CODE, TWO]).await;
    assert_eq!(left_over(&world).await, (Value::Null, Value::Null), "what it was about is gone");
    world.decide_on(GateKind::Setup, "g-2", None).await;
    ask(&world, "g-2", "why two?").await;
    let closed = world.act("gate-closed", json!({ "kind": "setup" })).await.unwrap();
    assert_eq!(closed["question"]["number"], 2, "the first session may hold an answer to another question");

    task_makes(&[CODE, ONE]).await;
    assert_eq!(left_over(&world).await, (json!("g-1"), json!(1)), "however many were asked since");
    let rebase = |run: &mut RunRecord| run.snapshot.as_mut().unwrap().commit = "d".repeat(40);
    world.store.update_run(&world.run_id, rebase).await.unwrap();
    assert_eq!(
        left_over(&world).await,
        (Value::Null, Value::Null),
        "a gate over another base would not show the answer"
    );
}

#[tokio::test]
async fn nothing_is_kept_where_nothing_was_asked() {
    let world = made(&[ONE]).await;
    merged(&world, 0).await;
    world.decide_on(GateKind::Setup, "g-1", None).await;
    let refused =
        world.act("keep-answer", json!({ "gate_id": "g-1", "output": null, "error": null })).await.unwrap_err();
    assert_eq!(refused.message, "nothing was asked at g-1");
    assert!(world.run().await.answered.is_empty());
}
